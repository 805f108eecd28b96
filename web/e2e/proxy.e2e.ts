/** Where nothing comes live, a company's proxy or a policy in the way, the shopper buys over REST: slower, and nothing is lost. */

import type { Page, WebSocketRoute } from "playwright-core";
import { afterAll, beforeAll, expect, test } from "vitest";
import { ADD, api, button, createSale, endSale, forgive, journey, metrics, picture, said, shopper, sure, takeUnit, type Shopper } from "./harness";
import { around, embed, host, type Host } from "./host";

let shop: Host;

beforeAll(async () => {
  shop = await host();
});

afterAll(() => shop.end());

/** A page whose network lets no socket through. */
async function behindProxy(who: Shopper): Promise<Page> {
  const page = await who.blank();
  await page.routeWebSocket(/\/ws$/, (socket) => void socket.close({ code: 1006 }).catch(() => socket.close()));
  return page;
}

test("behind a proxy that blocks WebSocket a shopper buys by REST, and an answer that is lost costs nothing", async () => {
  const sale = await createSale();
  const page = await behindProxy(await shopper());
  const keys: string[] = [];
  // The first answer to the payment is lost on its way back.
  await page.route(/\/orders\/[^/]+\/pay$/, async (route) => {
    if (route.request().method() === "POST") keys.push(route.request().headers()["idempotency-key"] ?? "");
    const response = await route.fetch();
    await (keys.length === 1 && route.request().method() === "POST" ? route.abort() : route.fulfill({ response }));
  });
  await page.goto(shop.page("/proxy", { html: around(embed(api, sale)) }));
  await said(page, /this page asks for news every few seconds/);
  await takeUnit(page);
  await picture(page, "rest-holding");
  await button(page, "Check out").click();
  await journey(page, "pay");
  await button(page, "Pay €99.00").click();
  await journey(page, "confirmed");
  await picture(page, "rest-confirmed");
  expect(new Set(keys).size, "one key for both tries").toBe(1);
  expect(keys.length).toBeGreaterThan(1);
  expect(await metrics(sale)).toMatchObject({ orders_confirmed: 1, sold: 1 });
  forgive(/WebSocket|ERR_FAILED/);
});

/** Over REST, news is up to ten seconds old, and the switch takes twenty. */
const SLOW_MS = 40_000;

test("over REST a shopper gives up a place and skips a turn, as over the socket", { timeout: 120_000 }, async () => {
  const sale = await createSale({ startsInMs: 25_000 });
  const page = await behindProxy(await shopper());
  await page.goto(shop.page("/proxy-leaves", { html: around(embed(api, sale)) }));
  await button(page, "Join the line").click();
  await said(page, "You are in the waiting room");
  await button(page, "Leave the line").click();
  await sure(page, "Give up my place");
  await button(page, "Join the line").waitFor();
  expect((await metrics(sale)).queue_length).toBe(0);
  await button(page, "Join the line").click();
  await journey(page, "admitted", 45_000);
  await button(page, "Skip my turn").click();
  await sure(page, "Skip my turn");
  await journey(page, "open");
  await expect.poll(async () => (await metrics(sale)).claimed).toBe(0);
  forgive(/WebSocket/);
});

test("over REST a shopper enters a draw, is told the outcome, and checks it", { timeout: 120_000 }, async () => {
  const sale = await createSale({ allocation: "draw", units: 1 });
  const page = await behindProxy(await shopper());
  await page.goto(shop.page("/proxy-draws", { html: around(embed(api, sale)) }));
  await button(page, "Enter the draw").click();
  await journey(page, "entered");
  await button(page, "Leave the draw").click();
  await sure(page, "Leave the draw");
  await button(page, "Enter the draw").click();
  await journey(page, "entered");
  await said(page, "Anyone can check this draw", SLOW_MS);
  await endSale(sale);
  await journey(page, "admitted", SLOW_MS);
  await said(page, "It is your turn");
  await button(page, "Check the draw").click();
  await said(page, "It is the smallest, which wins: you were drawn.");
  await said(page, /promised before the entries closed. This page had seen the promise/);
  await said(page, /It comes from a random number of this page/);
  await picture(page, "rest-drawn");
  forgive(/WebSocket/);
});

test("behind such a proxy the platform's own pages list the shopper's orders", async () => {
  const sale = await createSale({ product_name: "Aurora Runner" });
  const who = await shopper();
  const page = await behindProxy(who);
  await page.goto(`${api}/sale/${sale}`);
  await said(page, /this page asks for news every few seconds/);
  await takeUnit(page);
  await button(page, "Check out").click();
  await journey(page, "pay");
  const home = await behindProxy(who);
  await home.goto(`${api}/`);
  await home.locator("order-list").getByText("Aurora Runner").waitFor();
  await home.locator("order-list").getByText("€99.00").waitFor();
  forgive(/WebSocket/);
});

test("when a socket that worked is cut off and stays away, the purchase goes on by REST, and goes live again afterwards", async () => {
  const sale = await createSale({ limit: 2 });
  const page = await (await shopper()).blank();
  let isBlocked = false;
  const open = new Set<WebSocketRoute>();
  // What has reached the server before the cut, and what has not.
  await page.routeWebSocket(/\/ws$/, (socket) => {
    if (isBlocked) {
      void socket.close({ code: 1011 });
      return;
    }
    const server = socket.connectToServer();
    open.add(socket);
    socket.onMessage((message) => {
      if (!isBlocked) server.send(message);
    });
  });
  await page.goto(shop.page("/cut-off", { html: around(embed(api, sale)) }));
  await takeUnit(page);
  isBlocked = true;
  // Nobody knows whether this has arrived.
  const keys: string[] = [];
  page.on("request", (request) => {
    if (request.method() === "POST" && request.url() === `${api}/orders`) keys.push(request.headers()["idempotency-key"] ?? "");
  });
  await button(page, "Check out").click();
  await journey(page, "checking_out");
  for (const socket of open) void socket.close({ code: 1011 });
  await said(page, /this page asks for news every few seconds/, SLOW_MS);
  await journey(page, "pay");
  expect(keys.length).toBeGreaterThan(0);
  for (const key of keys) expect(key, "under the id that it had on the socket").toMatch(/^[0-9A-HJKMNP-TV-Z]{26}$/);
  await picture(page, "rest-after-a-cut");
  isBlocked = false;
  await page.locator('flash-sale [data-part="connection"]').waitFor({ state: "hidden", timeout: SLOW_MS });
  await journey(page, "pay");
  await button(page, "Pay €99.00").click();
  await journey(page, "confirmed");
  expect(await metrics(sale)).toMatchObject({ orders_confirmed: 1, sold: 1 });
  forgive(/WebSocket/);
});

test("without WebAssembly a shopper waits in line, is called, keeps the cart over a reload, gives it back and cancels", async () => {
  const sale = await createSale({ startsInMs: 7_000, limit: 2 });
  const policy = `default-src 'none'; script-src ${api}; style-src 'self'; img-src data:; connect-src ${api}`;
  const address = shop.page("/no-wasm-buys", { html: around(embed(api, sale)), headers: { "Content-Security-Policy": policy } });
  const page = await (await shopper()).open(address);
  await button(page, "Join the line").click();
  await said(page, "You are in the waiting room");
  await journey(page, "admitted", 25_000);
  await button(page, ADD).click();
  await journey(page, "holding");
  await page.reload();
  await journey(page, "holding");
  await button(page, "Remove").click();
  await sure(page, "Remove");
  await journey(page, "open");
  expect((await metrics(sale)).held).toBe(0);
  await takeUnit(page);
  await button(page, "Check out").click();
  await journey(page, "pay");
  await button(page, "Cancel order").click();
  await sure(page, "Cancel the order");
  await journey(page, "open");
  expect(await metrics(sale)).toMatchObject({ orders_cancelled: 1, sold: 0 });
  forgive(/<flash-sale>|WebAssembly|wasm-unsafe-eval/);
});
