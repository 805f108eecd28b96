/** A sale's orders: which there are, and the one that somebody asks about. */

import { LitElement, css, html, nothing, type PropertyValues, type TemplateResult } from "lit";
import { repeat } from "lit/directives/repeat.js";
import { orders, type ListedOrder, type OrdersPage, type WantedOrders, type WhichOrders } from "../client/orders";
import { Problem, admin } from "../client/rest";
import { baseStyle } from "../element/base-style";
import { shortCode } from "../element/slip";
import { currencyExponent } from "../text/currencies";
import { when } from "../text/duration";
import { formatMoney } from "../text/money";
import { choiceField, formStyle, textField } from "./form";
import { orderState } from "./order-state";
import { rowsStyle } from "./rows-style";
import { said } from "./said";

/** Pages that one search reads by itself, when the wanted orders are few among very many. */
const PAGES_MOST = 200;
/** Between two of them: the server counts an operator's requests. */
const PAUSE_MS = 60;

const WHOLE_NUMBER = /^[0-7][0-9A-HJKMNP-TV-Z]{25}$/i;
const CODE = /^[0-9A-HJKMNP-TV-Z]{4}-?[0-9A-HJKMNP-TV-Z]{4}$/i;

const CHOICES: readonly (readonly ["" | WhichOrders, string])[] = [
  ["", "All"],
  ["pending", "To pay"],
  ["confirmed", "Paid"],
  ["cancelled", "Cancelled"],
  ["refunded", "Refunded, in whole or in part"],
];

export class SaleOrders extends LitElement {
  static override properties = { sale: { type: String } };
  declare sale: string;

  private name = "";
  private which: "" | WhichOrders = "";
  private typed = "";
  private found: ListedOrder[] = [];
  private next: string | null = null;
  /** What the list shows now. */
  private wanted: WantedOrders = {};
  private state: "busy" | "done" = "busy";
  private error = "";
  /** Counts searches: an answer to an earlier one is late. */
  private search = 0;

  constructor() {
    super();
    this.sale = "";
  }

  protected override willUpdate(changed: PropertyValues): void {
    if (!changed.has("sale")) return;
    this.name = "";
    void this.nameSale();
    void this.look({});
  }

  private async nameSale(): Promise<void> {
    const { sale } = this;
    const found = await admin.sale(sale).catch(() => null);
    if (sale === this.sale && found) this.name = found.product_name;
    this.requestUpdate();
  }

  private readonly changed = (event: Event) => {
    const input = event.target as HTMLInputElement;
    if (input.name === "find") this.typed = input.value;
    else this.which = input.value as "" | WhichOrders;
  };

  private readonly find = (event: Event) => {
    event.preventDefault();
    const text = this.typed.trim();
    if (WHOLE_NUMBER.test(text)) {
      location.hash = `#/order/${text.toUpperCase()}`;
      return;
    }
    const status = this.which || undefined;
    if (text === "") void this.look({ status });
    // Names are taken as they are: a space at their end makes another person.
    else void this.look(CODE.test(text) ? { status, code: text } : { status, customer: this.typed });
  };

  private readonly more = () => {
    if (this.next !== null && this.state === "done") void this.read(this.next);
  };

  private async look(wanted: WantedOrders): Promise<void> {
    this.wanted = wanted;
    this.found = [];
    await this.read(undefined);
  }

  /** Reads on until there is something to show, or no more. */
  private async read(after: string | undefined): Promise<void> {
    this.search += 1;
    const { search } = this;
    this.state = "busy";
    this.error = "";
    this.next = null;
    this.requestUpdate();
    try {
      for (let pages = 0; pages < PAGES_MOST; pages += 1) {
        const page: OrdersPage = await orders.list(this.sale, { ...this.wanted, after });
        if (search !== this.search) return;
        this.found = [...this.found, ...page.orders];
        this.next = page.next;
        if (page.orders.length > 0 || page.next === null) break;
        after = page.next;
        await new Promise((resume) => setTimeout(resume, PAUSE_MS));
      }
    } catch (error) {
      if (search !== this.search) return;
      if (error instanceof Problem && error.status === 401) this.dispatchEvent(new Event("signed-out"));
      this.error = said(error);
    }
    this.state = "done";
    this.requestUpdate();
  }

  protected override render(): TemplateResult {
    const isEmpty = this.state === "done" && this.found.length === 0 && !this.error;
    return html`
      <a class="soft small" href="#/sale/${this.sale}">← ${this.name || "The sale"}</a>
      <h1>Orders</h1>
      <form class="card" novalidate @submit=${this.find} @input=${this.changed}>
        <div class="fields">
          ${choiceField({ name: "which", label: "Which", value: this.which }, CHOICES)}
          ${textField(
            { name: "find", label: "Find", value: this.typed },
            { hint: "An order’s number, the code on a receipt (8T4Q-61ZK), or a customer’s name in your sign-in" },
          )}
        </div>
        <div class="row">
          <button>Show</button>
          <span class="small soft" role="status">${this.state === "busy" ? "Looking…" : isEmpty ? "There are no such orders." : ""}</span>
        </div>
      </form>
      ${this.error ? html`<p class="notice" data-tone="bad" role="alert">${this.error}</p>` : nothing}
      <ul class="card" ?hidden=${this.found.length === 0}>
        ${repeat(
          this.found,
          ({ order_id }) => order_id,
          (order) => line(order),
        )}
      </ul>
      ${this.next === null ? nothing : html`<div><button @click=${this.more}>More</button></div>`}
    `;
  }

  static override styles = [
    ...baseStyle,
    formStyle,
    rowsStyle,
    css`
      :host {
        display: grid;
        gap: var(--fs-space-4);
      }
      h1 {
        font-size: var(--fs-text-xl);
      }
      form {
        gap: var(--fs-space-3);
      }
      li a {
        font-weight: var(--fs-weight-medium);
      }
    `,
  ];
}

function line(order: ListedOrder): TemplateResult {
  const money = formatMoney(order.amount, order.currency, currencyExponent(order.currency));
  const { label, tone } = orderState(order);
  return html`
    <li data-order=${order.order_id}>
      <div class="what">
        <a class="numbers" href="#/order/${order.order_id}">${shortCode(order.order_id)}</a>
        <span class="soft small clamp">${order.customer ?? "Guest"}</span>
        <span class="soft small numbers">${when(Date.parse(order.created_at), Date.now())}</span>
      </div>
      <span class="numbers">${order.quantity} × · ${money}</span>
      <span class="badge" data-tone=${tone}>${label}</span>
    </li>
  `;
}
