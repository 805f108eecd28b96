/** Operators' commands as they leave the page. */

import { afterEach, expect, test, vi } from "vitest";
import { newer } from "../src/admin/inflow-form";
import { Problem, admin } from "../src/client/rest";

interface Sent {
  url: string;
  headers: Record<string, string>;
}

/** Answers requests with these, one after the other; null: the server cannot be reached. */
function answers(...all: (Response | null)[]): Sent[] {
  const sent: Sent[] = [];
  vi.stubGlobal("fetch", (url: string, init: RequestInit) => {
    sent.push({ url, headers: init.headers as Record<string, string> });
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
  await admin.act("t", "S", "pause");
  await admin.act("t", "S", "pause");
  const keys = sent.map(({ headers }) => headers["Idempotency-Key"]);
  expect(keys).toHaveLength(4);
  expect(new Set(keys.slice(0, 3)).size).toBe(1);
  expect(keys[3]).not.toBe(keys[0]);
  expect(keys[0]).toMatch(/^[!-~]{1,255}$/);
});

test("a refusal is not repeated, and three tries without an answer are enough", async () => {
  const refused = answers(Response.json({ code: "sale_wrong_state", detail: "The sale is ended." }, { status: 409 }));
  await expect(admin.act("t", "S", "pause")).rejects.toBeInstanceOf(Problem);
  expect(refused).toHaveLength(1);
  const unanswered = answers();
  await expect(admin.act("t", "S", "pause")).rejects.toMatchObject({ code: "offline" });
  expect(unanswered).toHaveLength(3);
});

test("an inflow is set under the version that was shown", async () => {
  const sent = answers(Response.json({ version: 8 }));
  await admin.setInflow("t", "S", 5, 7);
  expect(sent[0]?.headers["If-Match"]).toBe('"7"');
});

test("whoever was slower reads the newer number", () => {
  expect(newer(1200)).toContain("1,200");
});
