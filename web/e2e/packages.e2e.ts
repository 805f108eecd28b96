/** The npm packages as a shop gets them: installed from their tarballs into a fresh project, built, and tried in its pages. */

import { execFileSync } from "node:child_process";
import { cpSync, existsSync, mkdirSync, readFileSync, readdirSync, rmSync, statSync } from "node:fs";
import { join, resolve } from "node:path";
import type { Page } from "playwright-core";
import { build } from "vite";
import { afterAll, beforeAll, expect, test } from "vitest";
import { api, button, complaintsSoFar, createSale, forgive, journey, metrics, picture, said, shopper, takeUnit } from "./harness";
import { around, embed, host, type Host } from "./host";

const WEB = resolve(import.meta.dirname, "..");
/** In a folder below the pages' own, so that React and Vue are found. */
const PROJECT = join(WEB, "test-results/fresh-project");

let shop: Host;

beforeAll(async () => {
  rmSync(PROJECT, { recursive: true, force: true });
  mkdirSync(PROJECT, { recursive: true });
  execFileSync(resolve(WEB, "../scripts/build-packages"));
  cpSync(join(WEB, "examples"), PROJECT, { recursive: true });
  const tarballs = readdirSync(join(WEB, "packages-out")).filter((name) => name.endsWith(".tgz"));
  expect(tarballs).toHaveLength(2);
  execFileSync("npm", ["init", "--yes", "--silent"], { cwd: PROJECT });
  execFileSync("npm", ["pkg", "set", "type=module"], { cwd: PROJECT });
  execFileSync("npm", ["install", "--silent", "--no-audit", "--no-fund", "--offline", ...tarballs.map((name) => join(WEB, "packages-out", name))], { cwd: PROJECT });
  await build({
    ...{ root: PROJECT, base: "./", configFile: false, logLevel: "error" },
    define: { __VUE_OPTIONS_API__: "false", __VUE_PROD_DEVTOOLS__: "false", __VUE_PROD_HYDRATION_MISMATCH_DETAILS__: "false" },
    build: { assetsInlineLimit: 0, rolldownOptions: { input: ["react", "vue", "spa"].map((name) => join(PROJECT, `${name}.html`)) } },
  });
  shop = await host();
  shop.folder(PROJECT);
});

afterAll(() => shop.end());

const address = (file: string, sale: string) => `${shop.origin}/${file}?${new URLSearchParams({ api, sale }).toString()}`;

async function sockets(page: Page): Promise<() => [open: number, ever: number]> {
  let [open, ever] = [0, 0];
  page.on("websocket", (socket) => {
    open += 1;
    ever += 1;
    socket.on("close", () => (open -= 1));
  });
  await Promise.resolve();
  return () => [open, ever];
}

test("what a page loads of the platform until it can sell stays within 110 KB, and within 25 KB until it paints", async () => {
  const sale = await createSale({ startsInMs: 600_000, roomBeforeMs: 60_000 });
  const page = await (await shopper()).blank();
  const loaded: { path: string; bytes: number }[] = [];
  page.on("request", (request) => {
    const path = new URL(request.url()).pathname;
    const file = join(WEB, "dist", `${path}.br`);
    if (request.url().startsWith(api) && existsSync(file)) loaded.push({ path, bytes: statSync(file).size });
  });
  // The rest is slow to come, so that the first paint is to be seen alone.
  await page.route(/elements-.*\.js$/, async (route) => {
    await page.locator("flash-sale [data-first]").getByText("€99.00").waitFor();
    await picture(page, "first-paint");
    await route.continue();
  });
  await page.goto(shop.page("/first", { html: around(embed(api, sale)) }));
  await journey(page, "countdown");
  expect(await page.locator("flash-sale [data-first]").count()).toBe(0);
  await expect.poll(() => loaded.some(({ path }) => path.endsWith(".wasm"))).toBe(true);
  const bytes = (of: typeof loaded) => of.reduce((sum, { bytes }) => sum + bytes, 0);
  const later = loaded.findIndex(({ path }) => path.includes("/elements-"));
  expect(later).toBeGreaterThan(0);
  expect(bytes(loaded.slice(0, later)), JSON.stringify(loaded)).toBeLessThanOrEqual(25_000);
  expect(bytes(loaded), JSON.stringify(loaded)).toBeLessThanOrEqual(110_000);
});

test("a plain page loads the element from its script tag, without a bundler", async () => {
  const sale = await createSale();
  const page = await (await shopper()).open(address("plain.html", sale));
  await journey(page, "open");
  await takeUnit(page);
});

test("a React page has the element's events, its own title and terms, and pays by a form of its own", async () => {
  const sale = await createSale();
  const page = await (await shopper()).open(address("dist/react.html", sale));
  await page.locator("output", { hasText: "open" }).waitFor();
  await page.getByText("The lamp of the year").waitFor();
  expect(await page.getByText("Our terms").isVisible(), "terms where one buys").toBe(false);
  await takeUnit(page);
  await button(page, "Check out").click();
  await journey(page, "pay");
  expect(await page.getByText("Our terms").isVisible()).toBe(true);
  expect(await page.getByRole("radio").count(), "no test cards beside the shop's own form").toBe(0);
  await page.getByLabel("Card number").fill("1");
  await picture(page, "package-pay");
  await button(page, "Pay €99.00").click();
  await said(page, /declined/i);
  await page.getByLabel("Card number").fill("4242");
  await button(page, "Pay €99.00").click();
  await page.locator("output", { hasText: "confirmed" }).waitFor();
  expect((await metrics(sale)).orders_confirmed).toBe(1);
});

test("a Vue page hears what went wrong as an event with a code", async () => {
  const page = await (await shopper()).open(address("dist/vue.html", await createSale()));
  await page.locator("output", { hasText: "open" }).waitFor();
  await page.goto(address("dist/vue.html", "summer"));
  await page.locator("output", { hasText: "sale_invalid" }).waitFor();
  expect(complaintsSoFar()).toHaveLength(1);
  forgive(/<flash-sale>.*is no sale's id/);
});

test("a single-page shop mounts and unmounts the element, and its own client shares the socket", async () => {
  const sale = await createSale({ startsInMs: 60_000 });
  const page = await (await shopper()).blank();
  const seen = await sockets(page);
  await page.goto(address("dist/spa.html", sale));
  await button(page, "Join the line").click();
  await page.locator("output", { hasText: "lobby 1" }).waitFor();
  await page.getByRole("link", { name: "About" }).click();
  await page.getByText("About us").waitFor();
  await page.getByRole("link", { name: "Sale" }).click();
  await said(page, "You are in the waiting room");
  expect(seen()).toEqual([1, 1]);
});

test("a server imports both without a window, and a compiler knows their types", () => {
  const said = execFileSync(process.execPath, ["server.js"], { cwd: PROJECT, encoding: "utf8" });
  expect(said).toBe('api_invalid <flash-sale api="https://sale.example" sale="01ARZ3NDEKTSV4RRFFQ69G5FAV"></flash-sale>\n');
  const flags = ["--noEmit", "--ignoreConfig", "--strict", "--target", "ES2022", "--module", "nodenext", "--lib", "ES2022,DOM,DOM.Iterable", "types.ts"];
  execFileSync(process.execPath, [join(WEB, "node_modules/typescript/bin/tsc"), ...flags], { cwd: PROJECT, encoding: "utf8" });
  const about = JSON.parse(readFileSync(join(PROJECT, "node_modules/flashsale-widget/package.json"), "utf8")) as { dependencies?: object };
  expect(about.dependencies).toBeUndefined();
});
