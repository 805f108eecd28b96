/** A list that is read page by page, and again. */

import { expect, test } from "vitest";
import type { Sale, SalePage } from "../src/client/listed";
import { SalePages, groupOf } from "../src/client/sale-pages";

const sale = (sale_id: string, more: Partial<Sale> = {}) => ({ sale_id, status: "live", start_time: "2026-01-01T00:00:00Z", ...more }) as Sale;
const ids = (pages: SalePages) => pages.sales.map(({ sale_id }) => sale_id).join("");

/** A server whose list is these letters, in pages of two. */
function server(list: { letters: string }): (after: string | null) => Promise<SalePage> {
  return (after) => {
    const from = after === null ? 0 : list.letters.indexOf(after) + 1;
    const letters = list.letters.slice(from, from + 2);
    const isLast = from + 2 >= list.letters.length;
    return Promise.resolve({ sales: [...letters].map((id) => sale(id)), next: isLast ? null : (letters.at(-1) ?? null) });
  };
}

test("more pages stay loaded when the list is read again, in the server's new order", async () => {
  const list = { letters: "abcdef" };
  const pages = new SalePages(server(list));
  await pages.refresh();
  expect([ids(pages), pages.hasMore]).toEqual(["ab", true]);
  await pages.more();
  expect([ids(pages), pages.count]).toEqual(["abcd", 2]);
  list.letters = "bacdef";
  await pages.refresh();
  expect([ids(pages), pages.hasMore]).toEqual(["bacd", true]);
  await pages.more();
  expect([ids(pages), pages.hasMore]).toEqual(["bacdef", false]);
  await pages.more();
  expect(ids(pages), "behind the last page there is nothing").toBe("bacdef");
});

test("a page that is asked for during a refresh is not lost with it", async () => {
  const pages = new SalePages(server({ letters: "abcd" }));
  await pages.refresh();
  await Promise.all([pages.refresh(), pages.more(), pages.refresh()]);
  expect(ids(pages)).toBe("abcd");
});

test("a sale that is in two pages is shown once, where it comes first", async () => {
  const answers: SalePage[] = [
    { sales: [sale("a"), sale("b")], next: "b" },
    { sales: [sale("b"), sale("c")], next: null },
  ];
  const pages = new SalePages(() => Promise.resolve(answers.shift() as SalePage));
  await pages.refresh();
  await pages.more();
  expect(ids(pages)).toBe("abc");
});

test("what is shown stays when the server cannot be reached, and the next try works", async () => {
  const answer = server({ letters: "ab" });
  let isDown = false;
  const pages = new SalePages((after) => (isDown ? Promise.reject(new Error("down")) : answer(after)));
  await pages.refresh();
  isDown = true;
  await expect(pages.refresh()).rejects.toThrow("down");
  expect(ids(pages)).toBe("ab");
  isDown = false;
  await pages.refresh();
  expect(ids(pages)).toBe("ab");
});

test.each([
  ["live", "live"],
  ["drawing", "live"],
  ["waiting", "coming"],
  ["scheduled", "coming"],
  ["ended", "over"],
  ["cancelled", "over"],
] as const)("a sale that is %s is among the %s ones", (status, group) => {
  expect(groupOf(sale("a", { status }), 0)).toBe(group);
});

test("a paused sale is where it would be if it were not", () => {
  const paused = sale("a", { status: "paused" });
  const start = Date.parse(paused.start_time);
  expect([groupOf(paused, start - 1), groupOf(paused, start)]).toEqual(["coming", "live"]);
});
