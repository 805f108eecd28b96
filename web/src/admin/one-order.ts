/** One order: what it is, what has happened to it, and how the shop gives money back or ends it. */

import { LitElement, css, html, nothing, type PropertyValues, type TemplateResult } from "lit";
import { historyOf, orders, refundable, type Happening, type Refund, type WholeOrder } from "../client/orders";
import { Problem } from "../client/rest";
import type { AskSure } from "../element/ask-sure";
import { baseStyle } from "../element/base-style";
import { shortCode } from "../element/slip";
import { currencyExponent } from "../text/currencies";
import { formatCount, when } from "../text/duration";
import { decimal, formatMoney, parseMoney } from "../text/money";
import { focusField, formStyle, textField } from "./form";
import { orderState } from "./order-state";
import { said } from "./said";

export class OneOrder extends LitElement {
  static override properties = { order: { type: String }, isFixed: { type: Boolean } };
  declare order: string;
  /** This operator only looks. */
  declare isFixed: boolean;

  private whole: WholeOrder | null = null;
  private amount = "";
  private reason = "";
  private wrong = "";
  private error = "";
  private done = "";
  private isBusy = false;

  constructor() {
    super();
    this.order = "";
    this.isFixed = false;
  }

  protected override willUpdate(changed: PropertyValues): void {
    if (!changed.has("order")) return;
    this.whole = null;
    this.amount = "";
    this.reason = "";
    this.done = "";
    void this.run(() => this.load());
  }

  private async load(): Promise<void> {
    const { order } = this;
    const whole = await orders.one(order);
    if (order === this.order) this.whole = whole;
  }

  private async run(step: () => Promise<void>): Promise<void> {
    if (this.isBusy) return;
    this.isBusy = true;
    this.error = "";
    this.wrong = "";
    this.requestUpdate();
    try {
      await step();
    } catch (error) {
      if (error instanceof Problem && error.status === 401) this.dispatchEvent(new Event("signed-out"));
      this.error = said(error);
    }
    this.isBusy = false;
    this.requestUpdate();
  }

  private money(minor: number): string {
    const currency = this.whole?.order.currency ?? "";
    return formatMoney(minor, currency, currencyExponent(currency));
  }

  private async isSure(title: string, text: string, yes: string): Promise<boolean> {
    const ask = this.renderRoot.querySelector<AskSure>("ask-sure");
    return (await ask?.ask({ title, text, yes, no: "Leave it" })) ?? false;
  }

  private readonly typed = (event: Event) => {
    const input = event.target as HTMLInputElement;
    if (input.name === "amount") this.amount = input.value;
    else this.reason = input.value;
    this.wrong = "";
    this.done = "";
    this.requestUpdate();
  };

  private readonly refund = async (event: Event): Promise<void> => {
    event.preventDefault();
    const { whole } = this;
    if (!whole || this.isBusy) return;
    const left = refundable(whole);
    const amount = this.amount.trim() === "" ? left : parseMoney(this.amount, currencyExponent(whole.order.currency));
    if (amount === null || amount < 1 || amount > left) {
      this.wrong = `An amount up to ${this.money(left)}.`;
      this.requestUpdate();
      return void focusField(this, "amount");
    }
    const isAll = amount === left;
    const text = isAll
      ? "That is all that is left of its money: the order ends, and its units are for sale again. This cannot be undone."
      : "The order stays as it is. This cannot be undone.";
    if (!(await this.isSure(`Give ${this.money(amount)} back?`, text, "Give it back"))) return;
    await this.run(async () => {
      await orders.refund(this.order, this.reason.trim(), isAll ? undefined : amount);
      this.amount = "";
      this.reason = "";
      this.done = `${this.money(amount)} is on its way back.`;
      await this.load();
    });
  };

  private readonly end = async (): Promise<void> => {
    if (!(await this.isSure("End this order?", "It cost nothing. Its units are for sale again.", "End it"))) return;
    await this.run(async () => {
      await orders.refund(this.order, this.reason.trim());
      this.done = "The order has ended.";
      await this.load();
    });
  };

  private readonly cancel = async (): Promise<void> => {
    const text = "It is not paid. Its units are for sale again; money that still comes goes back.";
    if (!(await this.isSure("Cancel this order?", text, "Cancel it"))) return;
    await this.run(async () => {
      await orders.cancel(this.order);
      this.done = "The order is cancelled.";
      await this.load();
    });
  };

  private async retry(refund: Refund): Promise<void> {
    await this.run(async () => {
      await orders.retryRefund(this.order, refund.refund_id);
      this.done = "The refund is on its way again.";
      await this.load();
    });
  }

  private readonly refresh = () => this.run(() => this.load());

  protected override render(): TemplateResult {
    const { whole } = this;
    const error = this.error ? html`<p class="notice" data-tone="bad" role="alert">${this.error}</p>` : nothing;
    if (!whole) return html`${error}<p class="soft" role="status">${this.isBusy ? "Looking…" : ""}</p>`;
    const { order } = whole;
    const state = orderState(order);
    return html`
      <a class="soft small" href="#/sale/${order.sale_id}/orders">← All orders</a>
      <div class="row apart">
        <h1 class="numbers">${shortCode(order.order_id)}</h1>
        <div class="row">
          <span class="badge" data-tone=${state.tone}>${state.label}</span>
          <button class="quiet" aria-disabled=${this.isBusy} @click=${this.refresh}>Look again</button>
        </div>
      </div>
      ${error}
      <p class="small soft done" role="status">${this.done}</p>
      <section class="card block" aria-label="The order">${this.facts(whole)}</section>
      <section aria-labelledby="history">
        <h2 id="history">What has happened</h2>
        <ol class="card">
          ${historyOf(whole, (minor) => this.money(minor)).map(happened)}
        </ol>
      </section>
      ${this.isFixed ? nothing : this.actions(whole)}
      <ask-sure></ask-sure>
    `;
  }

  private facts({ order, person, customer }: WholeOrder): TemplateResult {
    const row = (name: string, value: string) => html`<dt class="soft">${name}</dt><dd class="numbers">${value}</dd>`;
    return html`<dl>
      ${row("Number", order.order_id)} ${row("Buyer", customer ?? "a guest")} ${row("Their id here", person)}
      ${row("Units", `${formatCount(order.quantity)} × ${this.money(order.unit_price)}`)} ${row("Amount", this.money(order.amount))}
      ${order.refunded ? row("Back so far", this.money(order.refunded)) : nothing}
      ${order.order_status === "pending" ? row("To be paid by", when(Date.parse(order.expires_at), Date.now())) : nothing}
    </dl>`;
  }

  private actions(whole: WholeOrder): TemplateResult | typeof nothing {
    const { order } = whole;
    const refused = whole.payments.flatMap(({ refunds }) => refunds).filter(({ status }) => status === "refused");
    const left = refundable(whole);
    return html`
      ${refused.map(
        (refund) => html`<div class="notice row apart" data-tone="bad">
          <p>The provider refuses to give ${this.money(refund.amount)} back: ${refund.refusal ?? ""}</p>
          <button aria-disabled=${this.isBusy} @click=${() => this.retry(refund)}>Try again</button>
        </div>`,
      )}
      ${order.order_status === "pending"
        ? html`<div><button class="danger" aria-disabled=${this.isBusy} @click=${this.cancel}>Cancel the order</button></div>`
        : nothing}
      ${order.order_status === "confirmed" && order.amount === 0
        ? html`<div><button class="danger" aria-disabled=${this.isBusy} @click=${this.end}>End the order</button></div>`
        : nothing}
      ${left > 0 ? this.form(order.currency, left) : nothing}
    `;
  }

  private form(currency: string, left: number): TemplateResult {
    const exponent = currencyExponent(currency);
    return html`
      <form class="card" novalidate @submit=${this.refund} @input=${this.typed}>
        <h2>Give money back</h2>
        <div class="fields">
          ${textField(
            { name: "amount", label: `Amount in ${currency}`, value: this.amount, error: this.wrong },
            { mode: "decimal", hint: `Empty: all that is left, ${decimal(left, exponent)}. Then the order ends.` },
          )}
          ${textField({ name: "reason", label: "Why", value: this.reason }, { hint: "For your own books" })}
        </div>
        <div><button class="danger" aria-disabled=${this.isBusy}>Give back</button></div>
      </form>
    `;
  }

  static override styles = [
    ...baseStyle,
    formStyle,
    css`
      :host {
        display: grid;
        gap: var(--fs-space-4);
      }
      h1 {
        font-size: var(--fs-text-xl);
      }
      h2 {
        font-size: var(--fs-text-l);
      }
      section {
        display: grid;
        gap: var(--fs-space-3);
      }
      .block {
        padding: var(--fs-space-5);
      }
      dl {
        display: grid;
        grid-template-columns: auto minmax(0, 1fr);
        gap: var(--fs-space-1) var(--fs-space-4);
        font-size: var(--fs-text-s);
      }
      dd {
        overflow-wrap: anywhere;
      }
      ol {
        margin: 0;
        padding: 0;
        list-style: none;
      }
      li {
        display: grid;
        grid-template-columns: minmax(0, 1fr) auto;
        gap: var(--fs-space-1) var(--fs-space-4);
        padding: var(--fs-space-3) var(--fs-space-4);
      }
      li + li {
        border-block-start: var(--fs-hair) solid var(--fs-line);
      }
      li .note {
        grid-column: 1 / -1;
        overflow-wrap: anywhere;
      }
      .done:empty {
        display: none;
      }
      form {
        gap: var(--fs-space-3);
      }
    `,
  ];
}

function happened({ at, text, note, tone }: Happening): TemplateResult {
  return html`<li>
    <span>${tone ? html`<span class="badge" data-tone=${tone}>${text}</span>` : text}</span>
    <time class="soft small numbers">${when(at, Date.now())}</time>
    ${note ? html`<span class="soft small note">${note}</span>` : nothing}
  </li>`;
}
