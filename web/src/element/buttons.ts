/** The buttons of each phase of the journey. They draw what may be done; the element does it. */

import { html, nothing, type TemplateResult } from "lit";
import type { Shown } from "../client/by-rest";
import type { Clocked, Order, View } from "../client/view";
import { texts } from "../text/language";
import { formatMoney } from "../text/money";
import { prepareRefusals } from "../text/refusal";
import { cannotPay, isPaidAtShop } from "../text/payments";

/** Most units that the list offers. */
const MOST_UNITS = 100;

/** What the buttons ask of their element. */
export interface Commands {
  /** Right after a step of the journey, a click was meant for the one before. */
  isGuarded: boolean;
  quantity: number;
  wish(quantity: number): void;
  join(): void;
  leave(): void;
  reserve(): void;
  release(): void;
  extend(): void;
  checkout(): void;
  cancel(order: Order): void;
  goToCheckout(): void;
  print(): void;
  /** Notice of a turn that comes while nobody looks; null: none to be had. */
  notice: "ask" | "on" | null;
  notify(): void;
  /** Saves an entry for the shopper's own calendar; null: there is nothing to be reminded of. */
  remind: (() => void) | null;
  isReminded: boolean;
}

/** More time is offered when so much is left. */
const EXTEND_MS = 60_000;

type Verb = View["under_way"][number];

/** What is asked for may be refused: the words for that come meanwhile. */
function begin(run: () => void): void {
  void prepareRefusals();
  run();
}

export function buttons(view: Shown, on: Commands): TemplateResult | typeof nothing {
  // A sale that was only asked for can be looked at; what this shopper has, and may do, is not known.
  if (view.by_rest && !view.own) return nothing;
  const { journey, line, stock, under_way } = view;
  const t = texts().buttons;
  const isBusy = (verb: Verb) => under_way.includes(verb);
  const isOff = on.isGuarded || under_way.length > 0;
  // Not the attribute `disabled`: it would take the focus away from whoever uses the keyboard.
  const one = (kind: string, label: string, run: () => void) => html`
    <button class=${kind} part=${`button ${kind}`} aria-disabled=${isOff ? "true" : "false"} ?data-guard=${under_way.length === 0} @click=${isOff ? nothing : () => begin(run)}>${label}</button>
  `;
  const primary = (label: string, busy: string, verb: Verb, run: () => void) => one("primary", isBusy(verb) ? busy : label, run);
  const now = (label: string, busy: string, verb: Verb, run: () => void) => one("primary now", isBusy(verb) ? busy : label, run);
  const quiet = (label: string, run: () => void) => one("quiet", label, run);
  const leave = (label: string) => quiet(label, () => on.leave());
  const more = (time: Clocked | null) => (time?.may_extend && time.left_ms > 0 && time.left_ms <= EXTEND_MS ? one("", isBusy("extend") ? t.moment : t.moreTime, () => on.extend()) : nothing);
  const join = () => html`${units(view, on)} ${primary(t.join, t.joining, "join", () => on.join())}`;
  const enter = () => html`${units(view, on)} ${primary(t.enter, t.entering, "join", () => on.join())}`;
  const isDraw = view.info?.allocation === "draw";
  const isFree = view.outlook === "free" && stock?.waiting === 0;
  const add = (kind: typeof primary, quantity: number) => kind(addLabel(view, quantity), t.adding, isBusy("join") ? "join" : "reserve", () => on.reserve());
  const notify =
    on.notice === "ask"
      ? one("", t.notify, () => on.notify())
      : on.notice === "on"
        ? html`<p class="soft small notified">${t.notified}</p>`
        : nothing;
  const remind =
    on.remind === null ? nothing : html`${one("", t.remind, on.remind)}${on.isReminded ? html`<p class="soft small notified" role="status">${texts().calendar.saved}</p>` : nothing}`;
  switch (journey) {
    case "countdown":
      return remind;
    case "lobby":
      if (isDraw) return enter();
      return line ? html`${notify} ${leave(t.leave)}` : join();
    case "entered":
      return html`${notify} ${remind} ${view.draw?.stage === "open" ? leave(t.leaveDraw) : nothing}`;
    case "open":
      if (view.may_take === 0) return nothing;
      if (isDraw) return enter();
      return isFree ? html`${units(view, on)} ${add(primary, on.quantity)}` : join();
    case "waiting":
    case "paused":
      return line ? html`${notify} ${leave(t.leave)}` : nothing;
    case "admitted":
      return html`${add(now, view.turn?.quantity ?? 1)} ${more(view.turn)} ${leave(t.skip)}`;
    case "holding":
      return html`${now(checkOutLabel(view), t.checkingOut, "checkout", () => on.checkout())} ${more(view.hold)}
      ${quiet(t.remove, () => on.release())}`;
    case "pay":
    case "paying":
      return view.order
        ? html`${payButton(view, view.order, isOff, isBusy("pay"), on)}
          ${quiet(isBusy("cancel") ? t.cancelling : t.cancel, () => view.order && on.cancel(view.order))}`
        : nothing;
    case "confirmed":
      return html`${one("", t.print, () => on.print())}
      ${view.may_take > 0 && view.phase === "live" && isFree ? one("quiet", t.another, () => on.reserve()) : nothing}`;
    default:
      return nothing;
  }
}

/** What so many units cost; null where they cost nothing, or have no price yet. */
function priceOf({ info }: View, quantity: number): string | null {
  return info && info.sale_price > 0 ? formatMoney(info.sale_price * quantity, info.currency, info.currency_exponent) : null;
}

function addLabel(view: View, quantity: number): string {
  const t = texts().buttons;
  const price = priceOf(view, quantity);
  if (quantity === 1) return price === null ? t.add : t.addFor(price);
  return price === null ? t.addSome(quantity) : t.addSomeFor(quantity, price);
}

function checkOutLabel(view: View): string {
  const t = texts().buttons;
  const price = priceOf(view, view.hold?.quantity ?? 1);
  return price === null ? t.checkOut : t.checkOutFor(price);
}

function payButton(view: View, order: Order, isOff: boolean, isPaying: boolean, on: Commands): TemplateResult | typeof nothing {
  const payments = view.info?.payments;
  const off = isOff || order.left_ms === 0;
  const t = texts().buttons;
  if (isPaidAtShop(payments)) {
    return html`<button class="primary now" part="button primary pay" aria-disabled=${off ? "true" : "false"} ?data-guard=${on.isGuarded} @click=${off ? nothing : () => on.goToCheckout()}>
      ${isPaying ? t.moment : t.toShop}
    </button>`;
  }
  if (view.journey === "paying" || cannotPay(payments)) return nothing;
  return html`<button class="primary now numbers" part="button primary pay" type="submit" form="pay" aria-disabled=${off ? "true" : "false"} ?data-guard=${on.isGuarded}>
    ${isPaying ? t.paying : t.pay(formatMoney(order.amount, order.currency, order.currency_exponent ?? 2))}
  </button>`;
}

function units(view: View, on: Commands): TemplateResult | typeof nothing {
  const most = Math.min(view.may_take, MOST_UNITS);
  if (most <= 1) return nothing;
  return html`
    <label class="units"
      ><span class="unseen">${texts().buttons.howMany}</span>
      <select @change=${(event: Event) => on.wish(Number((event.target as HTMLSelectElement).value))}>
        ${Array.from({ length: most }, (_, index) => index + 1).map(
          (units) => html`<option value=${units} ?selected=${units === on.quantity}>${texts().units(units)}</option>`,
        )}
      </select></label
    >
  `;
}

/** A question before something that cannot be taken back. */
export function questionBefore(verb: "leave" | "release" | "cancel", view: View): { title: string; text: string; yes: string; no: string } {
  const t = texts().ask;
  if (verb === "release") return t.remove;
  if (verb === "cancel") return t.cancel;
  if (view.turn) return t.skip;
  if (view.journey === "entered") return t.leaveDraw;
  return view.line && view.line.position > 0 ? { ...t.giveUp, title: t.giveUp.title(view.line.position) } : t.leave;
}
