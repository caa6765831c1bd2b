// Load balancers in Chromium, against a running collector at which two report: edge on lb-1 shares in proportion, edge on lb-2 by
// connections, with a weight of 40 for its third server and the second one drained.
//
//   node e2e/balancers.mjs BASE_URL [--screenshot-dir DIR]
import { launch, until, untilCharts } from "./browser.mjs";
import { called, expect, picture, problemsOf } from "./script.mjs";

const { base, pictures } = called("balancers.mjs");

const browser = await launch();
const page = await browser.newPage({ viewport: { width: 1440, height: 900 }, colorScheme: "light" });
const problems = problemsOf(page);

/** A picture at either width, on which nothing has to be pushed aside. */
async function shots(name) {
  for (const width of [400, 1440]) {
    await page.setViewportSize({ width, height: 900 });
    await until(page, `${name} fits ${width}`, () => document.documentElement.scrollWidth <= innerWidth);
    if (!pictures) continue;
    for (const chart of await page.locator("[data-chart]").all()) await chart.scrollIntoViewIfNeeded();
    await page.evaluate(() => scrollTo(0, 0));
    await picture(page, pictures, `balancers-${name}-${width}`);
  }
}

const untilText = (what, selector, pattern) =>
  until(
    page,
    what,
    ([where, source]) => new RegExp(source).test(document.querySelector(where)?.textContent ?? ""),
    [selector, pattern],
  );

try {
  await page.goto(base);
  await page.click('nav a:text-is("Balancers")');
  await untilText("the pool", 'tr[data-pool="web"]', "web.*2.*3");
  await untilText(
    "a balancer",
    'tr[data-balancer="haproxy:lb-2:edge"]',
    "up.*web.*leastconn.*when busy.*2 of 3",
  );
  await untilText("its backends at a glance", 'details tr[data-backend="10.0.1.3:8080"]', "40–100.*% limit");
  await shots("all");

  await page.click('tr[data-pool="web"] a');
  await page.waitForSelector('.pool[data-pool="web"]');
  const third = 'tr[data-backend="10.0.1.3:8080"]';
  await untilText("its third backend", third, "web3.*ready.*40–100–100");
  await untilText("where its load is known from", `${third} .s-used`, "% limit");
  await untilText("a backend drained at one", 'tr[data-backend="10.0.1.2:8080"] .s-state', "not on 1 of 2");
  await untilText("the matrix", 'tr[data-member="haproxy:lb-2:edge"]', "leastconn.*100.*drained.*40");
  await untilText("the meaning", '[data-weights="when_busy"]', "idle ones rank equal");
  expect((await page.title()) === "web · Flyball", "the page has the pool's name");
  await untilCharts(page, 4);
  const legend = 'figure[data-chart="pool-weights"] [data-row="10.0.1.3:8080"]';
  await page.click(legend);
  await until(page, "a row is hidden", (row) => document.querySelector(row)?.ariaPressed === "false", legend);
  await page.click(legend);
  await untilText(
    "how busy backends were, which no balancer says itself",
    'figure[data-chart="pool-utilization"] [data-row="10.0.1.3:8080"] .legend-value',
    "[1-9].* %",
  );
  await untilText("that nothing is controlled", '[data-control="none"]', "begins with a suggestion");
  await shots("pool");

  await page.goto(`${base}/#/balancers/mail`);
  await untilText("an unknown pool", ".empty h1", "No pool “mail”");
  const real = problems.filter((problem) => !/status of 404/.test(problem));
  expect(real.length === 0, real.join("\n"));
  console.log("ok   load balancers and a pool");
} catch (error) {
  console.error(`FAIL ${error.message}`);
  for (const problem of problems) console.error(`     the page said: ${problem}`);
  console.error(`     it showed: ${await page.evaluate(() => document.querySelector("main")?.innerText)}`);
  process.exitCode = 1;
} finally {
  await browser.close();
}
