/** What the ticket draws and says beside its title: the receipt, the ruler, questions, what is read out, what a page did wrong. */

import { nothing } from "lit";
import { expect, test, vi } from "vitest";
import { viewOf } from "../src/client/by-rest";
import type { Sale } from "../src/client/bodies";
import type { View } from "../src/client/view";
import { Announcer } from "../src/element/announce";
import { buttons, questionBefore, type Commands } from "../src/element/buttons";
import { shortCode, slip } from "../src/element/slip";
import { stockBar } from "../src/element/stock-bar";
import { peopleAMark, Tape } from "../src/element/tape";
import { middle, outlook, termsLink, type Held } from "../src/element/ticket";
import { orderBadge } from "../src/shop/order-list";
import { orderWords } from "../src/shop/order-page";
import { available } from "../src/shop/sale-list";
import { wordsFor } from "../src/text/journey";
import { cureOf } from "../src/text/cures";
import { setupProblem } from "../src/text/setup";
import { clocked, INFO, LINE, MINUTE, NOW, ORDER, SALE, STOCK } from "./views";

// The client is WASM, which these tests are without.
vi.mock("../src/client/client", () => ({ clientFor: () => null, isSaleId: () => true }));

/** All that a template would draw, as text without tags. */
function drawn(part: unknown): string {
  const whole = (of: unknown): string => {
    if (Array.isArray(of)) return of.map(whole).join("");
    if (typeof of === "number") return String(of);
    if (typeof of !== "object" || of === null || !("values" in of)) return typeof of === "string" ? of : "";
    // A keyed template has no strings of its own.
    const { strings = [], values } = of as { strings?: string[]; values: unknown[] };
    return strings.length === 0 ? values.map(whole).join("") : strings.map((text, index) => text + whole(values[index])).join("");
  };
  return part === nothing ? "" : whole(part).replaceAll(/<[^>]*>/g, " ").replaceAll(/\s+/g, " ").trim();
}

const held = (of: Partial<Held> = {}): Held => ({ tape: new Tape(), slip, card: null, choose: () => undefined, pay: () => undefined, hasPayForm: false, isFresh: false, ...of });

const commands = (of: Partial<Commands> = {}): Commands => {
  const none = () => undefined;
  return { isGuarded: false, quantity: 1, wish: none, join: none, leave: none, reserve: none, release: none, extend: none, checkout: none, cancel: none, goToCheckout: none, print: none, notice: null, notify: none, remind: null, isReminded: false, ...of };
};

test("a receipt has the product, what it cost, when, a code to say, what went back, and what happens next", () => {
  const order = { ...ORDER, status: "confirmed" as const, quantity: 3, amount: 29_700, refunded: 5_000, refunded_at: Date.parse("2026-12-01T09:30:00Z") };
  const said = drawn(slip(order, NOW, "merchant", false));
  for (const part of ["Aurora Runner", "3 × €99.00", "€297.00", "Refunded", "1 Dec", "−€50.00", "€247.00", "Today", shortCode(order.order), order.order, "What happens next"]) expect(said).toContain(part);
  expect(drawn(slip({ ...order, refunded: 0 }, NOW, "merchant", false))).not.toContain("Refunded");
  const terms = { ...INFO, terms_url: "https://shop.example/terms", terms_version: "2026-11-01" };
  expect(drawn(slip(order, NOW, "merchant", false, terms))).toContain("Terms 2026-11-01");
  expect(drawn(slip(order, NOW, "merchant", false, INFO))).not.toContain("Terms");
  expect(drawn(termsLink(terms))).toBe("With your order you accept the shop’s terms (2026-11-01).");
  expect(drawn(termsLink(INFO))).toBe("");
  expect(drawn(slip({ ...order, refunded_at: null }, NOW, "merchant", false)), "an earlier server does not say when").toContain("Refunded −€50.00");
  expect(drawn(slip(order, NOW, "sandbox", false)), "nothing is promised where nothing is sold").toContain("no money was taken");
});

test("an order in the list and its own page say how much went back", () => {
  expect(orderWords({ ...ORDER, status: "confirmed", refunded: 5_000 })).toBe("Paid and confirmed. €50.00 of it went back to you.");
  expect(orderWords({ ...ORDER, status: "cancelled", reason: "by_shop" })).toContain("The shop cancelled it");
  expect(orderBadge({ ...ORDER, status: "confirmed", refunded: 5_000 }, "€50.00").label).toBe("Refunded €50.00");
  expect(orderBadge({ ...ORDER, status: "confirmed" }, "€0.00").label).toBe("Confirmed");
  expect(orderBadge({ ...ORDER, paying: true }, "").label).toBe("Payment under way");
});

test("a list says what is available, and only while it can be had", () => {
  const sale = { status: "live", stock: 39, total_stock: 60 } as Sale;
  expect(available(sale)).toBe("39 of 60 units available");
  expect(available({ ...sale, status: "ended" })).toBe("60 units");
});

test("what is reserved is told apart by whose it is", () => {
  const stock = { ...STOCK, free: 2, in_carts: 4, mine: 1, sold: 4 };
  expect(drawn(stockBar(stock))).toContain("Reserved 4 (3 by others, 1 by you)");
  expect(drawn(stockBar({ ...stock, in_carts: 1 }))).toContain("Reserved 1 by you");
  expect(drawn(stockBar({ ...stock, mine: 0 }))).not.toContain("by others");
  expect(drawn(stockBar(stock)), "nothing is given away").not.toMatch(/free/i);
  expect(drawn(stockBar(stock, "over"))).toMatch(/^Sold 4 Not sold 6$/);
  expect(drawn(stockBar(stock, "asked"))).toBe("Available 2");
});

test("the row of facts names what others have, and no chance in percent that nobody can follow", () => {
  const said = drawn(outlook({ ...SALE, journey: "waiting", line: { ...LINE, chance_percent: 0, chance: "slim" } }));
  expect(said).toContain("Reserved by others 3 units");
  expect(said).toContain("Behind you 50 people");
  expect(said).toContain("Chance of a unit small");
  expect(said).not.toContain("%");
});

test("a countdown says what it counts to, when that is and in whose time, and when the sale is", () => {
  process.env.TZ = "UTC";
  const at = NOW + 165 * MINUTE;
  const view: View = { ...SALE, journey: "countdown", phase: "scheduled", info: { ...INFO, room_opens_at: at, starts_at: at + 15 * MINUTE }, countdown: { to: "room", at, left_ms: 165 * MINUTE } };
  expect(drawn(middle(view, held()))).toBe("Room opens in 2:45:00 Room opens 14:50 today (your time, UTC). Sale at 15:05.");
  expect(drawn(middle({ ...view, countdown: { to: "start", at, left_ms: 1_000 } }, held()))).toContain("Sale starts in 0:01");
});

test("a cart of three says what they cost, and its button too", () => {
  const view: View = { ...SALE, journey: "holding", hold: clocked(MINUTE, 3) };
  expect(drawn(middle(view, held()))).toContain("3 × €99.00 = €297.00");
  expect(drawn(buttons(view, commands()))).toBe("Check out for €297.00 Remove");
  expect(drawn(buttons({ ...SALE, journey: "admitted", turn: clocked(MINUTE, 2) }, commands()))).toBe("Add 2 to cart for €198.00 Skip my turn");
  expect(drawn(buttons({ ...SALE, info: { ...INFO, sale_price: 0 } }, commands()))).toBe("Add to cart");
});

test("a payment whose time is over has no clock, and its bar does not go on", () => {
  const paying = (left_ms: number): View => ({ ...SALE, journey: "paying", order: { ...ORDER, paying: true, left_ms } });
  expect(drawn(middle(paying(30_000), held()))).toContain("left for your bank to answer");
  expect(drawn(middle(paying(0), held()))).toBe("");
});

test("buying again does not outshout the receipt", () => {
  const view: View = { ...SALE, journey: "confirmed", order: { ...ORDER, status: "confirmed" } };
  const { values } = buttons(view, commands()) as { values: unknown[] };
  expect(drawn(values[0])).toBe("Print");
  expect(JSON.stringify(buttons(view, commands()))).not.toContain("primary");
});

test("a click right after a step is off, and so is one while something runs", () => {
  const kinds = (of: Partial<Commands>, under_way: View["under_way"] = []) => JSON.stringify(buttons({ ...SALE, journey: "holding", hold: clocked(MINUTE), under_way }, commands(of)));
  expect(kinds({})).toContain('"false"');
  expect(kinds({ isGuarded: true })).not.toContain('"false"');
  expect(kinds({}, ["checkout"])).not.toContain('"false"');
});

test("what cannot be taken back is asked once, with the place that would be lost", () => {
  expect(questionBefore("leave", { ...SALE, journey: "waiting", line: { ...LINE, position: 37 } })).toMatchObject({ title: "Give up place 37?", no: "Keep my place", yes: "Give up my place" });
  expect(questionBefore("leave", { ...SALE, journey: "admitted", turn: clocked(MINUTE) })?.text).toContain("You cannot get this turn back.");
  expect(questionBefore("release", { ...SALE, journey: "holding" })?.title).toBe("Remove it from your cart?");
  expect(questionBefore("cancel", { ...SALE, journey: "pay" })?.text).toContain("You cannot take this back.");
});

test("each mark of the ruler is as many people as fit", () => {
  expect([0, 60, 61, 600, 601, 6_001].map(peopleAMark)).toEqual([1, 1, 10, 10, 100, 1_000]);
});

test("where motion is not wanted, the ruler is drawn anew every two seconds and not in between", () => {
  const tape = new Tape();
  const ahead = (position: number, now: number, still: boolean) => /--ahead: ([\d.]+)/.exec(JSON.stringify(tape.render({ ...LINE, position, behind: 0 }, now, still)))?.[1];
  expect([ahead(41, 0, true), ahead(31, 1_000, true), ahead(21, 2_000, true)]).toEqual(["40", "40", "20"]);
  expect(ahead(11, 2_100, false)).toBe("10");
});

const say = (announcer: Announcer, view: View, offline = "") => announcer.say(view, wordsFor(view), offline);

test("a change of title is read out even where the phase stays the same; running numbers are not", () => {
  const announcer = new Announcer();
  const lobby: View = { ...SALE, journey: "lobby", phase: "waiting" };
  expect(say(announcer, lobby)).toContain("The waiting room is open");
  expect(say(announcer, { ...lobby, line: LINE })).toContain("You are in the waiting room");
  const waiting: View = { ...SALE, journey: "waiting", line: LINE };
  const first = say(announcer, waiting);
  expect(say(announcer, { ...waiting, line: { ...LINE, position: 39, soonest_ms: 1, latest_ms: 2 } }), "not each place").toBe(first);
  expect(say(announcer, { ...waiting, line: { ...LINE, position: 1 } })).toContain("You are next");
});

test("the last minute, twenty and ten seconds of a time are read out, each once", () => {
  const announcer = new Announcer();
  const at = (left: number): View => ({ ...SALE, journey: "admitted", turn: { may_extend: false, extended: false, quantity: 1, until: NOW + 120_000, left_ms: left, total_ms: 120_000 } });
  expect(say(announcer, at(119_000))).toContain("It is your turn");
  const said = [90, 60, 59, 21, 20, 19, 10, 9, 1].map((seconds) => say(announcer, at(seconds * 1_000)));
  expect([said[1], said[4], said[6]]).toEqual(["1 minute left to add it to your cart.", "20 seconds left to add it to your cart.", "10 seconds left to add it to your cart."]);
  expect([said[2], said[5], said[8]], "and nothing in between").toEqual([said[1], said[4], said[6]]);
  const short = new Announcer();
  const brief = (left: number): View => ({ ...SALE, journey: "admitted", turn: { may_extend: false, extended: false, quantity: 1, until: NOW, left_ms: left, total_ms: 20_000 } });
  expect(say(short, brief(19_900)), "a short turn is not warned of as it begins").toContain("It is your turn");
  expect(say(short, brief(10_000))).toBe("10 seconds left to add it to your cart.");
});

test("a lost connection is read out, and its return", () => {
  const announcer = new Announcer();
  const view: View = { ...SALE, journey: "waiting", line: LINE };
  say(announcer, view);
  expect(say(announcer, view, "No connection. Your place is kept for a while.")).toContain("No connection.");
  expect(say(announcer, view)).not.toContain("No connection.");
});

test.each([
  ["", "", "sale_missing", "the attribute sale is missing"],
  ["nonsense", "", "sale_invalid", 'sale="nonsense" is no sale'],
  [INFO.sale, "sale.example", "api_invalid", 'api="sale.example" is no address'],
  [INFO.sale, "javascript:alert(1)", "api_invalid", "is no address"],
])("attributes sale=%s api=%s are told apart as %s", (sale, api, code, cure) => {
  const isSale = (text: string) => /^[0-7][0-9A-Z]{25}$/.test(text);
  const found = setupProblem(sale, api, isSale);
  expect(found).toBe(code);
  if (found) expect(cureOf(found, sale, api)).toContain(cure);
  expect(setupProblem(INFO.sale, "", isSale), "a bundle of the shop's does not know where the platform is").toBe("api_missing");
  expect(setupProblem(INFO.sale, "https://sale.example", isSale)).toBeNull();
});

test("a sale that was asked for by REST goes on counting by the server's time, and offers nothing to do", () => {
  const sale = {
    ...{ sale_id: INFO.sale, product_name: "Lamp", currency: "EUR", currency_exponent: 2, sale_price: 100, original_price: 200, total_stock: 60, stock: 39, queue_length: 4 },
    ...{ status: "waiting", room_opens_at: "2026-12-03T11:00:00Z", start_time: "2026-12-03T12:00:00Z", end_time: "2026-12-03T13:00:00Z", remaining_time: 90 },
  } as Sale;
  const view = viewOf({ sale, at_ms: 1_000 }, 11_000, { state: "waiting" });
  expect([view.journey, view.countdown?.left_ms, view.now]).toEqual(["lobby", 80_000, Date.parse("2026-12-03T11:58:40Z")]);
  expect(buttons(view, commands())).toBe(nothing);
  const live = viewOf({ sale: { ...sale, status: "live" }, at_ms: 0 }, 0, { state: "waiting" });
  expect([live.journey, live.countdown?.to, live.stock?.free]).toEqual(["open", "end", 39]);
});

test("more time is offered in the last minute, where it can be had, and the warning says so once", () => {
  const admitted = (left_ms: number, of: Partial<NonNullable<View["turn"]>> = {}): View => ({ ...SALE, journey: "admitted", turn: { ...clocked(left_ms), may_extend: true, ...of } });
  const offers = (view: View) => drawn(buttons(view, commands())).includes("I need more time");
  expect([offers(admitted(61_000)), offers(admitted(60_000)), offers(admitted(0)), offers(admitted(30_000, { may_extend: false }))]).toEqual([false, true, false, false]);
  expect(offers({ ...SALE, journey: "holding", hold: { ...clocked(20_000), may_extend: true } })).toBe(true);
  const announcer = new Announcer();
  const heard = (view: View) => announcer.say(view, { title: "It is your turn", text: "", tone: "turn" }, "");
  expect(heard(admitted(100_000))).toContain("You have 1 minute 40 seconds.");
  expect(heard(admitted(59_000))).toBe("1 minute left to add it to your cart. You can take more time, once.");
  expect(heard(admitted(19_000))).toBe("20 seconds left to add it to your cart. You can take more time, once.");
  const later = { may_extend: false, extended: true, until: NOW + 5 * MINUTE };
  expect(heard(admitted(139_000, later))).toBe("You have more time: 2 minutes 19 seconds.");
  expect(heard(admitted(138_000, later))).toBe("You have more time: 2 minutes 19 seconds.");
  expect(heard(admitted(59_000, later))).toBe("1 minute left to add it to your cart.");
});
