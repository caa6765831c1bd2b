/** Name, way back, state of the connection, theme. */
import { connection } from "../state/live";
import { fleetHref, queriesHref, route } from "../state/route";
import { theme, toggleTheme } from "../state/theme";
import { Logo, MoonIcon, SunIcon } from "./icons";

const PHASES = {
  connecting: "connecting",
  live: "live",
  lost: "disconnected",
  paused: "paused",
} as const;

export function Header() {
  const { page, node } = route.value;
  const { phase } = connection.value;
  const next = theme.value === "dark" ? "light" : "dark";
  return (
    <header class="top">
      <a class="brand" href={fleetHref()} aria-label="Flyball, all nodes">
        <Logo />
        <span>Flyball</span>
      </a>
      <nav aria-label="Pages">
        <a href={fleetHref()} aria-current={page === "fleet" ? "page" : undefined}>
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
        <a class="aside" href={queriesHref()} aria-current={page === "queries" ? "page" : undefined}>
          Queries
        </a>
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
