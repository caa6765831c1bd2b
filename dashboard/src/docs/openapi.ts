/** The parts of an OpenAPI 3.1 document that the page shows, and how references in it are followed. */

export interface Schema {
  $ref?: string;
  type?: string | string[];
  format?: string;
  description?: string;
  enum?: unknown[];
  const?: unknown;
  default?: unknown;
  properties?: Record<string, Schema>;
  required?: string[];
  items?: Schema;
  prefixItems?: Schema[];
  additionalProperties?: boolean | Schema;
  oneOf?: Schema[];
  anyOf?: Schema[];
  allOf?: Schema[];
  minimum?: number;
  maximum?: number;
  example?: unknown;
  examples?: unknown[];
}

export interface Parameter {
  $ref?: string;
  name: string;
  in: string;
  description?: string;
  required?: boolean;
  schema?: Schema;
  example?: unknown;
}

export interface Body {
  description?: string;
  content?: Record<string, { schema?: Schema; example?: unknown }>;
}

export interface Operation {
  operationId?: string;
  summary?: string;
  description?: string;
  tags?: string[];
  parameters?: Parameter[];
  requestBody?: Body;
  responses?: Record<string, Body & { $ref?: string }>;
}

export interface Document {
  openapi: string;
  info: { title: string; version: string; description?: string };
  tags?: { name: string; description?: string }[];
  paths?: Record<string, Record<string, Operation> & { parameters?: Parameter[] }>;
  components?: Record<string, Record<string, unknown>>;
}

export interface Endpoint {
  method: string;
  path: string;
  /** Fragment of the page that shows it. */
  anchor: string;
  tag: string;
  operation: Operation;
  parameters: Parameter[];
}

const METHODS = ["get", "put", "post", "delete", "patch"];

/** What a local reference (`#/components/...`) points to; the thing itself when it is none. */
export function resolve<T extends { $ref?: string }>(document: Document, thing: T): T {
  if (!thing.$ref?.startsWith("#/")) return thing;
  let found: unknown = document;
  for (const part of thing.$ref.slice(2).split("/")) {
    found = (found as Record<string, unknown> | undefined)?.[
      part.replaceAll("~1", "/").replaceAll("~0", "~")
    ];
  }
  return (found as T | undefined) ?? thing;
}

/** Name of a reference's target: `#/components/schemas/Node` is `Node`. */
export function refName(ref: string): string {
  return ref.slice(ref.lastIndexOf("/") + 1);
}

/** Every operation, in the document's order. */
export function endpointsOf(document: Document): Endpoint[] {
  return Object.entries(document.paths ?? {}).flatMap(([path, item]) =>
    METHODS.flatMap((method) => {
      const operation = item[method];
      if (!operation) return [];
      const parameters = [...(item.parameters ?? []), ...(operation.parameters ?? [])].map((each) =>
        resolve(document, each),
      );
      const anchor = `${method}-${path.replace(/[^a-zA-Z0-9]+/g, "-").replace(/^-|-$/g, "") || "root"}`;
      return [{ method, path, anchor, tag: operation.tags?.[0] ?? "other", operation, parameters }];
    }),
  );
}

/** A schema's type in a few words: `array of NodeStatus`, `integer (int64) or null`. */
export function typeText(schema: Schema | undefined): string {
  if (!schema) return "any";
  if (schema.$ref) return refName(schema.$ref);
  const choice = schema.oneOf ?? schema.anyOf;
  if (choice) return choice.map(typeText).join(" or ");
  if (schema.allOf) return schema.allOf.map(typeText).join(" and ");
  if (schema.const !== undefined) return JSON.stringify(schema.const);
  const types = [schema.type ?? (schema.properties ? "object" : "any")].flat();
  return types
    .map((type) => {
      if (type === "array")
        return schema.prefixItems
          ? `[${schema.prefixItems.map(typeText).join(", ")}]`
          : `array of ${typeText(schema.items)}`;
      if (type === "object" && typeof schema.additionalProperties === "object")
        return `map to ${typeText(schema.additionalProperties)}`;
      return schema.format && type !== "null" ? `${type} (${schema.format})` : type;
    })
    .join(" or ");
}

/** Names of component schemas that a schema mentions, at any depth, each once. */
export function mentioned(schema: Schema | undefined): string[] {
  const names = new Set<string>();
  const visit = (value: unknown): void => {
    if (Array.isArray(value)) value.forEach(visit);
    else if (value && typeof value === "object") {
      const ref = (value as Schema).$ref;
      if (typeof ref === "string") names.add(refName(ref));
      Object.values(value).forEach(visit);
    }
  };
  visit(schema);
  return [...names];
}

/** Address for a call: path parameters filled in, the others as a query; empty values are left out. */
export function callAddress(
  path: string,
  parameters: readonly Parameter[],
  values: Readonly<Record<string, string>>,
): string {
  let filled = path;
  const query = new URLSearchParams();
  for (const { name, in: place, schema } of parameters) {
    const value = values[name]?.trim();
    if (!value) continue;
    if (place === "path") filled = filled.replace(`{${name}}`, encodeURIComponent(value));
    else if (place === "query") {
      const isList = [schema?.type].flat().includes("array");
      for (const part of isList ? value.split(/\s*,\s*/) : [value]) query.append(name, part);
    }
  }
  const text = query.toString();
  return `.${filled}${text ? `?${text}` : ""}`;
}
