/**
 * The sales in which this browser's shopper has something at stake: a place, a turn, a cart, an unpaid order. Kept in the shop's
 * storage, so that its other pages can tell when a turn comes.
 */

import type { View } from "./view";

/** Sales that are remembered and watched at once. */
export const MOST = 8;

const memory = new Map<string, string>();

/** How many elements on this page show each sale. */
const shown = new Map<string, number>();

export function hasStake(view: View): boolean {
  if (view.turn ?? view.hold ?? view.line) return true;
  return view.journey === "entered" || view.journey === "not_drawn" ? view.phase !== "ended" : view.order?.status === "pending";
}

/** The remembered sales, newest first. */
export function salesAtStake(api: string): string[] {
  try {
    const known: unknown = JSON.parse(read(key(api)) ?? "[]");
    return Array.isArray(known) ? known.filter((sale): sale is string => typeof sale === "string").slice(0, MOST) : [];
  } catch {
    return [];
  }
}

/** Notes what a view says of its sale. A view without its sale says nothing. */
export function noteStake(api: string, view: View): void {
  if (view.journey === "loading") return;
  const before = salesAtStake(api);
  const is = hasStake(view);
  if (is === before.includes(view.sale)) return;
  const others = before.filter((sale) => sale !== view.sale);
  write(key(api), JSON.stringify((is ? [view.sale, ...others] : others).slice(0, MOST)));
}

/** Forgets what this browser's guest took part in. */
export function forgetStakes(api: string): void {
  memory.delete(key(api));
  try {
    localStorage.removeItem(key(api));
  } catch {
    // Removed from memory above.
  }
}

/** An element of this page shows the sale until the returned function is called. */
export function shows(sale: string): () => void {
  const id = sale.toUpperCase();
  shown.set(id, (shown.get(id) ?? 0) + 1);
  return () => shown.set(id, Math.max(0, (shown.get(id) ?? 1) - 1));
}

export function isShown(sale: string): boolean {
  return (shown.get(sale.toUpperCase()) ?? 0) > 0;
}

function key(api: string): string {
  return `flash-sale:${api}:mine`;
}

// Storage can be forbidden, as in a sandboxed frame.
function read(name: string): string | null {
  try {
    return localStorage.getItem(name) ?? memory.get(name) ?? null;
  } catch {
    return memory.get(name) ?? null;
  }
}

function write(name: string, value: string): void {
  memory.set(name, value);
  try {
    localStorage.setItem(name, value);
  } catch {
    // Kept in memory above.
  }
}
