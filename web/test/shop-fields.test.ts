import { describe, expect, test } from "vitest";
import { checkKey } from "../src/admin/key-form";
import { check, valuesOf, type Values } from "../src/admin/shop-fields";
import { changes, isAdmin, managesAccess, type OperatorRole } from "../src/client/operators";
import type { ShopSettings } from "../src/client/shops";

const SHOP: ShopSettings = {
  merchant_id: "m_1",
  slug: "lamps",
  name: "Lumen & Oak",
  time_zone: "Europe/Berlin",
  currency: "EUR",
  widget_origins: ["https://lamps.example"],
  null_origin: false,
  retention_days: 1_095,
  open_sales: 200,
  days_ahead: 1_100,
  text_chars: 5_000,
  exports: 2,
  picture_mb: 200,
  active: true,
  role_claim: null,
  checkout_url: null,
  checkout_max_s: 3_600,
  created_at: "2026-11-30T00:00:00Z",
};

function change(typed: Partial<Values>, shop: ShopSettings | null = SHOP): object {
  const checked = check({ ...valuesOf(shop), ...typed }, shop);
  return "change" in checked ? checked.change : { errors: Object.keys(checked.errors) };
}

describe("a shop's settings", () => {
  test("only what differs is sent, so that an operator sends nothing that is for admins", () => {
    expect(change({})).toEqual({});
    expect(change({ name: " Lumen ", null_origin: "yes" })).toEqual({ name: "Lumen", null_origin: true });
    expect(change({ name: "x", currency: "CHF", retention_days: "30" })).toEqual({ name: "x", currency: "CHF", retention_days: 30 });
  });

  test("pages are origins, one in each line, each once", () => {
    expect(change({ widget_origins: " https://Lamps.example/ \n\nhttp://127.0.0.1:8081\nhttps://lamps.example:443" })).toEqual({
      widget_origins: ["https://lamps.example", "http://127.0.0.1:8081"],
    });
    expect(change({ widget_origins: "" })).toEqual({ widget_origins: [] });
  });

  test.each<[keyof Values, string]>([
    ["name", "  "],
    ["slug", "Lamps"],
    ["slug", "a--b"],
    ["slug", ""],
    ["time_zone", ""],
    ["currency", "XXX"],
    ["widget_origins", "lamps.example"],
    ["widget_origins", "https://lamps.example/page"],
    ["widget_origins", "null"],
    ["retention_days", "0"],
    ["open_sales", "1.5"],
    ["exports", "1000001"],
    ["checkout_max_s", "604801"],
  ])("refuses %s = %j at that field, and only there", (field, value) => {
    expect(change({ [field]: value })).toEqual({ errors: [field] });
  });

  test("a checkout is set and taken away", () => {
    expect(change({ checkout_url: " https://lamps.example/pay " })).toEqual({ checkout_url: "https://lamps.example/pay" });
    expect(change({ checkout_url: "" }, { ...SHOP, checkout_url: "https://lamps.example/pay" })).toEqual({ checkout_url: "" });
  });

  test("a new shop leaves to the server what is not filled in", () => {
    expect(change({ name: "Lumen" }, null)).toEqual({
      name: "Lumen",
      time_zone: "UTC",
      currency: "EUR",
      widget_origins: [],
      null_origin: false,
    });
  });

  test("a name in addresses from before the rules stays as it is", () => {
    expect(change({ name: "x" }, { ...SHOP, slug: "Dev_Shop" })).toEqual({ name: "x" });
  });
});

describe("a new key", () => {
  const values = { issuer: " https://login.example/ ", audience: "shop", subject_claim: "sub", keys: "PEM", jwks_uri: "https://a/jwks", proof: "" };

  test("sends the keys of its kind and no others", () => {
    const common = { issuer: "https://login.example/", audience: "shop", subject_claim: "sub" };
    expect(checkKey("secret", values)).toEqual({ wish: common });
    expect(checkKey("public_keys", values)).toEqual({ wish: { ...common, keys: "PEM" } });
    expect(checkKey("jwks_uri", values)).toEqual({ wish: { ...common, jwks_uri: "https://a/jwks" } });
    const proven = { ...values, proof: " eyJ " };
    expect(checkKey("jwks_uri", proven)).toEqual({ wish: { ...common, jwks_uri: "https://a/jwks", proof: "eyJ" } });
    expect(checkKey("public_keys", proven), "it is for keys at an address").toEqual({ wish: { ...common, keys: "PEM" } });
  });

  test("says what is missing", () => {
    const checked = checkKey("public_keys", { ...values, issuer: " ", keys: "" });
    expect("errors" in checked && Object.keys(checked.errors)).toEqual(["issuer", "keys"]);
  });
});

test("what is shown follows from the role", () => {
  const who = (role: OperatorRole) => ({ operator: "op_1", email: "a@b", role, merchant: role === "admin" ? null : "m_1", has_codes: false, has_shop_pages: true, expires_at: "" });
  const shown = (["admin", "owner", "staff", "viewer"] as const).map(who).map((one) => [isAdmin(one), managesAccess(one), changes(one)]);
  expect(shown).toEqual([
    [true, true, true],
    [false, true, true],
    [false, false, true],
    [false, false, false],
  ]);
});
