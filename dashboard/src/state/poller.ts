/**
 * What a page asks for again and again: at its own pace, soon after an event said that it changed, and at once
 * when the page is looked at again or the connection is back. A page that nobody sees asks nothing.
 */
import { effect, signal } from "@preact/signals";
import { ApiError, isAbandoned } from "../api/client";
import type { ChangeKind } from "../api/types";
import { backoffMs } from "../lib/backoff";
import { hear } from "./changes";
import { connection } from "./live";

/** However many events there are, questions begin no closer together than this. */
const CLOSEST_MS = 400;

/** Why figures are missing or old. */
export interface PollProblem {
  message: string;
  /** HTTP status; 0 when the collector could not be reached. */
  status: number;
  /** When the first of the polls in a row failed. */
  sinceMs: number;
}

export interface PollerOptions<T> {
  /** `polls` counts those that worked since the last failure or order to ask at once. */
  ask(signal: AbortSignal, polls: number): Promise<T>;
  everyMs: number;
  /** Events after which it is asked again. */
  kinds?: readonly ChangeKind[];
}

export class Poller<T> {
  readonly value = signal<T | null>(null);
  readonly problem = signal<PollProblem | null>(null);
  /** When it last answered; 0: never. */
  readonly updatedMs = signal(0);
  private timer: ReturnType<typeof setTimeout> | undefined;
  private abort: AbortController | null = null;
  private polls = 0;
  private failures = 0;
  private begunMs = 0;
  private isAsking = false;
  private isOutdated = false;
  private isDisposed = false;
  private readonly stops: (() => void)[];

  constructor(private readonly options: PollerOptions<T>) {
    document.addEventListener("visibilitychange", this.pollNow);
    let phase = connection.peek().phase;
    this.stops = [
      hear(options.kinds ?? [], () => this.onChange()),
      effect(() => {
        const before = phase;
        phase = connection.value.phase;
        if (phase === "live" && before !== "live") this.pollNow();
      }),
      () => document.removeEventListener("visibilitychange", this.pollNow),
    ];
    this.pollNow();
  }

  dispose(): void {
    this.isDisposed = true;
    for (const stop of this.stops) stop();
    this.pause();
  }

  /** Asks at once; whatever is on its way is abandoned. */
  readonly pollNow = (): void => {
    this.pause();
    this.polls = 0;
    if (!this.isDisposed && !document.hidden) void this.poll();
  };

  private pause(): void {
    clearTimeout(this.timer);
    this.abort?.abort();
  }

  private onChange(): void {
    // An answer on its way may be from before the change, and abandoning it again and again would never end.
    if (this.isAsking) this.isOutdated = true;
    else this.after(Math.max(0, this.begunMs + CLOSEST_MS - Date.now()));
  }

  private after(waitMs: number): void {
    clearTimeout(this.timer);
    if (this.isDisposed || document.hidden) return;
    this.timer = setTimeout(() => void this.poll(), waitMs);
  }

  private async poll(): Promise<void> {
    const abort = new AbortController();
    this.abort = abort;
    this.begunMs = Date.now();
    this.isAsking = true;
    this.isOutdated = false;
    try {
      const value = await this.options.ask(abort.signal, this.polls);
      if (abort.signal.aborted) return;
      this.polls += 1;
      this.failures = 0;
      this.problem.value = null;
      this.updatedMs.value = Date.now();
      this.value.value = value;
    } catch (error) {
      if (isAbandoned(error) || abort.signal.aborted) return;
      this.fail(error);
    }
    this.isAsking = false;
    this.after(this.wait());
  }

  private wait(): number {
    const { everyMs } = this.options;
    if (this.failures > 0) return Math.max(everyMs, backoffMs(this.failures, Math.random()));
    return this.isOutdated ? Math.max(0, this.begunMs + CLOSEST_MS - Date.now()) : everyMs;
  }

  private fail(error: unknown): void {
    this.polls = 0;
    this.failures += 1;
    const message = error instanceof Error ? error.message : String(error);
    const status = error instanceof ApiError ? error.status : 0;
    this.problem.value = { message, status, sinceMs: this.problem.peek()?.sinceMs ?? Date.now() };
  }
}
