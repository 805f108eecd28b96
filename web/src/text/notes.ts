/** How the last thing ended, in a shopper's words. Pure. */

import type { Note, View } from "../client/view";
import { sentences, texts } from "./language";
import type { Words } from "./words";

/** What is known of the sale when something has ended. */
export type Around = Pick<View, "phase" | "stock">;

/** How the last thing ended, where it should be said. */
export function noteWords(note: Note, around: Around = { phase: null, stock: null }): Words | null {
  const { notes: t, reasons } = texts();
  const because = reasons[note.reason ?? ""] ?? "";
  switch (note.kind) {
    case "hold_expired":
      return { title: t.holdExpired, text: fate(around), tone: "warn" };
    case "hold_revoked":
      return { title: t.holdRevoked, text: sentences(t.ourDoing, because), tone: "bad" };
    case "hold_restored":
      return { title: t.holdRestored, text: because, tone: "calm" };
    case "hold_released":
      return { title: t.holdReleased, text: fate(around), tone: "calm" };
    case "turn_lapsed":
      return { title: t.turnLapsed, text: sentences(t.notUsed, fate(around)), tone: "warn" };
    case "removed":
      return { title: t.removed, text: because, tone: "warn" };
    case "order_cancelled":
      return { title: t.orderCancelled, text: because, tone: "warn" };
    case "left":
      return null;
  }
}

/** What becomes of units that somebody has not taken, or has lost. */
function fate({ phase, stock }: Around): string {
  const t = texts().notes;
  if (phase === "drawing") return t.toDraw;
  if (phase !== "live" || !stock) return t.toShop;
  return stock.waiting > 0 ? t.toNext : t.toSale;
}
