/** The form for a shop's settings, without the form: what was typed becomes a change, or one clear error per field. */

import type { ShopChange, ShopSettings } from "../client/shops";
import { CURRENCIES } from "../text/currencies";
import { parseWhole } from "../text/whole";

export const FIELDS = [
  "name",
  "slug",
  "time_zone",
  "currency",
  "widget_origins",
  "null_origin",
  "retention_days",
  "checkout_url",
  "checkout_max_s",
  "active",
  "open_sales",
  "days_ahead",
  "text_chars",
  "exports",
  "picture_mb",
  "role_claim",
] as const;

export type Field = (typeof FIELDS)[number];
export type Values = Record<Field, string>;
export type Errors = Partial<Record<Field, string>>;

const MOST = 1_000_000;
const MOST_ORIGINS = 50;
/** A week, in seconds. */
const MOST_CHECKOUT = 604_800;

/** A shop's settings as texts. Of a new shop, what is left empty gets what the server gives new shops. */
export function valuesOf(shop: ShopSettings | null): Values {
  return {
    name: shop?.name ?? "",
    slug: shop?.slug ?? "",
    time_zone: shop?.time_zone ?? "UTC",
    currency: shop?.currency ?? "EUR",
    widget_origins: shop?.widget_origins.join("\n") ?? "",
    null_origin: shop?.null_origin ? "yes" : "no",
    retention_days: String(shop?.retention_days ?? ""),
    checkout_url: shop?.checkout_url ?? "",
    checkout_max_s: String(shop?.checkout_max_s ?? ""),
    active: shop?.active === false ? "no" : "yes",
    open_sales: String(shop?.open_sales ?? ""),
    days_ahead: String(shop?.days_ahead ?? ""),
    text_chars: String(shop?.text_chars ?? ""),
    exports: String(shop?.exports ?? ""),
    picture_mb: String(shop?.picture_mb ?? ""),
    role_claim: shop?.role_claim ?? "",
  };
}

/** What differs from the shop as it was read: all that is sent, so that an operator sends nothing that is for admins. */
export function check(values: Values, shop: ShopSettings | null): { change: ShopChange } | { errors: Errors } {
  const errors: Errors = {};
  const whole = (field: Field, least: number, most = MOST): number | undefined => {
    const text = values[field].trim();
    if (text === "" && !shop) return undefined;
    const value = parseWhole(text, 9) ?? NaN;
    if (value >= least && value <= most) return value;
    errors[field] = `A whole number from ${least} to ${most.toLocaleString("en")}.`;
    return undefined;
  };
  const name = values.name.trim();
  if (!name) errors.name = "What is the shop called?";
  const slug = values.slug.trim();
  const mayBeMade = slug === "" && !shop;
  if (!mayBeMade && slug !== shop?.slug && !/^[a-z0-9]+(-[a-z0-9]+)*$/.test(slug)) {
    errors.slug = "Small letters and digits, with single hyphens between them.";
  }
  const time_zone = values.time_zone.trim();
  if (!time_zone) errors.time_zone = "For example Europe/Berlin.";
  if (!CURRENCIES.includes(values.currency)) errors.currency = "Three letters, such as EUR.";
  const origins = originsOf(values.widget_origins);
  if (typeof origins === "string") errors.widget_origins = origins;

  const wanted: ShopChange = {
    name,
    ...(mayBeMade ? {} : { slug }),
    time_zone,
    currency: values.currency,
    widget_origins: typeof origins === "string" ? [] : origins,
    null_origin: values.null_origin === "yes",
    ...set("retention_days", whole("retention_days", 1)),
    checkout_url: values.checkout_url.trim(),
    ...set("checkout_max_s", whole("checkout_max_s", 0, MOST_CHECKOUT)),
    active: values.active === "yes",
    ...set("open_sales", whole("open_sales", 0)),
    ...set("days_ahead", whole("days_ahead", 1)),
    ...set("text_chars", whole("text_chars", 1)),
    ...set("exports", whole("exports", 1)),
    ...set("picture_mb", whole("picture_mb", 0)),
    role_claim: values.role_claim.trim(),
  };
  if (Object.keys(errors).length > 0) return { errors };
  const before: ShopChange = shop ? { ...shop, ...texts(shop) } : { active: true, ...texts(null) };
  const isSame = (field: keyof ShopChange) => JSON.stringify(wanted[field]) === JSON.stringify(before[field]);
  const changed = Object.entries(wanted).filter(([field]) => !isSame(field as keyof ShopChange));
  return { change: Object.fromEntries(changed) as ShopChange };
}

/** Texts that may be absent, as they are sent. */
function texts(shop: ShopSettings | null): { role_claim: string; checkout_url: string } {
  return { role_claim: shop?.role_claim ?? "", checkout_url: shop?.checkout_url ?? "" };
}

function set(field: Field, value: number | undefined): ShopChange {
  return value === undefined ? {} : { [field]: value };
}

/** The addresses of pages, one in each line, as origins; or what is wrong with one of them. */
function originsOf(text: string): string[] | string {
  const lines = text.split("\n").map((line) => line.trim());
  const origins: string[] = [];
  for (const line of lines) {
    if (line === "") continue;
    const origin = originOf(line);
    if (origin === null) return `“${line}” is no origin. Write a scheme and a host, such as https://shop.example, and nothing behind them.`;
    if (!origins.includes(origin)) origins.push(origin);
  }
  return origins.length > MOST_ORIGINS ? `At most ${MOST_ORIGINS}.` : origins;
}

function originOf(text: string): string | null {
  try {
    const url = new URL(text);
    const isBare = url.pathname === "/" && !url.search && !url.hash && !url.username && !url.password;
    return ["https:", "http:"].includes(url.protocol) && isBare ? url.origin : null;
  } catch {
    return null;
  }
}
