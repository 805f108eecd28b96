/** The words of every phase of a shopper's journey. Pure: a view in, a title and a sentence out. */

import type { Line, Note, View } from "../client/view";
import { about, formatCount, plural, range, when } from "./duration";
import { isPaidAtShop } from "./payments";
import { REJECTS } from "./rejects";

export type Tone = "calm" | "turn" | "good" | "warn" | "bad";

export interface Words {
  title: string;
  text: string;
  tone: Tone;
}

export function wordsFor(view: View): Words {
  const { line, turn, hold, order, stock, info } = view;
  const calm = (title: string, text: string): Words => ({ title, text, tone: "calm" });
  switch (view.journey) {
    case "loading":
      return calm("Loading the sale", "One moment, please.");
    case "unknown":
      // A sale that is there can be kept from this page, as when the shop does not allow the page to show it.
      return {
        title: view.trouble && view.trouble.code !== "sale_unknown" ? "This sale is not shown here" : "No such sale",
        text: trouble(view),
        tone: "bad",
      };
    case "countdown":
      return view.countdown?.to === "room"
        ? calm("The waiting room opens soon", "Keep this page open. You can join the line when the room opens.")
        : calm("The sale starts soon", "Keep this page open. It opens by itself.");
    case "lobby":
      if (info?.allocation === "draw") return calm("The draw is open", enter(view));
      if (line?.drawn_at)
        return calm(
          "You are in the waiting room",
          `${people(line.waiting)} here. Places are drawn by lot when the sale starts (${when(line.drawn_at, view.now)}): coming early is no advantage.`,
        );
      return line
        ? calm("You are in the waiting room", "The sale starts soon. Keep this page open; your place is safe if you reload.")
        : calm("The waiting room is open", "Join now, and you are in line when the sale starts.");
    case "open":
      if (view.may_take === 0) return calm("You have reached the limit", limit(view));
      if (info?.allocation === "draw") return calm("The draw is open", enter(view));
      if (view.outlook === "may_come_back") {
        return {
          title: "All units are in carts",
          text: "None is free now, but some may come back. Join the line to be the next to get one.",
          tone: "warn",
        };
      }
      return stock && stock.waiting > 0
        ? calm("The sale is on", `${people(stock.waiting)} in line. Join to get your turn.`)
        : calm("The sale is on", "Units are free.");
    case "waiting":
      return calm(line?.position === 1 ? "You are next" : "You are in line", waiting(view));
    case "entered":
      if (info?.allocation === "queue") return calm(REST, "The sale is over, and you were in line: you are in the draw. The result comes by itself.");
      return view.draw?.stage === "open" || !view.draw
        ? calm("You are in the draw", `${inDraw(view)} The draw is held when the entries close. You need not stay on this page.`)
        : calm("The draw is being held", view.draw.awaits ? `It waits for a value that nobody can know yet: ${view.draw.awaits}.` : "The entries have closed. The result comes by itself.");
    case "not_drawn":
      return calm(
        "You were not drawn",
        view.phase === "drawing" ? "If others do not take their units, they pass to the next ones: this page tells you." : "We are sorry. Thank you for being here.",
      );
    case "drawing":
      return info?.allocation === "queue"
        ? calm(REST, "The sale is over. Units left, or back from carts, are drawn among those who were in line.")
        : calm("The draw is being held", "The entries have closed.");
    case "admitted":
      return {
        title: TURNS[view.draw?.reason ?? ""] ?? "It is your turn",
        text: `${plural(turn?.quantity ?? 1, "unit")} set aside for you. Put ${(turn?.quantity ?? 1) === 1 ? "it" : "them"} into your cart before the time is over.`,
        tone: "turn",
      };
    case "holding":
      return hold?.left_ms === 0
        ? calm("Time is up", "Your units are going back.")
        : {
            title: "In your cart",
            text: `${plural(hold?.quantity ?? 1, "unit")} held for you. Check out before the time is over.`,
            tone: "turn",
          };
    case "checking_out":
      return calm("Checking out", "Your order is being written down. Your units are safe.");
    case "pay":
      return order?.left_ms === 0
        ? calm("Time is up", "The order is being cancelled.")
        : isPaidAtShop(info?.payments)
          ? {
              title: order?.declined ? "You have not paid yet" : "Pay to finish",
              text: `${order?.declined ? `The shop says: ${order.declined}. ` : ""}Your order is placed. It is yours when you have paid at the shop's checkout.`,
              tone: "turn",
            }
        : order?.declined
          ? { title: "Your payment was declined", text: `The bank says: ${order.declined}. Nothing was charged. Try another card.`, tone: "warn" }
          : { title: "Pay to finish", text: "Your order is placed. It is yours when it is paid.", tone: "turn" };
    case "paying":
      if (isPaidAtShop(info?.payments)) {
        return order?.left_ms === 0
          ? calm("Time is up", "The order is being cancelled.")
          : { title: "Pay at the shop's checkout", text: "Your order waits until you have paid there. This page follows by itself.", tone: "turn" };
      }
      return calm("Your payment is being checked", "The result comes by itself; there is nothing to do.");
    case "confirmed":
      return { title: "It is yours", text: "Paid and confirmed. Thank you.", tone: "good" };
    case "sold_out":
      return {
        title: "Sold out",
        text: `${stock?.supply === 1 ? "The only unit is" : `All ${stock ? plural(stock.supply, "unit") : "units"} are`} sold and paid for.${line ? " You were in line; we are sorry that it did not reach you." : ""}`,
        tone: "bad",
      };
    case "paused":
      return {
        title: "The sale is paused",
        text: line ? "Your place in line is kept. This page goes on by itself." : "It may go on soon. This page follows by itself.",
        tone: "warn",
      };
    case "ended":
      return calm("The sale is over", info ? "Thank you for being here." : "");
    case "cancelled":
      return { title: "The sale was cancelled", text: "No units are sold any more.", tone: "bad" };
  }
}

const REST = "What is left is being drawn";

function enter(view: View): string {
  return view.info?.draw_weight === "waiting_time"
    ? "Enter until the end. The longer you are in, the better your chance: up to ten times. Anybody can check the draw."
    : "Enter until the end; it does not matter when. Everybody has the same chance, and anybody can check the draw.";
}

/** What has brought a turn, where it was not the line. */
const TURNS: Readonly<Record<string, string>> = { drawn: "You were drawn", passed_on: "A unit has come to you" };

function inDraw(view: View): string {
  const { stock, draw } = view;
  const units = (draw?.entered ?? 1) > 1 ? ` for ${plural(draw?.entered ?? 1, "unit")}` : "";
  return stock && stock.waiting > 0 ? `${plural(stock.waiting, "entry").replace("entrys", "entries")} for ${plural(stock.supply, "unit")}; yours is${units || " one of them"}.` : "";
}

/** How the last thing ended, where it should be said. */
export function noteWords(note: Note): Words | null {
  const because = REASONS[note.reason ?? ""] ?? "";
  switch (note.kind) {
    case "hold_expired":
      return { title: "Your time ran out", text: "The units went back to the sale.", tone: "warn" };
    case "hold_revoked":
      return { title: "Your units were taken back", text: `We are sorry: this was our doing. ${because}`.trim(), tone: "bad" };
    case "hold_restored":
      return { title: "Your units are back", text: because, tone: "calm" };
    case "hold_released":
      return { title: "Given back", text: "Your units went back to the sale.", tone: "calm" };
    case "turn_lapsed":
      return { title: "Your turn passed", text: "It was not used in time, so the next in line had it.", tone: "warn" };
    case "removed":
      return { title: "You were taken out of the line", text: because, tone: "warn" };
    case "order_cancelled":
      return { title: "Your order was cancelled", text: `${UNCHARGED.has(note.reason ?? "") ? "Nothing was charged. " : ""}${because}`.trim(), tone: "warn" };
    case "left":
      return null;
  }
}

/** What a sale's status is called. */
export const PHASES: Readonly<Record<string, { label: string; tone: Tone }>> = {
  scheduled: { label: "Upcoming", tone: "calm" },
  waiting: { label: "Room open", tone: "turn" },
  live: { label: "Live", tone: "good" },
  paused: { label: "Paused", tone: "warn" },
  drawing: { label: "Drawing", tone: "turn" },
  ended: { label: "Ended", tone: "calm" },
  cancelled: { label: "Cancelled", tone: "bad" },
};

function waiting(view: View): string {
  const { line } = view;
  if (!line) return "";
  return [wait(line), slowed(line), chance(view)].filter((part) => part !== "").join(" ");
}

function wait(line: Line): string {
  if (line.position === 0) return "Places are being drawn; yours comes in a moment.";
  if (line.soonest_ms === null && line.reason === "ends_first") return "";
  if (line.soonest_ms === null) return "The line is not moving at the moment.";
  if (line.latest_ms === null) return `Your turn in ${about(line.soonest_ms)} at the soonest.`;
  return `Your turn in ${range(line.soonest_ms, line.latest_ms)}.`;
}

/** Why it takes longer than it did. */
function slowed(line: Line): string {
  return (line.reason && REASONS[line.reason]) ?? "";
}

function chance(view: View): string {
  switch (view.line?.chance) {
    case "possible":
      return view.line.reason === "ends_first" ? "" : "It depends on units that others have in their carts.";
    case "slim":
      return `You will probably not get one${view.line.reason === "ends_first" ? "." : `: ${slim(view.line.position, view)}`}`;
    default:
      return "";
  }
}

function slim(position: number, view: View): string {
  const left = (view.stock?.free ?? 0) + (view.stock?.in_carts ?? 0);
  return position > left
    ? `more people are ahead of you than there are units left (${formatCount(left)}).`
    : "the units left are in other people's carts, and few come back.";
}

function people(count: number): string {
  return `${formatCount(count)} ${count === 1 ? "person" : "people"}`;
}

function limit(view: View): string {
  return `The limit is ${plural(view.info?.per_shopper_limit ?? 1, "unit")} per person.`;
}

function trouble(view: View): string {
  const { trouble: refusal } = view;
  return refusal ? (REJECTS[refusal.code] ?? refusal.message) : "";
}

/** Reasons for which an order ends before any money was taken. */
const UNCHARGED: ReadonlySet<string> = new Set(["by_shopper", "unpaid", "payment_failed"]);

/** The protocol's reasons, in a shopper's words. */
export const REASONS: Readonly<Record<string, string>> = {
  limit_reached: "You have as many units as one person may have.",
  no_supply: "There were no units left for your order; you were not charged.",
  stock_lost: "A failure on our side lost your units. You were not charged; we try to get them back for you.",
  restored: "A failure on our side is mended: you have again what you had.",
  line_lost: "A failure on our side lost your place in line. Please join again.",
  absent: "You were away for too long, so your place went to the next. You may join again.",
  sale_paused: "The shop has paused the sale.",
  inflow_cut: "The shop lets fewer people in at a time now.",
  ends_first: "The sale ends before your turn would come; the units left then are drawn among all in line.",
  stock_low: "No unit is free at the moment; the line goes on when one comes back.",
  checkout_failed: "Your checkout broke off; you were not charged.",
  drawn: "You were drawn.",
  passed_on: "Somebody who was drawn before you did not take their units.",
  by_shopper: "You cancelled it.",
  unpaid: "It was not paid in time.",
  payment_failed: "The payment could not be completed.",
  refunded: "The shop gives your money back.",
  order_lost: "It was lost in a failure of ours; what you paid goes back to you.",
};
