/** Which sales this browser's shopper has something at stake in. */

import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { forgetStakes, isShown, MOST, noteStake, salesAtStake, shows } from "../src/client/mine";
import { clocked, INFO, LINE, MINUTE, ORDER, SALE } from "./views";

const API = "https://sale.example";

beforeEach(() => {
  const stored = new Map<string, string>();
  vi.stubGlobal("localStorage", {
    getItem: (key: string) => stored.get(key) ?? null,
    setItem: (key: string, value: string) => stored.set(key, value),
    removeItem: (key: string) => stored.delete(key),
  });
  forgetStakes(API);
});

afterEach(() => vi.unstubAllGlobals());

test("a place, a turn, a cart, an unpaid order and an entry are remembered until they are over", () => {
  for (const view of [
    { ...SALE, journey: "waiting" as const, line: LINE },
    { ...SALE, journey: "admitted" as const, turn: clocked(MINUTE) },
    { ...SALE, journey: "holding" as const, hold: clocked(MINUTE) },
    { ...SALE, journey: "pay" as const, order: ORDER },
    { ...SALE, journey: "entered" as const },
  ]) {
    noteStake(API, view);
    expect(salesAtStake(API), view.journey).toEqual([INFO.sale]);
    noteStake(API, { ...SALE, journey: "loading" });
    expect(salesAtStake(API), "nothing known changes nothing").toEqual([INFO.sale]);
    noteStake(API, SALE);
    expect(salesAtStake(API)).toEqual([]);
  }
});

test("the newest are kept, and not more than a page can watch", () => {
  for (let n = 0; n < MOST + 3; n++) noteStake(API, { ...SALE, sale: `S${String(n)}`, line: LINE });
  expect(salesAtStake(API)).toHaveLength(MOST);
  expect(salesAtStake(API)[0]).toBe(`S${String(MOST + 2)}`);
});

test("garbage in the storage is no sale", () => {
  for (const text of ["no json", "{}", '[1,null,"S1"]']) {
    localStorage.setItem(`flash-sale:${API}:mine`, text);
    expect(salesAtStake(API)).toEqual(text.includes("S1") ? ["S1"] : []);
  }
});

test("without storage it lives as long as the page", () => {
  const fail = () => {
    throw new DOMException("forbidden");
  };
  vi.stubGlobal("localStorage", { getItem: fail, setItem: fail, removeItem: fail });
  noteStake(API, { ...SALE, line: LINE });
  expect(salesAtStake(API)).toEqual([INFO.sale]);
  forgetStakes(API);
  expect(salesAtStake(API)).toEqual([]);
});

test("what the page shows is told apart, however often and in whatever case it is written", () => {
  const [first, second] = [shows("01abc"), shows("01ABC")];
  first();
  expect(isShown("01Abc")).toBe(true);
  second();
  expect(isShown("01abc")).toBe(false);
});
