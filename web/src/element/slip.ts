/** The receipt: a paper slip that feeds down once, and prints. */

import { css, html, nothing, type TemplateResult } from "lit";
import type { Order, View } from "../client/view";
import { formatCount, when } from "../text/duration";
import { texts } from "../text/language";
import { formatMoney } from "../text/money";
import type { Payments } from "../text/payments";

/** The end of an order's number: enough to find it by, short enough to say on the phone. */
export function shortCode(order: string): string {
  const end = order.slice(-8);
  return `${end.slice(0, 4)}-${end.slice(4)}`;
}

export function slip(order: Order, now: number, payments: Payments, isFresh: boolean, info: View["info"] = null): TemplateResult {
  const price = (minor: number) => formatMoney(minor, order.currency, order.currency_exponent ?? 2);
  const isPaid = order.status === "confirmed" && order.amount > 0;
  const isOver = order.status === "cancelled";
  const t = texts().slip;
  return html`
    <div class="slip" ?data-fresh=${isFresh}>
      <p class="product"><bdi>${order.product_name ?? texts().units(order.quantity)}</bdi></p>
      <dl class="facts">
        <div>
          <dt>${formatCount(order.quantity)} × <bdi>${price(order.unit_price)}</bdi></dt>
          <dd class="numbers">${price(order.amount)}</dd>
        </div>
        ${order.refunded > 0
          ? html`<div>
              <dt>${t.refunded} ${order.refunded_at ? html`<bdi class="soft small">${when(order.refunded_at, now)}</bdi>` : nothing}</dt>
              <dd class="numbers">${price(-order.refunded)}</dd>
            </div>`
          : nothing}
        ${isOver
          ? nothing
          : html`<div class="total">
              <dt>${isPaid ? t.paid : t.toPay}</dt>
              <dd class="numbers">${price(order.amount - order.refunded)}</dd>
            </div>`}
        <div>
          <dt>${t.ordered}</dt>
          <dd class="numbers">${when(order.created_at, now)}</dd>
        </div>
        <div>
          <dt>${t.code}</dt>
          <dd><strong dir="ltr">${shortCode(order.order)}</strong></dd>
        </div>
        <div>
          <dt>${t.order}</dt>
          <dd><code dir="ltr">${order.order}</code></dd>
        </div>
        ${info?.terms_url
          ? html`<div>
              <dt>${t.terms}</dt>
              <dd><a href=${info.terms_url} target="_blank" rel="noopener"><bdi>${info.terms_version}</bdi></a></dd>
            </div>`
          : nothing}
      </dl>
      ${order.status === "confirmed"
        ? html`<div class="next">
            <p><strong>${t.next}</strong></p>
            <p class="soft">${payments === "sandbox" ? t.test : t.real}</p>
          </div>`
        : nothing}
    </div>
  `;
}

export const slipStyle = css`
  .slip {
    display: grid;
    gap: var(--fs-space-4);
    padding: var(--fs-space-5) var(--fs-space-4) calc(var(--fs-space-4) + 2 * var(--fs-tooth));
    background: var(--fs-raised);
    border-block-start: var(--fs-ring) solid var(--fs-good);
    /* The perforated edge. */
    mask:
      radial-gradient(circle at 50% 100%, transparent var(--fs-tooth), black calc(var(--fs-tooth) + var(--fs-hair))) bottom / calc(3 * var(--fs-tooth))
        calc(2 * var(--fs-tooth)) repeat-x,
      linear-gradient(black, black) top / 100% calc(100% - 2 * var(--fs-tooth)) no-repeat;
  }
  .slip[data-fresh] {
    animation: feed var(--fs-feed) ease-out;
  }
  @keyframes feed {
    from {
      clip-path: inset(0 0 100% 0);
      transform: translateY(calc(-1 * var(--fs-space-5)));
    }
    to {
      clip-path: inset(0 0 0 0);
      transform: none;
    }
  }
  .slip .product {
    font: var(--fs-weight-display) var(--fs-text-l) / var(--fs-leading-tight) var(--fs-font-display);
    overflow-wrap: anywhere;
  }
  .slip .total {
    border-block: var(--fs-hair) solid var(--fs-line-strong);
    padding-block: var(--fs-space-2);
    color: var(--fs-good);
    font-weight: var(--fs-weight-bold);
  }
  .slip .total dt {
    color: inherit;
  }
  .slip .next {
    display: grid;
    gap: var(--fs-space-1);
    font-size: var(--fs-text-s);
  }
  @media (forced-colors: active) {
    .slip {
      border: var(--fs-hair) solid CanvasText;
      mask: none;
    }
  }
  @media print {
    .slip {
      border: var(--fs-hair) solid;
      mask: none;
      color: black;
      background: white;
    }
  }
`;
