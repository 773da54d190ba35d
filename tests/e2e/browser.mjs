// Opens a page in a real browser and prints what a test wants to know, as JSON:
//   node browser.mjs <directory of node_modules> <browser> <page> <directory for pictures>
import { createRequire } from "node:module";
import { readFileSync } from "node:fs";
import { basename, join } from "node:path";

const [modules, executablePath, page, pictures] = process.argv.slice(2);
const require = createRequire(join(modules, "/"));
const { chromium } = require("playwright-core");
const axe = readFileSync(require.resolve("axe-core/axe.min.js"), "utf8");

const browser = await chromium.launch({ executablePath, args: ["--no-sandbox", "--disable-gpu"] });
const found = { requests: [], console: [], violations: [], numbers: {}, overflow: {} };
for (const [width, colorScheme] of [[1280, "light"], [1280, "dark"], [360, "light"]]) {
  const context = await browser.newContext({ viewport: { width, height: 900 }, colorScheme, bypassCSP: false });
  const tab = await context.newPage();
  tab.on("request", (request) => found.requests.push(request.url()));
  tab.on("console", (message) => found.console.push(message.text()));
  tab.on("pageerror", (error) => found.console.push(String(error)));
  tab.on("dialog", (dialog) => { found.console.push(dialog.message()); dialog.dismiss(); });
  await tab.goto("file://" + page);
  await tab.screenshot({ path: join(pictures, `${basename(page)}-${width}-${colorScheme}.png`), fullPage: true });
  found.overflow[width] = await tab.evaluate(() => document.documentElement.scrollWidth - innerWidth);
  for (const details of await tab.locator("details > summary").all()) await details.click();
  found.numbers = await tab.evaluate(() =>
    Object.fromEntries([...document.querySelectorAll("td[id]")].map((cell) => [cell.id, cell.textContent])));
  found.bodies = await tab.locator("pre > code").allTextContents();
  found.scripts = await tab.locator("script").count();
  found.lanes = await tab.locator("svg.lanes g > title").allTextContents();
  await context.close();

  // The page's policy forbids scripts, so axe is put into a copy of it that has none.
  const open = await browser.newContext({ viewport: { width, height: 900 }, colorScheme, bypassCSP: true });
  const copy = await open.newPage();
  await copy.goto("file://" + page);
  for (const details of await copy.locator("details > summary").all()) await details.click();
  await copy.evaluate(axe);
  const result = await copy.evaluate(() => axe.run(document));
  for (const { id, nodes } of result.violations) {
    found.violations.push(`${width} ${colorScheme} ${id}: ${nodes.map((node) => node.html).slice(0, 3).join(" ")}`);
  }
  await open.close();
}
const paper = await browser.newPage();
await paper.goto("file://" + page);
await paper.pdf({ path: join(pictures, `${basename(page)}.pdf`), format: "A4" });
await browser.close();
console.log(JSON.stringify(found));
