/** What operators type and are asked: whole numbers as people write them, and what ending a sale means for whom. */

import { expect, test } from "vitest";
import { endQuestion } from "../src/admin/end-question";
import { readInflow } from "../src/admin/inflow-form";
import { parseWhole } from "../src/text/whole";
import { SALE, STOCK } from "./views";

test("a thousand is a thousand, however it is written, and what is no whole number is none", () => {
  for (const text of ["1000", " 1,000 ", "1.000", "1 000", "1\u202f000", "1’000"]) expect(parseWhole(text, 12), text).toBe(1_000);
  expect([parseWhole("1,000,000", 12), parseWhole("12,345", 12), parseWhole("0", 12)]).toEqual([1_000_000, 12_345, 0]);
  for (const text of ["", "1,00", "1,0000", "1,000.000", "1.5", "-1", "1e3", "x", "1234567"]) expect(parseWhole(text, 6), text).toBeNull();
  expect(readInflow("1,000")).toBe(1_000);
});

test("who ends a sale is told how many units are left, and who may still get them", () => {
  const ask = (stock: Partial<typeof STOCK>) => endQuestion({ ...SALE, stock: { ...STOCK, ...stock } });
  expect(ask({ free: 2, waiting: 4, in_carts: 0 })).toBe("End this sale now? 2 units go by lot to 4 people in line. What is in carts and orders can still be bought.");
  expect(ask({ free: 1, waiting: 1, in_carts: 3 })).toContain("1 unit goes by lot to 1 person in line, and so does what comes back from carts.");
  expect(ask({ free: 5, waiting: 0 })).toContain("5 units stay unsold: nobody waits.");
  expect(endQuestion(null)).toContain("drawn among those who wait");
});
