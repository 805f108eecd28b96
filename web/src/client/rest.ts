/** The platform's REST door, for what pages do without a socket. */

import type { Session } from "./session";
import type { Phase } from "./view";

export interface Sale {
  sale_id: string;
  product_id: string;
  product_name: string;
  description: string;
  currency: string;
  currency_exponent: number;
  original_price: number;
  sale_price: number;
  total_stock: number;
  stock: number;
  status: Phase;
  start_time: string;
  end_time: string;
  remaining_time: number;
}

export interface Metrics {
  sale_id: string;
  status: Phase;
  stock_remaining: number;
  orders_count: number;
  queue_length: number;
  conversion_rate: number;
  supply: number;
  available: number;
  claimed: number;
  held: number;
  ordering: number;
  sold: number;
  orders_pending: number;
  orders_confirmed: number;
  orders_cancelled: number;
  revenue: number;
  currency: string;
  reservations: number;
  expired_reservations: number;
  active_users: number;
  admitted: number;
  pace: number;
  inflow: number;
  fairness: Fairness;
}

/** How fair a sale is. What it has no line, no draw, or not enough numbers for is null. */
export interface Fairness {
  order_inversions: number | null;
  no_show_rate: number | null;
  queue_move_rate: number | null;
  entries_served: number;
  entries_waiting: number;
  wait_seconds_p50: number | null;
  wait_seconds_p90: number | null;
  wait_seconds_p99: number | null;
  top_devices_share: number | null;
  weights: { weight: number; entries: number; winners: number; expected_winners: number }[];
  chi_square: { statistic: number; degrees_of_freedom: number; p: number } | null;
  win_chance_gini: number | null;
}

/** A refusal of the REST door (problem+json), or a connection that is not there. */
export class Problem extends Error {
  constructor(
    readonly code: string,
    readonly detail: string,
    readonly status: number,
  ) {
    super(detail);
  }
}

export async function getSales(api = ""): Promise<Sale[]> {
  return (await call<{ sales: Sale[] }>(api, "/flash-sales")).sales;
}

/** A shopper's proof in a sale's draw, unread: the WASM reads it. */
export async function getProof(api: string, sale: string, session: Session): Promise<string> {
  const proof = await call<unknown>(api, `/flash-sales/${sale}/draw/proof`, { token: session.token, device: session.device });
  return JSON.stringify(proof);
}

export const admin = {
  sales: async (token: string) => (await call<{ sales: Sale[] }>("", "/admin/sales", { token })).sales,
  create: (token: string, sale: unknown) => call<Sale>("", "/admin/sales", { token, body: sale }),
  act: (token: string, sale: string, verb: "pause" | "resume" | "end") =>
    call<Sale>("", `/admin/sales/${sale}/${verb}`, { token, body: {} }),
  setInflow: (token: string, sale: string, inflow: number) => call<Sale>("", `/admin/sales/${sale}/inflow`, { token, body: { inflow } }),
  metrics: (token: string, sale: string) => call<Metrics>("", `/admin/sales/${sale}/metrics`, { token }),
};

/** Whether this server has the development sign-in. */
export async function hasDevSignIn(): Promise<boolean> {
  const response = await fetch("/dev").catch(() => null);
  return response?.status === 204;
}

export async function devSignIn(role: "admin" | "merchant"): Promise<string> {
  return (await call<{ token: string }>("", "/dev/sign-in", { body: { role } })).token;
}

async function call<T>(api: string, path: string, options: { token?: string; device?: string; body?: unknown } = {}): Promise<T> {
  const headers: Record<string, string> = { Accept: "application/json" };
  if (options.token) headers.Authorization = `Bearer ${options.token}`;
  if (options.device) headers["X-Device-Id"] = options.device;
  const init: RequestInit = { headers };
  if (options.body !== undefined) {
    headers["Content-Type"] = "application/json";
    init.method = "POST";
    init.body = JSON.stringify(options.body);
  }
  let response: Response;
  try {
    response = await fetch(`${api}${path}`, init);
  } catch {
    throw new Problem("offline", "The server cannot be reached.", 0);
  }
  const body = (await response.json().catch(() => null)) as Record<string, unknown> | null;
  if (!response.ok) {
    const text = (field: string) => (typeof body?.[field] === "string" ? body[field] : "");
    throw new Problem(text("code") || "internal", text("detail") || text("title") || response.statusText, response.status);
  }
  return body as T;
}
