/** One operation: what it does, what it takes, what it answers, and a way to call it. */

import { type Document, type Endpoint, type Parameter, resolve } from "./openapi";
import { Prose } from "./Prose";
import { Fields, Limits, TypeName } from "./SchemaView";
import { TryIt } from "./TryIt";

interface Props {
  document: Document;
  endpoint: Endpoint;
}

export function EndpointView({ document, endpoint }: Props) {
  const { anchor, method, path, operation, parameters } = endpoint;
  return (
    <article class="endpoint" id={anchor}>
      <h2>
        <span class="method" data-method={method}>
          {method}
        </span>{" "}
        <a href={`#${anchor}`}>
          <code>{path}</code>
        </a>
      </h2>
      {operation.summary && (
        <p class="summary">
          <Prose text={operation.summary} />
        </p>
      )}
      {operation.description && operation.description !== operation.summary && (
        <p>
          <Prose text={operation.description} />
        </p>
      )}
      {parameters.length > 0 && <Parameters parameters={parameters} />}
      <RequestBody document={document} endpoint={endpoint} />
      <Responses document={document} endpoint={endpoint} />
      {method === "get" && <TryIt endpoint={endpoint} />}
    </article>
  );
}

function Parameters({ parameters }: { parameters: readonly Parameter[] }) {
  return (
    <>
      <h3>Parameters</h3>
      <table class="fields">
        <tbody>
          {parameters.map((parameter) => (
            <tr key={`${parameter.in} ${parameter.name}`}>
              <th scope="row">
                <code>{parameter.name}</code>
                <small>
                  {" "}
                  {parameter.in}
                  {parameter.required ? ", required" : ""}
                </small>
              </th>
              <td>
                <TypeName schema={parameter.schema} />
              </td>
              <td>
                <Prose text={parameter.description} />
                <Limits schema={parameter.schema} />
              </td>
            </tr>
          ))}
        </tbody>
      </table>
    </>
  );
}

function RequestBody({ document, endpoint }: Props) {
  const content = endpoint.operation.requestBody?.content;
  if (!content) return null;
  return (
    <>
      <h3>Body</h3>
      {Object.entries(content).map(([type, { schema }]) => (
        <div key={type}>
          <small>{type}</small>
          {schema && <Fields document={document} schema={schema} />}
        </div>
      ))}
    </>
  );
}

function Responses({ document, endpoint }: Props) {
  const responses = Object.entries(endpoint.operation.responses ?? {});
  if (responses.length === 0) return null;
  return (
    <>
      <h3>Answers</h3>
      <table class="fields">
        <tbody>
          {responses.map(([status, raw]) => {
            const response = resolve(document, raw);
            return (
              <tr key={status}>
                <th scope="row">
                  <code class="status" data-class={status[0]}>
                    {status}
                  </code>
                </th>
                <td>
                  {Object.entries(response.content ?? {}).map(([type, { schema }]) => (
                    <div key={type}>
                      {schema && <TypeName schema={schema} />} <small>{type}</small>
                    </div>
                  ))}
                </td>
                <td>
                  <Prose text={response.description} />
                </td>
              </tr>
            );
          })}
        </tbody>
      </table>
    </>
  );
}
