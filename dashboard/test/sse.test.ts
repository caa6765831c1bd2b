import { describe, expect, it } from "vitest";
import { backoffMs } from "../src/lib/backoff";
import { EventParser, type ServerEvent } from "../src/lib/sse";

function parse(...chunks: string[]): ServerEvent[] {
  const events: ServerEvent[] = [];
  const parser = new EventParser((event) => events.push(event));
  for (const chunk of chunks) parser.push(chunk);
  return events;
}

describe("server-sent events", () => {
  const text = ': hello\nid: 7\ndata: {"a":1}\n\nid: 8\r\ndata:x\r\ndata: y\r\n\r\n';
  const expected = [
    { id: "7", data: '{"a":1}' },
    { id: "8", data: "x\ny" },
  ];

  it("are read whole, wherever the network cuts them", () => {
    expect(parse(text)).toEqual(expected);
    expect(parse(...text)).toEqual(expected);
    for (let cut = 1; cut < text.length; cut += 1)
      expect(parse(text.slice(0, cut), text.slice(cut))).toEqual(expected);
  });

  it("keep the last id and skip comments and half events", () => {
    expect(parse(": keep-alive\n\n", "id: 3\n\n", "data: a\n\n", "data: unfinished\n")).toEqual([
      { id: "3", data: "a" },
    ]);
  });
});

describe("backoff", () => {
  it("doubles, is capped, and is spread", () => {
    expect(backoffMs(0, 1)).toBe(500);
    expect(backoffMs(1, 1)).toBe(1000);
    expect(backoffMs(50, 1)).toBe(10_000);
    expect(backoffMs(50, 0)).toBe(5000);
  });
});
