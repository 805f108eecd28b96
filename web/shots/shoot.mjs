/** Pictures of every state of the widget, without a server: `npm run shots`, or `npm run shots -- waiting admitted`. They go to test-results/shots/. */

import { mkdirSync, writeFileSync } from "node:fs";
import { resolve } from "node:path";
import { chromium } from "playwright-core";
import { createServer } from "vite";

const HERE = import.meta.dirname;
const OUT = resolve(HERE, "../test-results/shots");
const SIZES = { phone: { width: 360, height: 740 }, laptop: { width: 1200, height: 800 }, wide: { width: 1680, height: 1000 } };
const LANGUAGES = process.env.SHOTS_LANGUAGES?.split(",") ?? ["en", "ar"];

mkdirSync(OUT, { recursive: true });
const server = await createServer({ root: resolve(HERE, ".."), configFile: false, optimizeDeps: { include: ["lit", "lit/directives/keyed.js", "lit/directives/repeat.js", "lit/directives/unsafe-html.js", "uqr"] }, server: { port: 0, host: "127.0.0.1" }, logLevel: "error" });
await server.listen();
const address = `${server.resolvedUrls.local[0]}shots/index.html`;
const browser = await chromium.launch({ executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium", args: ["--disable-gpu"], chromiumSandbox: false });
const made = [];
let states = process.argv.slice(2);
for (const [size, viewport] of Object.entries(SIZES)) {
  for (const colorScheme of ["light", "dark"]) {
    const page = await (await browser.newContext({ viewport, colorScheme, locale: "en-GB", timezoneId: "Europe/Berlin", reducedMotion: "reduce" })).newPage();
    // There is no server of ours here, and nobody answers.
    await page.route(({ pathname }) => /^\/(session|flash-sales)(\/|$)/.test(pathname), () => undefined);
    page.on("pageerror", (error) => console.error(String(error)));
    if (states.length === 0) {
      await page.goto(address);
      await page.waitForFunction(() => "states" in window);
      states = await page.evaluate(() => window.states);
    }
    for (const lang of LANGUAGES) {
      await page.goto(`${address}?lang=${lang}`);
      await page.waitForFunction(() => "show" in window);
      for (const state of states) {
        await page.evaluate((name) => window.show(name), state);
        await page.waitForTimeout(100);
        const name = `${state}-${size}-${colorScheme}-${lang}.png`;
        await page.screenshot({ path: resolve(OUT, name), fullPage: size === "phone" });
        made.push(name);
      }
    }
    await page.context().close();
  }
}
const pictures = made.map((name) => `<figure><img loading="lazy" src="${name}" alt=""><figcaption>${name}</figcaption></figure>`).join("\n");
writeFileSync(resolve(OUT, "index.html"), `<!doctype html><meta charset="utf-8"><title>Shots</title><style>body{columns:320px;font:14px sans-serif}figure{break-inside:avoid;margin:0 0 16px}img{max-width:100%;border:1px solid #ccc}</style>\n${pictures}\n`);
console.log(`${made.length} pictures: ${resolve(OUT, "index.html")}`);
await browser.close();
await server.close();
