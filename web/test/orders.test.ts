/** What an operator reads about an order: what has happened to it, in which order, and how much may still go back. */

import { expect, test } from "vitest";
import { orderState } from "../src/admin/order-state";
import { historyOf, refundable, type OrderFacts, type PaymentTry, type Refund, type WholeOrder } from "../src/client/orders";

const at = (minute: number) => `2026-12-03T12:${String(minute).padStart(2, "0")}:00Z`;

const ORDER: OrderFacts = {
  order_id: "01ARZ3NDEKTSV4RRFFQ69G5FAV",
  order_status: "confirmed",
  sale_id: "01ARZ3NDEKTSV4RRFFQ69G5FAV",
  quantity: 1,
  unit_price: 9_900,
  amount: 9_900,
  currency: "EUR",
  created_at: at(0),
  expires_at: at(5),
};

const REFUND: Refund = { refund_id: "r-1", amount: 2_000, status: "done", actor: "op", reason: "a scratch", created_at: at(6), done_at: at(7), refusal: null };

const PAYMENT: PaymentTry = {
  payment_id: "01ARZ3NDEKTSV4RRFFQ69G5FAV",
  status: "captured",
  pays: true,
  amount: 9_900,
  currency: "EUR",
  refund_asked: 2_000,
  refunded: 2_000,
  answer: "ok",
  reason: null,
  created_at: at(3),
  answered_at: at(4),
  refunds: [REFUND],
};

const WHOLE: WholeOrder = { order: ORDER, person: "p_1", customer: null, changed_at: at(7), payments: [PAYMENT], disputes: [] };

const told = (whole: WholeOrder) => historyOf(whole, (minor) => `€${minor / 100}`).map(({ text }) => text);

test("what has happened is told in its order, with who said what", () => {
  const declined: PaymentTry = { ...PAYMENT, pays: false, answer: "payment_declined", reason: "no funds", created_at: at(1), answered_at: at(2), refunds: [], refund_asked: 0 };
  const whole = { ...WHOLE, payments: [PAYMENT, declined] };
  expect(told(whole)).toEqual([
    "Ordered",
    "A payment of €99 began",
    "The payment was refused",
    "A payment of €99 began",
    "Paid and confirmed",
    "A refund of €20 was asked for",
    "€20 went back",
  ]);
  expect(historyOf(whole, String).find(({ text }) => text === "The payment was refused")?.note).toBe("no funds");
  expect(refundable(whole)).toBe(7_900);
  expect(refundable({ ...WHOLE, payments: [declined] })).toBe(0);
});

test("an order that ended says who ended it, before its money went back", () => {
  const all: PaymentTry = { ...PAYMENT, refund_asked: 9_900, refunds: [{ ...REFUND, amount: 9_900 }] };
  const ended: WholeOrder = { ...WHOLE, order: { ...ORDER, order_status: "cancelled", reason: "refunded", refunded: 9_900 }, payments: [all] };
  expect(told(ended).slice(-3)).toEqual(["A refund of €99 was asked for", "Ended: all of its money goes back", "€99 went back"]);
  const cancelled: WholeOrder = { ...WHOLE, order: { ...ORDER, order_status: "cancelled", reason: "by_shop" }, changed_at: at(2), payments: [] };
  expect(told(cancelled)).toEqual(["Ordered", "Cancelled by the shop"]);
  expect(told({ ...cancelled, order: { ...cancelled.order, reason: "later" } })).toEqual(["Ordered", "Cancelled"]);
});

test("an order's state says what is still to come, and how much is back", () => {
  const label = (of: Partial<OrderFacts>) => orderState({ ...ORDER, ...of }).label;
  expect([label({}), label({ amount: 0 }), label({ refunded: 2_000 })]).toEqual(["Paid", "Confirmed, free", "Paid, €20.00 back"]);
  expect([label({ order_status: "pending" }), label({ order_status: "pending", paying: true })]).toEqual(["To pay", "Payment under way"]);
  expect([label({ order_status: "cancelled" }), label({ order_status: "cancelled", refunded: 9_900 })]).toEqual(["Cancelled", "Cancelled, €99.00 back"]);
});
