/** Dark or light: the system's preference until the reader chooses. `public/theme.js` sets it before the first paint. */
import { computed, effect, signal } from "@preact/signals";

export type Theme = "dark" | "light";

const KEY = "flyball.theme";
const system = window.matchMedia("(prefers-color-scheme: dark)");

const systemTheme = signal<Theme>(system.matches ? "dark" : "light");
system.addEventListener("change", () => {
  systemTheme.value = system.matches ? "dark" : "light";
});

const chosen = signal<Theme | null>(readChoice());

export const theme = computed<Theme>(() => chosen.value ?? systemTheme.value);

effect(() => {
  document.documentElement.dataset.theme = theme.value;
});

/** Changes to the other theme and remembers it; choosing what the system prefers follows the system again. */
export function toggleTheme(): void {
  const next: Theme = theme.value === "dark" ? "light" : "dark";
  chosen.value = next === systemTheme.value ? null : next;
  try {
    if (chosen.value) localStorage.setItem(KEY, chosen.value);
    else localStorage.removeItem(KEY);
  } catch {
    // Storage can be forbidden; the choice then lasts as long as the page.
  }
}

function readChoice(): Theme | null {
  try {
    const kept = localStorage.getItem(KEY);
    return kept === "dark" || kept === "light" ? kept : null;
  } catch {
    return null;
  }
}
