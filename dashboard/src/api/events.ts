/**
 * The live connection: GET /api/performance/events, kept up for as long as the page is looked at.
 *
 * One connection carries everything a page needs, since a browser allows few to one address. It resumes with
 * `Last-Event-ID`; a peer that says nothing for SILENCE_MS counts as lost; a page nobody sees lets go of it.
 */
import { backoffMs } from "../lib/backoff";
import { EventParser, type ServerEvent } from "../lib/sse";
import type { LiveEvent } from "./types";

export type Phase = "connecting" | "live" | "lost" | "paused";

export interface ConnectionState {
  phase: Phase;
  /** When this phase began. */
  sinceMs: number;
  /** Why the last connection ended; empty when none did. */
  reason: string;
  /** When the next attempt is made, in phase `lost`. */
  retryAtMs: number;
}

export interface StreamHandlers {
  onEvent(event: LiveEvent): void;
  onState(state: ConnectionState): void;
  /** Connected after a loss: what happened in between may be missing, so what is shown must be asked for again. */
  onGap(): void;
  /** The collector knows no such node; the stream goes on with the fleet alone. */
  onNoSuchNode(): void;
}

/** The collector sends a comment at least this often when it has nothing to say. */
const SILENCE_MS = 40_000;
/** A hidden page lets go of its connection after this time. */
const HIDDEN_MS = 60_000;

export class LiveStream {
  private query = "";
  private abort: AbortController | null = null;
  private retry: ReturnType<typeof setTimeout> | undefined;
  private silence: ReturnType<typeof setTimeout> | undefined;
  private hide: ReturnType<typeof setTimeout> | undefined;
  private lastEventId = "";
  private attempt = 0;
  private wasLive = false;
  private phase: Phase = "connecting";

  constructor(private readonly handlers: StreamHandlers) {
    document.addEventListener("visibilitychange", () => this.onVisibility());
  }

  /** Follows the fleet, or also one node's samples. */
  follow(node: string, metrics: readonly string[]): void {
    const query = new URLSearchParams();
    if (node) {
      query.set("node", node);
      for (const metric of metrics) query.append("metric", metric);
    }
    if (this.abort && query.toString() === this.query) return;
    this.query = query.toString();
    // Ids go on, but the events missed under another query cannot be had again.
    this.lastEventId = "";
    this.wasLive = false;
    this.restart();
  }

  /** Tries again at once. */
  retryNow(): void {
    if (this.phase === "lost") this.restart();
  }

  private restart(): void {
    clearTimeout(this.retry);
    this.abort?.abort();
    if (this.phase !== "lost") this.setPhase("connecting", "");
    const abort = new AbortController();
    this.abort = abort;
    void this.run(abort);
  }

  private async run(abort: AbortController): Promise<void> {
    let reason = "the connection was closed";
    try {
      await this.read(abort);
    } catch (error) {
      reason = error instanceof Refused ? error.message : "the collector cannot be reached";
    }
    clearTimeout(this.silence);
    if (this.abort !== abort) return;
    const waitMs = backoffMs(this.attempt, Math.random());
    this.attempt += 1;
    this.setPhase("lost", reason, Date.now() + waitMs);
    this.retry = setTimeout(() => this.restart(), waitMs);
  }

  private async read(abort: AbortController): Promise<void> {
    const headers: Record<string, string> = { accept: "text/event-stream" };
    if (this.lastEventId) headers["last-event-id"] = this.lastEventId;
    this.expectWord(abort);
    const response = await fetch(`api/performance/events${this.query && `?${this.query}`}`, {
      headers,
      cache: "no-store",
      signal: abort.signal,
    });
    if (response.status === 404 && this.query) {
      this.follow("", []);
      this.handlers.onNoSuchNode();
      return;
    }
    if (!response.ok || !response.body) throw new Refused(`the collector answered ${response.status}`);
    this.onOpen();
    const parser = new EventParser((event) => this.onServerEvent(event));
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    for (;;) {
      const { done, value } = await reader.read();
      if (done || this.abort !== abort) return;
      this.expectWord(abort);
      parser.push(value);
    }
  }

  private onOpen(): void {
    if (this.wasLive || this.attempt > 0) this.handlers.onGap();
    this.attempt = 0;
    this.wasLive = true;
    this.setPhase("live", "");
  }

  private onServerEvent(event: ServerEvent): void {
    if (event.id) this.lastEventId = event.id;
    this.handlers.onEvent(JSON.parse(event.data) as LiveEvent);
  }

  private expectWord(abort: AbortController): void {
    clearTimeout(this.silence);
    this.silence = setTimeout(() => abort.abort(), SILENCE_MS);
  }

  private onVisibility(): void {
    clearTimeout(this.hide);
    if (document.hidden) {
      this.hide = setTimeout(() => this.pause(), HIDDEN_MS);
    } else if (this.phase === "paused") {
      this.restart();
    }
  }

  private pause(): void {
    clearTimeout(this.retry);
    const abort = this.abort;
    this.abort = null;
    abort?.abort();
    this.lastEventId = "";
    this.setPhase("paused", "");
  }

  private setPhase(phase: Phase, reason: string, retryAtMs = 0): void {
    const isSame = phase === this.phase && phase === "lost";
    this.phase = phase;
    if (!isSame) this.sinceMs = Date.now();
    this.handlers.onState({ phase, reason, retryAtMs, sinceMs: this.sinceMs });
  }

  private sinceMs = Date.now();
}

class Refused extends Error {}
