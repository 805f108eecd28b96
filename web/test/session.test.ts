/** Where a guest's secret is kept, and which one is shown. */

import { afterEach, beforeEach, expect, test, vi } from "vitest";

const OWN = "https://sales.example";
const KEY = (api: string) => `flash-sale:${api}:session`;
const SECRET = "d_a.0.20787.tag";

let stored: Map<string, string>;

/** A page of this origin with empty storage, and a client's session module of its own. */
async function page(origin: string): Promise<typeof import("../src/client/session")> {
  stored = new Map();
  const storage = {
    getItem: (key: string) => stored.get(key) ?? null,
    setItem: (key: string, value: string) => stored.set(key, value),
    removeItem: (key: string) => stored.delete(key),
  };
  vi.stubGlobal("localStorage", storage);
  vi.stubGlobal("sessionStorage", storage);
  vi.stubGlobal("location", { origin });
  vi.stubGlobal("navigator", {});
  vi.resetModules();
  return import("../src/client/session");
}

const soon = () => new Date(Date.now() + 3_600_000).toISOString();

/** Answers requests for a session, one after the other, and says what each has shown. */
function answers(...all: object[]): unknown[] {
  const sent: unknown[] = [];
  vi.stubGlobal("fetch", (_url: string, init: RequestInit) => {
    const answer = all[sent.length] ?? { code: "internal" };
    sent.push(JSON.parse(String(init.body)));
    return Promise.resolve(Response.json(answer, { status: "code" in answer ? 401 : 200 }));
  });
  return sent;
}

const begun = (token: string, device: string) => ({ token, shopper: "g_1", device, device_id: "d_a", expires_at: soon() });
const unknown = { code: "device_unknown", detail: "This device is not known any more." };
const leave = (api: string, device: string) => {
  stored.set(KEY(api), JSON.stringify({ token: "old", device, expires_at: soon() }));
};

beforeEach(() => vi.resetModules());
afterEach(() => vi.unstubAllGlobals());

test("on our own page the secret stays in the cookie: no storage has it, and it is not shown", async () => {
  const { guestSession } = await page(OWN);
  const sent = answers(begun("t1", SECRET), begun("t2", "d_a"));
  expect(await guestSession(OWN, null)).toEqual({ token: "t1", device: "d_a" });
  expect([...stored.values()].join()).not.toContain(SECRET);
  expect(await guestSession(OWN, null), "while it is good, it is not asked for again").toEqual({ token: "t1", device: "d_a" });
  expect(await guestSession(OWN, "t1")).toEqual({ token: "t2", device: "d_a" });
  expect(sent).toEqual([{}, {}]);
});

test("in somebody else's page the shop's storage keeps the newest secret, and that one is shown", async () => {
  const { guestSession } = await page("https://shop.example");
  const sent = answers(begun("t1", SECRET), begun("t2", "d_a.1.20800.tag"), begun("t3", "d_a.1.20800.tag"));
  await guestSession(OWN, null);
  await guestSession(OWN, "t1");
  expect(await guestSession(OWN, "t2")).toEqual({ token: "t3", device: "d_a.1.20800.tag" });
  expect(sent).toEqual([{}, { device: SECRET }, { device: "d_a.1.20800.tag" }]);
});

test("a secret that is not known any more is forgotten, and a session begins without it, once", async () => {
  const { guestSession } = await page("https://shop.example");
  leave(OWN, SECRET);
  const sent = answers(unknown, begun("t1", "d_b.0.1.tag"));
  expect(await guestSession(OWN, "old")).toEqual({ token: "t1", device: "d_b.0.1.tag" });
  expect(sent).toEqual([{ device: SECRET }, {}]);

  leave(OWN, SECRET);
  const again = answers(unknown, unknown);
  await expect(guestSession(OWN, "old")).rejects.toThrow("no session: 401");
  expect(again).toEqual([{ device: SECRET }, {}]);
  expect(stored.has(KEY(OWN)), "what is not known is not kept").toBe(false);
});

test("another refusal leaves the secret where it is", async () => {
  const { guestSession } = await page("https://shop.example");
  leave(OWN, SECRET);
  answers({ code: "too_many_from_address" });
  await expect(guestSession(OWN, "old")).rejects.toThrow();
  expect(stored.get(KEY(OWN))).toContain(SECRET);
});

test("what an earlier release has stored on our own page is shown once more and then gone: the guest stays", async () => {
  const { guestSession } = await page(OWN);
  leave(OWN, "d_a.oldtag");
  const sent = answers(begun("t1", SECRET));
  expect(await guestSession(OWN, "old")).toEqual({ token: "t1", device: "d_a" });
  expect(sent).toEqual([{ device: "d_a.oldtag" }]);
  expect(JSON.parse(stored.get(KEY(OWN)) ?? "")).not.toHaveProperty("device");
});

test("a server of an earlier release names no id, and its answer is kept as it is", async () => {
  const { guestSession } = await page(OWN);
  answers({ token: "t1", device: "d_a.oldtag", expires_at: soon() });
  expect(await guestSession(OWN, null)).toEqual({ token: "t1", device: "d_a.oldtag" });
});

test("after forgetting, nothing of the guest is left here", async () => {
  const { guestSession, forgetGuest } = await page(OWN);
  answers(begun("t1", SECRET), begun("t2", "d_b.0.1.tag"));
  await guestSession(OWN, null);
  stored.set("flash-sale:wss://sales.example/ws:nonces", "{}");
  stored.set(`flash-sale:${OWN}:mine`, "[]");
  forgetGuest(OWN);
  expect(stored.size).toBe(0);
  expect((await guestSession(OWN, null)).token).toBe("t2");
});

test("without storage the session lives as long as the page", async () => {
  const { guestSession } = await page(OWN);
  const fail = () => {
    throw new DOMException("forbidden");
  };
  vi.stubGlobal("localStorage", { getItem: fail, setItem: fail, removeItem: fail });
  answers(begun("t1", SECRET));
  await guestSession(OWN, null);
  expect((await guestSession(OWN, null)).token).toBe("t1");
});
