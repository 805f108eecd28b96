import { describe, expect, test } from "vitest";
import { about, clock, plural, spoken, when } from "../src/text/duration";
import { currencyExponent } from "../src/text/currencies";
import { texts } from "../src/text/language";
import { laterOn, momentHere, momentOf, timeOf } from "../src/text/times";
import { decimal, discount, formatMoney, parseMoney } from "../src/text/money";

describe("money", () => {
  test.each([
    [9_900, "EUR", 2, "€99.00"],
    [5, "EUR", 2, "€0.05"],
    [0, "USD", 2, "$0.00"],
    [1_500, "JPY", 0, "¥1,500"],
    [1_234_567, "KWD", 3, "KWD 1,234.567"],
    [100_000_000_000_005, "EUR", 2, "€1,000,000,000,000.05"],
    [250, "XYZW", 2, "2.50 XYZW"],
  ])("%i minor units of %s read as %s", (minor, currency, exponent, text) => {
    expect(formatMoney(minor, currency, exponent).replace(/\u00a0/g, " ")).toBe(text);
  });

  test("a decimal keeps every digit", () => {
    expect([decimal(1_050, 2), decimal(7, 3), decimal(-5, 2), decimal(12, 0)]).toEqual(["10.50", "0.007", "-0.05", "12"]);
  });

  test.each([
    ["99", 2, 9_900],
    ["99.5", 2, 9_950],
    ["99,50", 2, 9_950],
    [" 0.05 ", 2, 5],
    ["1500", 0, 1_500],
    ["1.234", 3, 1_234],
    ["19.99", 2, 1_999],
  ])("%s with exponent %i is %i", (text, exponent, minor) => {
    expect(parseMoney(text, exponent)).toBe(minor);
  });

  test.each([["", 2], ["-1", 2], ["1.234", 2], ["1.5", 0], ["1e3", 2], ["1.", 2], ["ten", 2], ["1 000", 2], ["9".repeat(13), 2]])(
    "%s with exponent %i is no amount",
    (text, exponent) => {
      expect(parseMoney(text, exponent)).toBeNull();
    },
  );

  test("a currency knows its exponent, and an unknown one has two digits", () => {
    expect(["EUR", "JPY", "KWD", "nonsense"].map(currencyExponent)).toEqual([2, 0, 3, 2]);
  });

  test("a discount is said only where there is one", () => {
    expect([discount(24_900, 9_900), discount(100, 100), discount(0, 0), discount(50, 60)]).toEqual([60, null, null, null]);
  });

  test("a discount is never said to be none, nor everything where something is left to pay", () => {
    expect([discount(1_000, 999), discount(100_000, 400), discount(500, 0), discount(10_000, 9_900)]).toEqual([null, 99, 100, 1]);
  });
});

describe("durations", () => {
  test.each([
    [0, "0:00"],
    [-5_000, "0:00"],
    [1, "0:01"],
    [299_001, "5:00"],
    [300_000, "5:00"],
    [3_599_000, "59:59"],
    [3_600_000, "1:00:00"],
    [86_399_999, "1 d 00:00:00"],
    [90_061_000, "1 d 01:01:01"],
  ])("%i ms show as %s", (ms, text) => {
    expect(clock(ms)).toBe(text);
  });

  test("are spoken in two units", () => {
    expect([spoken(299_000), spoken(60_000), spoken(0), spoken(90_061_000)]).toEqual([
      "4 minutes 59 seconds",
      "1 minute",
      "0 seconds",
      "1 day 1 hour",
    ]);
  });

  test("an estimate never pretends to be exact", () => {
    expect([about(5_000), about(61_000), about(7_200_000), about(1e9)]).toEqual([
      "under a minute",
      "about 1 minute",
      "about 2 hours",
      "many hours",
    ]);
  });

  test("one is one", () => {
    expect([plural(1, "unit"), plural(0, "unit"), plural(1_200, "unit")]).toEqual(["1 unit", "0 units", "1,200 units"]);
    expect([texts().people(1), texts().people(2)]).toEqual(["1 person", "2 people"]);
  });

  test("a moment is told with its day, and in whose time", () => {
    process.env.TZ = "Europe/Berlin";
    const now = Date.parse("2026-12-02T10:00:00Z");
    const room = Date.parse("2026-12-03T05:38:00Z");
    const starts = Date.parse("2026-12-03T05:53:00Z");
    expect(momentHere(room, now)).toBe("06:38 tomorrow (your time, CET)");
    expect(momentHere(room, now - 86_400_000)).toBe("06:38 on Thu 3 Dec (your time, CET)");
    expect([momentOf(room, now), momentOf(room, room), momentOf(room, now - 86_400_000)]).toEqual(["06:38 tomorrow", "06:38 today", "06:38 on Thu 3 Dec"]);
    expect([laterOn(starts, room, now), laterOn(starts + 86_400_000, room, now)]).toEqual(["06:53", "06:53 on Fri 4 Dec"]);
    expect(timeOf(starts + 10_000)).toBe("06:53:10");
    process.env.TZ = "UTC";
  });

  test("days near us have names", () => {
    const now = new Date(2026, 10, 24, 9, 0).getTime();
    const at = (day: number, hour: number) => when(new Date(2026, 10, day, hour, 30).getTime(), now);
    expect(when(new Date(2028, 1, 1, 9, 30).getTime(), now)).toBe("Tue 1 Feb 2028, 09:30");
    expect([at(24, 14), at(25, 9), at(28, 9)]).toEqual(["Today 14:30", "Tomorrow 09:30", "Sat 28 Nov, 09:30"]);
  });

  test("days are those of the zone that is asked for", () => {
    const late = Date.parse("2026-11-24T23:30:00Z");
    expect([when(late, late, "UTC"), when(late, late - 3_600_000, "Europe/Berlin")]).toEqual(["Today 23:30", "Tomorrow 00:30"]);
  });
});
