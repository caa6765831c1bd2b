// A change of three like caches in Chromium, against a running collector whose `sessions` on web-1, web-2 and web-3 keep what
// their curves promise: the suggestion with its members, and the rollout with its waves.
//
//   node e2e/group.mjs BASE_URL [--screenshot-dir DIR]
import { launch, until } from "./browser.mjs";
import { called, expect, picture, problemsOf } from "./script.mjs";

const { base, pictures } = called("group.mjs");

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
    await picture(page, pictures, `group-${name}-${width}`);
  }
}

const untilText = (what, selector, pattern) =>
  until(
    page,
    what,
    ([where, source]) => new RegExp(source).test(document.querySelector(where)?.textContent ?? ""),
    [selector, pattern],
  );

/** What a wave is named and how it is, in its head. */
const untilWave = (place, state) => untilText(`wave ${place}`, `[data-wave="${place}"] .wave-head`, state);

try {
  await page.goto(`${base}/#/suggestions`);
  await page.waitForSelector("h1");
  const look = (isDry) =>
    page.evaluate(async (dry) => {
      const body = JSON.stringify({ scope: "cache", dry_run: dry });
      const headers = { "content-type": "application/json" };
      const answer = await fetch("api/performance/optimize", { method: "POST", headers, body });
      return (await answer.json()).suggestions?.[0];
    }, isDry);
  const deadline = Date.now() + 60_000;
  while ((await look(true))?.members?.length !== 3) {
    expect(Date.now() < deadline, "no suggestion for three caches");
  }
  const { id } = await look(false);
  await untilText("the card", `.card[data-suggestion="${id}"]`, "sessions on 3 nodes");
  await shots("suggestions");

  await page.click(`.card[data-suggestion="${id}"] .card-title a`);
  await page.waitForSelector('[data-panel="changes"] tr[data-member="redis:web-3:sessions"]');
  await untilText(
    "each with its values",
    '[data-panel="changes"] tbody',
    "web-1[^]*64 MiB[^]*web-2[^]*64 MiB",
  );
  await shots("suggestion");
  await page.click('.decide button:text-is("Confirm…")');
  await untilText("what waves are", "dialog", "3 caches on 3 nodes change in waves");
  await page.keyboard.press("Enter");

  await page.waitForSelector("[data-rollout] .waves");
  await untilWave(1, "^Canary (applying|holding|judging).*compared with sessions on web-\\d");
  await untilWave(3, "^Wave 3 waiting");
  await until(
    page,
    "the control is drawn",
    () => document.querySelectorAll('.wave-bar[data-kind="control"]').length > 0,
  );
  await untilWave(2, "^Wave 2 judging");
  await untilWave(1, "^Canary passed");
  await shots("rollout-going");
  await page.waitForSelector('.changes[data-rollout][data-state="promoted"]', { timeout: 90_000 });
  await untilText("all of them", "#section-waves", "All 3 caches changed, in 3 waves");
  for (const place of [1, 2, 3]) await untilWave(place, "promoted");
  await untilWave(3, "none is left as it was");
  await page.selectOption(".picker select", "redis:web-3:sessions");
  await untilText("what is in force there", ".in-force", "For good");
  await shots("rollout");
  await page.goto(`${base}/#/rollouts`);
  await untilText("the card", ".card[data-rollout]", "sessions on 3 nodes");
  // A metric is not known before its first sample.
  const real = problems.filter((problem) => !/status of 404/.test(problem));
  expect(real.length === 0, real.join("\n"));
  console.log("ok   three like caches change in waves");
} catch (error) {
  console.error(`FAIL ${error.message}`);
  for (const problem of problems) console.error(`     the page said: ${problem}`);
  console.error(`     it showed: ${await page.evaluate(() => document.querySelector("main")?.innerText)}`);
  process.exitCode = 1;
} finally {
  await browser.close();
}
