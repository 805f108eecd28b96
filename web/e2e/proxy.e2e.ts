/** Where nothing comes live, a company's proxy or a policy in the way, the shopper buys over REST: slower, and nothing is lost. */

import type { Page } from "playwright-core";
import { afterAll, beforeAll, expect, test } from "vitest";
import { ADD, api, button, createSale, forgive, journey, metrics, picture, said, shopper, sure, takeUnit, type Shopper } from "./harness";
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
