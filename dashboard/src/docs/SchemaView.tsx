/** Schemas: a table of fields, with links to what they are made of. */

import { type Document, mentioned, refName, resolve, type Schema, typeText } from "./openapi";
import { Prose } from "./Prose";

/** A type in words; names of schemas are links. */
export function TypeName({ schema }: { schema: Schema | undefined }) {
  const names = mentioned(schema);
  const text = typeText(schema);
  if (names.length === 0) return <code class="type">{text}</code>;
  const parts = text.split(new RegExp(`\\b(${names.join("|")})\\b`));
  return (
    <code class="type">
      {parts.map((part, at) =>
        names.includes(part) ? (
          <a key={`${part}${at}`} href={`#schema-${part}`}>
            {part}
          </a>
        ) : (
          part
        ),
      )}
    </code>
  );
}

/** The fields of an object; for anything else, its type. */
export function Fields({ document, schema }: { document: Document; schema: Schema }) {
  const whole = flattened(document, schema);
  const fields = Object.entries(whole.properties ?? {});
  if (fields.length === 0) return <TypeName schema={schema} />;
  return (
    <table class="fields">
      <tbody>
        {fields.map(([name, field]) => (
          <tr key={name}>
            <th scope="row">
              <code>{name}</code>
              {!whole.required?.includes(name) && <small> optional</small>}
            </th>
            <td>
              <TypeName schema={field} />
            </td>
            <td>
              <Prose text={field.description} />
              <Limits schema={field} />
            </td>
          </tr>
        ))}
      </tbody>
    </table>
  );
}

/** What a value may be, beyond its type. */
export function Limits({ schema }: { schema: Schema | undefined }) {
  const parts: string[] = [];
  if (schema?.enum) parts.push(`one of ${schema.enum.map(String).join(", ")}`);
  if (schema?.minimum !== undefined) parts.push(`at least ${schema.minimum}`);
  if (schema?.maximum !== undefined) parts.push(`at most ${schema.maximum}`);
  if (schema?.default !== undefined) parts.push(`default ${JSON.stringify(schema.default)}`);
  return parts.length > 0 ? <small class="limits"> {parts.join("; ")}</small> : null;
}

/** A schema with its reference followed and the fields of `allOf` joined. */
function flattened(document: Document, schema: Schema): Schema {
  const found = resolve(document, schema);
  if (!found.allOf) return found;
  const parts = found.allOf.map((part) => flattened(document, part));
  return {
    ...found,
    properties: Object.assign({}, ...parts.map((part) => part.properties ?? {}), found.properties ?? {}),
    required: [...parts.flatMap((part) => part.required ?? []), ...(found.required ?? [])],
  };
}

export function SchemaView({ document, name }: { document: Document; name: string }) {
  const schema = document.components?.schemas?.[name] as Schema;
  return (
    <article class="schema" id={`schema-${name}`}>
      <h3>{name}</h3>
      {schema.description && (
        <p>
          <Prose text={schema.description} />
        </p>
      )}
      <Variants schema={schema} />
      <Fields document={document} schema={schema} />
      <Limits schema={schema} />
    </article>
  );
}

function Variants({ schema }: { schema: Schema }) {
  const variants = (schema.oneOf ?? schema.anyOf ?? []).flatMap(({ $ref }) => ($ref ? [refName($ref)] : []));
  if (variants.length === 0) return null;
  return <p class="muted">One of {variants.join(", ")}.</p>;
}
