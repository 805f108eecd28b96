/** A sale that is asked for before the client is there. The client takes the answer over, so it is asked for once. */

import type { Sale } from "./bodies";

export interface FirstRead {
  /** Null: there is no such sale. */
  sale: Sale | null;
  at_ms: number;
}

/** One for all copies of this module on a page: the script that paints first brings its own. */
const asked = ((globalThis as unknown as Record<symbol, Map<string, Promise<FirstRead | null>> | undefined>)[Symbol.for("flash-sale 0.1 first reads")] ??= new Map<string, Promise<FirstRead | null>>());

const keyOf = (api: string, sale: string) => `${api}\n${sale.toUpperCase()}`;

/** Null: it cannot be had. The client asks again, and says why. */
export function readFirst(api: string, sale: string): Promise<FirstRead | null> {
  const key = keyOf(api, sale);
  const answer = asked.get(key) ?? read(api, sale.toUpperCase());
  asked.set(key, answer);
  return answer;
}

/** An answer that came with the page. */
export function giveFirst(api: string, sale: string, answer: FirstRead): void {
  asked.set(keyOf(api, sale), Promise.resolve(answer));
}

/** The same answer, if it was asked for. */
export function firstRead(api: string, sale: string): Promise<FirstRead | null> | undefined {
  return asked.get(keyOf(api, sale));
}

/** The answer that is there or on its way, to one client. */
export function takeFirst(api: string, sale: string): Promise<FirstRead | null> {
  const key = keyOf(api, sale);
  const answer = asked.get(key) ?? Promise.resolve(null);
  asked.delete(key);
  return answer;
}

async function read(api: string, sale: string): Promise<FirstRead | null> {
  try {
    const response = await fetch(`${api}/flash-sales/${sale}`, { headers: { Accept: "application/json" } });
    if (response.status === 404) return { sale: null, at_ms: performance.now() };
    return response.ok ? { sale: (await response.json()) as Sale, at_ms: performance.now() } : null;
  } catch {
    return null;
  }
}
