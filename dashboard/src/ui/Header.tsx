/** Name, way back, state of the connection, theme. */
import { connection } from "../state/live";
import { openSuggestions, runningRollouts } from "../state/open";
import { pageHref, route } from "../state/route";
import { theme, toggleTheme } from "../state/theme";
import { Logo, MoonIcon, SunIcon } from "./icons";

const PHASES = {
  connecting: "connecting",
  live: "live",
  lost: "disconnected",
  paused: "paused",
} as const;

/** Pages that every other one leads to, with the number of things that wait there. */
const PAGES = [
  { page: "caches", name: "Caches", waiting: null },
  { page: "balancers", name: "Balancers", waiting: null },
  { page: "suggestions", name: "Suggestions", waiting: openSuggestions },
  { page: "rollouts", name: "Rollouts", waiting: runningRollouts },
  { page: "audit", name: "Audit", waiting: null },
  { page: "queries", name: "Queries", waiting: null },
] as const;

export function Header() {
  const { page, node, id } = route.value;
  const { phase } = connection.value;
  const next = theme.value === "dark" ? "light" : "dark";
  return (
    <header class="top">
      <a class="brand" href={pageHref("fleet")} aria-label="Flyball, all nodes">
        <Logo />
        <span>Flyball</span>
      </a>
      <nav aria-label="Pages">
        <a href={pageHref("fleet")} aria-current={page === "fleet" ? "page" : undefined}>
          Fleet
        </a>
        {page === "node" && (
          <>
            <span aria-hidden="true">/</span>
            <span class="crumb" aria-current="page">
              {node}
            </span>
          </>
        )}
        {PAGES.map((each) => (
          <a
            key={each.page}
            class="aside"
            href={pageHref(each.page)}
            aria-current={page === each.page ? (id ? "true" : "page") : undefined}
          >
            {each.name}
            {each.waiting?.value ? <b class="waits">{each.waiting.value}</b> : null}
          </a>
        ))}
      </nav>
      <span class="spacer" />
      <span class="phase" data-phase={phase} role="status">
        {PHASES[phase]}
      </span>
      <a class="quiet" href="./docs">
        API
      </a>
      <button
        type="button"
        class="icon"
        onClick={toggleTheme}
        aria-label={`Use the ${next} theme`}
        title={`Use the ${next} theme`}
      >
        {theme.value === "dark" ? <SunIcon /> : <MoonIcon />}
      </button>
    </header>
  );
}
