// Fails the build when all the JavaScript together is over the budget after gzip.
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";

const BUDGET_BYTES = 150_000;
const dist = fileURLToPath(new URL("../dist", import.meta.url));

const scripts = readdirSync(dist, { recursive: true }).filter((name) => name.endsWith(".js"));
if (scripts.length === 0) {
  console.error("check-size: no JavaScript in dist; did the build run?");
  process.exit(1);
}
let total = 0;
for (const name of scripts) {
  const bytes = gzipSync(readFileSync(join(dist, name)), { level: 9 }).length;
  total += bytes;
  console.log(`${String(bytes).padStart(8)} B gzip  ${name}`);
}
console.log(`${String(total).padStart(8)} B gzip  in all, budget ${BUDGET_BYTES}`);
if (total > BUDGET_BYTES) {
  console.error(`check-size: ${total - BUDGET_BYTES} B over the budget`);
  process.exit(1);
}
