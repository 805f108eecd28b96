/** Every state that `make shots` has a picture of: in both themes, from left to right and from right to left, on the smallest screens. */

import { resolve } from "node:path";
import type { Page } from "playwright-core";
import { afterAll, beforeAll, expect, test } from "vitest";
import { createServer, type ViteDevServer } from "vite";
import { LANGUAGES } from "../src/text/language";
import { forgive, isAccessible, shopper } from "./harness";

let server: ViteDevServer;

beforeAll(async () => {
  server = await createServer({ root: resolve(import.meta.dirname, ".."), configFile: false, optimizeDeps: { include: ["lit", "lit/directives/keyed.js", "lit/directives/repeat.js", "lit/directives/unsafe-html.js", "uqr"] }, server: { port: 0, host: "127.0.0.1" }, logLevel: "error" });
  await server.listen();
});

afterAll(() => server.close());

interface Shots {
  states: string[];
  show(state: string): Promise<void>;
}

async function open(lang: string, options: Parameters<typeof shopper>[0]): Promise<Page> {
  const page = await (await shopper({ reducedMotion: "reduce", ...options })).blank();
  // There is no server of ours here, and nobody answers.
  await page.route(({ pathname }) => /^\/(session|flash-sales)(\/|$)/.test(pathname), () => undefined);
  await page.routeWebSocket(/\/ws$/, () => undefined);
  await page.goto(`${server.resolvedUrls?.local[0] ?? ""}shots/index.html?lang=${lang}`);
  await page.waitForFunction(() => "show" in window);
  return page;
}

async function eachState(page: Page, look: (state: string) => Promise<void>): Promise<void> {
  const states = await page.evaluate(() => (window as unknown as Shots).states);
  expect(states.length).toBeGreaterThan(35);
  for (const state of states) {
    await page.evaluate((name) => (window as unknown as Shots).show(name), state);
    await look(state);
  }
  // The pages are not built.
  forgive(/Lit is in dev mode/);
}

const PHONE = { width: 360, height: 740 };
/** A screen of 1280 × 1024 at 400 %. */
const ZOOMED = { width: 320, height: 256 };

test.each([
  ["en", "ltr", "light"],
  ["en", "ltr", "dark"],
  ["ar", "rtl", "light"],
  ["ar", "rtl", "dark"],
] as const)("in %s (%s), in the %s, every state is accessible by the rules that a machine can check", { timeout: 240_000 }, async (lang, dir, colorScheme) => {
  const page = await open(lang, { viewport: PHONE, colorScheme });
  const failed: string[] = [];
  await eachState(page, async (state) => {
    const said = await page.locator("flash-sale article").evaluate((article) => `${getComputedStyle(article).direction} ${article.getAttribute("lang") ?? ""}`);
    if (said !== `${dir} ${lang}`) failed.push(`${state}: ${said}`);
    await isAccessible(page).catch((error: unknown) => failed.push(`${state}: ${String(error)}`));
  });
  expect(failed).toEqual([]);
});

test.each(LANGUAGES)("in %s, nothing is cut off or to be scrolled to at 400 percent", { timeout: 120_000 }, async (lang) => {
  const page = await open(lang, { viewport: ZOOMED });
  const failed: string[] = [];
  await eachState(page, async (state) => {
    const wrong = await page.evaluate(() => {
      const root = document.querySelector("flash-sale")?.shadowRoot;
      const found: string[] = [];
      const { scrollWidth, clientWidth } = document.documentElement;
      if (scrollWidth > clientWidth) found.push(`${String(scrollWidth - clientWidth)} px too wide`);
      for (const one of root?.querySelectorAll<HTMLElement>("h2, h3, p, dt, dd, button, a, label, summary, .notice span") ?? []) {
        if (one.closest(".unseen, .clamp")) continue;
        if (one.scrollWidth > one.clientWidth + 1 && getComputedStyle(one).display !== "inline") found.push(`cut off: ${one.textContent.trim().slice(0, 40)}`);
      }
      const actions = root?.querySelector(".actions");
      if (actions && getComputedStyle(actions).position === "sticky" && actions.getBoundingClientRect().height > innerHeight / 2) found.push("the actions cover what they are about");
      return found;
    });
    for (const what of wrong) failed.push(`${state}: ${what}`);
  });
  expect(failed).toEqual([]);
});

test.each(["en", "ar"])("in %s, whatever is pressed is 24 px or more in both directions, and nothing moves where motion is not wanted", { timeout: 120_000 }, async (lang) => {
  const page = await open(lang, { viewport: PHONE });
  const failed: string[] = [];
  await eachState(page, async (state) => {
    const wrong = await page.evaluate(() => {
      const root = document.querySelector("flash-sale")?.shadowRoot;
      const found: string[] = [];
      for (const one of root?.querySelectorAll<HTMLElement>("a, button, select, summary, input") ?? []) {
        const target = one.closest("label:has(input)") ?? one;
        const { width, height } = target.getBoundingClientRect();
        if (width < 24 || height < 24) found.push(`${target.textContent.trim()}: ${String(Math.round(width))} × ${String(Math.round(height))}`);
      }
      const moves = document.getAnimations().filter(({ playState, effect }) => playState === "running" && Number(effect?.getComputedTiming().duration) > 1);
      return [...found, ...moves.map((move) => `moves: ${(move as CSSAnimation).animationName}`)];
    });
    for (const what of wrong) failed.push(`${state}: ${what}`);
  });
  expect(failed).toEqual([]);
});

test("in forced colours every state keeps its edges: panels, notices, buttons and bars", { timeout: 120_000 }, async () => {
  const page = await open("en", { viewport: PHONE, forcedColors: "active" });
  const failed: string[] = [];
  await eachState(page, async (state) => {
    const wrong = await page.evaluate(() => {
      const root = document.querySelector("flash-sale")?.shadowRoot;
      const found: string[] = [];
      for (const one of root?.querySelectorAll(".panel, .notice, .badge, .actions button, .choice, .left, .bar, .slip") ?? []) {
        const { borderInlineStartStyle: style, borderInlineStartWidth: width } = getComputedStyle(one);
        if (style === "none" || width === "0px") found.push(`no edge: ${one.className}`);
      }
      const colour = (selector: string) => (root?.querySelector(selector) ? getComputedStyle(root.querySelector(selector) as Element).backgroundColor : null);
      const [button, panel] = [colour(".actions .primary"), colour(".panel")];
      if (button !== null && button === panel) found.push("the button looks like the panel");
      const bar = colour(".left span");
      if (bar !== null && bar === panel) found.push("the bar is not to be seen");
      return found;
    });
    for (const what of wrong) failed.push(`${state}: ${what}`);
  });
  expect(failed).toEqual([]);
});
