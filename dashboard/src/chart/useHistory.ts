/** A page's history over the range of the address. */
import { useEffect, useRef } from "preact/hooks";
import { route } from "../state/route";
import type { History } from "./history";

/** The history that `make` makes once; the range of the address is given on to it. */
export function useHistory<H extends History>(make: () => H): H {
  const kept = useRef<H | null>(null);
  kept.current ??= make();
  const history = kept.current;
  const { range } = route.value;
  const key = JSON.stringify(range);
  const shown = useRef(key);
  useEffect(() => {
    if (shown.current === key) return;
    shown.current = key;
    history.setRange(range);
  }, [key]);
  useEffect(() => () => history.dispose(), []);
  return history;
}
