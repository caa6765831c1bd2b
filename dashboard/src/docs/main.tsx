/** Entry of the API's page, rendered from the collector's own description. */
import "../style/font.css";
import "../style/base.css";
import "../style/docs.css";
import { signal } from "@preact/signals";
import { render } from "preact";
import { theme, toggleTheme } from "../state/theme";
import { Logo, MoonIcon, SunIcon } from "../ui/icons";
import { EndpointView } from "./EndpointView";
import { type Document, type Endpoint, endpointsOf } from "./openapi";
import { Prose } from "./Prose";
import { SchemaView } from "./SchemaView";

const document_ = signal<Document | null>(null);
const failure = signal("");

async function load(): Promise<void> {
  failure.value = "";
  try {
    const response = await fetch("./openapi.json");
    if (!response.ok) throw new Error(`the collector answered ${response.status}`);
    document_.value = (await response.json()) as Document;
    requestAnimationFrame(() => document.getElementById(location.hash.slice(1))?.scrollIntoView());
  } catch (error) {
    failure.value = error instanceof Error ? error.message : String(error);
  }
}

function Page() {
  return (
    <>
      <Top />
      {document_.value ? <Reference document={document_.value} /> : <Waiting />}
    </>
  );
}

function Top() {
  const next = theme.value === "dark" ? "light" : "dark";
  return (
    <header class="top">
      <a class="brand" href="./">
        <Logo />
        <span>Flyball</span>
      </a>
      <nav aria-label="Breadcrumb">
        <a href="./">Fleet</a>
        <span aria-hidden="true">/</span>
        <span aria-current="page">API</span>
      </nav>
      <span class="spacer" />
      <a class="quiet" href="./openapi.json">
        openapi.json
      </a>
      <button type="button" class="icon" onClick={toggleTheme} aria-label={`Use the ${next} theme`}>
        {theme.value === "dark" ? <SunIcon /> : <MoonIcon />}
      </button>
    </header>
  );
}

function Waiting() {
  if (!failure.value) return <p class="waiting docs-waiting">Loading…</p>;
  return (
    <p class="waiting docs-waiting">
      The description cannot be read: {failure.value}.{" "}
      <button type="button" class="link" onClick={() => void load()}>
        Try again
      </button>
    </p>
  );
}

function Reference({ document }: { document: Document }) {
  const endpoints = endpointsOf(document);
  const tags = [...new Set(endpoints.map(({ tag }) => tag))];
  const schemas = Object.keys(document.components?.schemas ?? {});
  const of = (tag: string): Endpoint[] => endpoints.filter((endpoint) => endpoint.tag === tag);
  return (
    <div class="docs">
      <nav class="contents" aria-label="Contents">
        {tags.map((tag) => (
          <div key={tag}>
            <h2>{tag}</h2>
            <ul>
              {of(tag).map(({ anchor, method, path }) => (
                <li key={anchor}>
                  <a href={`#${anchor}`}>
                    <span class="method" data-method={method}>
                      {method}
                    </span>
                    <span class="contents-path">{path.replace("/api/performance", "…")}</span>
                  </a>
                </li>
              ))}
            </ul>
          </div>
        ))}
        {schemas.length > 0 && (
          <div>
            <h2>Schemas</h2>
            <ul>
              {schemas.map((name) => (
                <li key={name}>
                  <a href={`#schema-${name}`}>{name}</a>
                </li>
              ))}
            </ul>
          </div>
        )}
      </nav>
      <main id="main">
        <h1>
          {document.info.title} <small>{document.info.version}</small>
        </h1>
        {document.info.description && (
          <p class="lead">
            <Prose text={document.info.description} />
          </p>
        )}
        {tags.map((tag) => (
          <section key={tag} aria-label={tag}>
            {of(tag).map((endpoint) => (
              <EndpointView key={endpoint.anchor} document={document} endpoint={endpoint} />
            ))}
          </section>
        ))}
        {schemas.length > 0 && <h2 class="schemas-title">Schemas</h2>}
        {schemas.map((name) => (
          <SchemaView key={name} document={document} name={name} />
        ))}
      </main>
    </div>
  );
}

void load();
const root = document.getElementById("app");
if (root) render(<Page />, root);
