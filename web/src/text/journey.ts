/**
 * The words of every phase of a shopper's journey. Pure: a view in, a title and a sentence out. A sentence says only what the client
 * knows now: what has ended may have taken another way, and what was sent may not have arrived.
 */

import type { View } from "../client/view";
import { plural } from "./duration";
import { lineWords } from "./line";
import { formatMoney } from "./money";
import { isPaidAtShop } from "./payments";
import { REJECTS } from "./rejects";
import { momentOf, timeOf } from "./times";
import type { Tone, Words } from "./words";

/** Whether the server can be heard now. A page shows this only when it lasts. */
export function isOffline(view: View): boolean {
  return view.connection.state !== "online";
}

/** `offline`: no connection for long enough to be worth a word. */
export function wordsFor(view: View, offline: boolean = isOffline(view)): Words {
  const { line, turn, hold, order, stock, info } = view;
  const calm = (title: string, text: string): Words => ({ title, text, tone: "calm" });
  switch (view.journey) {
    case "loading":
      return offline ? unreached(view) : calm("Loading the sale", "One moment, please.");
    case "unknown":
      // A sale that is there can be kept from this page, as when the shop does not allow the page to show it.
      return view.trouble && view.trouble.code !== "sale_unknown"
        ? { title: "This sale is not shown here", text: trouble(view), tone: "bad" }
        : {
            title: "We cannot find this sale",
            text: "It may have been taken down, or a letter of its address is wrong.",
            tone: "bad",
          };
    case "countdown":
      return view.countdown?.to === "room"
        ? calm("The waiting room is not open yet", "Join the line when it opens. This page changes by itself.")
        : calm("The sale has not started yet", "This page changes by itself when it does.");
    case "lobby":
      if (info?.allocation === "draw") return calm("The draw opens soon", enter(view));
      if (line?.drawn_at)
        return calm(
          "You are in the waiting room",
          `${people(line.waiting)} here. Places are drawn by lot when the sale starts: coming early is no advantage.`,
        );
      return line
        ? calm("You are in the waiting room", "You have a place in line. It is kept when you reload this page.")
        : calm("The waiting room is open", "Join now, and you are in line when the sale starts.");
    case "open":
      return open(view);
    case "waiting":
      return calm(line?.position === 1 ? "You are next" : "You are in line", offline ? "This was your place when we last heard from the shop." : lineWords(view));
    case "entered":
      return entered(view);
    case "not_drawn":
      return calm(
        "You were not drawn",
        view.phase === "drawing"
          ? `What others do not take goes on to the next ones. If it comes to you, you have ${minutes(info?.claim_ms)} to take it: stay here.`
          : "All units went to others.",
      );
    case "drawing":
      return drawing(view);
    case "admitted":
      return admitted(view);
    case "holding":
      return hold?.left_ms === 0
        ? calm("Your time is up", "Your cart has ended. What becomes of it, you see here in a moment.")
        : { title: "In your cart", text: `Held for you until ${timeOf(hold?.until ?? 0)}. Check out before then.`, tone: "turn" };
    case "checking_out":
      return checkingOut(view, offline);
    case "pay":
    case "paying":
      return paying(view);
    case "confirmed":
      return {
        title: "It is yours",
        text: order && order.amount === 0 ? "Confirmed. There is nothing to pay." : "Paid and confirmed. Thank you.",
        tone: "good",
      };
    case "sold_out":
      return {
        title: "Sold out",
        text: `${stock?.supply === 1 ? "The only unit is" : `All ${stock ? plural(stock.supply, "unit") : "units"} are`} sold and paid for.${line ? " You were in line; we are sorry that it did not reach you." : ""}`,
        tone: "bad",
      };
    case "paused":
      return {
        title: "The sale is paused",
        text: line ? "Your place in line is kept. This page changes by itself when the sale goes on." : "It may go on. This page changes by itself when it does.",
        tone: "warn",
      };
    case "ended":
      return ended(view);
    case "cancelled":
      return { title: "The sale was cancelled", text: "No units are sold any more.", tone: "bad" };
  }
  // What is set aside for a turn is named with its price: no surprise at the checkout.
  function admitted(view: View): Words {
    const units = turn?.quantity ?? 1;
    if (turn?.left_ms === 0) return calm("Your turn is over", "It was not used in time. What comes next, you see here in a moment.");
    return {
      title: TURNS[view.draw?.reason ?? ""] ?? "It is your turn",
      text: `${plural(units, "unit")} ${units === 1 ? "is" : "are"} set aside for you until ${timeOf(turn?.until ?? 0)}.`,
      tone: "turn",
    };
  }
}

function unreached(view: View): Words {
  const again = view.connection.state === "waiting" ? "We are trying again." : "We keep trying.";
  return { title: "The shop cannot be reached", text: `Your connection may be down, or the shop is. ${again}`, tone: "warn" };
}

function open(view: View): Words {
  const { stock, info } = view;
  const calm = (title: string, text: string): Words => ({ title, text, tone: "calm" });
  if (view.may_take === 0) return calm("You have reached the limit", `The limit is ${plural(info?.per_shopper_limit ?? 1, "unit")} per person.`);
  if (info?.allocation === "draw") return calm("The draw is open", enter(view));
  const waiting = stock?.waiting ?? 0;
  const slim = stock?.newcomers_chance === "slim" ? " If you join now, you will probably not get one." : "";
  if (view.outlook === "may_come_back") {
    return {
      title: "All units are reserved",
      text:
        waiting > 0
          ? `${people(waiting)} ${waiting === 1 ? "is" : "are"} in line for what comes back.${slim}`
          : "What comes back goes to the line, and nobody is in it: join to be called first.",
      tone: "warn",
    };
  }
  return waiting > 0
    ? calm("The sale is on", `${people(waiting)} in line. Join to get your turn.${slim}`)
    : calm("The sale is on", `${plural(stock?.free ?? 0, "unit")} available.`);
}

const REST = "What is left is being drawn";

function entered(view: View): Words {
  const { info, draw } = view;
  const calm = (title: string, text: string): Words => ({ title, text, tone: "calm" });
  const claim = `if you are drawn, you have ${minutes(info?.claim_ms)} to take it`;
  if (info?.allocation === "queue") return calm(REST, `The sale is over, and you were in line: you are in the draw. Stay here: ${claim}.`);
  if (draw && draw.stage !== "open") {
    return calm("The draw is being held", draw.awaits ? `It waits for a value that nobody can know yet: ${draw.awaits}. Stay here: ${claim}.` : `The entries have closed. Stay here: ${claim}.`);
  }
  const at = info ? `Be here at ${momentOf(info.ends_at, view.now)}: ${claim}.` : "";
  return calm("You are in the draw", `${odds(view)}${at}`);
}

function drawing(view: View): Words {
  const isDrawn = view.draw?.stage === "drawn";
  if (view.info?.allocation === "queue") {
    return {
      title: isDrawn ? "What was left has been drawn" : REST,
      text: isDrawn ? "It went to people who were in line. You were not in line at the end." : "Units left, or back from carts, are drawn among those who were in line. You were not in line at the end.",
      tone: "calm",
    };
  }
  return {
    title: isDrawn ? "The draw was held" : "The draw is being held",
    text: isDrawn ? "You had not entered." : "The entries have closed. You had not entered.",
    tone: "calm",
  };
}

/** The words while a checkout is under way. Whether it has left this device is known; whether it arrived, only its answer tells. */
function checkingOut(view: View, offline: boolean): Words {
  const { hold } = view;
  const held = hold ? timeOf(hold.until) : "";
  const isOver = hold?.left_ms === 0;
  if (!view.under_way.includes("checkout")) {
    return { title: "Checking out", text: "Your order is being written down. Your cart cannot run out meanwhile.", tone: "calm" };
  }
  if (view.unsent.includes("checkout")) {
    return isOver
      ? { title: "Not sent in time", text: `There was no connection, and your cart was held until ${held}. When the connection is back, you see what became of it.`, tone: "bad" }
      : { title: "Not sent yet", text: `There is no connection. Your cart is held until ${held}; the order goes out when the connection is back.`, tone: "warn" };
  }
  if (offline) {
    return {
      title: "Sent, but not answered",
      text: `The connection broke. When it is back, you see whether your order was placed. ${isOver ? `Your cart was held until ${held}.` : `Until then: your cart is held until ${held}.`}`,
      tone: "warn",
    };
  }
  return { title: "Checking out", text: "Your order is being placed.", tone: "calm" };
}

function paying(view: View): Words {
  const { order, info } = view;
  const calm = (title: string, text: string): Words => ({ title, text, tone: "calm" });
  const until = timeOf(order?.until ?? 0);
  const isOver = order?.left_ms === 0;
  if (view.journey === "paying" && !isPaidAtShop(info?.payments)) {
    return isOver
      ? { title: "Your bank did not answer in time", text: "If money still arrives, you get the unit or your money back.", tone: "warn" }
      : calm("Your payment is being checked", `Your bank has until ${until} to answer. There is nothing to do for you.`);
  }
  if (isOver) {
    return calm("Your time is up", `The order could be paid until ${until}. If money still arrives for it, you get the unit or your money back.`);
  }
  if (isPaidAtShop(info?.payments)) {
    const said = order?.declined ? `The shop says: ${order.declined}. ` : "";
    return view.journey === "paying"
      ? { title: "Pay at the shop's checkout", text: `Your order waits until ${until}. This page changes by itself when you have paid there.`, tone: "turn" }
      : {
          title: order?.declined ? "You have not paid yet" : "Pay to finish",
          text: `${said}Your order is placed. Pay at the shop's checkout by ${until} and it is yours.`,
          tone: "turn",
        };
  }
  return order?.declined
    ? { title: "Your payment was declined", text: `The bank says: ${order.declined}. Nothing was charged. Try another card by ${until}.`, tone: "warn" }
    : { title: "Pay to finish", text: `Your order is placed. Pay by ${until} and it is yours.`, tone: "turn" };
}

/** The end: who ended it and what came of it, as far as this page can tell. */
function ended(view: View): Words {
  const { info, stock } = view;
  const calm = (title: string, text: string): Words => ({ title, text, tone: "calm" });
  if (info && view.now < info.starts_at) return calm("Called off", "The sale was called off before it began.");
  const sold = stock && stock.supply > 0 ? `${sales(stock.sold, stock.supply)}` : "";
  const early = info && view.now < info.ends_at ? "The shop ended it early." : "";
  return calm("The sale is over", [early, sold].filter((part) => part !== "").join(" "));
}

function sales(sold: number, supply: number): string {
  if (sold === 0) return `None of ${plural(supply, "unit")} was sold.`;
  return `${sold === supply ? "All" : `${String(sold)} of`} ${plural(supply, "unit")} found a buyer.`;
}

function enter(view: View): string {
  const fair =
    view.info?.draw_weight === "waiting_time"
      ? "The longer you are in, the better your chance: up to ten times."
      : "It does not matter when: everybody has the same chance.";
  const at = view.info ? `Enter until ${momentOf(view.info.ends_at, view.now)}.` : "Enter until the end.";
  return `${at} ${fair}`;
}

/** What has brought a turn, where it was not the line. */
const TURNS: Readonly<Record<string, string>> = { drawn: "You were drawn", passed_on: "A unit has come to you" };

/** "You are one of 6 people for 2 units. " */
function odds({ stock, draw }: View): string {
  if (!stock || stock.waiting === 0) return "";
  const wish = (draw?.entered ?? 1) > 1 ? ` You have entered for ${plural(draw?.entered ?? 1, "unit")}.` : "";
  return stock.waiting === 1
    ? `So far you are the only one for ${plural(stock.supply, "unit")}.${wish} `
    : `You are one of ${people(stock.waiting)} for ${plural(stock.supply, "unit")}.${wish} `;
}

/** What a status is called on a badge; the sale itself knows better than its phase whether there is anything to have. */
export function badgeOf(view: View): { label: string; tone: Tone } | null {
  if (!view.phase) return null;
  if (view.journey === "sold_out" || (view.outlook === "sold_out" && view.phase === "live")) return { label: "Sold out", tone: "calm" };
  return PHASES[view.phase] ?? null;
}

/** What a sale's phase is called. */
export const PHASES: Readonly<Record<string, { label: string; tone: Tone }>> = {
  scheduled: { label: "Upcoming", tone: "calm" },
  waiting: { label: "Room open", tone: "calm" },
  live: { label: "Live", tone: "calm" },
  paused: { label: "Paused", tone: "warn" },
  drawing: { label: "Drawing", tone: "calm" },
  ended: { label: "Ended", tone: "calm" },
  cancelled: { label: "Cancelled", tone: "bad" },
};

/** "3 × €99.00 = €297.00", or the price alone. */
export function total(view: View, quantity: number): string {
  const { info } = view;
  if (!info) return "";
  const price = (minor: number) => formatMoney(minor, info.currency, info.currency_exponent);
  return quantity === 1 ? price(info.sale_price) : `${String(quantity)} × ${price(info.sale_price)} = ${price(info.sale_price * quantity)}`;
}

/** What the loss of the connection means for what this shopper has. */
export function offlineWords(view: View): string {
  const { turn, hold, order } = view;
  const nothingSent = view.unsent.length > 0 && view.journey !== "checking_out" ? " What you pressed is sent when it is back." : "";
  const said = (text: string) => `No connection. ${text}${nothingSent}`;
  switch (view.journey) {
    case "loading":
    case "unknown":
      return "";
    case "checking_out":
      return "No connection.";
    case "admitted":
      return said(`Your turn ends at ${timeOf(turn?.until ?? 0)} all the same.`);
    case "holding":
      return said(`Your cart is held until ${timeOf(hold?.until ?? 0)}.`);
    case "pay":
      return said(`Your order waits until ${timeOf(order?.until ?? 0)}.`);
    case "paying":
      return said("Your payment goes on without this page.");
    case "entered":
      return said("Your entry stays in the draw.");
    case "confirmed":
      return said("Your order is safe.");
    default:
      return said(view.line ? "Your place is kept for a while." : "What you see is what we heard last.");
  }
}

function people(count: number): string {
  return plural(count, "person");
}

function minutes(ms: number | undefined): string {
  if (!ms) return "a short time";
  return ms < 90_000 ? plural(Math.round(ms / 1_000), "second") : plural(Math.round(ms / 60_000), "minute");
}

function trouble(view: View): string {
  const { trouble: refusal } = view;
  return refusal ? (REJECTS[refusal.code] ?? refusal.message) : "";
}
