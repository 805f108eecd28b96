/** How the last thing ended, and the protocol's reasons, in a shopper's words. Pure. */

import type { Note, View } from "../client/view";
import type { Words } from "./words";

/** What is known of the sale when something has ended. */
export type Around = Pick<View, "phase" | "stock">;

/** How the last thing ended, where it should be said. */
export function noteWords(note: Note, around: Around = { phase: null, stock: null }): Words | null {
  const because = REASONS[note.reason ?? ""] ?? "";
  switch (note.kind) {
    case "hold_expired":
      return { title: "Your time ran out", text: fate(around), tone: "warn" };
    case "hold_revoked":
      return { title: "Your units were taken back", text: `We are sorry: this was our doing. ${because}`.trim(), tone: "bad" };
    case "hold_restored":
      return { title: "Your units are back", text: because, tone: "calm" };
    case "hold_released":
      return { title: "Removed from your cart", text: fate(around), tone: "calm" };
    case "turn_lapsed":
      return { title: "Your turn passed", text: `It was not used in time. ${fate(around)}`, tone: "warn" };
    case "removed":
      return { title: "You were taken out of the line", text: because, tone: "warn" };
    case "order_cancelled":
      return { title: "Your order was cancelled", text: because, tone: "warn" };
    case "left":
      return null;
  }
}

/** What becomes of units that somebody has not taken, or has lost. */
function fate({ phase, stock }: Around): string {
  if (phase === "drawing") return "What was set aside goes on by the draw.";
  if (phase !== "live" || !stock) return "What was set aside went back to the shop.";
  return stock.waiting > 0 ? "What was set aside goes to the next in line." : "What was set aside is for sale again.";
}

/** The protocol's reasons, in a shopper's words. Each is true whenever the reason is given. */
export const REASONS: Readonly<Record<string, string>> = {
  limit_reached: "You have as many units as one person may have.",
  no_supply: "There were no units left for your order; you were not charged.",
  stock_lost: "A failure on our side lost your units. You were not charged; we try to get them back for you.",
  restored: "A failure on our side is mended: you have again what you had.",
  line_lost: "A failure on our side lost your place in line. Please join again.",
  absent: "You were away for too long, so your place was given up. You may join again.",
  sale_paused: "The shop has paused the sale.",
  inflow_cut: "The shop lets fewer people in at a time now.",
  ends_first: "The sale ends before your turn would come; the units left then are drawn among all in line.",
  stock_low: "No unit is available at the moment; the line goes on when one comes back.",
  checkout_failed: "Your checkout broke off; you were not charged.",
  drawn: "You were drawn.",
  passed_on: "Somebody who was drawn before you did not take their units.",
  by_shopper: "You cancelled it. If a payment was under way already, its money goes back to you.",
  unpaid: "It was not paid in time. If money still arrives for it, you get the unit or your money back.",
  payment_failed: "The payment could not be completed. Nothing was charged.",
  refunded: "The shop gives your money back.",
  order_lost: "It was lost in a failure of ours; what you paid goes back to you.",
};
