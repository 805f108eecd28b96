/**
 * A page that nobody looks at: browsers hold its timers back, after some minutes to one a minute. Here after a second, and the server hangs up on
 * who is silent for six, so that seconds are like a quarter of an hour. What tells of a turn then? (Chromium spares pages with an open socket
 * the worst; that the client does not count on it, its own tests show.)
 */

import { spawn, type ChildProcess } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { chromium, type Browser, type Page } from "playwright-core";
import { afterAll, beforeAll, expect, inject, test } from "vitest";
import { around, embed, host, type Host } from "./host";
import { another } from "./server";

const HIDDEN_S = 40;

/** What is not asked of a browser that was started by hand: it must hide a tab as it does for people. */
const FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking", "--remote-debugging-port=0", "--enable-features=IntensiveWakeUpThrottling:grace_period_seconds/1"];

let platform: Awaited<ReturnType<typeof another>>;
let shop: Host;
let browser: Browser;
let process: ChildProcess;
const profile = mkdtempSync(join(tmpdir(), "flashsale-hidden-"));

beforeAll(async () => {
  platform = await another(["--idle-timeout-ms", "6000"]);
  shop = await host();
  const started = spawn(inject("browser"), [...FLAGS, `--user-data-dir=${profile}`, "about:blank"], { stdio: ["ignore", "ignore", "pipe"] });
  process = started;
  const address = await new Promise<string>((resolve, reject) => {
    let said = "";
    started.stderr.on("data", (data: Buffer) => {
      said += data.toString();
      const found = /DevTools listening on (ws:\S+)/.exec(said)?.[1];
      if (found) resolve(found);
    });
    started.once("exit", () => reject(new Error("the browser has ended")));
  });
  // By default every page is made to look as if somebody looked at it.
  browser = await chromium.connectOverCDP(address, { noDefaults: true });
});

afterAll(async () => {
  await browser.close();
  const ended = new Promise<void>((resolve) => process.once("exit", () => resolve()));
  process.kill();
  await ended;
  rmSync(profile, { recursive: true, force: true });
  shop.end();
  await platform.end();
});

async function sale(startsInMs: number): Promise<string> {
  const start = Date.now() + startsInMs;
  const body = {
    ...{ product_name: "Aurora Runner", currency: "EUR", original_price: 24_900, sale_price: 9_900, total_stock: 5 },
    ...{ start_time: new Date(start).toISOString(), end_time: new Date(start + 3_600_000).toISOString(), room_opens_at: new Date(start - 600_000).toISOString() },
  };
  const headers = { Authorization: `Bearer ${platform.token("a", "admin")}`, "Content-Type": "application/json" };
  const made = await fetch(`${platform.api}/admin/sales`, { method: "POST", headers, body: JSON.stringify(body) });
  return ((await made.json()) as { sale_id: string }).sale_id;
}

/** Puts another tab in front. True: the page knows that it is hidden. */
async function hide(page: Page): Promise<boolean> {
  const other = await page.context().newPage();
  await other.bringToFront();
  await page.waitForFunction(() => document.hidden, undefined, { polling: 100, timeout: 5_000 });
  return page.evaluate(() => document.hidden);
}

test("a page hidden for long keeps its socket and its place, and the turn is told at once: in the tab and by a notice", { timeout: 150_000 }, async () => {
  const id = await sale((HIDDEN_S + 15) * 1_000);
  const address = shop.page("/hidden", { html: around(embed(platform.api, id)) });
  const context = browser.contexts()[0];
  if (!context) throw new Error("no window");
  const page = await context.newPage();
  await page.addInitScript(() => {
    const told: string[] = [];
    Object.assign(window, { told, opened: 0 });
    // What the browser shows is its own; here it is noted.
    const note = function (title: string, { body }: NotificationOptions) {
      told.push(`${title}. ${body ?? ""}`);
    };
    Object.assign(note, { permission: "granted", requestPermission: () => Promise.resolve("granted") });
    Object.assign(window, { Notification: note });
    const Real = WebSocket;
    window.WebSocket = class extends Real {
      constructor(...args: ConstructorParameters<typeof Real>) {
        super(...args);
        (window as unknown as { opened: number }).opened += 1;
      }
    };
  });
  await page.goto(address);
  await page.getByRole("button", { name: "Join the line" }).click();
  await page.getByRole("button", { name: "Notify me" }).click();
  await page.getByText("You get a notice when it is your turn.").waitFor();
  expect(await hide(page), "the page is hidden").toBe(true);
  await expect.poll(() => page.title(), { timeout: (HIDDEN_S + 40) * 1_000, interval: 500 }).toMatch(/^● [12]:\d\d Your turn · Aurora Runner$/);
  const { told, opened } = await page.evaluate(() => {
    const { told, opened } = window as unknown as { told: string[]; opened: number };
    return { told, opened };
  });
  expect(told).toEqual([expect.stringMatching(/^Your turn: Aurora Runner\. You have (?:2 minutes|1 minute 5\d seconds) to add it to your cart\.$/)]);
  expect(opened, "the socket was never lost").toBe(1);
  await page.bringToFront();
  // Called as before, once it is looked at.
  await expect.poll(() => page.title()).toBe("A shop");
});
