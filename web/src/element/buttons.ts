/** The buttons of each phase of the journey. They draw what may be done; the element does it. */

import { html, nothing, type TemplateResult } from "lit";
import type { Shown } from "../client/by-rest";
import type { Order, View } from "../client/view";
import { plural } from "../text/duration";
import { formatMoney } from "../text/money";
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
  checkout(): void;
  cancel(order: Order): void;
  goToCheckout(): void;
  print(): void;
  /** Notice of a turn that comes while nobody looks; null: none to be had. */
  notice: "ask" | "on" | null;
  notify(): void;
}

type Verb = View["under_way"][number];

export function buttons(view: Shown, on: Commands): TemplateResult | typeof nothing {
  // What was asked for by REST can be looked at; there is no connection over which to do anything.
  if (view.by_rest) return nothing;
  const { journey, line, stock, under_way } = view;
  const isBusy = (verb: Verb) => under_way.includes(verb);
  const isOff = on.isGuarded || under_way.length > 0;
  // Not the attribute `disabled`: it would take the focus away from whoever uses the keyboard.
  const one = (kind: string, label: string, run: () => void) => html`
    <button class=${kind} aria-disabled=${isOff ? "true" : "false"} ?data-guard=${under_way.length === 0} @click=${isOff ? nothing : run}>${label}</button>
  `;
  const primary = (label: string, busy: string, verb: Verb, run: () => void) => one("primary", isBusy(verb) ? busy : label, run);
  const now = (label: string, busy: string, verb: Verb, run: () => void) => one("primary now", isBusy(verb) ? busy : label, run);
  const quiet = (label: string, run: () => void) => one("quiet", label, run);
  const join = () => html`${units(view, on)} ${primary("Join the line", "Joining…", "join", () => on.join())}`;
  const enter = () => html`${units(view, on)} ${primary("Enter the draw", "Entering…", "join", () => on.join())}`;
  const isDraw = view.info?.allocation === "draw";
  const isFree = view.outlook === "free" && stock?.waiting === 0;
  const add = (kind: typeof primary, quantity: number) => kind(`Add ${quantity > 1 ? `${String(quantity)} ` : ""}to cart${forPrice(view, quantity)}`, "Adding…", isBusy("join") ? "join" : "reserve", () => on.reserve());
  const notify =
    on.notice === "ask"
      ? one("", "Notify me", () => on.notify())
      : on.notice === "on"
        ? html`<p class="soft small notified">You get a notice when it is your turn.</p>`
        : nothing;
  switch (journey) {
    case "lobby":
      if (isDraw) return enter();
      return line ? html`${notify} ${quiet("Leave the line", () => on.leave())}` : join();
    case "entered":
      return html`${notify} ${view.draw?.stage === "open" ? quiet("Leave the draw", () => on.leave()) : nothing}`;
    case "open":
      if (view.may_take === 0) return nothing;
      if (isDraw) return enter();
      return isFree ? html`${units(view, on)} ${add(primary, on.quantity)}` : join();
    case "waiting":
    case "paused":
      return line ? html`${notify} ${quiet("Leave the line", () => on.leave())}` : nothing;
    case "admitted":
      return html`${add(now, view.turn?.quantity ?? 1)} ${quiet("Skip my turn", () => on.leave())}`;
    case "holding":
      return html`${now(`Check out${forPrice(view, view.hold?.quantity ?? 1)}`, "Checking out…", "checkout", () => on.checkout())}
      ${quiet("Remove", () => on.release())}`;
    case "pay":
    case "paying":
      return view.order
        ? html`${payButton(view, view.order, isOff, isBusy("pay"), on)}
          ${quiet(isBusy("cancel") ? "Cancelling…" : "Cancel order", () => view.order && on.cancel(view.order))}`
        : nothing;
    case "confirmed":
      return html`${one("", "Print", () => on.print())}
      ${view.may_take > 0 && view.phase === "live" && isFree ? one("quiet", "Buy another", () => on.reserve()) : nothing}`;
    default:
      return nothing;
  }
}

/** " for €198.00"; nothing for what costs nothing, or has no price yet. */
function forPrice(view: View, quantity: number): string {
  const { info } = view;
  if (!info || info.sale_price === 0) return "";
  return ` for ${formatMoney(info.sale_price * quantity, info.currency, info.currency_exponent)}`;
}

function payButton(view: View, order: Order, isOff: boolean, isPaying: boolean, on: Commands): TemplateResult | typeof nothing {
  const payments = view.info?.payments;
  const off = isOff || order.left_ms === 0;
  if (isPaidAtShop(payments)) {
    return html`<button class="primary now" aria-disabled=${off ? "true" : "false"} ?data-guard=${on.isGuarded} @click=${off ? nothing : () => on.goToCheckout()}>
      ${isPaying ? "One moment…" : "Continue to the shop's checkout"}
    </button>`;
  }
  if (view.journey === "paying" || cannotPay(payments)) return nothing;
  return html`<button class="primary now numbers" type="submit" form="pay" aria-disabled=${off ? "true" : "false"} ?data-guard=${on.isGuarded}>
    ${isPaying ? "Paying…" : `Pay ${formatMoney(order.amount, order.currency, order.currency_exponent ?? 2)}`}
  </button>`;
}

function units(view: View, on: Commands): TemplateResult | typeof nothing {
  const most = Math.min(view.may_take, MOST_UNITS);
  if (most <= 1) return nothing;
  return html`
    <label class="units"
      ><span class="unseen">How many</span>
      <select @change=${(event: Event) => on.wish(Number((event.target as HTMLSelectElement).value))}>
        ${Array.from({ length: most }, (_, index) => index + 1).map(
          (units) => html`<option value=${units} ?selected=${units === on.quantity}>${plural(units, "unit")}</option>`,
        )}
      </select></label
    >
  `;
}

/** A question before something that cannot be taken back. Null: nothing is lost by it. */
export function questionBefore(verb: "leave" | "release" | "cancel", view: View): { title: string; text: string; yes: string; no: string } | null {
  switch (verb) {
    case "leave":
      if (view.turn) return { title: "Skip your turn?", text: "What is set aside for you goes to somebody else. You cannot get this turn back.", yes: "Skip my turn", no: "Keep my turn" };
      if (view.journey === "entered") return { title: "Leave the draw?", text: "You can enter again until the entries close.", yes: "Leave the draw", no: "Stay in the draw" };
      return view.line && view.line.position > 0
        ? { title: `Give up place ${String(view.line.position)}?`, text: "You cannot get it back: if you join again, you stand at the end.", yes: "Give up my place", no: "Keep my place" }
        : { title: "Leave the line?", text: "You can join again until the sale starts.", yes: "Leave the line", no: "Stay in line" };
    case "release":
      return { title: "Remove it from your cart?", text: "It goes back to the sale at once, and somebody else may take it.", yes: "Remove", no: "Keep it" };
    case "cancel":
      return { title: "Cancel your order?", text: "Its units go back to the sale. You cannot take this back.", yes: "Cancel the order", no: "Keep the order" };
  }
}
