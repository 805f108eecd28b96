/** What a shopper has is kept through whatever happens to the page, the network and the server. */

import type { Page } from "playwright-core";
import { afterAll, beforeAll, expect, test } from "vitest";
import { api, button, createSale, crowd, forgive, journey, said, shopper, takeUnit } from "./harness";
import { restartable } from "./server";

/** A place behind two others, in a room that has not begun. */
async function inLine(at: string, sale: string, page: Page): Promise<void> {
  await page.goto(`${at}/sale/${sale}`);
  await button(page, "Join the line").click();
  await said(page, "You are in the waiting room");
  await expect.poll(() => place(page)).toBe("3");
}

const place = (page: Page) => page.locator("flash-sale .place .big").innerText();

const EARLY = { startsInMs: 900_000, roomBeforeMs: 1_000_000 };

test("a reload, and a tab that is closed and opened again, find the place", async () => {
  const sale = await createSale(EARLY);
  await crowd(sale, 2);
  const who = await shopper();
  const page = await who.blank();
  await inLine(api, sale, page);
  await page.reload();
  await expect.poll(() => place(page).catch(() => "")).toBe("3");
  await page.close();
  await crowd(sale, 1);
  const again = await who.open(`${api}/sale/${sale}`);
  await expect.poll(() => place(again).catch(() => "")).toBe("3");
});

test("two minutes without a network: the place is there, and the page says what it knows meanwhile", { timeout: 90_000 }, async () => {
  const sale = await createSale(EARLY);
  await crowd(sale, 2);
  const who = await shopper();
  const page = await who.blank();
  // Two minutes pass for the page in some seconds.
  await page.clock.install();
  await inLine(api, sale, page);
  await who.offline(true);
  await page.evaluate(() => dispatchEvent(new Event("offline")));
  for (let seconds = 0; seconds < 120; seconds += 10) await page.clock.runFor(10_000);
  await said(page, /^No connection\. Your place is kept for a while\./);
  expect(await place(page)).toBe("3");
  await who.offline(false);
  await page.evaluate(() => dispatchEvent(new Event("online")));
  await expect.poll(async () => {
    await page.clock.runFor(1_000);
    return page.locator(".presence").innerText();
  }, { timeout: 30_000 }).toBe("Live");
  expect(await place(page)).toBe("3");
  forgive(/WebSocket|ERR_INTERNET_DISCONNECTED/);
});

test("a laptop that slept: its clock stood still, its socket is dead; the place is there, and the countdown is right", { timeout: 90_000 }, async () => {
  const SLEEP_MS = 12_000;
  const sale = await createSale(EARLY);
  await crowd(sale, 2);
  const page = await (await shopper()).blank();
  let isAsleep = false;
  await page.routeWebSocket(/\/ws$/, (socket) => {
    const server = socket.connectToServer();
    // What was open before the sleep is dead, and nobody has told the page.
    let isDead = false;
    const passes = () => {
      isDead ||= isAsleep;
      return !isDead;
    };
    server.onMessage((message) => {
      if (passes()) socket.send(message);
    });
    socket.onMessage((message) => {
      if (passes()) server.send(message);
    });
  });
  await page.addInitScript(() => {
    const real = performance.now.bind(performance);
    let slept = 0;
    performance.now = () => real() - slept;
    Object.assign(window, {
      // Nothing runs meanwhile, and the clock that pages count by stands still.
      sleep: (ms: number) => {
        const begun = real();
        while (real() - begun < ms);
        slept += ms;
      },
    });
  });
  await inLine(api, sale, page);
  isAsleep = true;
  await page.waitForFunction(() => new Promise((resume) => setTimeout(() => resume(true), 300)));
  await page.evaluate((ms) => (window as unknown as { sleep(ms: number): void }).sleep(ms), SLEEP_MS);
  isAsleep = false;
  await page.evaluate(() => document.dispatchEvent(new Event("visibilitychange")));
  const starts = Date.parse(((await (await fetch(`${api}/flash-sales/${sale}`)).json()) as { start_time: string }).start_time);
  const error = async () => {
    const [minutes, seconds] = (await page.locator("flash-sale .clock").first().innerText()).split(":").map(Number);
    return Math.abs((minutes ?? 0) * 60_000 + (seconds ?? 0) * 1_000 - (starts - Date.now()));
  };
  await expect.poll(error, { timeout: 30_000 }).toBeLessThan(1_500);
  await page.locator(".presence").getByText("Live").waitFor({ timeout: 30_000 });
  expect(await place(page)).toBe("3");
  expect(await error()).toBeLessThan(1_500);
  forgive(/WebSocket/);
});

let server: Awaited<ReturnType<typeof restartable>>;

beforeAll(async () => {
  server = await restartable();
});

afterAll(() => server.end());

test("a gateway that is started anew: the place and a cart are there", { timeout: 120_000 }, async () => {
  const made = async (startsInMs: number) => {
    const start = Date.now() + startsInMs;
    const body = {
      ...{ product_name: "Lamp", currency: "EUR", original_price: 200, sale_price: 100, total_stock: 5 },
      ...{ start_time: new Date(start).toISOString(), end_time: new Date(start + 3_600_000).toISOString(), room_opens_at: new Date(start - 1_000_000).toISOString() },
    };
    const headers = { Authorization: `Bearer ${server.adminToken}`, "Content-Type": "application/json" };
    const answer = await fetch(`${server.api}/admin/sales`, { method: "POST", headers, body: JSON.stringify(body) });
    return ((await answer.json()) as { sale_id: string }).sale_id;
  };
  const [early, live] = [await made(900_000), await made(-1_000)];
  const waits = await (await shopper()).blank();
  await waits.goto(`${server.api}/sale/${early}`);
  await button(waits, "Join the line").click();
  await said(waits, "You are in the waiting room");
  const buys = await (await shopper()).blank();
  await buys.goto(`${server.api}/sale/${live}`);
  await journey(buys, "open");
  await takeUnit(buys);
  await server.stop();
  await said(waits, /^No connection\. Your place is kept for a while\./);
  await said(buys, /^No connection\. Your cart is held until/);
  await server.start();
  for (const page of [waits, buys]) await page.locator(".presence").getByText("Live").waitFor({ timeout: 45_000 });
  await expect.poll(() => place(waits)).toBe("1");
  await journey(buys, "holding");
  await button(buys, "Check out").click();
  await journey(buys, "pay");
  forgive(/WebSocket|ERR_CONNECTION/);
});
