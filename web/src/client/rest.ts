/** The platform's REST door, for what pages do without a socket. */

import type { Metrics, Versioned } from "./bodies";
import type { Sale, SalePage, Shop, Wanted } from "./listed";
import type { Session } from "./session";

export type { Fairness, Metrics } from "./bodies";
export type { Sale } from "./listed";

/** A sale as operators see it: with the version of what they have set. */
export type Steered = Versioned<Sale>;

/** A refusal of the REST door (problem+json), or a connection that is not there. */
export class Problem extends Error {
  constructor(
    readonly code: string,
    readonly detail: string,
    readonly status: number,
    /** Whether the same request may succeed later, and when; the order that it is about. */
    readonly retry = false,
    readonly retryAfterMs: number | undefined = undefined,
    readonly order: string | undefined = undefined,
  ) {
    super(detail);
  }
}

/** One page of the list of sales: the first one unless `wanted` says otherwise. */
export const getSales = (api = "", wanted: Wanted = {}) => call<SalePage>(api, `/flash-sales${query(wanted)}`);

export const getSale = (api: string, sale: string) => call<Sale>(api, `/flash-sales/${encodeURIComponent(sale)}`);

/** A shop, by its name in addresses. */
export const getShop = (api: string, slug: string) => call<Shop>(api, `/merchants/${encodeURIComponent(slug)}`);

/** A shopper's proof in a sale's draw, unread: the WASM reads it. */
export async function getProof(api: string, sale: string, session: Session): Promise<string> {
  return JSON.stringify(await call<unknown>(api, `/flash-sales/${sale}/draw/proof`, { ...session }));
}

/** What is stored of the shopper, unread: it is theirs to read. */
export const getMyData = (api: string, session: Session) => call<unknown>(api, "/me", { ...session });

export const forgetMe = (api: string, session: Session) => call<null>(api, "/me", { ...session, method: "DELETE" });

export const admin = {
  sales: (wanted: Wanted = {}) => operate<SalePage>(`/admin/sales${query(wanted)}`),
  sale: (sale: string) => operate<Steered>(`/admin/sales/${sale}`),
  create: (sale: unknown) => steer<Steered>("/admin/sales", { body: sale }),
  act: (sale: string, verb: "pause" | "resume" | "end" | "recover") => steer<Steered>(`/admin/sales/${sale}/${verb}`, { body: {} }),
  /** Only if operators have set nothing else since `version`. */
  /** Without a target, that stays as it is. */
  setInflow: (sale: string, inflow: number, target_delay_ms: number | null, version: number) =>
    steer<Steered>(`/admin/sales/${sale}/inflow`, { body: target_delay_ms === null ? { inflow } : { inflow, target_delay_ms }, version }),
  /** Null: takes it away. */
  setPicture: (sale: string, file: Blob | null, alt: string) =>
    steer<Steered>(`/admin/sales/${sale}/picture${file ? query({ alt }) : ""}`, file ? { file } : { method: "DELETE" }),
  metrics: (sale: string) => operate<Metrics>(`/admin/sales/${sale}/metrics`),
};

/** "?a=1&b=2", or nothing if nothing is set. */
export function query(of: object): string {
  const set = Object.entries(of).filter(([, value]) => value !== undefined && value !== null);
  return set.length === 0 ? "" : `?${new URLSearchParams(set.map(([name, value]) => [name, String(value)])).toString()}`;
}

export interface Options {
  /** By default GET, or with a body POST. */
  method?: "POST" | "PATCH" | "DELETE";
  /** In the name of the operator whose session is in the cookie: the server wants to hear that no other site asks. */
  operator?: boolean;
  token?: string;
  device?: string;
  body?: unknown;
  /** Sent as it is, instead of a body. */
  file?: Blob;
  key?: string;
  version?: number;
}

/** The status of an answer without a body. */
const NO_CONTENT = 204;

/** Tries of an operator's command that got no answer, and the pause before the next one. */
const STEER_TRIES = 3;
const STEER_PAUSE_MS = 500;

/** An Idempotency-Key. Not randomUUID: that is there on secure origins only. */
export const newKey = () => Array.from(crypto.getRandomValues(new Uint32Array(4)), (part) => part.toString(36)).join("-");

/** An operator's command: under one key however often it is tried, so that it has one effect. */
export async function steer<T>(path: string, options: Options): Promise<T> {
  const key = newKey();
  for (let tries = 1; ; tries += 1) {
    try {
      return await operate<T>(path, { ...options, key });
    } catch (error) {
      const unanswered = error instanceof Problem && (error.code === "offline" || error.status === 503);
      if (!unanswered || tries === STEER_TRIES) throw error;
      await new Promise((resume) => setTimeout(resume, STEER_PAUSE_MS * tries));
    }
  }
}

/** A request of the operator who has signed in on this page. */
export const operate = <T>(path: string, options: Options = {}) => call<T>("", path, { ...options, operator: true });

export async function call<T>(api: string, path: string, options: Options = {}): Promise<T> {
  const headers: Record<string, string> = { Accept: "application/json" };
  if (options.token) headers.Authorization = `Bearer ${options.token}`;
  if (options.operator) headers["Flash-Sale-Operator"] = "1";
  if (options.device) headers["X-Device-Id"] = options.device;
  if (options.key) headers["Idempotency-Key"] = options.key;
  if (options.version !== undefined) headers["If-Match"] = `"${options.version}"`;
  const init: RequestInit = { headers };
  if (options.body !== undefined) {
    headers["Content-Type"] = "application/json";
    init.method = "POST";
    init.body = JSON.stringify(options.body);
  }
  if (options.file) {
    headers["Content-Type"] = "application/octet-stream";
    init.method = "POST";
    init.body = options.file;
  }
  if (options.method) init.method = options.method;
  let response: Response;
  try {
    response = await fetch(`${api}${path}`, init);
  } catch {
    throw new Problem("offline", "The server cannot be reached.", 0, true);
  }
  const body = (await response.json().catch(() => null)) as Record<string, unknown> | null;
  // A page of somebody else's, as of a network that wants a sign-in first.
  if (response.ok && body === null && response.status !== NO_CONTENT) throw new Problem("offline", "The server cannot be reached.", 0, true);
  if (!response.ok) {
    const text = (field: string) => (typeof body?.[field] === "string" ? body[field] : "");
    const after = typeof body?.retry_after_ms === "number" ? body.retry_after_ms : undefined;
    throw new Problem(text("code") || "internal", text("detail") || text("title") || response.statusText, response.status, body?.retry === true, after, text("order_id") || undefined);
  }
  return body as T;
}
