// What the scripts of this directory share besides the browser: how they are called, what they expect, pictures.
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { parseArgs } from "node:util";

/** Reads `BASE_URL [--screenshot-dir DIR]` and options of the script's own; another call is told how to call it and ends. */
export function called(script, own = {}) {
  const { positionals, values: options } = parseArgs({
    allowPositionals: true,
    options: { "screenshot-dir": { type: "string" }, ...own },
  });
  const [base] = positionals;
  if (!base || positionals.length > 1) {
    const more = Object.keys(own).map((name) => ` [--${name} ${name.toUpperCase()}]`);
    console.error(`usage: node e2e/${script} BASE_URL [--screenshot-dir DIR]${more.join("")}`);
    process.exit(2);
  }
  return { base, options, pictures: options["screenshot-dir"] };
}

export function expect(truth, message) {
  if (!truth) throw new Error(message);
}

/** Errors and warnings that a page reports from now on, but for those of a time that is to be quiet about them. */
export function problemsOf(page, isQuiet = () => false) {
  const problems = [];
  page.on("console", (message) => {
    if (["error", "warning"].includes(message.type()) && !isQuiet())
      problems.push(`console: ${message.text()} ${message.location().url}`);
  });
  page.on("pageerror", (error) => problems.push(`exception: ${error.message}`));
  return problems;
}

/** Takes a picture of a page into a directory; none where that is not given. */
export async function picture(page, directory, name, isWhole = true) {
  if (!directory) return;
  mkdirSync(directory, { recursive: true });
  await page.evaluate(() => document.fonts.ready);
  await page.screenshot({ path: join(directory, `${name}.png`), fullPage: isWhole });
}
