/** This shopper's orders, newest first. Hidden while there are none. */

import { LitElement, css, html, nothing, type TemplateResult } from "lit";
import { clientFor } from "../client/client";
import { saleCard } from "../client/sale-cards";
import type { Sale } from "../client/listed";
import type { Order } from "../client/view";
import { baseStyle } from "../element/base-style";
import { orderPage } from "../text/address";
import { clock, when } from "../text/duration";
import { currencyExponent } from "../text/currencies";
import { texts } from "../text/language";
import { shopTexts } from "../text/shop";
import { formatMoney } from "../text/money";
import type { Tone } from "../text/words";

const TONES: Readonly<Record<Order["status"], Tone>> = { pending: "turn", confirmed: "good", cancelled: "calm" };

/** What is the matter with an order. `back`: what has gone back of its money, as an amount. */
export function orderBadge(order: Order, back: string): { label: string; tone: Tone } {
  const t = shopTexts().orders;
  if (order.paying && order.status === "pending") return { label: t.paying, tone: "calm" };
  if (order.refunded > 0) return { label: t.refunded(back), tone: "calm" };
  return { label: t[order.status], tone: TONES[order.status] };
}

export class OrderList extends LitElement {
  private readonly client = clientFor(location.origin);
  private stop: (() => void)[] = [];
  private timer = 0;
  private wasReachable = false;
  /** The sales of orders that this page does not watch: a guest sees the orders of several shops. */
  private readonly sales = new Map<string, Sale>();

  override connectedCallback(): void {
    super.connectedCallback();
    this.stop = [
      this.client.use(),
      this.client.on("orders", () => this.changed()),
      this.client.on("connection", () => this.ask()),
    ];
    this.timer = window.setInterval(() => {
      if (this.client.knownOrders.some((order) => order.status === "pending")) this.requestUpdate();
    }, 1_000);
    this.ask();
  }

  override disconnectedCallback(): void {
    super.disconnectedCallback();
    clearInterval(this.timer);
    for (const stop of this.stop) stop();
  }

  /** Once for each connection; from then on orders come by themselves. */
  private ask(): void {
    const isReachable = this.client.connection.state === "online" || this.client.isAskedByRest;
    // Without an answer the list stays as it is, and is asked for again when the connection is back.
    if (isReachable && !this.wasReachable) this.client.orders().catch(() => undefined);
    this.wasReachable = isReachable;
  }

  private changed(): void {
    this.requestUpdate();
    const unknown = this.client.knownOrders.filter((order) => !order.product_name && !this.sales.has(order.sale));
    for (const sale of new Set(unknown.map((order) => order.sale))) void this.name(sale);
  }

  private async name(sale: string): Promise<void> {
    const card = await saleCard("", sale);
    if (card) this.sales.set(sale, card);
    this.requestUpdate();
  }

  protected override willUpdate(): void {
    this.hidden = this.client.knownOrders.length === 0;
  }

  protected override render(): TemplateResult | typeof nothing {
    const orders = this.client.knownOrders;
    if (orders.length === 0) return nothing;
    return html`
      <section aria-labelledby="title">
        <h2 id="title">${shopTexts().orders.title}</h2>
        <ol class="card">
          ${orders.map((order) => this.line(order))}
        </ol>
      </section>
    `;
  }

  private line(order: Order): TemplateResult {
    const card = this.sales.get(order.sale);
    const exponent = order.currency_exponent ?? card?.currency_exponent ?? currencyExponent(order.currency);
    const { label, tone } = orderBadge(order, formatMoney(order.refunded, order.currency, exponent));
    const time = order.status === "pending" ? shopTexts().orders.left(clock(order.left_ms)) : when(order.created_at, this.client.now);
    const name = order.product_name ?? card?.product_name;
    return html`
      <li data-order=${order.order}>
        <a href=${order.status === "pending" ? `/sale/${order.sale}` : orderPage(order)}>
          <span class="name" dir="auto">${name ?? texts().units(order.quantity)}</span>
          <span class="numbers">${formatMoney(order.amount, order.currency, exponent)}</span>
          <span class="soft small numbers">${name ? html`<bdi>${texts().units(order.quantity)}</bdi> · ` : ""}<bdi>${time}</bdi></span>
          <span class="badge" data-tone=${tone}>${label}</span>
        </a>
      </li>
    `;
  }

  static override styles = [
    ...baseStyle,
    css`
      section {
        display: grid;
        gap: var(--fs-space-3);
      }
      h2 {
        font-size: var(--fs-text-m);
      }
      li + li {
        border-block-start: var(--fs-hair) solid var(--fs-line);
      }
      a {
        display: grid;
        grid-template-columns: minmax(0, 1fr) auto;
        gap: var(--fs-space-1) var(--fs-space-4);
        align-items: center;
        padding: var(--fs-space-3) var(--fs-space-4);
        color: inherit;
        text-decoration: none;
      }
      a > :nth-child(even) {
        justify-self: end;
      }
      /* Its beginning is to be seen, whichever way it runs. */
      .name {
        justify-self: start;
        max-inline-size: 100%;
        overflow: hidden;
        text-overflow: ellipsis;
        white-space: nowrap;
        font-weight: var(--fs-weight-medium);
      }
    `,
  ];
}
