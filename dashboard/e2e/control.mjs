// Standing control of a pool in Chromium, against a running collector at which the pool `web` of edge on lb-1 and lb-2 is under control
// and gets pushes from its third server's load.
//
//   node e2e/control.mjs BASE_URL [--screenshot-dir DIR]
import { launch, until } from "./browser.mjs";
import { called, expect, picture, problemsOf } from "./script.mjs";

const { base, pictures } = called("control.mjs");

const browser = await launch();
const page = await browser.newPage({ viewport: { width: 1280, height: 900 }, colorScheme: "light" });
const problems = problemsOf(page);

const shot = (name) => picture(page, pictures, `control-${name}`);

/** Pictures at either width and in either theme, on which nothing has to be pushed aside. */
async function shots(name) {
  for (const colorScheme of ["light", "dark"]) {
    await page.emulateMedia({ colorScheme });
    for (const width of [400, 1280]) {
      await page.setViewportSize({ width, height: 900 });
      await until(page, `${name} fits ${width}`, () => document.documentElement.scrollWidth <= innerWidth);
      for (const chart of await page.locator("[data-chart]").all()) await chart.scrollIntoViewIfNeeded();
      await page.evaluate(() => scrollTo(0, 0));
      await shot(`${name}-${width}-${colorScheme}`);
    }
  }
  await page.emulateMedia({ colorScheme: "light" });
}

const untilText = (what, selector, pattern) =>
  until(
    page,
    what,
    ([where, source]) => new RegExp(source).test(document.querySelector(where)?.textContent ?? ""),
    [selector, pattern],
  );

const state = () =>
  page.evaluate(async () => {
    const { control } = await (await fetch("api/performance/control")).json();
    return control[0].state;
  });

/** Opens the dialog of an order, and sees that this alone does nothing. */
async function ask(button, words) {
  const before = await state();
  await page.click(`.control .decide button:text-is("${button}")`);
  await page.waitForSelector("dialog[open] [name=note]");
  await untilText(`what ${button} will do`, "dialog", words);
  expect((await state()) === before, `${button} acts at the first click`);
}

async function answer(note) {
  await page.fill("dialog [name=note]", note);
  await page.click("dialog button[type=submit]");
  await page.waitForSelector("dialog", { state: "detached" });
}

const card = (wanted) => page.waitForSelector(`.control[data-control="${wanted}"]`);

try {
  await page.goto(`${base}/#/balancers/web`);
  await card("running");
  await untilText(
    "since when and by which rollout",
    ".control .facts",
    "Since.*r-1.*20 % of the traffic.*60",
  );
  await untilText("bounds", '[data-weight="weight:web/web3"]', "web3.*10 to 256.*100");
  await untilText("its balancers", '[data-controlled="haproxy:lb-2:edge"]', "under control");
  const push = '.push-list tr[data-kind="push"]';
  await untilText("a push that both have confirmed", `${push}[data-confirmed="2"]`, "2 of 2.*s");
  await untilText("why it was pushed", `${push} .p-what small`, "moved most");
  await shots("running");

  await ask("Freeze…", "No weights are pushed until somebody unfreezes");
  await answer("an <b>incident</b>");
  await card("frozen");
  await untilText("who froze it", ".control-stopped", "Frozen by .* at .*: “an <b>incident</b>”");
  await untilText("it is in the history", ".push-list", "Frozen by .*an <b>incident</b>");
  expect((await state()) === "frozen", "the collector knows of no freeze");
  await shot("frozen");

  await ask("Unfreeze…", "pushed to 2 balancers again");
  await answer("");
  await card("running");
  expect((await state()) === "running", "the collector goes on");

  const kill = "Back to the configured weights…";
  await ask(
    kill,
    "At 2 balancers the weights from before control.*web1 100, web2 100, web3 100.*Control ends",
  );
  await shot("kill");
  await page.keyboard.press("Escape");
  await page.waitForSelector("dialog", { state: "detached" });
  expect((await state()) === "running", "an escape kills");
  await ask(kill, "Set 2 balancers back");
  await answer("enough");
  await card("killed");
  for (const node of ["lb-1", "lb-2"])
    await page.waitForSelector(`[data-controlled="haproxy:${node}:edge"][data-hold="restored"]`);
  await untilText("who did it", ".control-stopped", "Kill switch used by .*“enough”");
  await untilText("no more orders", ".control .decide", "^$");
  await untilText(
    "the configured weights are in force",
    'tr[data-backend="10.0.1.3:8080"] .s-weight',
    "^100$",
  );
  await page.goto(`${base}/#/balancers`);
  await untilText("the list tells it", 'tr[data-pool="web"] .s-control', "killed");
  await shots("all");
  expect(problems.length === 0, problems.join("\n"));
  console.log("ok   standing control");
} catch (error) {
  console.error(`FAIL ${error.message}`);
  for (const problem of problems) console.error(`     the page said: ${problem}`);
  console.error(`     it showed: ${await page.evaluate(() => document.querySelector("main")?.innerText)}`);
  await shot("failed").catch(() => {});
  process.exitCode = 1;
} finally {
  await browser.close();
}
