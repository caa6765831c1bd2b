/**
 * Parser for server-sent events (HTML Living Standard, 9.2.6).
 *
 * The browser's EventSource is not used: it hides why a connection failed, never retries after an error status,
 * cannot send `Last-Event-ID` on a connection of our own making, and does not notice a silent peer.
 */

export interface ServerEvent {
  id: string;
  data: string;
}

/** Feeds on chunks of text and calls `onEvent` for each whole event. */
export class EventParser {
  private rest = "";
  private data: string[] = [];
  private id = "";

  constructor(private readonly onEvent: (event: ServerEvent) => void) {}

  push(chunk: string): void {
    const text = this.rest + chunk;
    let begin = 0;
    for (;;) {
      const end = text.indexOf("\n", begin);
      if (end < 0) break;
      const line = text.slice(begin, end);
      this.line(line.endsWith("\r") ? line.slice(0, -1) : line);
      begin = end + 1;
    }
    this.rest = text.slice(begin);
  }

  private line(line: string): void {
    if (line === "") {
      this.dispatch();
      return;
    }
    const colon = line.indexOf(":");
    if (colon === 0) return;
    const field = colon < 0 ? line : line.slice(0, colon);
    const value = colon < 0 ? "" : line.slice(colon + 1).replace(/^ /, "");
    if (field === "data") this.data.push(value);
    else if (field === "id") this.id = value;
  }

  private dispatch(): void {
    if (this.data.length === 0) return;
    const event = { id: this.id, data: this.data.join("\n") };
    this.data = [];
    this.onEvent(event);
  }
}
