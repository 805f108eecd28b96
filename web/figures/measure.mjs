/**
 * The figures of the pages, each beside its target: how soon something is painted on a slow phone, how long a click waits, how busy the main
 * thread is, whether memory grows, and what Lighthouse says. Needs a built server, built pages and a Chromium; tells no test anything.
 *
 *   CHROMIUM=… MINUTES=3 node figures/measure.mjs target/bench/pages.json     (LIGHTHOUSE=no leaves that out: it is fetched from npm)
 */

import { execFileSync, spawn } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import { tmpdir } from "node:os";
import { dirname, join, resolve } from "node:path";
import { chromium } from "playwright-core";

const WEB = resolve(import.meta.dirname, "..");
const BINARY = process.env.FLASHSALE_BIN ?? ["release", "debug"].map((kind) => resolve(WEB, `../target/${kind}/flashsale`)).find((path) => existsSync(path)) ?? "flashsale";
const CHROMIUM = process.env.CHROMIUM ?? "/usr/bin/chromium";
const MINUTES = Number(process.env.MINUTES ?? "3");
const LIGHTHOUSE = "lighthouse@12";
const OUT = process.argv[2];

/** A cheap phone: a processor of a quarter, and what the browsers' own tools call Fast 3G. */
const SLOW_CPU = 4;
const FAST_3G = { offline: false, latency: 562.5, downloadThroughput: (1.6 * 1_000_000 * 0.9) / 8, uploadThroughput: (750_000 * 0.9) / 8 };
/** Shoppers who change the stock, so that ticks come as often as they can: ten a second. */
const BUSY_SHOPPERS = 8;
const BUSY_PAUSE_MS = 200;
const WATCH_MS = 20_000;
const ROUNDS = 3;

const figures = [];
function note(name, value, unit, most) {
  figures.push({ name, value, unit, target: most });
  console.log(`${name.padEnd(64)} ${String(value).padStart(8)} ${unit}${most === undefined ? "" : `   (target: ${most})`}`);
}

const dataDir = mkdtempSync(join(tmpdir(), "flashsale-figures-"));
const server = spawn(BINARY, ["serve", "--listen", "127.0.0.1:0", "--data-dir", dataDir, "--web-dir", join(WEB, "dist"), "--dev", "--storefront-listen", "127.0.0.1:0"], { stdio: ["ignore", "pipe", "inherit"], env: { ...process.env, RUST_LOG: "error" } });
const api = await new Promise((found, failed) => {
  let said = "";
  server.stdout.on("data", (data) => {
    said += String(data);
    const url = /^ready (http:\S+)$/m.exec(said)?.[1];
    if (url) found(url);
  });
  server.once("exit", () => failed(new Error("the server has ended")));
});
const admin = execFileSync(BINARY, ["token", "--sub", "figures", "--role", "admin", "--data-dir", dataDir]).toString().trim();

async function json(path, options = {}) {
  const response = await fetch(api + path, { ...options, headers: { "Content-Type": "application/json", ...options.headers } });
  const text = await response.text();
  return text === "" ? null : JSON.parse(text);
}

async function sale(startsInMs, units = 50) {
  const start = Date.now() + startsInMs;
  const body = {
    ...{ product_name: "Meridian desk lamp", description: "Solid brass, one batch.", currency: "EUR", original_price: 24_900, sale_price: 9_900, total_stock: units },
    ...{ start_time: new Date(start).toISOString(), end_time: new Date(start + 7_200_000).toISOString(), room_opens_at: new Date(start - 1_000_000).toISOString() },
    per_device_limit: 2,
  };
  return (await json("/admin/sales", { method: "POST", headers: { Authorization: `Bearer ${admin}` }, body: JSON.stringify(body) })).sale_id;
}

/** Shoppers without a page, who take a unit and give it back until the returned function is called. */
async function busy(id) {
  let goesOn = true;
  const people = Array.from({ length: BUSY_SHOPPERS }, async () => {
    const { token, shopper, device } = await json("/session", { method: "POST", body: "{}" });
    const headers = { Authorization: `Bearer ${token}`, "X-Device-Id": device };
    while (goesOn) {
      await json(`/carts/${shopper}/items`, { method: "POST", headers, body: JSON.stringify({ sale_id: id }) });
      await new Promise((resume) => setTimeout(resume, BUSY_PAUSE_MS));
      await json(`/carts/${shopper}/items/${id}`, { method: "DELETE", headers });
    }
  });
  return async () => {
    goesOn = false;
    await Promise.allSettled(people);
  };
}

/** The page of a shop on another origin. */
const shopPage = (id) => `<!doctype html><html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>A shop</title><link rel="icon" href="data:,"></head><body><h1>A shop</h1><script type="module" src="${api}/widget.js"></script><flash-sale sale="${id}"></flash-sale></body></html>`;
let embedded = "";
const host = createServer((_, response) => response.writeHead(200, { "Content-Type": "text/html; charset=utf-8" }).end(embedded));
await new Promise((up) => host.listen(0, "127.0.0.1", up));
const hostUrl = `http://127.0.0.1:${host.address().port}/`;

const browser = await chromium.launch({ executablePath: CHROMIUM, args: ["--disable-gpu", "--no-first-run", "--disable-background-networking"], chromiumSandbox: false });

const median = (values) => [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)] ?? 0;

/** When price and running time are on the screen, in ms after the navigation's begin; and what moved meanwhile. */
async function painted(url) {
  const context = await browser.newContext({ viewport: { width: 360, height: 740 }, deviceScaleFactor: 2 });
  const page = await context.newPage();
  const session = await context.newCDPSession(page);
  await session.send("Network.enable");
  await session.send("Network.emulateNetworkConditions", FAST_3G);
  await session.send("Emulation.setCPUThrottlingRate", { rate: SLOW_CPU });
  await page.addInitScript(() => {
    window.shift = 0;
    new PerformanceObserver((list) => list.getEntries().forEach((entry) => (window.shift += entry.hadRecentInput ? 0 : entry.value))).observe({ type: "layout-shift", buffered: true });
    const texts = (root) => [...root.querySelectorAll("*")].flatMap((element) => [...(element.shadowRoot ? texts(element.shadowRoot) : []), ...[...element.childNodes].filter((node) => node.nodeType === 3).map((node) => node.data)]);
    const look = () => {
      const all = document.body ? texts(document.body) : [];
      // A time of day is no countdown: that is a text of its own.
      if (all.some((text) => /99\.00/.test(text)) && all.some((text) => /^\d+(:\d\d)+$/.test(text.trim()))) {
        // The frame that shows it is the next one.
        requestAnimationFrame(() => setTimeout(() => (window.paintedAt = performance.now())));
        return;
      }
      requestAnimationFrame(look);
    };
    requestAnimationFrame(look);
  });
  await page.goto(url, { waitUntil: "commit" });
  await page.waitForFunction(() => window.paintedAt !== undefined, undefined, { timeout: 60_000 });
  const at = await page.evaluate(() => window.paintedAt);
  await page.waitForTimeout(4_000);
  const shift = await page.evaluate(() => window.shift);
  await context.close();
  return { at, shift };
}

async function paints(name, url, most) {
  const runs = [];
  for (let round = 0; round < ROUNDS; round += 1) runs.push(await painted(url));
  note(`price and countdown painted, ${name} (4 × slower CPU, Fast 3G)`, Math.round(median(runs.map(({ at }) => at))), "ms", most);
  note(`layout shift, ${name}`, Number(median(runs.map(({ shift }) => shift)).toFixed(3)), "", 0);
}

/** The longest time from a click to the next paint, over a whole purchase. */
async function interactions(cpu) {
  const id = await sale(-1_000);
  const context = await browser.newContext({ viewport: { width: 360, height: 740 } });
  const page = await context.newPage();
  await page.addInitScript(() => {
    window.slowest = 0;
    new PerformanceObserver((list) => {
      for (const entry of list.getEntries()) if (entry.interactionId) window.slowest = Math.max(window.slowest, entry.duration);
    }).observe({ type: "event", durationThreshold: 16, buffered: true });
  });
  await page.goto(`${api}/sale/${id}`);
  const session = await context.newCDPSession(page);
  await session.send("Emulation.setCPUThrottlingRate", { rate: cpu });
  const click = async (name) => {
    await page.waitForTimeout(800);
    await page.getByRole("button", { name }).click();
  };
  await click(/^(Join the line|Add .*to cart)/);
  await page.locator('flash-sale article:is([data-journey="admitted"],[data-journey="holding"])').waitFor();
  if (await page.locator('flash-sale article[data-journey="admitted"]').isVisible()) await click(/^Add .*to cart/);
  await page.locator('flash-sale article[data-journey="holding"]').waitFor();
  await click(/^Check out/);
  await click("Pay €99.00");
  await page.locator('flash-sale article[data-journey="confirmed"]').waitFor();
  await page.waitForTimeout(500);
  note(`longest interaction to next paint of a purchase (CPU ${cpu} × slower)`, await page.evaluate(() => window.slowest), "ms", 100);
  await context.close();
}

async function metrics(session) {
  const { metrics } = await session.send("Performance.getMetrics");
  return Object.fromEntries(metrics.map(({ name, value }) => [name, value]));
}

/** How busy the main thread is while ticks come as fast as they can, and whether memory grows. */
async function ticks() {
  const id = await sale(-1_000);
  const context = await browser.newContext({ viewport: { width: 1_000, height: 900 } });
  const page = await context.newPage();
  let frames = 0;
  page.on("websocket", (socket) => socket.on("framereceived", () => (frames += 1)));
  await page.goto(`${api}/sale/${id}`);
  await page.locator('flash-sale article[data-journey="open"]').waitFor();
  const session = await context.newCDPSession(page);
  await session.send("Performance.enable");
  await session.send("HeapProfiler.enable");
  const stop = await busy(id);
  await page.waitForTimeout(2_000);
  const [before, from] = [await metrics(session), frames];
  await page.waitForTimeout(WATCH_MS);
  const after = await metrics(session);
  note("ticks a second meanwhile", Number(((frames - from) / (WATCH_MS / 1_000)).toFixed(1)), "/s");
  note("main thread busy", Number(((100 * (after.TaskDuration - before.TaskDuration)) / (after.Timestamp - before.Timestamp)).toFixed(1)), "%", 5);
  const heap = async () => {
    await session.send("HeapProfiler.collectGarbage");
    return (await metrics(session)).JSHeapUsedSize / 1_000;
  };
  const sizes = [await heap()];
  for (let minute = 0; minute < MINUTES; minute += 1) {
    await page.waitForTimeout(60_000);
    sizes.push(await heap());
  }
  note("memory of the page's scripts at first", Math.round(sizes[0]), "KB");
  note(`growth of it a minute, over ${MINUTES} min`, Number(((sizes.at(-1) - sizes[0]) / MINUTES).toFixed(1)), "KB", 5);
  await stop();
  await context.close();
}

function lighthouse(name, url, address) {
  const file = join(dataDir, `${name}.json`);
  try {
    execFileSync("npx", ["--yes", LIGHTHOUSE, url, "--quiet", "--output=json", `--output-path=${file}`, "--chrome-flags=--headless=new --no-sandbox --disable-gpu", "--only-categories=performance,accessibility,best-practices,seo"], { env: { ...process.env, CHROME_PATH: CHROMIUM }, stdio: ["ignore", "ignore", "inherit"] });
  } catch (error) {
    console.log(`Lighthouse could not look at ${address}: ${String(error).split("\n")[0]}`);
    return;
  }
  const { categories, audits } = JSON.parse(readFileSync(file, "utf8"));
  for (const [key, least] of [["performance", 98], ["accessibility", 100], ["best-practices", 100], ["seo", 100]]) {
    note(`Lighthouse, ${address}: ${key}`, Math.round(100 * categories[key].score), "", least);
    const lost = categories[key].auditRefs.map(({ id }) => audits[id]).filter(({ score, scoreDisplayMode }) => score !== null && score < 0.9 && scoreDisplayMode !== "informative");
    for (const { title, displayValue } of lost) console.log(`    ${title}${displayValue ? `: ${displayValue}` : ""}`);
  }
}

try {
  const early = await sale(900_000);
  embedded = shopPage(early);
  await paints("on our own page", `${api}/sale/${early}`, 1_000);
  await paints("embedded", hostUrl, 2_500);
  await interactions(1);
  await interactions(SLOW_CPU);
  await ticks();
  if (process.env.LIGHTHOUSE !== "no") {
    lighthouse("sale", `${api}/sale/${early}`, "sale page");
    lighthouse("shop", `${api}/`, "shop page");
  }
} finally {
  await browser.close();
  host.close();
  const ended = new Promise((over) => server.once("exit", over));
  server.kill("SIGTERM");
  await ended;
  rmSync(dataDir, { recursive: true, force: true });
}
if (OUT) {
  mkdirSync(dirname(OUT), { recursive: true });
  writeFileSync(OUT, JSON.stringify({ figures }, null, 2));
}
