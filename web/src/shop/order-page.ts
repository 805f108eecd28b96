/** One order of this shopper: what it is, what is the matter with it, and its receipt to print or keep. */

import { LitElement, css, html, nothing, type TemplateResult } from "lit";
import { clientFor } from "../client/client";
import type { Order, PaymentsBy } from "../client/view";
import { baseStyle } from "../element/base-style";
import { slip, slipStyle } from "../element/slip";
import { currencyExponent } from "../text/currencies";
import { texts } from "../text/language";
import { shopTexts } from "../text/shop";
import { formatMoney } from "../text/money";
import { timeOf } from "../text/times";

/** The orders are asked for when the connection is there; for so long one that is not among them may still come. */
const LOOKING_MS = 8_000;

export class OrderPage extends LitElement {
  static override properties = { sale: { type: String }, order: { type: String } };
  declare sale: string;
  declare order: string;

  private readonly client = clientFor(location.origin);
  private stop: (() => void)[] = [];
  private timer = 0;
  private isLate = false;

  constructor() {
    super();
    this.sale = "";
    this.order = "";
  }

  override connectedCallback(): void {
    super.connectedCallback();
    const draw = () => this.requestUpdate();
    this.stop = [this.client.watch(this.sale), this.client.on("orders", draw), this.client.on("sale", draw)];
    this.timer = window.setTimeout(() => {
      this.isLate = true;
      this.requestUpdate();
    }, LOOKING_MS);
  }

  override disconnectedCallback(): void {
    super.disconnectedCallback();
    clearTimeout(this.timer);
    for (const stop of this.stop) stop();
  }

  private get found(): Order | undefined {
    return this.client.knownOrders.find(({ order }) => order === this.order);
  }

  protected override updated(): void {
    const order = this.found;
    if (order) document.title = `${shopTexts().orders.one} · ${order.product_name ?? shopTexts().site}`;
  }

  protected override render(): TemplateResult {
    const t = shopTexts().orders;
    const order = this.found;
    if (!order) {
      const { title, text } = this.isLate ? t.unknown : { title: t.looking, text: texts().journey.loading.text };
      return html`<h1>${title}</h1>
        <p class="soft" role="status">${text}</p>
        ${this.isLate ? html`<p><a class="plain" href="/">${texts().ticket.allSales}</a></p>` : nothing}`;
    }
    const view = this.client.view(this.sale);
    return html`
      <h1>${t.one}</h1>
      <p class="said" role="status">${orderWords(order)}</p>
      ${slip(named(order, view?.info?.product_name), this.client.now, payments(view?.info?.payments), false, view?.info ?? null)}
      <div class="row">
        ${order.status === "pending" ? html`<a class="new" href="/sale/${order.sale}">${t.pay}</a>` : html`<button @click=${() => print()}>${texts().buttons.print}</button>`}
        ${order.status === "pending" ? nothing : html`<a class="plain" href="/sale/${order.sale}">${t.sale}</a>`}
      </div>
    `;
  }

  static override styles = [
    ...baseStyle,
    slipStyle,
    css`
      :host {
        display: grid;
        gap: var(--fs-space-4);
        max-inline-size: var(--fs-narrow);
      }
      h1 {
        font: var(--fs-weight-display) var(--fs-text-xl) / var(--fs-leading-tight) var(--fs-font-display);
      }
      @media print {
        .row,
        .said {
          display: none;
        }
      }
    `,
  ];
}

/** What is the matter with an order. Why it was cancelled is said where it is known. */
export function orderWords(order: Order): string {
  const { reasons } = texts();
  const t = shopTexts().orders;
  if (order.status === "confirmed" && order.refunded > 0) return t.isPartlyBack(amountBack(order));
  if (order.status === "confirmed") return order.amount === 0 ? t.isFree : t.isConfirmed;
  if (order.status === "cancelled") return reasons[order.reason ?? ""] ?? t.isCancelled;
  if (order.paying) return t.isPaying;
  return order.left_ms > 0 ? t.waits(timeOf(order.until)) : t.isOver;
}

function amountBack({ refunded, currency, currency_exponent }: Order): string {
  return formatMoney(refunded, currency, currency_exponent ?? currencyExponent(currency));
}

function named(order: Order, name: string | undefined): Order {
  return order.product_name || name === undefined ? order : { ...order, product_name: name };
}

/** Before the sale is known, nothing is promised that is true of a real order only. */
function payments(by: PaymentsBy | undefined): PaymentsBy {
  return by ?? "sandbox";
}
