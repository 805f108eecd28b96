/**
 * Sentences that were seen to be false, each driven from the states that made it so. A page may say less than it knows, never what is
 * not so.
 */

import { beforeAll, describe, expect, test } from "vitest";
import type { Shown } from "../src/client/by-rest";
import type { Draw, Moves, View } from "../src/client/view";
import { clock } from "../src/text/duration";
import { badgeOf, offlineWords, total, wordsFor } from "../src/text/journey";
import { lineWords, tapeWords } from "../src/text/line";
import { noteWords } from "../src/text/notes";
import { restWords } from "../src/text/rest";
import { alertWords, tabTitle } from "../src/text/tab";
import { timeOf } from "../src/text/times";
import { BARE, clocked, INFO, LINE, MINUTE, NOW, ORDER, SALE, STOCK } from "./views";

beforeAll(() => {
  process.env.TZ = "UTC";
});

const all = (view: View, offline?: boolean) => {
  const { title, text } = wordsFor(view, offline);
  return `${title}. ${text}`;
};

describe("the line", () => {
  const moves = (of: Partial<Moves>): Moves => ({ called: 0, watched_ms: MINUTE, per_second: 0, last_ms: null, ...of });
  const low = (of: Partial<Moves>) => lineWords({ ...SALE, journey: "waiting", stock: { ...STOCK, free: 0 }, line: { ...LINE, reason: "stock_low", moves: moves(of) } });

  test("that falls in bursts is not said to stand, though no unit is available and nobody can say how long it takes", () => {
    const said = low({ called: 53, watched_ms: 5_400, per_second: 8.2, last_ms: 300 });
    expect(said).toBe("About 8 turns a second, in bursts.");
    expect(low({ called: 12, per_second: 0.4, last_ms: 4_000 })).toBe("12 turns in the last minute. The line goes on when a unit comes back.");
  });

  test("stands only when nobody was called for some time, and says since when; one thought once", () => {
    const said = low({ called: 3, last_ms: 41_000 });
    expect(said).toBe("Nobody was called for 41 seconds. The line goes on when a unit comes back.");
    expect(low({})).toBe("Nobody is called at the moment. The line goes on when a unit comes back.");
    expect(said.match(/unit/g)).toHaveLength(1);
  });

  test("is read out by what was seen of it", () => {
    expect(tapeWords({ ...LINE, position: 37, moves: moves({ called: 12 }) })).toBe("Place 37. 12 called in the last minute.");
    expect(tapeWords({ ...LINE, position: 37, moves: moves({ called: 2, watched_ms: 4_000 }) })).toBe("Place 37. 2 called in the last 4 seconds.");
    expect(tapeWords({ ...LINE, position: 37 })).toBe("Place 37.");
  });

  const next = (in_carts: number, free: number, chance: "slim" | "good" = "slim") =>
    all({ ...SALE, journey: "waiting", stock: { ...STOCK, free, in_carts }, line: { ...LINE, position: 1, in_carts, chance } });

  test("says to whoever is next what it hangs on, instead of a chance that flickers", () => {
    expect(next(1, 0)).toContain("You are next. One unit is in somebody’s cart; if it comes back, you are called first.");
    expect(next(3, 0)).toContain("3 units are in other people’s carts; if one comes back, you are called first.");
    expect(next(1, 0)).not.toContain("probably not");
    expect(next(0, 0)).toContain("No unit is left that could come back.");
    expect(next(1, 2, "good"), "a unit is there").not.toContain("cart");
  });

  test("offers a newcomer no next place where thousands wait", () => {
    const crowded = { ...SALE, outlook: "may_come_back" as const, stock: { ...STOCK, supply: 60, free: 0, in_carts: 60, sold: 0, waiting: 2_820, newcomers_chance: "slim" as const } };
    expect(all(crowded)).toBe("All units are reserved. 2,820 people are in line for what comes back. If you join now, you will probably not get one.");
    expect(all({ ...crowded, stock: { ...crowded.stock, waiting: 0, newcomers_chance: "good" } })).toContain("join to be called first");
  });
});

describe("a checkout without a connection", () => {
  const base: View = { ...SALE, journey: "checking_out", hold: clocked(12_000), under_way: ["checkout"], connection: { state: "waiting" } };
  const until = timeOf(NOW + 12_000);

  test("is not said to be written down while nothing was sent, and the deadline is told", () => {
    const said = all({ ...base, unsent: ["checkout"] });
    expect(said).toBe(`Not sent yet. There is no connection. Your cart is held until ${until}; the order goes out when the connection is back.`);
  });

  test("is said to be too late when the cart has ended meanwhile", () => {
    const said = all({ ...base, unsent: ["checkout"], hold: clocked(0) });
    expect(said).toContain("Not sent in time");
    expect(said).not.toMatch(/safe|is held/);
  });

  test("that may have arrived is neither promised nor denied", () => {
    const said = all(base);
    expect(said).toContain("Sent, but not answered");
    expect(said).toContain("you see whether your order was placed");
  });

  test("is under way when it was sent and the connection stands; safe only when the server has begun it", () => {
    expect(all({ ...base, connection: { state: "online" } })).toBe("Checking out. Your order is being placed.");
    expect(all({ ...base, under_way: [], connection: { state: "online" } })).toContain("Your cart cannot run out meanwhile.");
  });
});

describe("the draw", () => {
  const draw: Draw = { stage: "open", commitment: "a", awaits: null, entered: 1, count: null, root: null, units: null, winners: null, reason: null };
  const entered: View = { ...SALE, journey: "entered", info: { ...INFO, allocation: "draw", ends_at: Date.parse("2026-12-03T18:00:00Z") }, stock: { ...STOCK, supply: 2, waiting: 6 }, draw };

  test("tells when to be here and for how long a unit is kept; nobody is told that they need not stay", () => {
    const said = all(entered);
    expect(said).toBe("You are in the draw. You are one of 6 people for 2 units. Be here at 18:00 today: if you are drawn, you have 2 minutes to take it.");
    for (const stage of ["open", "closed"] as const) expect(all({ ...entered, draw: { ...draw, stage } })).not.toContain("need not stay");
    expect(all({ ...entered, draw: { ...draw, stage: "closed" } })).toContain("Stay here");
  });

  test("does not read as won by an entry among others", () => {
    expect(all(entered)).not.toContain("yours is one of them");
    expect(all({ ...entered, stock: { ...STOCK, supply: 2, waiting: 1 } })).toContain("So far you are the only one for 2 units.");
    expect(all({ ...entered, draw: { ...draw, entered: 2 } })).toContain("You have entered for 2 units.");
  });

  test("is over when it is, for who had not entered", () => {
    const outside: View = { ...entered, journey: "drawing", phase: "drawing" };
    expect(all({ ...outside, draw: { ...draw, stage: "closed" } })).toBe("The draw is being held. The entries have closed. You had not entered.");
    expect(all({ ...outside, draw: { ...draw, stage: "drawn" } })).toBe("The draw was held. You had not entered.");
  });
});

describe("ends", () => {
  const ended = (of: Partial<View>): View => ({ ...SALE, journey: "ended", phase: "ended", ...of });

  test("before the beginning is called off, and nobody is thanked for being there", () => {
    const said = all(ended({ now: INFO.starts_at - 1_000 }));
    expect(said).toBe("Called off. The sale was called off before it began.");
  });

  test("before its time was ended by the shop; after it nothing is said of that", () => {
    expect(all(ended({ stock: { ...STOCK, sold: 5 } }))).toBe("The sale is over. The shop ended it early. 5 of 10 units found a buyer.");
    expect(all(ended({ now: INFO.ends_at + 1, stock: { ...STOCK, sold: 0 } }))).toBe("The sale is over. None of 10 units was sold.");
  });

  test("a sold-out sale is not live on its badge", () => {
    expect(badgeOf({ ...SALE, journey: "sold_out", outlook: "sold_out" })?.label).toBe("Sold out");
    expect(badgeOf({ ...SALE, journey: "confirmed", outlook: "sold_out" })?.label).toBe("Sold out");
    expect(badgeOf(SALE)?.label).toBe("Live");
  });

  test.each([
    ["live", 0, "is for sale again"],
    ["live", 3, "goes to the next in line"],
    ["drawing", 3, "goes on by the draw"],
    ["ended", 0, "went back to the shop"],
  ] as const)("what somebody lost while the sale is %s and %i wait %s", (phase, waiting, fate) => {
    const around = { phase, stock: { ...STOCK, waiting } };
    for (const kind of ["turn_lapsed", "hold_expired", "hold_released"] as const) {
      const said = noteWords({ kind, reason: null, at: 0 }, around)?.text ?? "";
      expect(said).toContain(fate);
      if (waiting === 0) expect(said).not.toContain("next in line");
    }
  });
});

describe("money", () => {
  test("a payment past its deadline is not said to need nothing, nor to have cost nothing", () => {
    const paying = (left: number): View => ({ ...SALE, journey: "paying", order: { ...ORDER, paying: true, left_ms: left, until: NOW + left } });
    expect(all(paying(30_000))).toContain(`Your bank has until ${timeOf(NOW + 30_000)} to answer.`);
    expect(all(paying(0))).toBe("Your bank did not answer in time. If money still arrives, you get the unit or your money back.");
    const cancelled = noteWords({ kind: "order_cancelled", reason: "unpaid", at: 0 })?.text ?? "";
    expect(cancelled).not.toContain("Nothing was charged");
    expect(cancelled).toContain("If money still arrives for it, you get the unit or your money back.");
  });

  test("a cart tells what three cost", () => {
    expect(total(SALE, 3)).toBe("3 × €99.00 = €297.00");
    expect(total(SALE, 1)).toBe("€99.00");
  });

  test("units are available, not free", () => {
    expect(all(SALE)).toBe("The sale is on. 2 units available.");
    for (const outlook of ["free", "may_come_back"] as const) expect(all({ ...SALE, outlook })).not.toMatch(/\bfree\b/i);
  });
});

describe("without a connection", () => {
  const offline = (of: Partial<View>): View => ({ ...SALE, connection: { state: "waiting" }, ...of });

  test("what runs on is told with its end, and a place is not promised for ever", () => {
    expect(offlineWords(offline({ journey: "admitted", turn: clocked(60_000) }))).toBe(`No connection. Your turn ends at ${timeOf(NOW + 60_000)} all the same.`);
    expect(offlineWords(offline({ journey: "holding", hold: clocked(60_000) }))).toContain(`held until ${timeOf(NOW + 60_000)}`);
    expect(offlineWords(offline({ journey: "waiting", line: LINE }))).toBe("No connection. Your place is kept for a while.");
    expect(offlineWords(offline({}))).toBe("No connection. What you see is what we heard last.");
  });

  test("what was pressed is said to wait", () => {
    expect(offlineWords(offline({ under_way: ["join"], unsent: ["join"] }))).toContain("What you pressed is sent when it is back.");
  });

  test("a place is an old one, and the line's pace is not told", () => {
    const said = all(offline({ journey: "waiting", line: { ...LINE, soonest_ms: 1_000, latest_ms: 2_000 } }));
    expect(said).toContain("when we last heard");
    expect(said).not.toContain("Your turn in");
  });

  test("a page that never heard anything does not load for ever", () => {
    expect(all({ ...BARE, journey: "loading", connection: { state: "waiting" } })).toContain("The shop cannot be reached");
    expect(all({ ...BARE, journey: "loading" })).toContain("Loading");
  });
});

describe("by REST", () => {
  const asked = (of: Partial<Shown>): Shown => ({ ...SALE, by_rest: true, ...of });

  test("nothing is said of the shopper's own things, because nothing is known of them", () => {
    for (const phase of ["scheduled", "waiting", "live", "paused", "drawing", "ended", "cancelled"] as const) {
      expect(JSON.stringify(restWords(asked({ phase })))).not.toMatch(/\byou\b|sold out/i);
    }
  });

  test("none available is not sold out", () => {
    expect(restWords(asked({ stock: { ...STOCK, free: 0, waiting: 12 } })).text).toBe("None is available at the moment. 12 people in line.");
  });
});

describe("the tab and the strip on other pages", () => {
  test("the moment comes first", () => {
    expect(tabTitle({ ...SALE, journey: "admitted", turn: clocked(118_000) })).toBe("● 1:58 Your turn · Aurora Runner");
    expect(tabTitle({ ...SALE, journey: "waiting", line: { ...LINE, position: 37 } })).toBe("Place 37 · Aurora Runner");
    expect(tabTitle({ ...SALE, journey: "holding", hold: clocked(61_000) })).toBe("1:01 In your cart · Aurora Runner");
  });

  test("a turn is told until it is over", () => {
    const at = (left: number) => alertWords({ ...SALE, journey: "admitted", turn: clocked(left) });
    expect(at(102_000)).toEqual({ text: "Your turn: Aurora Runner", left: clock(102_000) });
    expect(at(0)).toBeNull();
    expect(alertWords({ ...SALE, journey: "waiting", line: LINE })).toBeNull();
  });
});
