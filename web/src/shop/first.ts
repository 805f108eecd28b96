/** The sale that the server has written into the page: its facts for the script, and the time that is left. */

import type { Sale } from "../client/bodies";
import type { FirstRead } from "../client/first-read";

const SECOND_MS = 1_000;

/** Null: the server had none, or wrote it long ago: a browser that goes back takes the page out of its cache. */
export function saleHere(sale: string): FirstRead | null {
  const [visit] = performance.getEntriesByType("navigation") as PerformanceNavigationTiming[];
  const text = document.querySelector(`script[data-sale="${CSS.escape(sale.toUpperCase())}"]`)?.textContent;
  if (!text || !visit || visit.transferSize === 0) return null;
  const found = JSON.parse(text) as Partial<Sale>;
  // A server of the release before writes a part of it.
  return found.sale_id === undefined ? null : { sale: found as Sale, at_ms: visit.responseStart };
}

/** Lets the time run. Without the sale nobody knows since when it has been that time. */
export function runFirst(first: FirstRead | null): void {
  const clock = document.querySelector<HTMLElement>(".first .clock");
  if (!clock) return;
  if (!first) {
    clock.remove();
    return;
  }
  const ends = first.at_ms + Number(clock.dataset.left) * SECOND_MS;
  const tick = () => {
    if (!clock.isConnected) return;
    const left = ends - performance.now();
    clock.textContent = digits(left);
    setTimeout(tick, left > 0 ? left % SECOND_MS || SECOND_MS : SECOND_MS);
  };
  tick();
}

/** "1:02:03": digits, which every language reads. */
export function digits(ms: number): string {
  const seconds = Math.max(0, Math.ceil(ms / SECOND_MS));
  const two = (number: number) => String(number).padStart(2, "0");
  const [hours, minutes] = [Math.floor(seconds / 3_600), Math.floor(seconds / 60) % 60];
  return hours > 0 ? `${String(hours)}:${two(minutes)}:${two(seconds % 60)}` : `${String(minutes)}:${two(seconds % 60)}`;
}
