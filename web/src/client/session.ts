/** Who the shopper is: a guest session per platform, shared by all tabs of a site, or a token of the merchant's own. */

export interface Session {
  token: string;
  device: string;
}

interface StoredSession extends Session {
  expires_at: string;
}

/** A token that ends this soon is not worth a connection. */
const LEAST_LIFE_MS = 60_000;

/** The guest session, from storage while it is good. `stale`: the token that was just refused. */
export async function guestSession(api: string, stale: string | null): Promise<Session> {
  // Two tabs that open at once must become one guest, not two.
  return alone(`flash-sale:${api}`, async () => {
    const known = read(api);
    const isGood = known && known.token !== stale && Date.parse(known.expires_at) > Date.now() + LEAST_LIFE_MS;
    if (isGood) return known;
    const response = await fetch(`${api}/session`, {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify(known ? { device: known.device } : {}),
    });
    if (!response.ok) throw new Error(`no session: ${response.status}`);
    const session = (await response.json()) as StoredSession;
    write(api, session);
    return session;
  });
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
  // Only secure contexts have locks; without them the second tab may become a second guest.
  if (!("locks" in navigator)) return run();
  return navigator.locks.request(name, run) as Promise<T>;
}

function read(api: string): StoredSession | null {
  try {
    const session = JSON.parse(stored(sessionKey(api)) ?? "null") as Partial<StoredSession> | null;
    const isWhole = session?.token && session.device && session.expires_at;
    return isWhole ? (session as StoredSession) : null;
  } catch {
    return null;
  }
}

function write(api: string, session: StoredSession): void {
  const { token, device, expires_at } = session;
  store(sessionKey(api), JSON.stringify({ token, device, expires_at }));
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
