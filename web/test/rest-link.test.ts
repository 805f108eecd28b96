/** Commands that go over REST: each has its effect once, whatever becomes of answers and of the page. */

import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { RestLink } from "../src/client/rest-link";

const SALE = "01ARZ3NDEKTSV4RRFFQ69G5FAV";
const API = "https://sale.example";
const ORDER = { order_id: "O", order_status: "pending", sale_id: SALE, quantity: 1, unit_price: 1, amount: 1, currency: "EUR", created_at: "2026-12-01T12:00:00Z", expires_at: "2026-12-01T12:05:00Z" };

let stored: Map<string, string>;
let sent: { path: string; key: string | undefined }[];

beforeEach(() => {
  stored = new Map();
  sent = [];
  const storage = { getItem: (key: string) => stored.get(key) ?? null, setItem: (key: string, value: string) => void stored.set(key, value) };
  vi.stubGlobal("sessionStorage", storage);
  vi.stubGlobal("localStorage", storage);
});

afterEach(() => vi.unstubAllGlobals());

/** A server that answers each path with what comes next for it; null: the answer is lost. */
function server(answers: Record<string, (object | null)[]>): RestLink {
  vi.stubGlobal("fetch", (url: string, init: RequestInit) => {
    const path = url.replace(API, "").replace(/\?.*/, "");
    sent.push({ path, key: (init.headers as Record<string, string>)["Idempotency-Key"] });
    const next = answers[path]?.length === 1 ? answers[path][0] : answers[path]?.shift();
    if (next === null) return Promise.reject(new TypeError("no network"));
    const body = next ?? { code: "not_found", detail: "" };
    return Promise.resolve(Response.json(body, { status: "code" in body ? 409 : 200 }));
  });
  return new RestLink(API, (ask) => ask({ token: "t", device: "d" }), () => undefined);
}

const known = {
  "/me": [{ session: "g_1", people: [{ orders: [ORDER], places: [] }] }],
  "/flash-sales": [{ sales: [], next: null, payments: "sandbox" }],
  "/carts/g_1": [{ items: [] }],
  "/orders/O": [ORDER],
};

const keysOf = (path: string) => sent.filter((one) => one.path === path).map(({ key }) => key);

test("a payment whose answer is lost is sent again under its key, and two clicks are one", async () => {
  const link = server({ ...known, "/orders/O/pay": [null, { ...ORDER, order_status: "confirmed" }] });
  await link.refresh(SALE, 0);
  expect(link.own(SALE)).toMatchObject({ cart: null, place: null, under_way: [] });
  const [first, second] = [link.give({ verb: "pay", sale: SALE, order: "O", token: "x" }), link.give({ verb: "pay", sale: SALE, order: "O", token: "x" })];
  expect(await first).toMatchObject({ ok: true });
  await second;
  expect(new Set(keysOf("/orders/O/pay")).size).toBe(1);
  expect(link.own(SALE)?.orders[0]?.order_status).toBe("confirmed");
});

test("a command that a reload has cut off is repeated under its key by its shopper, and by nobody else", async () => {
  const link = server({ ...known, "/orders/O/cancel": [null] });
  await link.refresh(SALE, 0);
  void link.give({ verb: "cancel", sale: SALE, order: "O" });
  await vi.waitFor(() => expect(keysOf("/orders/O/cancel")).toHaveLength(1));
  const [key] = keysOf("/orders/O/cancel");
  sent = [];
  const other = server({ ...known, "/me": [{ session: "g_2", people: [] }], "/carts/g_2": [{ items: [] }] });
  const kept = new Map(stored);
  await other.refresh(SALE, 0);
  expect(keysOf("/orders/O/cancel")).toEqual([]);
  stored = kept;
  const again = server({ ...known, "/orders/O/cancel": [{ ...ORDER, order_status: "cancelled" }] });
  await again.refresh(SALE, 0);
  await vi.waitFor(() => expect(again.own(SALE)?.orders[0]?.order_status).toBe("cancelled"));
  expect(keysOf("/orders/O/cancel")).toEqual([key]);
});

test("a refusal is told, and what the REST door has no word for is one", async () => {
  const link = server({ ...known, "/carts/g_1/items": [{ code: "sold_out", detail: "Gone.", retry: false }] });
  expect(await link.give({ verb: "reserve", sale: SALE, quantity: 1 })).toMatchObject({ ok: false, error: { code: "sold_out", message: "Gone.", retry: false } });
  expect(await link.give({ verb: "leave", sale: SALE })).toMatchObject({ ok: false, error: { code: "unsupported" } });
});
