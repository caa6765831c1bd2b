// End-to-end check of the dashboard in Chromium, against a running collector with at least one live agent.
//
//   node e2e/run.mjs BASE_URL [--screenshot-dir DIR] [--stop-pid PID]
//
// The page is reached through a relay, so that losing and regaining the collector is always tried. With
// --stop-pid the collector itself is stopped at the end. Exits 0, or 1 with the check that failed.
import { gzipSync } from "node:zlib";
import { launch, until, untilCharts } from "./browser.mjs";
import { Relay } from "./relay.mjs";
import { called, expect, picture, problemsOf } from "./script.mjs";

const JS_BUDGET_BYTES = 150_000;
const CHARTS_WITH_POINTS = 8;
/** The page asks for its newest history once more some seconds after loading; points past this came as events. */
const PAST_HISTORY_MS = 12_000;

const { base: target, pictures, options } = called("run.mjs", { "stop-pid": { type: "string" } });

const relay = new Relay(target);
await relay.open();
const browser = await launch();
const context = await browser.newContext({ viewport: { width: 1440, height: 900 }, colorScheme: "light" });
const page = await context.newPage();

/** Errors the page reported; while the collector is away, failing requests are no errors. */
let isCut = false;
const problems = problemsOf(page, () => isCut);
const requested = new Set();
page.on("request", (request) => requested.add(request.url()));

const shot = (name) => picture(page, pictures, name, false);

const chartData = (name) => page.$eval(`[data-chart="${name}"]`, (figure) => ({ ...figure.dataset }));
const untilText = (what, selector, pattern) =>
  until(
    page,
    what,
    ([where, source]) => new RegExp(source).test(document.querySelector(where)?.textContent ?? ""),
    [selector, pattern],
  );

/** Charts take the new width a frame or two after the window has it. */
const untilFits = (what) =>
  until(page, `the ${what} page fits`, () => document.documentElement.scrollWidth <= innerWidth);

let node = "";

const CHECKS = {
  async "the overview shows a host that is up, with CPU and memory"() {
    await page.goto(relay.base);
    await page.waitForSelector('.rows [data-up="true"] a');
    await untilText("the row shows CPU use", '.rows [data-up="true"] .c-cpu', "\\d %");
    await untilText("the row shows memory use", '.rows [data-up="true"] .c-memory', "\\d %");
    await untilText("the totals count nodes that are up", ".totals", "[1-9]\\d*\\s*up");
    node = await page.$eval('.rows [data-up="true"] a', (link) => link.textContent);
    await shot("fleet-light");
  },

  async "the overview filters and sorts, and its address holds both"() {
    await page.fill(".search input", "no such node");
    await page.waitForSelector("text=No node matches");
    await page.fill(".search input", "is:up");
    await page.click(".head .c-cpu button");
    await page.waitForSelector('.head .c-cpu[aria-sort="descending"]');
    expect(
      page.url().includes("q=is%3Aup") && page.url().includes("sort=cpu"),
      `the address lacks the state: ${page.url()}`,
    );
    await page.reload();
    await page.waitForSelector('.head .c-cpu[aria-sort="descending"]');
    expect((await page.inputValue(".search input")) === "is:up", "the filter is lost on reload");
    await page.fill(".search input", "");
  },

  async "a node's charts get points, then live ones without reload"() {
    await page.click(`.rows [data-node="${node}"] a`);
    await untilCharts(page, CHARTS_WITH_POINTS);
    await page.evaluate(() => {
      window.notReloaded = true;
    });
    const before = Number((await chartData("cpu")).newest);
    for (const chart of ["cpu", "memory", "load", "net"]) {
      await until(
        page,
        `the chart "${chart}" gets points that only events can bring`,
        ([name, start]) => Number(document.querySelector(`[data-chart="${name}"]`)?.dataset.newest) >= start,
        [chart, before + PAST_HISTORY_MS],
      );
    }
    expect(await page.evaluate(() => window.notReloaded === true), "the page was loaded anew");
    await untilText("the legend shows user CPU", '[data-chart="cpu"] [data-row="user"]', "\\d %");
    await untilText("the header shows the system", ".facts", "Kernel");
    await page.waitForSelector(".filesystems li .meter[data-level]");
    await page.waitForSelector(".processes tbody tr");
    await shot("node-light");
  },

  async "a hidden row stays hidden after reload"() {
    await page.click('[data-chart="cpu"] [data-row="user"]');
    await until(page, "the address holds the hidden row", () => location.hash.includes("hide=cpu:user"));
    await page.reload();
    await page.waitForSelector('[data-chart="cpu"] [data-row="user"][aria-pressed="false"]');
    await page.click('[data-chart="cpu"] [data-row="user"]');
    await until(page, "the address forgets it", () => !location.hash.includes("hide="));
  },

  async "the crosshair is shared by all charts"() {
    await untilCharts(page, CHARTS_WITH_POINTS);
    const over = await page.locator('[data-chart="cpu"] .u-over').boundingBox();
    await page.mouse.move(over.x + over.width * 0.9, over.y + over.height / 2);
    await until(page, "two charts read the same moment", () => {
      const read = (name) => document.querySelector(`[data-chart="${name}"] .moment`)?.textContent ?? "";
      return /^\d\d:\d\d:\d\d$/.test(read("cpu").slice(-8)) && read("cpu") === read("memory");
    });
    await page.mouse.move(0, 0);
    await untilText("the newest values are back", '[data-chart="cpu"] .moment', "^now$");
  },

  async "points can be read by keyboard"() {
    await page.focus('[data-chart="load"] .plot');
    await page.keyboard.press("ArrowLeft");
    await untilText("the arrow key reads a point", '[data-chart="load"] .moment', "\\d\\d:\\d\\d:\\d\\d");
    await untilText("the other charts follow", '[data-chart="cpu"] .moment', "\\d\\d:\\d\\d:\\d\\d");
    await page.$eval('[data-chart="load"] .plot', (plot) => plot.blur());
    await untilText("leaving the chart takes the crosshair away", '[data-chart="cpu"] .moment', "^now$");
  },

  async "a zoom on one chart zooms all, stands in the address, and back takes it away"() {
    const over = await page.locator('[data-chart="cpu"] .u-over').boundingBox();
    await page.mouse.move(over.x + over.width * 0.55, over.y + 40);
    await page.mouse.down();
    await page.mouse.move(over.x + over.width * 0.7, over.y + 50, { steps: 4 });
    await page.mouse.move(over.x + over.width * 0.85, over.y + 60, { steps: 4 });
    await page.mouse.up();
    await until(page, "the address holds the zoom", () => /from=\d+&to=\d+/.test(location.hash));
    await until(page, "all charts show the zoomed range", () => {
      const [, from, to] = /from=(\d+)&to=(\d+)/.exec(location.hash) ?? [];
      return [...document.querySelectorAll("figure[data-from]")].every(
        ({ dataset }) => dataset.from === from && dataset.to === to,
      );
    });
    const zoomed = page.url();
    await page.reload();
    await until(
      page,
      "the zoom survives a reload",
      (url) => {
        const [, from] = /from=(\d+)/.exec(url) ?? [];
        return document.querySelector('[data-chart="memory"]')?.dataset.from === from;
      },
      zoomed,
    );
    await page.goBack();
    await until(page, "back leads to the live range", () => !location.hash.includes("from="));
  },

  async "ranges are chosen by button and key"() {
    await page.click(".rangebar >> text=15m");
    await until(page, "15 minutes are shown", () => {
      const { from, to } = document.querySelector('[data-chart="cpu"]')?.dataset ?? {};
      return location.hash.includes("range=15m") && Number(to) - Number(from) === 900_000;
    });
    await untilCharts(page, CHARTS_WITH_POINTS);
    await page.keyboard.press("1");
    await until(page, "the key 1 shows 5 minutes", () => !location.hash.includes("range="));
  },

  async "dark and light can be chosen, and the choice stays"() {
    const background = () => page.evaluate(() => getComputedStyle(document.body).backgroundColor);
    const light = await background();
    await page.click('button[aria-label="Use the dark theme"]');
    await until(
      page,
      "the page is dark",
      (before) => getComputedStyle(document.body).backgroundColor !== before,
      light,
    );
    await page.reload();
    await untilCharts(page, CHARTS_WITH_POINTS);
    expect((await background()) !== light, "the dark theme is lost on reload");
    await shot("node-dark");
    await page.click('button[aria-label="Use the light theme"]');
    await page.emulateMedia({ colorScheme: "dark" });
    await until(
      page,
      "the page follows the system again",
      (before) => getComputedStyle(document.body).backgroundColor !== before,
      light,
    );
    await page.emulateMedia({ colorScheme: "light" });
  },

  async "a lost collector is told, and the page recovers by itself"() {
    isCut = true;
    await relay.cut();
    await page.waitForSelector('[data-banner="lost"]');
    await shot("disconnected");
    const before = Date.now();
    await relay.open();
    await page.waitForSelector('[data-banner="lost"]', { state: "detached" });
    await until(
      page,
      "charts get points again",
      (since) => Number(document.querySelector('[data-chart="cpu"]')?.dataset.newest) > since,
      before,
    );
    isCut = false;
  },

  async "narrow windows do not scroll sideways"() {
    await page.setViewportSize({ width: 390, height: 844 });
    await untilFits("node");
    await shot("node-narrow");
    await page.click('nav >> text="Fleet"');
    await page.waitForSelector(".rows a");
    await untilFits("fleet");
    await shot("fleet-narrow");
    await page.setViewportSize({ width: 1440, height: 900 });
  },

  async "the queries page shows layers, a curve or why not, and clears by tag"() {
    await page.click('nav >> text="Queries"');
    await page.waitForSelector('[data-layer="answers"]');
    for (const layer of ["answers", "l1", "l2", "window"])
      await page.waitForSelector(`[data-layer="${layer}"]`);
    await untilText(
      "Redis is there, or it is told how to have it",
      '[data-layer="l2"]',
      "breaker|--redis redis:",
    );
    for (const layer of ["answers", "l1"])
      await untilText(
        "a sentence tells of other sizes",
        `[data-curve="${layer}"]`,
        "could hit|too few|nothing is known",
      );
    await untilText(
      "shapes are there, or it is told what will be",
      "#section-shapes",
      "SQL of the slowest|will appear here",
    );

    const figure = (name) =>
      page.$eval('[data-layer="answers"]', ({ dataset }, key) => Number(dataset[key]), name);
    const untilRises = (what, name, before) =>
      until(
        page,
        what,
        ([key, least]) => Number(document.querySelector('[data-layer="answers"]')?.dataset[key]) > least,
        [name, before],
      );
    // A range that is over, so that the second answer is the first one; longer than what is in memory, so that ClickHouse is asked.
    const to = Math.floor(Date.now() / 60_000) * 60_000 - 120_000;
    const ask = () =>
      page.evaluate(
        async (query) => (await fetch(`api/performance/metrics?${query}`)).status,
        [`metric=system.cpu.utilization&agg=avg&from=${to - 86_400_000}&to=${to}&step=60s`],
      );
    const [served, missed] = [await figure("served"), await figure("missed")];
    const invalidated = await figure("invalidated");
    expect((await ask()) === 200 && (await ask()) === 200, "the metrics query is refused");
    await untilRises("the first answer counts as missed", "missed", missed);
    await untilRises("the second one counts as served", "served", served);
    await until(page, "the traffic's chart has points", () => {
      const { points } = document.querySelector('[data-chart="traffic-answers"]')?.dataset ?? {};
      return Number(points) >= 2 && document.querySelector('[data-chart="traffic-answers"] canvas');
    });
    await shot("queries-light");

    const form = page.locator("form.clear");
    await form.getByLabel("One metric").check({ force: true });
    await until(
      page,
      "metrics are suggested",
      () => document.querySelectorAll("#clear-names option").length > 10,
    );
    await form.locator("button[type=submit]").click();
    await untilText("a missing name is told", "form.clear [role=alert]", "Name the metric first");
    await form.getByLabel("Everything").check({ force: true });
    await form.locator("button[type=submit]").click();
    await page.waitForSelector(".confirm :focus");
    await page.keyboard.press("Escape");
    await page.waitForSelector(".confirm", { state: "detached" });
    expect(!(await form.locator(".clear-done").textContent()), "an escape clears");
    await page.waitForSelector("form.clear button[type=submit]:focus");
    await page.keyboard.press("Enter");
    await page.waitForSelector(".confirm :focus");
    await page.keyboard.press("Enter");
    await untilText("the page confirms", ".clear-done", "Cleared everything that was kept");
    expect((await ask()) === 200, "the metrics query is refused after clearing");
    await untilRises("what was kept no longer counts", "invalidated", invalidated);
    await shot("queries-cleared");
  },

  async "query shapes sort, and the address holds how"() {
    await page.waitForSelector(".shapes tbody details");
    await page.click(".shapes .s-count button");
    await page.waitForSelector('.shapes .s-count[aria-sort="descending"]');
    await page.reload();
    await page.waitForSelector('.shapes .s-count[aria-sort="descending"]');
    await page.locator(".shapes summary").first().click();
    await untilText("the SQL of the slowest is there", ".shapes details[open] pre", "SELECT");
  },

  async "the queries page fits narrow windows too"() {
    await page.setViewportSize({ width: 390, height: 844 });
    await untilFits("queries");
    const isInView = () =>
      [...document.querySelectorAll(".queries .panel, .scroll, .confirm")].every(
        (box) => box.getBoundingClientRect().right <= innerWidth,
      );
    await until(page, "every box is within the window", isInView);
    await shot("queries-narrow");
    await page.setViewportSize({ width: 1440, height: 900 });
  },

  async "the caches page lists caches, or says how to have one"() {
    await page.click('nav >> text="Caches"');
    await untilText("a table, or what to write where", ".caches", "Hit ratio|\\[\\[redis\\]\\]");
    await shot("caches-light");
    await page.goto(`${relay.base}/#/caches/redis:nowhere:nothing`);
    await page.waitForSelector("text=No cache “redis:nowhere:nothing”");
  },

  async "the suggestions page looks when asked, and its address holds the status"() {
    await page.click('nav >> text="Suggestions"');
    await untilText("suggestions, or why there are none", ".changes", "expires in|Nothing is suggested");
    await page.click('.look button:text-is("Look now")');
    await untilText("what the look found", ".look [role=status]", "Looked now: ");
    await page.click(".tabs >> text=expired");
    await until(page, "the address holds the status", () => location.hash.includes("status=expired"));
    await page.reload();
    await page.waitForSelector('.tabs [aria-pressed="true"]:text-is("expired")');
    await untilText("what expired, or that nothing did", ".changes", "No suggestion was expired|made ");
    await shot("suggestions-light");
  },

  async "the rollouts page lists rollouts, or says how they begin"() {
    await page.click('nav >> text="Rollouts"');
    await untilText("rollouts, or how they begin", ".changes", "On their way|somebody confirms a suggestion");
    await shot("rollouts-light");
    await page.goto(`${relay.base}/#/rollouts/r-none`);
    await page.waitForSelector("text=No rollout “r-none”");
  },

  async "caches, suggestions and rollouts fit narrow windows too"() {
    await page.setViewportSize({ width: 390, height: 844 });
    for (const name of ["Caches", "Suggestions", "Rollouts"]) {
      await page.click(`nav >> text="${name}"`);
      await page.waitForSelector(`h1:text-is("${name}")`);
      await untilFits(name);
      await shot(`${name.toLowerCase()}-narrow`);
    }
    await page.setViewportSize({ width: 1440, height: 900 });
  },

  async "an unknown node is named as such"() {
    await page.goto(`${relay.base}/#/node/no-such-node`);
    await page.waitForSelector("text=No node named");
    await page.waitForSelector('.phase[data-phase="live"]');
  },

  async "the API's page lists its operations"() {
    await page.goto(`${relay.base}/docs`);
    await page.waitForSelector("#get-api-performance-metrics");
    await shot("docs");
    const status = page.locator("#get-api-performance-status");
    await status.locator("summary").click();
    await status.locator("button[type=submit]").click();
    await status.locator("pre").waitFor();
    expect((await status.locator("pre").textContent()).includes('"nodes"'), "trying a call shows no answer");
  },

  async "all JavaScript fits its budget, and nothing comes from elsewhere"() {
    const foreign = [...requested].filter((url) => !url.startsWith(relay.base) && !url.startsWith("data:"));
    expect(foreign.length === 0, `requests to elsewhere: ${foreign.join(", ")}`);
    let total = 0;
    for (const url of requested) {
      if (!new URL(url).pathname.endsWith(".js")) continue;
      total += gzipSync(Buffer.from(await (await fetch(url)).arrayBuffer())).length;
    }
    expect(
      total > 0 && total <= JS_BUDGET_BYTES,
      `${total} B of JavaScript after gzip, at most ${JS_BUDGET_BYTES}`,
    );
    console.log(`     ${total} B of JavaScript after gzip`);
  },

  async "the page reported no errors"() {
    // 404 is how an answer says that this host has no such metric; the browser reports it as an error of its own.
    const real = problems.filter((problem) => !/status of 404/.test(problem));
    expect(real.length === 0, real.join("\n"));
  },
};

if (options["stop-pid"]) {
  CHECKS["the collector's end is told"] = async () => {
    isCut = true;
    await page.goto(relay.base);
    await page.waitForSelector(".rows a");
    process.kill(Number(options["stop-pid"]), "SIGTERM");
    await page.waitForSelector('[data-banner="lost"]');
  };
}

let failed = "";
for (const [name, check] of Object.entries(CHECKS)) {
  try {
    await check();
    console.log(`ok   ${name}`);
  } catch (error) {
    failed = name;
    console.error(`FAIL ${name}\n     ${error.message}`);
    for (const problem of problems) console.error(`     the page said: ${problem}`);
    await shot("failed").catch(() => {});
    break;
  }
}
await browser.close();
await relay.cut();
process.exit(failed ? 1 : 0);
