import { describe, expect, it } from "vitest";
import { callAddress, type Document, endpointsOf, mentioned, resolve, typeText } from "../src/docs/openapi";
import { unwrapped } from "../src/docs/Prose";

const DOCUMENT: Document = {
  openapi: "3.1.0",
  info: { title: "t", version: "1" },
  paths: {
    "/a/{id}": {
      parameters: [{ name: "id", in: "path", required: true }],
      get: { tags: ["x"], parameters: [{ $ref: "#/components/parameters/node", name: "", in: "" }] },
      post: {},
    },
  },
  components: { parameters: { node: { name: "node", in: "query", schema: { type: "array" } } } },
} as unknown as Document;

describe("the description", () => {
  it("lists operations with the parameters of their path, references followed", () => {
    const endpoints = endpointsOf(DOCUMENT);
    expect(endpoints.map(({ method, anchor, tag }) => [method, anchor, tag])).toEqual([
      ["get", "get-a-id", "x"],
      ["post", "post-a-id", "other"],
    ]);
    expect(endpoints[0]?.parameters.map(({ name }) => name)).toEqual(["id", "node"]);
  });

  it("keeps what it cannot resolve", () => {
    expect(resolve(DOCUMENT, { $ref: "#/components/nothing" })).toEqual({ $ref: "#/components/nothing" });
  });

  it("says types in words and knows what they mention", () => {
    const schema = { type: ["array", "null"], items: { $ref: "#/components/schemas/Node" } };
    expect(typeText(schema)).toBe("array of Node or null");
    expect(mentioned(schema)).toEqual(["Node"]);
    expect(typeText({ type: "integer", format: "int64" })).toBe("integer (int64)");
    expect(typeText({ oneOf: [{ type: "string" }, { type: "null" }] })).toBe("string or null");
  });

  it("joins wrapped lines but keeps paragraphs and lists", () => {
    expect(unwrapped("a\nb\n\nc:\n- d\n- e")).toBe("a b\n\nc:\n- d\n- e");
  });

  it("builds the address of a call", () => {
    const parameters = endpointsOf(DOCUMENT)[0]?.parameters ?? [];
    expect(callAddress("/a/{id}", parameters, { id: "x/y", node: "n1, n2" })).toBe(
      "./a/x%2Fy?node=n1&node=n2",
    );
  });
});
