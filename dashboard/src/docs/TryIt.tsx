/** Calls an operation from the page and shows what came back. Only for GET: it changes nothing. */
import { useSignal } from "@preact/signals";
import { callAddress, type Endpoint } from "./openapi";

/** Longer answers are cut in the page; the link opens the whole. */
const SHOWN_CHARACTERS = 4000;
/** Answers that never end are read no longer than this. */
const DEADLINE_MS = 8000;

interface Answer {
  status: number;
  tookMs: number;
  text: string;
}

export function TryIt({ endpoint }: { endpoint: Endpoint }) {
  const values = useSignal<Record<string, string>>({});
  const answer = useSignal<Answer | null>(null);
  const address = callAddress(endpoint.path, endpoint.parameters, values.value);
  const missing = endpoint.parameters.some(({ name, required }) => required && !values.value[name]?.trim());
  const send = async (event: Event): Promise<void> => {
    event.preventDefault();
    answer.value = await call(address);
  };
  return (
    <details class="try">
      <summary>Try it</summary>
      <form onSubmit={(event) => void send(event)}>
        {endpoint.parameters.map(({ name, required }) => (
          <label key={name}>
            <code>{name}</code>
            <input
              required={required ?? false}
              value={values.value[name] ?? ""}
              onInput={(event) => {
                values.value = { ...values.value, [name]: event.currentTarget.value };
              }}
            />
          </label>
        ))}
        <button type="submit">Send</button>
        {!missing && (
          <a href={address} target="_blank" rel="noreferrer">
            <code>{address.slice(1)}</code>
          </a>
        )}
      </form>
      {answer.value && (
        <>
          <p>
            <code class="status" data-class={String(answer.value.status)[0]}>
              {answer.value.status || "no answer"}
            </code>{" "}
            <small>in {answer.value.tookMs} ms</small>
          </p>
          <pre>{answer.value.text}</pre>
        </>
      )}
    </details>
  );
}

async function call(address: string): Promise<Answer> {
  const begin = performance.now();
  const took = (): number => Math.round(performance.now() - begin);
  try {
    const response = await fetch(address, { signal: AbortSignal.timeout(DEADLINE_MS) });
    const text = response.headers.get("content-type")?.includes("event-stream")
      ? await firstChunk(response)
      : await response.text();
    return { status: response.status, tookMs: took(), text: pretty(text) };
  } catch (error) {
    return { status: 0, tookMs: took(), text: error instanceof Error ? error.message : String(error) };
  }
}

/** A stream of events has no end; its beginning shows what they look like. */
async function firstChunk(response: Response): Promise<string> {
  const reader = response.body?.getReader();
  const chunk = await reader?.read();
  await reader?.cancel();
  return new TextDecoder().decode(chunk?.value);
}

function pretty(text: string): string {
  let shown = text;
  try {
    shown = JSON.stringify(JSON.parse(text), null, 2);
  } catch {
    // Not JSON: shown as it came.
  }
  return shown.length > SHOWN_CHARACTERS ? `${shown.slice(0, SHOWN_CHARACTERS)}\n…` : shown;
}
