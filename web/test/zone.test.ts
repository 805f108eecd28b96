import { readFileSync } from "node:fs";
import { resolve } from "node:path";
import { describe, expect, test } from "vitest";
import { CURRENCIES, currencyExponent } from "../src/text/currencies";
import { knownZones, offsetName, usableZone, zonedText, zonedTimes } from "../src/text/zone";

const times = (text: string, zone: string) => zonedTimes(text, zone)?.map((at) => new Date(at).toISOString());

describe("a time in a zone", () => {
  test.each([
    ["2026-12-01T10:00", "Europe/Berlin", "2026-12-01T09:00:00.000Z"],
    ["2026-07-01T10:00:30", "Europe/Berlin", "2026-07-01T08:00:30.000Z"],
    ["2026-12-01T10:00", "America/New_York", "2026-12-01T15:00:00.000Z"],
    ["2026-12-01T10:00", "Asia/Kathmandu", "2026-12-01T04:15:00.000Z"],
    ["2026-12-01T00:00", "Pacific/Kiritimati", "2026-11-30T10:00:00.000Z"],
    ["2026-12-01T23:59", "Pacific/Pago_Pago", "2026-12-02T10:59:00.000Z"],
  ])("%s in %s is %s", (text, zone, at) => {
    expect(times(text, zone)).toEqual([at]);
    expect(zonedText(Date.parse(at), zone).startsWith(text)).toBe(true);
  });

  test("does not exist when the clocks go forward, up to the second", () => {
    expect(times("2027-03-28T01:59:59", "Europe/Berlin")).toEqual(["2027-03-28T00:59:59.000Z"]);
    expect(times("2027-03-28T02:00:00", "Europe/Berlin")).toEqual([]);
    expect(times("2027-03-28T02:59:59", "Europe/Berlin")).toEqual([]);
    expect(times("2027-03-28T03:00:00", "Europe/Berlin")).toEqual(["2027-03-28T01:00:00.000Z"]);
    // A whole day, which Samoa has never had.
    expect(times("2011-12-30T12:00", "Pacific/Apia")).toEqual([]);
  });

  test("comes twice when they go back, the earlier one first", () => {
    expect(times("2026-11-01T01:30", "America/New_York")).toEqual(["2026-11-01T05:30:00.000Z", "2026-11-01T06:30:00.000Z"]);
  });

  test("is none where the text is none", () => {
    expect(["", "tomorrow", "2026-13-01T10:00", "2026-02-10"].map((text) => zonedTimes(text, "UTC"))).toEqual([null, null, null, null]);
  });

  test("is named with its offset", () => {
    const winter = Date.parse("2026-12-01T00:00:00Z");
    expect(["UTC", "Europe/Berlin", "America/St_Johns"].map((zone) => offsetName(winter, zone))).toEqual(["UTC", "UTC+1", "UTC−3:30"]);
  });

  test("a zone that this browser does not know becomes UTC", () => {
    expect(["Europe/Berlin", "Mars/Olympus", ""].map(usableZone)).toEqual(["Europe/Berlin", "UTC", "UTC"]);
    expect(knownZones()).toContain("Europe/Berlin");
  });
});

test("the currencies are those that the server takes, with the digits that it counts", () => {
  const source = readFileSync(resolve(import.meta.dirname, "../../engine/src/sale.rs"), "utf8");
  const body = source.slice(source.indexOf("pub fn currency_exponent"));
  const digits = { NONE: 0, TWO: 2, THREE: 3, FOUR: 4 };
  const theirs = Object.entries(digits).flatMap(([name, count]) => {
    const list = new RegExp(`const ${name}: &\\[&str\\] = &\\[([^\\]]*)\\]`).exec(body)?.[1] ?? "";
    return [...list.matchAll(/"([A-Z]{3})"/g)].map((match) => [match[1] ?? "", count] as const);
  });
  expect(theirs.length).toBeGreaterThan(150);
  expect(CURRENCIES.map((code) => [code, currencyExponent(code)])).toEqual(theirs.sort(([a], [b]) => (a < b ? -1 : 1)));
});
