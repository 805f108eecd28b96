/** Test money: where it is offered, and where it is said. */

import { nothing } from "lit";
import { expect, test, vi } from "vitest";
import { SalePages } from "../src/client/sale-pages";
import type { Order, View } from "../src/client/view";
import { FlashSaleElement } from "../src/element/flash-sale";
import { testMode } from "../src/element/test-mode";
import { cannotPay, paymentsNotice, testCards, type Payments } from "../src/text/payments";

// The client is WASM, which these tests are without.
vi.mock("../src/client/client", () => ({ clientFor: () => null, isSaleId: () => true }));

/** All that a template would draw, as text. */
function drawn(part: unknown): string {
  if (Array.isArray(part)) return part.map(drawn).join("");
  if (typeof part !== "object" || part === null || !("strings" in part)) return typeof part === "string" ? part : "";
  const { strings, values } = part as { strings: string[]; values: unknown[] };
  return strings.map((text, index) => text + drawn(values[index])).join("");
}

/** What the widget draws of an order to pay, on a server that takes money so. */
function widget(payments: Payments, journey: "pay" | "paying" = "pay"): string {
  const order = { order: "o", status: "pending", amount: 9_900, currency: "EUR", left_ms: 60_000, total_ms: 60_000, quantity: 1 } as Order;
  const info = { product_name: "Lamp", currency: "EUR", currency_exponent: 2, original_price: 9_900, sale_price: 9_900, payments };
  const view = { journey, connection: { state: "online" }, info, order, phase: "live", stock: null, stale_ms: null, draw: null, under_way: [], unsent: [], trouble: null, refusal: null, note: null };
  const element = new FlashSaleElement();
  const client = { view: () => view as unknown as View, connection: view.connection, problem: () => null };
  Object.assign(element, { sale: "s", client, shown: view });
  const render = Reflect.get(element, "render") as () => unknown;
  return drawn(render.call(element));
}

const OTHERS: Payments[] = ["none", "unknown", undefined, "a newer way" as unknown as Payments];

test("test cards are offered only where the server says that it takes no money", () => {
  expect(testCards("sandbox").map(({ token }) => token)).toEqual(["sandbox_approve", "sandbox_decline", "sandbox_slow"]);
  for (const payments of OTHERS) expect(testCards(payments)).toEqual([]);
});

test("a server in test mode is named as one, and no other", () => {
  expect(paymentsNotice("sandbox")).toBe("Test mode: no money is taken");
  expect(testMode("sandbox")).not.toBe(nothing);
  for (const payments of OTHERS) expect([paymentsNotice(payments), testMode(payments)]).toEqual([null, nothing]);
});

test("a server without payments says so where one would pay", () => {
  expect(cannotPay("none")).toMatch(/^The shop cannot take payments/);
  for (const payments of ["sandbox", "unknown", undefined] as Payments[]) expect(cannotPay(payments)).toBeNull();
});

test("the widget draws test cards and the notice in test mode, and neither elsewhere", () => {
  expect(widget("sandbox")).toMatch(/Test mode: no money is taken.*Test card •••• 4242.*Pay €99.00/s);
  for (const payments of OTHERS) expect(widget(payments)).not.toMatch(/Test mode|Test card/);
  expect(widget("none")).toMatch(/cannot take payments/);
  expect(widget("none")).not.toMatch(/Pay €/);
  expect(widget("unknown"), "the page may have a form of its own").toMatch(/Pay €99.00/);
});

test("where the shop takes the money itself, the widget leads to its checkout, as often as one comes back", () => {
  for (const journey of ["pay", "paying"] as const) {
    expect(widget("merchant", journey)).toMatch(/Continue to the shop's checkout.*Cancel order/s);
    expect(widget("merchant", journey)).not.toMatch(/Test mode|Test card|Pay €|being checked/);
  }
  expect(widget("sandbox", "paying")).not.toMatch(/Continue to/);
});

test("a list of sales knows how its server takes money, if that says it", async () => {
  const pages = new SalePages(() => Promise.resolve({ sales: [], next: null, payments: "sandbox" }));
  expect(pages.payments).toBeUndefined();
  await pages.refresh();
  expect(pages.payments).toBe("sandbox");
  const older = new SalePages(() => Promise.resolve({ sales: [], next: null }));
  await older.refresh();
  expect(older.payments).toBeUndefined();
});
