// What both scripts share: starting Chromium, and waiting for conditions instead of for time.
import { chromium } from "playwright-core";

const CHROMIUM = process.env.CHROMIUM ?? "/usr/bin/chromium";

/** How long any one condition may take. */
export const DEADLINE_MS = 30_000;

export function launch() {
  return chromium.launch({
    executablePath: CHROMIUM,
    args: [
      "--no-sandbox",
      "--disable-gpu",
      "--disable-quic",
      "--no-first-run",
      "--disable-background-networking",
      "--disable-component-update",
      "--disable-sync",
    ],
  });
}

/** Waits until `condition`, run in the page with `argument`, is true; a failure says what was waited for. */
export async function until(page, what, condition, argument) {
  try {
    await page.waitForFunction(condition, argument, { timeout: DEADLINE_MS, polling: 100 });
  } catch (cause) {
    throw new Error(`waited ${DEADLINE_MS / 1000} s in vain until ${what}`, { cause });
  }
}

/** Waits until `count` charts have points, and those in view are drawn. */
export function untilCharts(page, count) {
  return until(
    page,
    `${count} charts have points and are drawn`,
    (wanted) =>
      document.querySelectorAll('figure[data-newest]:not([data-newest=""])').length >= wanted &&
      document.querySelectorAll("figure canvas").length >= 2,
    count,
  );
}
