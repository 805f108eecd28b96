/** What stands on the ticket in each phase of the journey: the clock, the place, the receipt. Draws and decides nothing. */

import { html, nothing, type TemplateResult } from "lit";
import type { Shown } from "../client/by-rest";
import type { Clocked, Line, View } from "../client/view";
import { clock, formatCount, spoken, when } from "../text/duration";
import { total } from "../text/journey";
import { texts } from "../text/language";
import { cannotPay, isPaidAtShop, testCards, type TestCard } from "../text/payments";
import { laterOn, momentHere } from "../text/times";
import type { slip } from "./slip";
import type { Tape } from "./tape";

/** What the ticket needs of its element. */
export interface Held {
  tape: Tape;
  /** Null: it is on its way. */
  slip: typeof slip | null;
  /** The test card that is chosen; null: the first one. */
  card: string | null;
  choose(card: string): void;
  pay(event: Event): void;
  /** The page around brings a payment form of its own, in the slot `pay`. */
  hasPayForm: boolean;
  /** The order has been confirmed while somebody looked. */
  isFresh: boolean;
}

export function middle(view: Shown, held: Held): TemplateResult | typeof nothing {
  const t = texts().ticket;
  switch (view.journey) {
    case "countdown":
    case "lobby":
      return html`${countdown(view)} ${place(view, held)}`;
    case "waiting":
    case "paused":
      return place(view, held);
    case "admitted":
      return view.turn ? claimClock(view.turn, view.turn.left_ms < LAST_MS ? t.lastSeconds : t.toAdd) : nothing;
    case "holding":
      return view.hold
        ? html`<p class="sum numbers">${total(view, view.hold.quantity)}</p>
            ${claimClock(view.hold, view.hold.left_ms < LAST_MS ? t.lastSeconds : t.toCheckOut)}`
        : nothing;
    case "checking_out":
      return html`${view.hold ? html`<p class="sum numbers">${total(view, view.hold.quantity)}</p>` : nothing}
        <div class="running" role="progressbar" aria-label=${t.checkingOut}></div>`;
    case "paying":
      if (isPaidAtShop(view.info?.payments)) return view.order ? claimClock(view.order, t.toPay) : nothing;
      return view.order && view.order.left_ms > 0
        ? html`${claimClock(view.order, t.forBank)}
            <div class="running" role="progressbar" aria-label=${t.checkingPayment}></div>`
        : nothing;
    case "pay":
      return view.order ? html`${claimClock(view.order, t.toPay)} ${cards(view, held)}` : nothing;
    case "confirmed":
      return view.order && held.slip ? held.slip(view.order, view.now, view.info?.payments, held.isFresh, view.info) : nothing;
    default:
      return nothing;
  }
}

/** In the last seconds the label says so. */
const LAST_MS = 20_000;

/** What the clock counts down to, and when that is. */
function countdown(view: View): TemplateResult | typeof nothing {
  const { countdown, info } = view;
  if (!countdown) return nothing;
  const isRoom = countdown.to === "room";
  const t = texts().ticket;
  const at = momentHere(countdown.at, view.now);
  const when = !isRoom ? t.saleAt(at) : info ? t.roomThenSale(at, laterOn(info.starts_at, countdown.at, view.now)) : t.roomAt(at);
  const text = clock(countdown.left_ms);
  return html`
    <div class="clocked">
      <p class="label">${isRoom ? t.roomIn : t.saleIn}</p>
      <p class="clock" role="timer" aria-label=${spoken(countdown.left_ms)} ?data-long=${text.length > LONG}>${text}</p>
      <p class="soft small numbers">${when}</p>
    </div>
  `;
}

/** A clock with more letters than "59:59" needs smaller ones. */
const LONG = 5;

function claimClock(clocked: Pick<Clocked, "left_ms" | "total_ms">, label: string): TemplateResult {
  const share = clocked.total_ms > 0 ? Math.min(1, clocked.left_ms / clocked.total_ms) : 0;
  const text = clock(clocked.left_ms);
  return html`
    <div class="clocked" ?data-late=${clocked.left_ms < Math.min(LAST_MS, clocked.total_ms / 4)}>
      <p class="clock" role="timer" ?data-long=${text.length > LONG}>${text}</p>
      <p class="label">${label}</p>
      <div class="left" aria-hidden="true"><span .style=${`--shift:${String(100 * share - 100)}%`}></span></div>
    </div>
  `;
}

function place(view: View, held: Held): TemplateResult | typeof nothing {
  const { line, journey } = view;
  // Before places are drawn the words above say how many are here.
  if (!line || line.position === 0) return nothing;
  return html`
    <p class="place numbers" data-small=${journey === "lobby" ? "true" : nothing}>
      <span class="label">${line.priority ? texts().ticket.priorityPlace : texts().ticket.place}</span>
      <span class="big">${formatCount(line.position)}</span>
    </p>
    ${journey === "waiting" ? held.tape.render(line) : nothing}
  `;
}

/** What will be left of a first-come sale is no matter before its end; the promise is noted all the same. */
export function isToldOf(view: Shown | null): boolean {
  return view?.draw ? view.draw.stage !== "open" || view.info?.allocation === "draw" : false;
}

/** How likely a unit is left at the turn, and what may come back until then. When that is, the sentence above says. */
export function outlook(view: View): TemplateResult | typeof nothing {
  const { line } = view;
  if (!line || line.position === 0 || view.journey !== "waiting") return nothing;
  const row = (name: string, value: string) => html`<div><dt>${name}</dt><dd class="numbers">${value}</dd></div>`;
  const { ticket: t, line: words, units, people } = texts();
  return html`
    <dl class="facts" data-part="outlook">
      ${line.quantity > 1 ? row(t.for, units(line.quantity)) : nothing}
      ${line.chance === null ? nothing : row(t.chance, words.chances[line.chance])}
      ${row(t.behind, people(line.behind))}
      ${line.in_carts === 0 ? nothing : row(t.reservedByOthers, units(line.in_carts))}
      ${line.in_carts === 0 || line.next_lapse_ms === null ? nothing : row(t.nextBack, nextBack(line))}
    </dl>
  `;
}

function nextBack(line: Line): string {
  return clock(line.next_lapse_ms ?? 0);
}

function cards(view: View, held: Held): TemplateResult | typeof nothing {
  const { order, info } = view;
  const payments = info?.payments;
  const cannot = cannotPay(payments);
  if (cannot) return html`<p class="notice">${cannot}</p>`;
  // What costs nothing is confirmed without a card.
  if (isPaidAtShop(payments) || order?.amount === 0) return nothing;
  const known = testCards(payments);
  const chosen = held.card ?? known[0]?.token;
  const card = ({ token, name, hint }: TestCard) => html`
    <label class="choice">
      <input type="radio" name="card" value=${token} .checked=${chosen === token} @change=${() => held.choose(token)} />
      <span>${name}<br /><span class="soft small">${hint}</span></span>
    </label>
  `;
  // The built-in cards are of the sandbox only; else the page brings a form of its own.
  return html`
    <form id="pay" @submit=${(event: Event) => held.pay(event)}>
      <fieldset ?disabled=${order?.left_ms === 0}>
        <legend class="unseen">${texts().ticket.card}</legend>
        ${held.hasPayForm ? html`<slot name="pay"></slot>` : known.map(card)}
      </fieldset>
    </form>
  `;
}

/** What the shopper agrees to with the order: its version is stored with it. */
export function termsLink(info: View["info"]): TemplateResult | typeof nothing {
  return info?.terms_url ? html`<a class="small" part="terms" href=${info.terms_url} target="_blank" rel="noopener">${texts().ticket.terms(info.terms_version ?? "")}</a>` : nothing;
}

/** What one should know before joining: the rules of this sale, from its own numbers. */
export function rules(view: View): TemplateResult | typeof nothing {
  const { info, journey } = view;
  const isBefore = journey === "countdown" || journey === "lobby" || journey === "open";
  if (!info || !isBefore) return nothing;
  const row = (name: string, value: string) => html`<div><dt>${name}</dt><dd class="numbers">${value}</dd></div>`;
  const isDraw = info.allocation === "draw";
  const t = texts().ticket.rules;
  return html`
    <dl class="facts rules">
      ${row(t.units, formatCount(view.stock?.supply ?? info.total_stock))}
      ${row(t.perPerson, t.upTo(info.per_shopper_limit))}
      ${row(isDraw ? t.draw : t.ends, when(info.ends_at, view.now))}
      ${row(isDraw ? t.drawn : t.turn, t.toAdd(spoken(info.claim_ms)))}
      ${row(t.cart, t.toCheckOut(spoken(info.hold_ms)))}
    </dl>
  `;
}
