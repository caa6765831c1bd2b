// Draws the page of the first node that is up, for the README.
//
//   node e2e/screenshot.mjs BASE_URL OUT.png [--theme light|dark] [--width PX] [--height PX] [--node NAME]
import { parseArgs } from "node:util";
import { launch, until, untilCharts } from "./browser.mjs";

const { positionals, values: options } = parseArgs({
  allowPositionals: true,
  options: {
    theme: { type: "string", default: "dark" },
    width: { type: "string", default: "1600" },
    height: { type: "string", default: "1000" },
    node: { type: "string" },
  },
});
const [base, out] = positionals;
if (!base || !out || positionals.length > 2) {
  console.error(
    "usage: node e2e/screenshot.mjs BASE_URL OUT.png [--theme light|dark] [--width PX] [--height PX] [--node NAME]",
  );
  process.exit(2);
}

const browser = await launch();
try {
  const page = await browser.newPage({
    viewport: { width: Number(options.width), height: Number(options.height) },
    colorScheme: options.theme === "light" ? "light" : "dark",
  });
  await page.goto(base);
  const link = options.node ? `.rows [data-node="${options.node}"] a` : '.rows [data-up="true"] a';
  await page.click(link);
  await untilCharts(page, 8);
  await page.evaluate(() => document.fonts.ready);
  const start = Date.now();
  await until(
    page,
    "live points have joined the history",
    (since) => Number(document.querySelector('[data-chart="cpu"]')?.dataset.newest) >= since + 6000,
    start,
  );
  await page.screenshot({ path: out });
  console.log(`wrote ${out}`);
} finally {
  await browser.close();
}
