/** All sales as cards, fresh every few seconds while somebody looks. */

import { LitElement, css, html, nothing, type TemplateResult } from "lit";
import { getSales, type Sale } from "../client/rest";
import { baseStyle } from "../element/base-style";
import { clock, plural, when } from "../text/duration";
import { PHASES } from "../text/journey";
import { discount, formatMoney } from "../text/money";

const REFRESH_MS = 5_000;

/** What is on first, then what comes, then what was. */
const ORDER = ["live", "drawing", "paused", "waiting", "scheduled", "ended", "cancelled"];

export class SaleList extends LitElement {
  private sales: Sale[] | null = null;
  private loadedAt = 0;
  private isOffline = false;
  private timers: number[] = [];

  override connectedCallback(): void {
    super.connectedCallback();
    void this.load();
    this.timers = [
      window.setInterval(() => {
        if (!document.hidden) void this.load();
      }, REFRESH_MS),
      window.setInterval(() => this.requestUpdate(), 1_000),
    ];
  }

  override disconnectedCallback(): void {
    super.disconnectedCallback();
    this.timers.forEach((timer) => clearInterval(timer));
  }

  private async load(): Promise<void> {
    try {
      this.sales = sorted(await getSales());
      this.loadedAt = Date.now();
      this.isOffline = false;
    } catch {
      this.isOffline = true;
    }
    this.requestUpdate();
  }

  protected override render(): TemplateResult {
    return html`
      ${this.isOffline
        ? html`<p class="notice" role="status">The shop cannot be reached just now. Trying again.</p>`
        : nothing}
      ${this.sales?.length === 0 ? html`<p class="soft">There are no sales yet.</p>` : nothing}
      <ul aria-busy=${this.sales ? "false" : "true"}>
        ${this.sales?.map((sale) => this.card(sale))}
      </ul>
    `;
  }

  private card(sale: Sale): TemplateResult {
    const badge = PHASES[sale.status];
    const price = (minor: number) => formatMoney(minor, sale.currency, sale.currency_exponent);
    const off = discount(sale.original_price, sale.sale_price);
    const isSoldOut = sale.stock === 0 && (sale.status === "live" || sale.status === "ended");
    return html`
      <li>
        <a class="card" href="/sale/${sale.sale_id}">
          <span class="row apart small">
            <span class="badge" data-tone=${isSoldOut ? "calm" : (badge?.tone ?? "calm")}
              >${isSoldOut && sale.status === "live" ? "All taken" : badge?.label}</span
            >
            <span class="soft numbers">${this.time(sale)}</span>
          </span>
          <h2>${sale.product_name}</h2>
          <span class="row price numbers">
            <strong>${price(sale.sale_price)}</strong>
            ${off === null ? nothing : html`<s class="soft">${price(sale.original_price)}</s>`}
          </span>
          <span class="soft small numbers">${plural(sale.total_stock, "unit")}</span>
        </a>
      </li>
    `;
  }

  private time(sale: Sale): string {
    const left = sale.remaining_time * 1_000 - (Date.now() - this.loadedAt);
    const isNear = left < 24 * 3_600_000;
    switch (sale.status) {
      case "scheduled":
      case "waiting":
        return isNear ? `Starts in ${clock(left)}` : when(Date.parse(sale.start_time), Date.now());
      case "live":
      case "paused":
        return isNear ? `Ends in ${clock(left)}` : `Until ${when(Date.parse(sale.end_time), Date.now())}`;
      default:
        return when(Date.parse(sale.end_time), Date.now());
    }
  }

  static override styles = [
    ...baseStyle,
    css`
      ul {
        display: grid;
        grid-template-columns: repeat(auto-fill, minmax(min(100%, var(--fs-column)), 1fr));
        gap: var(--fs-space-4);
        min-block-size: var(--fs-panel);
        align-items: start;
      }
      a {
        display: grid;
        gap: var(--fs-space-2);
        padding: var(--fs-space-4) var(--fs-space-5);
        color: inherit;
        text-decoration: none;
        transition: border-color var(--fs-quick);
      }
      a:hover {
        border-color: var(--fs-line-strong);
      }
      h2 {
        font-size: var(--fs-text-l);
        overflow-wrap: anywhere;
      }
      strong {
        font-weight: var(--fs-weight-medium);
      }
      .price {
        gap: var(--fs-space-2);
      }
    `,
  ];
}

function sorted(sales: Sale[]): Sale[] {
  const rank = (sale: Sale) => ORDER.indexOf(sale.status);
  const time = (sale: Sale) => (rank(sale) < 4 ? Date.parse(sale.start_time) : -Date.parse(sale.end_time));
  return [...sales].sort((a, b) => rank(a) - rank(b) || time(a) - time(b));
}
