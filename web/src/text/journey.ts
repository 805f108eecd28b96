/**
 * Which words each phase of a shopper's journey has. Pure: a view in, a title and a sentence out. A sentence says only what the client
 * knows now: what has ended may have taken another way, and what was sent may not have arrived. The sentences are in `languages/`.
 */

import type { View } from "../client/view";
import { spoken } from "./duration";
import { sentences, texts } from "./language";
import { lineWords } from "./line";
import { formatMoney } from "./money";
import { isPaidAtShop } from "./payments";
import { words } from "./refusal";
import { momentOf, timeOf } from "./times";
import type { Tone, Words } from "./words";

/** Whether the server can be heard now. A page shows this only when it lasts. */
export function isOffline(view: View): boolean {
  return view.connection.state !== "online";
}

const said = (title: string, text: string, tone: Tone = "calm"): Words => ({ title, text, tone });

/** `offline`: no connection for long enough to be worth a word. */
export function wordsFor(view: View, offline: boolean = isOffline(view)): Words {
  const { line, turn, hold, order, stock, info } = view;
  const t = texts().journey;
  switch (view.journey) {
    case "loading":
      return offline ? said(t.unreached.title, t.unreached.text, "warn") : said(t.loading.title, t.loading.text);
    case "unknown":
      // A sale that is there can be kept from this page, as when the shop does not allow the page to show it.
      return view.trouble && view.trouble.code !== "sale_unknown" ? said(t.notShown.title, words(view.trouble), "bad") : said(t.unknown.title, t.unknown.text, "bad");
    case "countdown":
      return view.countdown?.to === "room" ? said(t.beforeRoom.title, t.beforeRoom.text) : said(t.beforeSale.title, t.beforeSale.text);
    case "lobby":
      if (info?.allocation === "draw") return said(t.drawSoon.title, enter(view));
      if (line?.drawn_at) return said(t.inRoom.title, t.inRoomByLot(line.waiting));
      return line ? said(t.inRoom.title, t.inRoom.text) : said(t.room.title, t.room.text);
    case "open":
      return open(view);
    case "waiting":
      return said(line?.position === 1 ? t.next.title : t.inLine.title, offline ? t.inLine.offline : lineWords(view));
    case "entered":
      return entered(view);
    case "not_drawn":
      return said(t.notDrawn.title, view.phase === "drawing" ? t.notDrawn.stillDrawing(claimTime(view)) : t.notDrawn.text);
    case "drawing":
      return drawing(view);
    case "admitted":
      if (turn?.left_ms === 0) return said(t.turnOver.title, t.turnOver.text);
      return said(turnTitle(view), t.turn.text(turn?.quantity ?? 1, timeOf(turn?.until ?? 0)), "turn");
    case "holding":
      return hold?.left_ms === 0 ? said(t.holdOver.title, t.holdOver.text) : said(t.holding.title, t.holding.text(timeOf(hold?.until ?? 0)), "turn");
    case "checking_out":
      return checkingOut(view, offline);
    case "pay":
    case "paying":
      return paying(view);
    case "confirmed":
      return said(t.confirmed.title, order?.amount === 0 ? t.confirmed.free : t.confirmed.text, "good");
    case "sold_out":
      return said(t.soldOut.title, sentences(t.soldOut.text(stock?.supply ?? info?.total_stock ?? 0), line ? t.soldOut.inLine : ""), "bad");
    case "paused":
      return said(t.paused.title, line ? t.paused.inLine : t.paused.text, "warn");
    case "ended":
      return ended(view);
    case "cancelled":
      return said(t.cancelled.title, t.cancelled.text, "bad");
  }
}

function open(view: View): Words {
  const { stock, info } = view;
  const t = texts().journey;
  if (view.may_take === 0) return said(t.limit.title, t.limit.text(info?.per_shopper_limit ?? 1));
  if (info?.allocation === "draw") return said(t.drawOpen.title, enter(view));
  const waiting = stock?.waiting ?? 0;
  const slim = stock?.newcomers_chance === "slim" ? t.slimForNewcomers : "";
  if (view.outlook === "may_come_back") {
    return said(t.reserved.title, waiting > 0 ? sentences(t.reserved.text(waiting), slim) : t.reserved.alone, "warn");
  }
  return said(t.on.title, waiting > 0 ? sentences(t.on.line(waiting), slim) : t.on.available(stock?.free ?? 0));
}

function entered(view: View): Words {
  const { info, draw, stock } = view;
  const t = texts().journey;
  const time = claimTime(view);
  if (info?.allocation === "queue") return said(t.rest.title, t.restEntered(time));
  if (draw && draw.stage !== "open") return said(t.drawing.title, draw.awaits ? t.drawAwaits(draw.awaits, time) : t.drawing.closed(time));
  const odds = !stock || stock.waiting === 0 ? "" : stock.waiting === 1 ? t.oddsAlone(stock.supply) : t.odds(stock.waiting, stock.supply);
  const wish = draw && draw.entered > 1 ? t.enteredFor(draw.entered) : "";
  return said(t.entered.title, sentences(odds, wish, info ? t.beHere(momentOf(info.ends_at, view.now), time) : ""));
}

function drawing(view: View): Words {
  const t = texts().journey;
  const isDrawn = view.draw?.stage === "drawn";
  if (view.info?.allocation === "queue") return isDrawn ? said(t.rest.drawn, t.restDrawnOutside) : said(t.rest.title, t.restOutside);
  return isDrawn ? said(t.drawn.title, t.drawn.outside) : said(t.drawing.title, t.drawOutside);
}

/** What has brought a turn, where it was not the line. */
function turnTitle({ draw }: View): string {
  const { line, drawn, passedOn } = texts().journey.turn;
  return draw?.reason === "drawn" ? drawn : draw?.reason === "passed_on" ? passedOn : line;
}

/** The words while a checkout is under way. Whether it has left this device is known; whether it arrived, only its answer tells. */
function checkingOut(view: View, offline: boolean): Words {
  const { hold } = view;
  const t = texts().journey;
  const until = timeOf(hold?.until ?? 0);
  const isOver = hold?.left_ms === 0;
  if (!view.under_way.includes("checkout")) return said(t.checkout.title, t.checkout.begun);
  if (view.unsent.includes("checkout")) {
    return isOver ? said(t.unsentOver.title, t.unsentOver.text(until), "bad") : said(t.unsent.title, t.unsent.text(until), "warn");
  }
  if (offline) return said(t.unanswered.title, isOver ? t.unanswered.over(until) : t.unanswered.text(until), "warn");
  return said(t.checkout.title, t.checkout.text);
}

function paying(view: View): Words {
  const { order, info } = view;
  const t = texts().journey;
  const until = timeOf(order?.until ?? 0);
  const isOver = order?.left_ms === 0;
  const isAtShop = isPaidAtShop(info?.payments);
  if (view.journey === "paying" && !isAtShop) {
    return isOver ? said(t.payingOver.title, t.payingOver.text, "warn") : said(t.paying.title, t.paying.text(until));
  }
  if (isOver) return said(t.payOver.title, t.payOver.text(until));
  if (isAtShop && view.journey === "paying") return said(t.atShop.title, t.atShop.text(until), "turn");
  const declined = order?.declined;
  if (isAtShop) return declined ? said(t.payAtShop.declined, t.payAtShop.said(declined, until), "turn") : said(t.payAtShop.title, t.payAtShop.text(until), "turn");
  return declined ? said(t.declined.title, t.declined.text(declined, until), "warn") : said(t.pay.title, t.pay.text(until), "turn");
}

/** The end: who ended it and what came of it, as far as this page can tell. */
function ended(view: View): Words {
  const { info, stock } = view;
  const t = texts().journey;
  if (info && view.now < info.starts_at) return said(t.calledOff.title, t.calledOff.text);
  const early = info && view.now < info.ends_at ? t.ended.early : "";
  return said(t.ended.title, sentences(early, stock && stock.supply > 0 ? sales(stock.sold, stock.supply) : ""));
}

function sales(sold: number, supply: number): string {
  const { none, all, some } = texts().journey.ended;
  return sold === 0 ? none(supply) : sold >= supply ? all(supply) : some(sold, supply);
}

function enter({ info, now }: View): string {
  const t = texts().journey;
  return sentences(info ? t.enterUntil(momentOf(info.ends_at, now)) : t.enterUntilEnd, info?.draw_weight === "waiting_time" ? t.drawByTime : t.drawEqual);
}

/** How long a unit is kept for who is drawn. */
function claimTime({ info }: View): string {
  return info ? spoken(info.claim_ms) : texts().durations.short;
}

/** What a status is called on a badge; the sale itself knows better than its phase whether there is anything to have. */
export function badgeOf(view: View): { label: string; tone: Tone } | null {
  if (!view.phase) return null;
  const isSoldOut = view.journey === "sold_out" || (view.outlook === "sold_out" && view.phase === "live");
  return isSoldOut ? { label: texts().phases.soldOut, tone: "calm" } : phaseBadge(view.phase);
}

/** What a sale's phase is called. */
export function phaseBadge(phase: NonNullable<View["phase"]>): { label: string; tone: Tone } {
  const tone = phase === "paused" ? "warn" : phase === "cancelled" ? "bad" : "calm";
  return { label: texts().phases[phase], tone };
}

/** "3 × €99.00 = €297.00", or the price alone. */
export function total(view: View, quantity: number): string {
  const { info } = view;
  if (!info) return "";
  const price = (minor: number) => formatMoney(minor, info.currency, info.currency_exponent);
  return quantity === 1 ? price(info.sale_price) : texts().journey.sum(quantity, price(info.sale_price), price(info.sale_price * quantity));
}

/** What the loss of the connection means for what this shopper has. */
export function offlineWords(view: View): string {
  const t = texts().offline;
  // The words of a checkout say themselves whether it was sent.
  const unsent = view.unsent.length > 0 && view.journey !== "checking_out" ? t.unsent : "";
  return view.journey === "loading" || view.journey === "unknown" ? "" : sentences(lost(view), unsent);
}

function lost({ journey, turn, hold, order, line }: View): string {
  const t = texts().offline;
  switch (journey) {
    case "checking_out":
      return t.alone;
    case "admitted":
      return t.turn(timeOf(turn?.until ?? 0));
    case "holding":
      return t.hold(timeOf(hold?.until ?? 0));
    case "pay":
      return t.pay(timeOf(order?.until ?? 0));
    case "paying":
      return t.paying;
    case "entered":
      return t.entered;
    case "confirmed":
      return t.confirmed;
    default:
      return line ? t.place : t.other;
  }
}

