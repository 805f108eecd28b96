/** Commands that go over REST: each has its effect once, whatever becomes of answers and of the page. */

import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { RestLink } from "../src/client/rest-link";

const SALE = "01ARZ3NDEKTSV4RRFFQ69G5FAV";
const OF = { sale_id: SALE, allocation: "queue", status: "live" } as const;
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
  await link.refresh(OF, 0);
  expect(link.own(SALE)).toMatchObject({ cart: null, place: null, under_way: [] });
  const [first, second] = [link.give({ verb: "pay", sale: SALE, order: "O", token: "x" }), link.give({ verb: "pay", sale: SALE, order: "O", token: "x" })];
  expect(await first).toMatchObject({ ok: true });
  await second;
  expect(new Set(keysOf("/orders/O/pay")).size).toBe(1);
  expect(link.own(SALE)?.orders[0]?.order_status).toBe("confirmed");
});

test("a command that a reload has cut off is repeated under its key by its shopper, and by nobody else", async () => {
  const link = server({ ...known, "/orders/O/cancel": [null] });
  await link.refresh(OF, 0);
  void link.give({ verb: "cancel", sale: SALE, order: "O" });
  await vi.waitFor(() => expect(keysOf("/orders/O/cancel")).toHaveLength(1));
  const [key] = keysOf("/orders/O/cancel");
  sent = [];
  const other = server({ ...known, "/me": [{ session: "g_2", people: [] }], "/carts/g_2": [{ items: [] }] });
  const kept = new Map(stored);
  await other.refresh(OF, 0);
  expect(keysOf("/orders/O/cancel")).toEqual([]);
  stored = kept;
  const again = server({ ...known, "/orders/O/cancel": [{ ...ORDER, order_status: "cancelled" }] });
  await again.refresh(OF, 0);
  await vi.waitFor(() => expect(again.own(SALE)?.orders[0]?.order_status).toBe("cancelled"));
  expect(keysOf("/orders/O/cancel")).toEqual([key]);
});

test("a refusal is told", async () => {
  const link = server({ ...known, "/carts/g_1/items": [{ code: "sold_out", detail: "Gone.", retry: false }] });
  expect(await link.give({ verb: "reserve", sale: SALE, quantity: 1 })).toMatchObject({ ok: false, error: { code: "sold_out", message: "Gone.", retry: false } });
});

test("the shopper's orders in all sales are a list, newest first", async () => {
  const other = { ...ORDER, order_id: "P", sale_id: "01BX5ZZKBKACTAV9WEVGEMMVRY", created_at: "2026-12-01T13:00:00Z", currency: "JPY" };
  const link = server({ ...known, "/me": [{ session: "g_1", people: [{ person: "p", orders: [ORDER, other], places: [] }] }], "/orders/P": [other] });
  await link.readOrders();
  const now = Date.parse("2026-12-01T12:04:00Z");
  expect(link.orders(now).map(({ order, left_ms, product_name }) => [order, left_ms, product_name])).toEqual([
    ["P", 60_000, null],
    ["O", 60_000, null],
  ]);
});

test("a place is given up, and the end is told", async () => {
  const place = `/flash-sales/${SALE}/queue-position`;
  const nothing = { "/me": [{ session: "g_1", people: [] }] };
  const link = server({ ...known, ...nothing, [`/flash-sales/${SALE}/join-queue`]: [{ position: 3, status: "waiting" }], [place]: [{}] });
  await link.give({ verb: "join", sale: SALE, quantity: 1 });
  expect(await link.give({ verb: "leave", sale: SALE })).toMatchObject({ ok: true });
  await link.refresh(OF, 0);
  expect(link.own(SALE)).toMatchObject({ place: null, note: { kind: "left" } });
  expect(keysOf(place)).toHaveLength(1);
});

test("commands of a socket go on under their ids, and not those of somebody else", async () => {
  const link = server({ ...known, "/orders": [{ ...ORDER, order_status: "confirmed" }] });
  const frame = JSON.stringify({ type: "checkout", id: "01K", sale: SALE, payment: { token: "x" } });
  const ended: [string, boolean, string | undefined][] = [];
  const handed = [
    { id: "01K", sale: SALE, frame, shopper: "g_1" },
    { id: "02K", sale: SALE, frame: JSON.stringify({ type: "leave", id: "02K", sale: SALE }), shopper: "g_2" },
  ];
  await link.adopt(
    () => handed,
    (id, { ok, error }) => ended.push([id, ok, error?.code]),
  );
  await vi.waitFor(() => expect(ended).toHaveLength(2));
  expect(ended).toEqual(expect.arrayContaining([["01K", true, undefined], ["02K", false, "no_answer"]]));
  expect(keysOf("/orders")).toEqual(["01K"]);
});

test("nothing is taken from the socket before REST answers", async () => {
  const link = server({ "/me": [null] });
  const take = vi.fn(() => []);
  await expect(link.adopt(take, () => undefined)).rejects.toMatchObject({ code: "offline" });
  expect(take).not.toHaveBeenCalled();
});

test("all joins of a sale have one random number, which is kept for the check of its draw", async () => {
  const draw = { commitment: "c".repeat(64) };
  const entered = { position: 0, status: "entered", nonce: "ab" };
  const answers = { ...known, [`/flash-sales/${SALE}/join-queue`]: [entered], [`/flash-sales/${SALE}/draw`]: [draw, { ...draw, root: "r", seed: "s" }], [`/flash-sales/${SALE}/queue-position`]: [entered] };
  const link = server(answers);
  const of = { ...OF, allocation: "draw" } as const;
  await link.give({ verb: "join", sale: SALE, quantity: 2 });
  await link.refresh(of, 0);
  expect(link.own(SALE)).toMatchObject({ draw, wanted: 2, place: { status: "entered" } });
  await link.refresh(of, 0);
  const heard = JSON.parse(await link.heardOfDraw(SALE)) as { made: string[] };
  // The root came with the seed: it was not heard before.
  expect(heard).toMatchObject({ sale: SALE, told: "ab", commitment: draw.commitment, root: null });
  expect(heard.made).toEqual([expect.stringMatching(/^[0-9a-f]{32}$/)]);
  const again = server({ ...answers, "/me": [{ session: "g_1", people: [{ person: "p_1", orders: [], places: [], draws: [{ sale_id: SALE }] }] }] });
  expect(JSON.parse(await again.heardOfDraw(SALE))).toMatchObject({ made: heard.made, shopper: "p_1" });
});
