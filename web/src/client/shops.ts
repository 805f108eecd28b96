/** The REST door for a shop's settings, its keys, and what is stored of its people. */

import { operate, query, steer } from "./rest";

/** A shop as its operators see it. */
export interface ShopSettings {
  merchant_id: string;
  /** Its name in addresses. */
  slug: string;
  name: string;
  time_zone: string;
  currency: string;
  /** Pages that may show its sales; an empty list: every page may. */
  widget_origins: string[];
  null_origin: boolean;
  retention_days: number;
  open_sales: number;
  days_ahead: number;
  text_chars: number;
  exports: number;
  picture_mb: number;
  active: boolean;
  role_claim: string | null;
  checkout_url: string | null;
  checkout_max_s: number;
  created_at: string;
}

export type VersionedShop = ShopSettings & { version: number };

/** What is set of a shop; what is not named stays. */
export type ShopChange = Partial<Omit<ShopSettings, "merchant_id" | "created_at" | "role_claim" | "checkout_url"> & { role_claim: string; checkout_url: string }>;

export interface Key {
  key_id: string;
  kind: "secret" | "public_keys" | "jwks_uri";
  issuer: string;
  audience: string;
  subject_claim: string;
  keys?: string;
  jwks_uri?: string;
  created_at: string;
  created_by: string;
  /** When the issuer has said that the application is this shop's. Null: never. */
  proven_at: string | null;
  /** Null: it signs customers in. */
  revoked_at: string | null;
}

export interface NewKey extends Key {
  /** Only if the server has made one, and only in this answer. */
  secret?: string;
  /** Public keys that are not used, and why. */
  skipped: string[];
}

export interface KeyWish {
  issuer: string;
  audience: string;
  subject_claim: string;
  keys?: string;
  jwks_uri?: string;
  /** Of the issuer: that the application is this shop's. */
  proof?: string;
}

export const SCOPES = ["sales:read", "sales:write", "orders:read", "orders:write", "exports"] as const;
export type Scope = (typeof SCOPES)[number];

/** A key of a shop's own program. */
export interface ApiKey {
  key_id: string;
  name: string;
  scopes: Scope[];
  created_at: string;
  created_by: string;
  used_at: string | null;
  /** Null: it is good. */
  revoked_at: string | null;
}

/** What is stored of a person; the parts that pages read. */
export interface Person {
  merchant: string;
  person: string;
  subject: string | null;
  since: string | null;
  orders: unknown[];
  places: unknown[];
  draws: unknown[];
}

/** Who is meant: the name that the shop's sign-in gives them, or their id here. */
export type Who = { subject: string } | { person: string };

const of = (shop: string) => `/admin/merchants/${encodeURIComponent(shop)}`;

export const shops = {
  /** Those that this operator may manage. */
  list: async () => (await operate<{ merchants: ShopSettings[] }>("/admin/merchants")).merchants,
  show: (shop: string) => operate<VersionedShop>(of(shop)),
  create: (body: ShopChange) => steer<VersionedShop>("/admin/merchants", { body }),
  /** Only if nobody has changed it since `version`. */
  change: (shop: string, body: ShopChange, version: number) =>
    operate<VersionedShop>(of(shop), { body, version, method: "PATCH" }),
  keys: async (shop: string) => (await operate<{ keys: Key[] }>(`${of(shop)}/keys`)).keys,
  addKey: (shop: string, body: KeyWish) => steer<NewKey>(`${of(shop)}/keys`, { body }),
  revokeKey: (shop: string, key: string) =>
    operate<null>(`${of(shop)}/keys/${encodeURIComponent(key)}`, { method: "DELETE" }),
  apiKeys: async (shop: string) => (await operate<{ keys: ApiKey[] }>(`${of(shop)}/api-keys`)).keys,
  /** The key itself is in this answer only. */
  makeApiKey: (shop: string, body: { name: string; scopes: Scope[] }) =>
    steer<ApiKey & { secret: string }>(`${of(shop)}/api-keys`, { body }),
  revokeApiKey: (shop: string, key: string) => operate<null>(`${of(shop)}/api-keys/${encodeURIComponent(key)}`, { method: "DELETE" }),
  person: (shop: string, who: Who) => operate<Person>(`${of(shop)}/person${query(who)}`),
  forgetPerson: (shop: string, who: Who) =>
    operate<null>(`${of(shop)}/person${query(who)}`, { method: "DELETE" }),
};
