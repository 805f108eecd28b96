/**
 * Who the shopper is: a guest session per platform, shared by all tabs of a site, or a token of the merchant's own.
 *
 * A guest is known by a secret of their device. On the platform's own pages it stays in a cookie that no script can read, and
 * only the device's public id is stored here. Pages of other origins have no such cookie: there the shop's own storage keeps it.
 */

import { forgetStakes } from "./mine";

export interface Session {
  token: string;
  /** What is shown beside the token: the device's id, or what proves it. */
  device: string;
}

/** The server's answer. Its `device` is the secret, unless a cookie has proved the device. */
interface Answer extends Session {
  device_id: string;
  expires_at: string;
}

interface Stored {
  token: string;
  expires_at: string;
  device_id?: string;
  /** The secret; on our own pages only what an earlier release has left. */
  device?: string;
}

/** A token that ends this soon is not worth a connection. */
const LEAST_LIFE_MS = 60_000;

/** The guest session, from storage while it is good. `stale`: the token that was just refused. */
export async function guestSession(api: string, stale: string | null): Promise<Session> {
  // Two tabs that open at once must become one guest, not two.
  return alone(`flash-sale:${api}`, async () => {
    const known = read(api);
    const isGood = known && known.token !== stale && Date.parse(known.expires_at) > Date.now() + LEAST_LIFE_MS;
    if (isGood) return session(known);
    const begun = kept(api, await begin(api, known?.device));
    store(sessionKey(api), JSON.stringify(begun));
    return session(begun);
  });
}

/** Forgets the guest here, after the server has. */
export function forgetGuest(api: string): void {
  forget(sessionKey(api));
  forgetStakes(api);
  const socket = `flash-sale:${api.replace(/^http/, "ws")}/ws`;
  try {
    // Commands and random numbers of the guest that was, which the connection keeps for this tab.
    for (const key of [`${socket}:commands`, `${socket}:nonces`, restKey(api), noncesKey(api)]) sessionStorage.removeItem(key);
  } catch {
    // Storage is forbidden, so nothing is there.
  }
}

/** Where the tab keeps commands that are under way over REST. */
export function restKey(api: string): string {
  return `flash-sale:${api}:rest`;
}

/** Where it keeps the random numbers that it has made for draws. */
export function noncesKey(api: string): string {
  return `flash-sale:${api}:rest-nonces`;
}

/** A new session for the device that this secret proves, or for the one of the cookie, or for a new one. */
async function begin(api: string, secret: string | undefined): Promise<Answer> {
  const response = await fetch(`${api}/session`, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(secret ? { device: secret } : {}),
  });
  if (response.ok) return (await response.json()) as Answer;
  const problem = (await response.json().catch(() => null)) as { code?: unknown } | null;
  if (secret && problem?.code === "device_unknown") {
    // Too old, or never one: nothing is to be had from it any more.
    forget(sessionKey(api));
    return begin(api, undefined);
  }
  throw new Error(`no session: ${response.status}`);
}

/** What is stored of an answer. The secret may be another one than was shown, and the newest is the one to keep. */
function kept(api: string, { token, device, device_id, expires_at }: Answer): Stored {
  // A server of an earlier release names no id.
  const isInCookie = new URL(api, globalThis.location?.href).origin === globalThis.location?.origin && device_id;
  return isInCookie ? { token, expires_at, device_id } : { token, expires_at, device_id, device };
}

function session({ token, device, device_id }: Stored): Session {
  return { token, device: device ?? device_id ?? "" };
}

/** The device's name beside a merchant's own token. */
export function deviceId(): string {
  const key = "flash-sale:device";
  const known = stored(key);
  if (known) return known;
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  const device = `w-${Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("")}`;
  store(key, device);
  return device;
}

async function alone<T>(name: string, run: () => Promise<T>): Promise<T> {
  // Only secure contexts have locks, and none that is shared where the page's origin is nobody's, as in a sandboxed frame.
  // Without them the second tab may become a second guest.
  const isAlone = "locks" in navigator && globalThis.location?.origin !== "null";
  if (!isAlone) return run();
  let begun: Promise<T> | null = null;
  try {
    return await (navigator.locks.request(name, () => (begun = run())) as Promise<T>);
  } catch (error) {
    // What `run` has met is its own; a lock that cannot be had is not worth a session.
    if (begun) throw error;
    return run();
  }
}

function read(api: string): Stored | null {
  try {
    const known = JSON.parse(stored(sessionKey(api)) ?? "null") as Partial<Stored> | null;
    const isWhole = known?.token && known.expires_at && (known.device || known.device_id);
    return isWhole ? (known as Stored) : null;
  } catch {
    return null;
  }
}

function sessionKey(api: string): string {
  return `flash-sale:${api}:session`;
}

// Storage can be forbidden, as in some embedded pages: then the session lives as long as the page.
const memory = new Map<string, string>();

function stored(key: string): string | null {
  try {
    return localStorage.getItem(key) ?? memory.get(key) ?? null;
  } catch {
    return memory.get(key) ?? null;
  }
}

function store(key: string, value: string): void {
  memory.set(key, value);
  try {
    localStorage.setItem(key, value);
  } catch {
    // Kept in memory above.
  }
}

function forget(key: string): void {
  memory.delete(key);
  try {
    localStorage.removeItem(key);
  } catch {
    // Removed from memory above.
  }
}
