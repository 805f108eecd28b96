/** Where the shop takes the money itself: the page leads to its checkout, as often as the shopper comes back. */

import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { afterAll, beforeAll, expect, test } from "vitest";
import { button, journey, picture, said, shopper, takeUnit } from "./harness";
import { another } from "./server";

let platform: Awaited<ReturnType<typeof another>>;
let checkout: Server;
let admin: string;
let key: string;

async function ask(token: string, method: string, path: string, body: object): Promise<Record<string, unknown>> {
  const response = await fetch(`${platform.api}${path}`, {
    method,
    headers: { Authorization: `Bearer ${token}` },
    body: JSON.stringify(body),
  });
  const answer = (await response.json()) as Record<string, unknown>;
  if (!response.ok) throw new Error(`${method} ${path}: ${JSON.stringify(answer)}`);
  return answer;
}

beforeAll(async () => {
  platform = await another(["--payments", "merchant"]);
  checkout = createServer((_, response) => {
    response.setHeader("Content-Type", "text/html");
    response.end('<!doctype html><html lang="en"><title>Checkout</title><link rel="icon" href="data:," /><h1>The shop</h1>');
  });
  await new Promise<void>((resolve) => checkout.listen(0, "127.0.0.1", resolve));
  const { port } = checkout.address() as AddressInfo;
  admin = platform.token("boss", "admin");
  await ask(admin, "PATCH", "/admin/merchants/boss", { checkout_url: `http://127.0.0.1:${port}/checkout` });
  const made = await ask(admin, "POST", "/admin/merchants/boss/api-keys", { name: "checkout", scopes: ["orders:write"] });
  key = made.secret as string;
});

afterAll(async () => {
  checkout.close();
  await platform.end();
});

test("a shopper goes to the shop's checkout, comes back, goes again, and has the order when the shop has confirmed", async () => {
  const now = Date.now();
  const sale = await ask(admin, "POST", "/admin/sales", {
    product_name: "Meridian desk lamp",
    currency: "EUR",
    original_price: 9_900,
    sale_price: 9_900,
    total_stock: 2,
    start_time: new Date(now - 1_000).toISOString(),
    end_time: new Date(now + 3_600_000).toISOString(),
  });
  const page = await (await shopper()).open(`${platform.api}/sale/${sale.sale_id as string}`);
  await journey(page, "open");
  await takeUnit(page);
  await button(page, "Check out").click();
  await journey(page, "pay");
  expect(await page.getByText(/Test mode|Test card/).count()).toBe(0);

  const tokens: string[] = [];
  for (const phase of ["pay", "paying"]) {
    await journey(page, phase);
    await said(page, "shop's checkout");
    await picture(page, `handoff-${phase}`);
    await button(page, "Continue to the shop's checkout").click();
    await page.waitForURL(/\/checkout\?handoff=/);
    tokens.push(new URL(page.url()).searchParams.get("handoff") ?? "");
    await page.goBack();
  }
  expect(new Set(tokens).size, "each visit has a token of its own").toBe(2);
  const payments = await Promise.all(tokens.map((token) => ask(key, "POST", "/admin/handoffs/redeem", { token })));
  expect(payments[0]?.payment_id).toBe(payments[1]?.payment_id);
  await journey(page, "paying");
  const path = `/admin/handoffs/${payments[0]?.payment_id as string}/confirm`;
  const confirmed = await ask(key, "POST", path, { amount: 9_900, currency: "EUR" });
  expect(confirmed.state).toBe("confirmed");
  await journey(page, "confirmed");
});
