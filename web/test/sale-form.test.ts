import { describe, expect, test } from "vitest";
import { check, defaults, serverError, type Values } from "../src/admin/sale-form";
import { path } from "../src/admin/chart";
import { zonedText } from "../src/text/zone";

const ZONE = "Europe/Berlin";
const NOW = Date.parse("2026-11-24T08:00:00Z");
const localTime = (at: number) => zonedText(at, ZONE);
const GOOD: Values = { ...defaults(NOW, ZONE), product_name: " Lamp ", original_price: "249", sale_price: "99.50" };

function errors(change: Partial<Values>): Record<string, string> {
  const checked = check({ ...GOOD, ...change }, NOW, ZONE);
  return "errors" in checked ? checked.errors : {};
}

describe("the form for a new sale", () => {
  test("makes the request that the server wants", () => {
    const checked = check(GOOD, NOW, ZONE);
    expect(checked).toEqual({
      request: {
        product_name: "Lamp",
        description: "",
        currency: "EUR",
        original_price: 24_900,
        sale_price: 9_950,
        total_stock: 100,
        start_time: new Date(NOW + 120_000).toISOString(),
        end_time: new Date(NOW + 3_720_000).toISOString(),
        room_opens_at: new Date(NOW - 780_000).toISOString(),
        per_shopper_limit: 1,
        hold_ms: 300_000,
        claim_ms: 120_000,
        payment_ms: 300_000,
        lanes: 1,
        inflow: 1_000,
        allocation: "queue",
        opening: "fifo",
        draw_weight: "equal",
        extend_once: true,
      },
    });
  });

  test("terms are an address with its version, or nothing", () => {
    expect(errors({ terms_url: "shop.example/terms" })).toEqual({ terms_url: "An address that begins with https://.", terms_version: "Which version is it? A date will do." });
    expect(errors({ terms_version: "1" })).toEqual({ terms_url: "An address that begins with https://." });
    const checked = check({ ...GOOD, terms_url: " https://shop.example/terms ", terms_version: " 1 " }, NOW, ZONE);
    expect(checked).toMatchObject({ request: { terms_url: "https://shop.example/terms", terms_version: "1" } });
  });

  test.each<[keyof Values, string]>([
    ["product_name", "  "],
    ["currency", "euro"],
    ["original_price", ""],
    ["original_price", "-1"],
    ["sale_price", "99.999"],
    ["sale_price", "250"],
    ["total_stock", "0"],
    ["total_stock", "1.5"],
    ["total_stock", "2147483648"],
    ["start_time", ""],
    ["end_time", localTime(NOW)],
    ["room_minutes", "-1"],
    ["per_shopper_limit", "0"],
    ["per_shopper_limit", "101"],
    ["per_device_limit", "x"],
    ["hold_seconds", "0.1"],
    ["claim_seconds", ""],
    ["payment_seconds", "86401"],
    ["lanes", "65"],
    ["inflow", "0"],
  ])("refuses %s = %j at that field, and only there", (field, value) => {
    expect(Object.keys(errors({ [field]: value }))).toEqual([field]);
  });

  test("yen have no digits after the point", () => {
    expect(errors({ currency: "JPY", original_price: "24900", sale_price: "9900" })).toEqual({});
    expect(Object.keys(errors({ currency: "JPY", original_price: "24900" }))).toEqual(["sale_price"]);
  });

  test("a sale that would be over already is refused", () => {
    expect(Object.keys(errors({ start_time: localTime(NOW - 7_200_000), end_time: localTime(NOW - 60_000) }))).toEqual(["end_time"]);
  });

  test("a time is meant by the shop's clocks, wherever the form is filled in", () => {
    const times = { start_time: "2027-06-01T10:00", end_time: "2027-06-01T12:00" };
    const start = (zone: string) => {
      const checked = check({ ...GOOD, ...times }, NOW, zone);
      return "request" in checked && checked.request.start_time;
    };
    expect(start("Europe/Berlin")).toBe("2027-06-01T08:00:00.000Z");
    expect(start("America/New_York")).toBe("2027-06-01T14:00:00.000Z");
  });

  test("a time that the clocks skip is refused at its field", () => {
    const found = errors({ start_time: "2027-03-28T02:30", end_time: "2027-03-28T12:00" });
    expect(found).toEqual({ start_time: "The clocks go forward over this time in Europe/Berlin: it does not exist." });
  });

  test("the afghani has two digits, as the server counts them", () => {
    const checked = check({ ...GOOD, currency: "AFN" }, NOW, ZONE);
    expect("request" in checked && checked.request.sale_price).toBe(9_950);
  });

  test("the chosen shop is sent, and none where none was chosen", () => {
    const merchant = (merchant: string) => {
      const checked = check({ ...GOOD, merchant }, NOW, ZONE);
      return "request" in checked && checked.request.merchant;
    };
    expect([merchant("lamps"), merchant("")]).toEqual(["lamps", undefined]);
  });

  test("a tenth of a second is kept", () => {
    const checked = check({ ...GOOD, hold_seconds: "0.2" }, NOW, ZONE);
    expect("request" in checked && checked.request.hold_ms).toBe(200);
  });
});

describe("a server's refusal", () => {
  test("goes to the field that it names", () => {
    expect(serverError("sale_price: must not be above original_price.")).toEqual({
      field: "sale_price",
      text: "Must not be above original_price.",
    });
    expect(serverError("hold_ms: must be 200 or more.")?.field).toBe("hold_seconds");
  });

  test("stays general where it names none of ours", () => {
    expect([serverError("Something failed."), serverError("colour: is wrong"), serverError("")]).toEqual([null, null, null]);
  });
});

test("a chart's line starts at the left, ends at the right and stays in its box", () => {
  expect(path([{ at: 0, value: 0 }, { at: 50, value: 5 }, { at: 100, value: 10 }], 0, 100, 10)).toBe("M0.0 60.0H150.0V30.0H300.0V0.0");
  expect(path([], 0, 100, 0)).toBe("");
});
