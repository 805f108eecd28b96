/** The form for a new sale, without the form: what was typed becomes a request, or one clear error per field. */

import { currencyExponent } from "../text/currencies";
import { parseMoney } from "../text/money";
import { parseWhole } from "../text/whole";
import { zonedText, zonedTimes } from "../text/zone";
import { fieldError } from "./server-error";

export const FIELDS = [
  "merchant",
  "product_name",
  "description",
  "currency",
  "original_price",
  "sale_price",
  "total_stock",
  "start_time",
  "end_time",
  "room_minutes",
  "per_shopper_limit",
  "per_device_limit",
  "hold_seconds",
  "claim_seconds",
  "payment_seconds",
  "lanes",
  "inflow",
  "allocation",
  "opening",
  "draw_weight",
  "extend_once",
  "terms_url",
  "terms_version",
] as const;

export type Field = (typeof FIELDS)[number];
export type Values = Record<Field, string>;
export type Errors = Partial<Record<Field, string>>;

export interface SaleRequest {
  /** Without it, the operator's own shop. */
  merchant?: string;
  product_name: string;
  description: string;
  currency: string;
  original_price: number;
  sale_price: number;
  total_stock: number;
  start_time: string;
  end_time: string;
  room_opens_at?: string;
  per_shopper_limit: number;
  per_device_limit?: number;
  hold_ms: number;
  claim_ms: number;
  payment_ms: number;
  lanes: number;
  inflow: number;
  allocation: "queue" | "draw";
  opening: "fifo" | "shuffle";
  draw_weight: "equal" | "waiting_time";
  extend_once: boolean;
  terms_url?: string;
  terms_version?: string;
}

const MINUTE_MS = 60_000;
const MAX_STOCK = 100_000_000;

/** A sale that opens its room at once, starts in two minutes and runs for an hour, by the clocks of this zone. */
export function defaults(now: number, zone: string): Values {
  return {
    merchant: "",
    product_name: "",
    description: "",
    currency: "EUR",
    original_price: "",
    sale_price: "",
    total_stock: "100",
    start_time: zonedText(now + 2 * MINUTE_MS, zone),
    end_time: zonedText(now + 62 * MINUTE_MS, zone),
    room_minutes: "15",
    per_shopper_limit: "1",
    per_device_limit: "",
    hold_seconds: "300",
    claim_seconds: "120",
    payment_seconds: "300",
    lanes: "1",
    inflow: "1000",
    allocation: "queue",
    opening: "fifo",
    draw_weight: "equal",
    extend_once: "yes",
    terms_url: "",
    terms_version: "",
  };
}

/** `zone`: the one in which the times were typed. */
export function check(values: Values, now: number, zone: string): { request: SaleRequest } | { errors: Errors } {
  const errors: Errors = {};
  const exponent = currencyExponent(values.currency);
  const fail = <T>(field: Field, error: string, instead: T): T => {
    errors[field] = error;
    return instead;
  };
  const whole = (field: Field, least: number, most: number): number => {
    const value = parseWhole(values[field], 12) ?? NaN;
    if (value >= least && value <= most) return value;
    return fail(field, `A whole number from ${least} to ${most.toLocaleString("en")}.`, least);
  };
  const seconds = (field: Field): number => {
    const value = Number(values[field].trim().replace(",", "."));
    if (values[field].trim() !== "" && value >= 0.2 && value <= 86_400) return Math.round(value * 1_000);
    return fail(field, "From 0.2 seconds to a day.", 200);
  };
  const money = (field: Field): number => {
    const digits = exponent === 0 ? "no digits" : `at most ${exponent} digits`;
    return parseMoney(values[field], exponent) ?? fail(field, `An amount with ${digits} after the point.`, 0);
  };
  const time = (field: Field): number => {
    const moments = zonedTimes(values[field], zone);
    if (!moments) return fail(field, "A date and a time.", 0);
    return moments[0] ?? fail(field, `The clocks go forward over this time in ${zone}: it does not exist.`, 0);
  };

  const product_name = values.product_name.trim() || fail("product_name", "What is for sale?", "");
  if (!/^[A-Z]{3}$/.test(values.currency)) fail("currency", "Three letters, such as EUR.", null);
  const original_price = money("original_price");
  const sale_price = money("sale_price");
  if (!errors.original_price && !errors.sale_price && sale_price > original_price) {
    errors.sale_price = "Not above the original price.";
  }
  const start = time("start_time");
  const end = time("end_time");
  if (!errors.start_time && !errors.end_time) {
    if (end <= start) errors.end_time = "After the start.";
    else if (end <= now) errors.end_time = "In the future.";
  }
  const room_minutes = whole("room_minutes", 0, 10_080);

  const request: SaleRequest = {
    product_name,
    description: values.description.trim(),
    currency: values.currency,
    original_price,
    sale_price,
    total_stock: whole("total_stock", 1, MAX_STOCK),
    start_time: new Date(start).toISOString(),
    end_time: new Date(end).toISOString(),
    room_opens_at: new Date(start - room_minutes * MINUTE_MS).toISOString(),
    per_shopper_limit: whole("per_shopper_limit", 1, 100),
    hold_ms: seconds("hold_seconds"),
    claim_ms: seconds("claim_seconds"),
    payment_ms: seconds("payment_seconds"),
    lanes: whole("lanes", 1, 64),
    inflow: whole("inflow", 1, 100_000),
    allocation: values.allocation === "draw" ? "draw" : "queue",
    opening: values.opening === "shuffle" ? "shuffle" : "fifo",
    draw_weight: values.draw_weight === "waiting_time" ? "waiting_time" : "equal",
    extend_once: values.extend_once !== "no",
  };
  const [terms_url, terms_version] = [values.terms_url.trim(), values.terms_version.trim()];
  if (terms_url !== "" || terms_version !== "") {
    if (!/^https:\/\/./.test(terms_url)) errors.terms_url = "An address that begins with https://.";
    if (terms_version === "") errors.terms_version = "Which version is it? A date will do.";
    Object.assign(request, { terms_url, terms_version });
  }
  if (values.merchant) request.merchant = values.merchant;
  if (values.per_device_limit.trim() !== "") request.per_device_limit = whole("per_device_limit", 1, 100);
  return Object.keys(errors).length > 0 ? { errors } : { request };
}

/** What the server calls otherwise. */
const SERVER_NAMES: Readonly<Record<string, Field>> = {
  room_opens_at: "room_minutes",
  hold_ms: "hold_seconds",
  claim_ms: "claim_seconds",
  payment_ms: "payment_seconds",
};

/** The field that a server's refusal is about, and its text; null where it names none. */
export function serverError(detail: string): { field: Field; text: string } | null {
  return fieldError(detail, FIELDS, SERVER_NAMES);
}
