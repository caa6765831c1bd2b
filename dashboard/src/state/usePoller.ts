/** A poller that lives as long as the component that asks with it. */
import { useEffect, useRef } from "preact/hooks";
import { Poller, type PollerOptions } from "./poller";

/** The poller for `key`; another key makes another one. */
export function usePoller<T>(key: string, options: () => PollerOptions<T>): Poller<T> {
  const kept = useRef<{ key: string; poller: Poller<T> } | null>(null);
  if (kept.current?.key !== key) {
    kept.current?.poller.dispose();
    kept.current = { key, poller: new Poller(options()) };
  }
  useEffect(() => () => kept.current?.poller.dispose(), []);
  return kept.current.poller;
}
