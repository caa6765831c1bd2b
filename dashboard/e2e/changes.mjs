// The life of a change in Chromium, against a running collector with three steered caches: `sessions` keeps what its curve
// promises, `pages` gets worse when it grows, `feeds` is there to be paused and taken back.
//
//   node e2e/changes.mjs BASE_URL [--screenshot-dir DIR]
import { launch, until } from "./browser.mjs";
import { Relay } from "./relay.mjs";
import { called, expect, picture, problemsOf } from "./script.mjs";

const { base: target, pictures } = called("changes.mjs");

const relay = new Relay(target);
await relay.open();
const browser = await launch();
const context = await browser.newContext({ viewport: { width: 1440, height: 900 }, colorScheme: "light" });
const page = await context.newPage();

let isCut = false;
const problems = problemsOf(page, () => isCut);

const shot = (name) => picture(page, pictures, name);

const untilText = (what, selector, pattern) =>
  until(
    page,
    what,
    ([where, source]) => new RegExp(source).test(document.querySelector(where)?.textContent ?? ""),
    [selector, pattern],
  );

const untilFits = (what) =>
  until(page, `the page of ${what} fits`, () => document.documentElement.scrollWidth <= innerWidth);

const ask = (path) => page.evaluate(async (where) => (await fetch(`api/performance/${where}`)).json(), path);

/** Opens the page of the suggestion that waits for a cache. */
async function openSuggestion(name) {
  const { suggestions } = await ask("suggestions?status=proposed");
  const found = suggestions.find((each) => each.target.name === name);
  expect(found, `nothing is suggested for ${name}`);
  await page.goto(`${relay.base}/#/suggestions/${found.id}`);
  await page.waitForSelector(`[data-suggestion="${found.id}"] .decide`);
  return found;
}

/** Confirms what is open, with a note; the page of the rollout follows. */
async function confirm(note) {
  await page.click('.decide button:text-is("Confirm…")');
  await page.fill("dialog [name=note]", note);
  await page.keyboard.press("Enter");
  await page.waitForSelector("[data-rollout] .identity");
}

const untilState = (state) =>
  page.waitForSelector(`.changes[data-rollout][data-state="${state}"]`, { timeout: 60_000 });

async function order(button, note) {
  await page.click(`.decide button:text-is("${button}")`);
  await page.fill("dialog [name=note]", note);
  await page.click("dialog button[type=submit]");
  await page.waitForSelector("dialog", { state: "detached" });
}

const CHECKS = {
  async "every cache has its figures, why it misses, and its curve with the present size"() {
    await page.goto(`${relay.base}/#/caches`);
    const row = 'tr[data-cache="redis:web-1:sessions"]';
    await page.waitForSelector(row);
    await untilText("the hit ratio", `${row} .s-hit`, "\\d\\d\\.\\d %");
    await untilText("the memory and its limit", `${row} .s-memory`, "MiB of 64 MiB");
    await untilText("evictions", `${row} .s-evicted`, "k/s");
    await untilText("why it misses", `${row} .s-misses`, "81 % capacity");
    await page.waitForSelector(`${row} .curve-spark .spark-now`, { state: "attached" });
    await shot("caches");
    await page.click(".cache-list th.s-misses button, .cache-list th button:text-is('Misses')");
    await until(page, "the address holds the order", () => location.hash.includes("sort=misses"));
  },

  async "a cache has its curve with band and marks, causes, keys, and what may be set"() {
    await page.goto(`${relay.base}/#/caches/redis:web-1:sessions`);
    await page.waitForSelector('[data-curve="cache"][data-points="13"] canvas');
    await untilText("what another size would do", '[data-curve="cache"]', "Twice as much: \\d\\d\\.\\d %");
    await untilText("causes", "[data-misses]", "evicted to make room");
    await untilText("keys", "[data-keys]", "5e0c5e0c");
    await untilText("what is in force", ".in-force", "agent watches[^]*Nothing is wanted of it");
    await untilText("nothing is suggested yet", "#section-open", "Nothing is suggested for it at present");
    await page.focus('[data-curve="cache"] .plot');
    await page.keyboard.press("ArrowLeft");
    await untilText(
      "arrow keys read the curve",
      '[data-curve="cache"] .curve-readout',
      "128 MiB: \\d\\d\\.\\d %",
    );
    await page.evaluate(() => {
      window.notReloaded = true;
    });
    await shot("cache");
  },

  async "a look brings suggestions, which appear by events"() {
    const other = await context.newPage();
    await other.goto(`${relay.base}/#/suggestions`);
    await other.click('.look button:text-is("Look now")');
    await page.waitForSelector("#section-open [data-suggestion]");
    await untilText("the header counts them", '.top nav a[href*="suggestions"]', "[1-9]");
    expect(await page.evaluate(() => window.notReloaded === true), "the page was loaded anew");
    await other.close();
    await page.click('nav >> text="Suggestions"');
    await untilText("what it promises", ".card", "\\+\\d+\\.\\d points");
    await untilText("the change", ".card", "memory limit 64 MiB → ");
    await shot("suggestions");
  },

  async "a suggestion has evidence, promise, risk, undo and its place on the curve"() {
    await openSuggestion("sessions");
    await page.waitForSelector('[data-curve="suggestion"] canvas');
    await untilText("the promise", '[data-panel="promise"]', "most likely \\d\\d\\.\\d %");
    await untilText("the evidence", '[data-panel="evidence"]', "81\\.0 % of misses");
    await untilText("the way back", ".undo", "Set maxmemory back");
    await shot("suggestion");
    await page.setViewportSize({ width: 390, height: 844 });
    await untilFits("a suggestion");
    await shot("suggestion-narrow");
    await page.setViewportSize({ width: 1440, height: 900 });
    await page.click('.decide button:text-is("Reject…")');
    await page.waitForSelector("dialog[open] [name=note]");
    await shot("dialog");
    await page.keyboard.press("Escape");
    await page.waitForSelector("dialog", { state: "detached" });
    expect((await ask("suggestions?status=rejected")).suggestions.length === 0, "an escape rejects");
  },

  async "a confirmed change is followed to its promotion without reload"() {
    await openSuggestion("sessions");
    await page.evaluate(() => {
      window.notReloaded = true;
    });
    await confirm("agreed <b>with</b> the team");
    await untilText(
      "who confirmed it",
      ".timeline",
      "By operator from 127\\.0\\.0\\.1: “agreed <b>with</b> the team”",
    );
    await untilText("what is wanted while it is on trial", ".in-force", "On trial");
    await untilState("validating");
    await page.waitForSelector('[data-chart="hit-ratio"] canvas');
    await shot("rollout-validating");
    await untilState("promoted");
    expect(await page.evaluate(() => window.notReloaded === true), "the page was loaded anew");
    await untilText(
      "what was seen",
      "#section-verdict",
      "pass[^]*without the change[^]*promised[^]*seen[^]*as promised",
    );
    await untilText("what is in force", ".in-force", "128 MiB[^]*128 MiB[^]*For good");
    await untilText("how it ended", ".timeline", "It proved right and stays");
    await shot("rollout-promoted");
    await page.setViewportSize({ width: 390, height: 844 });
    await untilFits("a rollout");
    await shot("rollout-narrow");
    await page.setViewportSize({ width: 1440, height: 900 });
    await page.click("text=Why it was suggested");
    await untilText("the decision", ".decide", "By operator[^]*See the rollout");
  },

  async "a change that harms is taken back and told in words"() {
    await openSuggestion("pages");
    await confirm("");
    await untilState("rolled_back");
    await untilText("the judge's word", "#section-verdict", "harm[^]*less than promised");
    await untilText("how it ended", ".timeline", "The old values were read back");
    await shot("rollout-harm");
    expect(
      (await page.locator('.decide button:text-is("Unlock target…")').count()) === 0,
      "it offers to unlock what is not locked",
    );
  },

  async "a rollout is paused, resumed and rolled back"() {
    await openSuggestion("feeds");
    await confirm("");
    await order("Pause…", "wait");
    await page.waitForSelector('.identity .pill:text-is("paused")');
    await untilText("what it waits for", ".timeline", "until somebody resumes it");
    await order("Resume…", "go on");
    await page.waitForSelector('.identity .pill:text-is("paused")', { state: "detached" });
    await order("Roll back…", "enough");
    await untilState("rolled_back");
    await untilText("why", ".timeline", "enough|operator wants the old values back");
    await page.click('nav >> text="Rollouts"');
    await untilText("all of them", ".changes", "promoted");
    await until(
      page,
      "three are listed",
      () => document.querySelectorAll(".card[data-rollout]").length === 3,
    );
    await shot("rollouts");
  },

  async "the log tells who decided what, and that it is whole"() {
    await page.click('nav >> text="Audit"');
    await page.waitForSelector(".audit-list tbody tr");
    await untilText("a person with the address", ".audit-list", "operator at 127\\.0\\.0\\.1");
    await untilText("a part of Flyball", ".audit-list", "judge");
    await page.click('button:text-is("Check the chain")');
    await page.waitForSelector('.verify [data-intact="true"]');
    await untilText("how many rows", ".verify", "\\d+ rows, 1 to \\d+, each follows");
    await shot("audit");
    await page.goto(`${relay.base}/#/rollouts`);
    await page.click(".card[data-rollout] a");
    await page.click("text=Every decision about it");
    await untilText("only those", "[data-audit]", "Only what is about r-");
    await until(page, "only rows of the one and its target", () => {
      const about = [...document.querySelectorAll(".audit-list .a-about a")].map((link) => link.textContent);
      const one = location.hash.split("/").at(-1).replace("r-", "");
      return about.length > 2 && about.every((id) => id.endsWith(one) || id.startsWith("redis:"));
    });
  },

  async "what is about no change is said, and a lost collector too"() {
    await page.goto(`${relay.base}/#/suggestions/s-none`);
    await page.waitForSelector("text=No suggestion “s-none”");
    await page.goto(`${relay.base}/#/rollouts`);
    await page.waitForSelector(".card[data-rollout]");
    isCut = true;
    await relay.cut();
    await page.waitForSelector('[data-banner="lost"]');
    await relay.open();
    await page.waitForSelector('[data-banner="lost"]', { state: "detached" });
    isCut = false;
    await page.waitForSelector(".card[data-rollout]");
  },

  async "all of it fits narrow windows and wide ones, in the dark too"() {
    const { suggestions } = await ask("suggestions?status=confirmed");
    const { rollouts } = await ask("rollouts");
    const harmed = rollouts.find(({ target }) => target.name === "pages");
    const places = {
      caches: "tr[data-cache]",
      "caches/redis:web-1:sessions": '[data-curve="cache"] canvas',
      suggestions: "h1",
      [`suggestions/${suggestions[0].id}`]: '[data-curve="suggestion"] canvas',
      rollouts: ".card[data-rollout]",
      [`rollouts/${harmed.id}`]: ".timeline li",
      audit: ".audit-list tbody tr",
    };
    for (const colorScheme of ["light", "dark"]) {
      await page.emulateMedia({ colorScheme });
      for (const width of [400, 1280]) {
        await page.setViewportSize({ width, height: 860 });
        for (const [place, selector] of Object.entries(places)) {
          await page.goto(`${relay.base}/#/${place}`);
          await page.waitForSelector(selector, { state: "attached" });
          // Charts are drawn once they are seen.
          for (const chart of await page.locator("[data-chart]").all()) await chart.scrollIntoViewIfNeeded();
          await page.evaluate(() => scrollTo(0, 0));
          await untilFits(`${place} at ${width}`);
          const name = place.replace(/\/[sr]-.*/, "-one").replaceAll(/[/:]/g, "-");
          await shot(`${name}-${width}-${colorScheme}`);
        }
      }
    }
  },

  async "the page reported no errors"() {
    const real = problems.filter((problem) => !/status of 404/.test(problem));
    expect(real.length === 0, real.join("\n"));
  },
};

let failed = "";
for (const [name, check] of Object.entries(CHECKS)) {
  try {
    await check();
    console.log(`ok   ${name}`);
  } catch (error) {
    failed = name;
    console.error(`FAIL ${name}\n     ${error.message}`);
    for (const problem of problems) console.error(`     the page said: ${problem}`);
    console.error(
      `     it showed: ${await page.evaluate(() => document.querySelector("main")?.innerText).catch(() => "")}`,
    );
    await shot("failed").catch(() => {});
    break;
  }
}
await browser.close();
await relay.cut();
process.exit(failed ? 1 : 0);
