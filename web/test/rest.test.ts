/** Operators' commands as they leave the page. */

import { afterEach, expect, test, vi } from "vitest";
import { newer } from "../src/admin/inflow-form";
import { operators, ticket } from "../src/client/operators";
import { Problem, admin, getSales } from "../src/client/rest";
import { shops } from "../src/client/shops";

interface Sent {
  url: string;
  method: string | undefined;
  body: unknown;
  headers: Record<string, string>;
}

/** Answers requests with these, one after the other; null: the server cannot be reached. */
function answers(...all: (Response | null)[]): Sent[] {
  const sent: Sent[] = [];
  vi.stubGlobal("fetch", (url: string, init: RequestInit) => {
    const body: unknown = typeof init.body === "string" ? JSON.parse(init.body) : undefined;
    sent.push({ url, method: init.method, body, headers: init.headers as Record<string, string> });
    const answer = all[sent.length - 1] ?? null;
    return answer ? Promise.resolve(answer) : Promise.reject(new TypeError("no network"));
  });
  vi.stubGlobal("setTimeout", (then: () => void) => queueMicrotask(then));
  return sent;
}

afterEach(() => vi.unstubAllGlobals());

const busy = () => Response.json({ code: "unavailable", detail: "Later." }, { status: 503 });

test("a command that got no answer is repeated under its key, and each click has a key of its own", async () => {
  const sent = answers(null, busy(), Response.json({ version: 4 }), Response.json({ version: 5 }));
  await admin.act("S", "pause");
  await admin.act("S", "pause");
  const keys = sent.map(({ headers }) => headers["Idempotency-Key"]);
  expect(keys).toHaveLength(4);
  expect(new Set(keys.slice(0, 3)).size).toBe(1);
  expect(keys[3]).not.toBe(keys[0]);
  expect(keys[0]).toMatch(/^[!-~]{1,255}$/);
});

test("a refusal is not repeated, and three tries without an answer are enough", async () => {
  const refused = answers(Response.json({ code: "sale_wrong_state", detail: "The sale is ended." }, { status: 409 }));
  await expect(admin.act("S", "pause")).rejects.toBeInstanceOf(Problem);
  expect(refused).toHaveLength(1);
  const unanswered = answers();
  await expect(admin.act("S", "pause")).rejects.toMatchObject({ code: "offline" });
  expect(unanswered).toHaveLength(3);
});

test("an inflow is set under the version that was shown", async () => {
  const sent = answers(Response.json({ version: 8 }));
  await admin.setInflow("S", 5, null, 7);
  expect(sent[0]?.headers["If-Match"]).toBe('"7"');
});

test("a shop is changed under the version that was shown, and a key that got no answer is added once", async () => {
  const sent = answers(Response.json({ version: 3 }), null, Response.json({ key_id: "k" }), new Response(null, { status: 204 }));
  await shops.change("lamps", { name: "Lumen" }, 2);
  await shops.addKey("lamps", { issuer: "i", audience: "a", subject_claim: "sub" });
  await shops.forgetPerson("lamps", { subject: "auth0|jane & co" });
  expect(sent[0]).toMatchObject({ method: "PATCH", body: { name: "Lumen" }, headers: { "If-Match": '"2"' } });
  expect(sent[1]?.headers["Idempotency-Key"]).toBe(sent[2]?.headers["Idempotency-Key"]);
  expect(sent[3]).toMatchObject({ method: "DELETE", url: "/admin/merchants/lamps/person?subject=auth0%7Cjane+%26+co" });
});

test("the first page of all sales is asked for as everybody asks for it", async () => {
  const sent = answers(Response.json({ sales: [], next: null }), Response.json({ sales: [], next: null }));
  await getSales("", { merchant: undefined, after: null });
  await getSales("", { merchant: "lamps", after: "1_2_3_A" });
  expect(sent.map(({ url }) => url)).toEqual(["/flash-sales", "/flash-sales?merchant=lamps&after=1_2_3_A"]);
});

test("whoever was slower reads the newer number", () => {
  expect(newer(1200)).toContain("1,200");
});

test("an operator's request says that no other site makes it, and has no token that a script could read", async () => {
  const sent = answers(Response.json({ sales: [] }), Response.json({ operator: "op_1" }));
  await admin.sales();
  await operators.signIn("ann@shop.example", "correct horse battery");
  for (const { headers } of sent) {
    expect(headers["Flash-Sale-Operator"]).toBe("1");
    expect(headers.Authorization).toBeUndefined();
  }
  expect(sent[1]).toMatchObject({ url: "/admin/session", method: "POST", body: { email: "ann@shop.example" } });
});

test("a session that has ended has no ticket; a server that is away is another thing", async () => {
  answers(Response.json({ code: "token_invalid" }, { status: 401 }), null);
  expect(await ticket()).toBeNull();
  await expect(ticket()).rejects.toMatchObject({ code: "offline" });
});
