import { readFileSync } from "node:fs";
import { resolve } from "node:path";
import { describe, expect, test } from "vitest";
import type { Checked, Journey, Note, View } from "../src/client/view";
import { checkWords } from "../src/text/draw";
import { wordsFor } from "../src/text/journey";
import { REASONS_EN as REASONS } from "../src/text/languages/en-reasons";
import { noteWords } from "../src/text/notes";
import { words } from "../src/text/refusal";
import { REJECTS as OF_SHOPPERS } from "../src/text/rejects";
import { REJECTS_OF_OPERATORS } from "../src/text/rejects-operators";
import { BARE, LINE, ORDER } from "./views";

const REJECTS = { ...OF_SHOPPERS, ...REJECTS_OF_OPERATORS };
const PROTOCOL = readFileSync(resolve(import.meta.dirname, "../../protocol/src/code.rs"), "utf8");
const VIEW = readFileSync(resolve(import.meta.dirname, "../src/client/view.ts"), "utf8");

/** The words in the table of reasons: `Unpaid = "unpaid", …`. */
function reasons(): string[] {
  const start = PROTOCOL.indexOf("\nreasons! {");
  const body = PROTOCOL.slice(start, PROTOCOL.indexOf("\n}", start + 1));
  return [...body.matchAll(/= "(\w+)",/g)].map((match) => match[1] ?? "");
}

/** The words in one table of the protocol's source: `SoldOut = 304, "sold_out", …`. */
function codes(table: string): string[] {
  const start = PROTOCOL.indexOf(`\n${table}! {`);
  const body = PROTOCOL.slice(start, PROTOCOL.indexOf("\n}", start + 1));
  return [...body.matchAll(/= \d+, "(\w+)"/g)].map((match) => match[1] ?? "");
}

describe("a checked draw", () => {
  const right: Checked = {
    ok: true,
    part: null,
    wrong: null,
    won: false,
    called: false,
    entry: "ab",
    key: "cd",
    count: 50,
    units: 5,
    winners: 5,
    turns: 5,
    over: true,
    knew_commitment: true,
    knew_root: true,
    made_here: true,
  };
  const last = (checked: Partial<Checked>) => checkWords({ ...right, ...checked }).at(-1)?.text;

  test("says how far units have passed on, where they have", () => {
    expect(last({})).toContain("The 5 smallest numbers win");
    expect(last({ turns: 9 })).toContain("went on to the first 9, and your number is behind those");
    expect(last({ turns: 9, called: true })).toContain("your turn came");
    expect(last({ turns: 9, over: false })).toContain("So far, units that others did not take have gone on to the first 9");
    expect(last({ turns: 9, called: true, won: true })).toContain("you were drawn");
  });

  test("says whose random number it was, where that is known", () => {
    const third = (made_here: boolean) => checkWords({ ...right, made_here })[2]?.text;
    expect(third(true)).toContain("a random number of this page");
    expect(third(false)).toBe("Your number was computed again on this device, and it is the one that the shop used.");
  });

  test("names the part that is wrong", () => {
    const said = checkWords({ ...right, ok: false, part: "called", wrong: "why" });
    expect(said).toEqual([{ ok: false, text: expect.stringContaining("whether its turn came") as string }]);
  });
});

describe("refusals", () => {
  test("every code of the protocol has words for a person", () => {
    const all = codes("codes");
    expect(all.length).toBeGreaterThan(40);
    expect(all.filter((code) => !REJECTS[code])).toEqual([]);
  });

  test("every close code that ends a connection for good has words", () => {
    const all = codes("close_codes");
    expect(all).toContain("too_many_sockets");
    const final = ["frame_too_large", "protocol_error", "token_expired", "token_invalid", "too_many_sockets", "abuse"];
    expect(final.every((code) => all.includes(code))).toBe(true);
    expect(final.filter((code) => !REJECTS[code])).toEqual([]);
  });

  test("every reason of the protocol has words, and no words are left for reasons that are gone", () => {
    expect(reasons().length).toBeGreaterThan(3);
    expect(Object.keys(REASONS).sort()).toEqual(reasons().sort());
  });

  test("no words are left for codes that are gone", () => {
    const own = ["no_answer", "not_sent", "too_many_pending", "unsupported", "closed"];
    const known = new Set([...codes("codes"), ...codes("close_codes"), ...own]);
    expect(Object.keys(REJECTS).filter((code) => !known.has(code))).toEqual([]);
  });

  test("an unknown code falls back to the server's text", () => {
    expect(words({ code: "new_one", message: "Something new." })).toBe("Something new.");
  });

  test("words are sentences, and say nothing of the machinery", () => {
    for (const text of Object.values(REJECTS)) {
      expect(text).toMatch(/^[A-Z].*\.$/);
      expect(text).not.toMatch(/Redis|Postgres|socket|JSON|null|undefined/i);
    }
  });
});

describe("the journey", () => {
  const phases = [...(/type Journey =([^;]*);/.exec(VIEW)?.[1] ?? "").matchAll(/"(\w+)"/g)].map((match) => match[1] as Journey);

  test("every phase has a title", () => {
    expect(phases.length).toBe(19);
    for (const journey of phases) expect(wordsFor({ ...BARE, journey }).title).not.toBe("");
  });

  test("a sale that this page may not show is not said to be none", () => {
    const said = (code: string) => wordsFor({ ...BARE, journey: "unknown", trouble: { verb: "state", code, message: "", retry: false } });
    expect(said("sale_unknown").title).toBe("We cannot find this sale");
    expect(said("origin_refused")).toMatchObject({ title: "This sale is not shown here", text: REJECTS.origin_refused });
  });

  test("units in carts are not called sold out", () => {
    const said = wordsFor({ ...BARE, outlook: "may_come_back" });
    expect(said.title).toBe("All units are reserved");
    expect(said.text).toContain("comes back");
  });

  test("a declined payment says why, until another is tried", () => {
    const order = { ...ORDER, declined: "insufficient funds" };
    const said = wordsFor({ ...BARE, journey: "pay", order });
    expect(said.title).toBe("Your payment was declined");
    expect(said.text).toContain("insufficient funds");
    expect(wordsFor({ ...BARE, journey: "pay", order: { ...order, declined: null } }).title).toBe("Pay to finish");
    // Where the shop takes the money itself, it is the shop that says so, and the way leads to its checkout.
    const info = { payments: "merchant" } as View["info"];
    const shop = wordsFor({ ...BARE, info, journey: "pay", order });
    expect(shop.text).toMatch(/^The shop says: insufficient funds\. .*the shop's checkout/);
    expect(wordsFor({ ...BARE, info, journey: "paying", order }).title).toBe("Pay at the shop's checkout");
  });

  const waiting = (line: Partial<typeof LINE>) => wordsFor({ ...BARE, journey: "waiting", line: { ...LINE, ...line } }).text;

  test("a line that stands gets no estimate, and a moving one a range", () => {
    expect(waiting({})).toContain("Nobody is called at the moment");
    expect(waiting({ soonest_ms: 130_000, latest_ms: 290_000 })).toBe("Your turn in 2 to 5 minutes.");
    expect(waiting({ soonest_ms: 10_000, latest_ms: 130_000 })).toBe("Your turn in under 1 to 2 minutes.");
    expect(waiting({ soonest_ms: 5 * 3_600_000, latest_ms: 50 * 3_600_000 })).toContain("or much later");
  });

  test("why it takes longer is said", () => {
    expect(waiting({ reason: "inflow_cut" })).toContain("fewer people in");
    expect(waiting({ reason: "sale_paused" })).toContain("paused");
  });

  test("a slim chance is said, with the number that makes it slim", () => {
    const said = waiting({ chance: "slim", chance_percent: 3, soonest_ms: 1_000, latest_ms: 2_000 });
    expect(said).toContain("You will probably not get one");
    expect(said).toContain("than there are units left (5)");
  });

  test("whose turn would come after the end is told of the draw of what is left, not of a standing line", () => {
    const late = { reason: "ends_first", soonest_ms: null, latest_ms: null } as const;
    expect(waiting(late)).toBe(REASONS["ends_first"]);
    expect(waiting({ ...late, chance: "possible" })).toBe(REASONS["ends_first"]);
    expect(waiting({ ...late, chance: "slim" })).toBe(`${REASONS["ends_first"]} You will probably not get one.`);
  });

  test("before places are drawn the page says how many are here, and when it is", () => {
    const line = { ...LINE, position: 0, waiting: 1_234, drawn_at: 60_000, chance: null, chance_percent: null };
    const said = wordsFor({ ...BARE, journey: "lobby", phase: "waiting", line }).text;
    expect(said).toContain("1,234 people here");
    expect(said).toContain("drawn by lot when the sale starts");
  });

  test("a shopper at the limit is told so", () => {
    expect(wordsFor({ ...BARE, may_take: 0 }).title).toBe("You have reached the limit");
  });

  test("a cancelled order is told that nothing was charged only where that is certain", () => {
    const uncharged = reasons().filter((reason) => noteWords({ kind: "order_cancelled", reason, at: 0 })?.text.includes("Nothing was charged"));
    // Not where it was unpaid or cancelled: a payment may have been under way, whose outcome nobody knew.
    expect(uncharged).toEqual(["payment_failed"]);
  });

  test("every end has words, but leaving by one's own wish needs none", () => {
    const kinds = [...(/kind: ([^;]*);/.exec(VIEW)?.[1] ?? "").matchAll(/"(\w+)"/g)].map((match) => match[1] as Note["kind"]);
    expect(kinds.length).toBeGreaterThan(5);
    for (const kind of kinds) {
      const said = noteWords({ kind, reason: null, at: 0 });
      if (kind === "left") expect(said).toBeNull();
      else expect(said?.title).toBeTruthy();
    }
  });
});
