/** The operator's list of sales. */

import { LitElement, css, html, nothing, type TemplateResult } from "lit";
import { Problem, admin, type Sale } from "../client/rest";
import { baseStyle } from "../element/base-style";
import { formatCount, when } from "../text/duration";
import { PHASES } from "../text/journey";
import { formatMoney } from "../text/money";
import { words } from "../text/rejects";

const REFRESH_MS = 5_000;

export class AdminSales extends LitElement {
  static override properties = { token: { type: String } };
  declare token: string;

  private sales: Sale[] | null = null;
  private error = "";
  private timer = 0;

  constructor() {
    super();
    this.token = "";
  }

  override connectedCallback(): void {
    super.connectedCallback();
    this.timer = window.setInterval(() => {
      if (!document.hidden) void this.load();
    }, REFRESH_MS);
  }

  override disconnectedCallback(): void {
    super.disconnectedCallback();
    clearInterval(this.timer);
  }

  protected override firstUpdated(): void {
    void this.load();
  }

  private async load(): Promise<void> {
    try {
      this.sales = await admin.sales(this.token);
      this.error = "";
    } catch (error) {
      if (error instanceof Problem && error.status === 401) this.dispatchEvent(new Event("signed-out"));
      this.error = error instanceof Problem ? words({ code: error.code, message: error.detail }) : String(error);
    }
    this.requestUpdate();
  }

  protected override render(): TemplateResult {
    return html`
      <div class="row apart">
        <h1>Sales</h1>
        <a class="new" href="#/new">New sale</a>
      </div>
      ${this.error ? html`<p class="notice" data-tone="bad" role="alert">${this.error}</p>` : nothing}
      ${this.sales?.length === 0 ? html`<p class="soft">There are none yet. Create the first one.</p>` : nothing}
      <ul class="card" ?hidden=${!this.sales?.length}>
        ${this.sales?.map((sale) => this.line(sale))}
      </ul>
    `;
  }

  private line(sale: Sale): TemplateResult {
    const badge = PHASES[sale.status];
    return html`
      <li>
        <a href="#/sale/${sale.sale_id}">
          <span class="name">${sale.product_name}</span>
          <span class="badge" data-tone=${badge?.tone ?? "calm"}>${badge?.label}</span>
          <span class="soft small numbers">
            ${formatMoney(sale.sale_price, sale.currency, sale.currency_exponent)} ·
            ${formatCount(sale.stock)} of ${formatCount(sale.total_stock)} free
          </span>
          <span class="soft small numbers">${when(Date.parse(sale.start_time), Date.now())}</span>
        </a>
      </li>
    `;
  }

  static override styles = [
    ...baseStyle,
    css`
      :host {
        display: grid;
        gap: var(--fs-space-4);
      }
      h1 {
        font-size: var(--fs-text-xl);
      }
      ul[hidden] {
        display: none;
      }
      li + li {
        border-block-start: var(--fs-hair) solid var(--fs-line);
      }
      li a {
        display: grid;
        grid-template-columns: 1fr auto;
        gap: var(--fs-space-1) var(--fs-space-4);
        align-items: center;
        padding: var(--fs-space-3) var(--fs-space-4);
        color: inherit;
        text-decoration: none;
      }
      li a:hover .name {
        color: var(--fs-accent);
      }
      li a > :nth-child(even) {
        justify-self: end;
      }
      .name {
        font-weight: var(--fs-weight-medium);
        overflow-wrap: anywhere;
      }
      .new {
        display: inline-flex;
        align-items: center;
        min-block-size: var(--fs-control);
        padding: 0 var(--fs-space-4);
        border-radius: var(--fs-radius-m);
        background: var(--fs-accent);
        color: var(--fs-on-accent);
        font-weight: var(--fs-weight-medium);
        text-decoration: none;
      }
    `,
  ];
}
