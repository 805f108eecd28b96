/** The operator's list of sales: of all shops that they may manage. */

import { LitElement, css, html, nothing, type TemplateResult } from "lit";
import { repeat } from "lit/directives/repeat.js";
import { changes, type Operator } from "../client/operators";
import { Problem, admin, type Sale } from "../client/rest";
import { SalePages } from "../client/sale-pages";
import { baseStyle } from "../element/base-style";
import { formatCount, plural, when } from "../text/duration";
import { phaseBadge } from "../text/journey";
import { formatMoney } from "../text/money";
import { usableZone } from "../text/zone";
import { said } from "./said";
import { ownShops } from "./shop-list";

/** Between two refreshes, for each page that is loaded. */
const REFRESH_MS = 5_000;

export class AdminSales extends LitElement {
  static override properties = { who: { attribute: false } };
  declare who: Operator;

  private readonly pages = new SalePages((after) => admin.sales({ after }));
  /** The time zones of shops, by their names in addresses. */
  private zones: ReadonlyMap<string, string> = new Map();
  private isLoaded = false;
  private isBusy = false;
  private error = "";
  private added = "";
  private timer = 0;

  override connectedCallback(): void {
    super.connectedCallback();
    if (this.hasUpdated) void this.load();
  }

  override disconnectedCallback(): void {
    super.disconnectedCallback();
    clearTimeout(this.timer);
  }

  protected override firstUpdated(): void {
    void this.load();
    void this.read(async () => {
      this.zones = new Map((await ownShops(this.who)).map((shop) => [shop.slug, usableZone(shop.time_zone)]));
    });
  }

  private async load(): Promise<void> {
    clearTimeout(this.timer);
    if (!document.hidden || !this.isLoaded) {
      await this.read(async () => {
        await this.pages.refresh();
        this.isLoaded = true;
        this.error = "";
      });
    }
    if (this.isConnected) this.timer = window.setTimeout(() => void this.load(), REFRESH_MS * Math.max(1, this.pages.count));
  }

  private readonly more = async (): Promise<void> => {
    if (this.isBusy) return;
    this.isBusy = true;
    this.added = "";
    const before = new Set(this.pages.sales.map(({ sale_id }) => sale_id));
    await this.read(() => this.pages.more());
    this.isBusy = false;
    const added = this.pages.sales.filter(({ sale_id }) => !before.has(sale_id));
    this.added = `${plural(added.length, "more sale")} loaded.`;
    this.requestUpdate();
    await this.updateComplete;
    if (!this.pages.hasMore && added[0]) this.renderRoot.querySelector<HTMLElement>(`a[href$="${added[0].sale_id}"]`)?.focus();
  };

  private async read(run: () => Promise<void>): Promise<void> {
    try {
      await run();
    } catch (error) {
      if (error instanceof Problem && error.status === 401) this.dispatchEvent(new Event("signed-out"));
      this.error = said(error);
    }
    this.requestUpdate();
  }

  protected override render(): TemplateResult {
    const { sales } = this.pages;
    return html`
      <div class="row apart">
        <h1>Sales</h1>
        ${changes(this.who) ? html`<a class="new" href="#/new">New sale</a>` : nothing}
      </div>
      ${this.error ? html`<p class="notice" data-tone="bad" role="alert">${this.error}</p>` : nothing}
      ${this.isLoaded && sales.length === 0 ? html`<p class="soft">There are none yet. Create the first one.</p>` : nothing}
      <ul class="card" ?hidden=${sales.length === 0}>
        ${repeat(
          sales,
          (sale) => sale.sale_id,
          (sale) => this.line(sale),
        )}
      </ul>
      ${this.pages.hasMore
        ? html`<button class="more" aria-disabled=${this.isBusy} @click=${this.more}>${this.isBusy ? "Loading…" : "More"}</button>`
        : nothing}
      <p class="unseen" role="status">${this.added}</p>
    `;
  }

  private line(sale: Sale): TemplateResult {
    const badge = phaseBadge(sale.status);
    const zone = this.zones.get(sale.merchant);
    const start = when(Date.parse(sale.start_time), Date.now(), zone);
    return html`
      <li>
        <a href="#/sale/${sale.sale_id}">
          <span class="name clamp" dir="auto">${sale.product_name}</span>
          <span class="badge" data-tone=${badge?.tone ?? "calm"}>${badge?.label}</span>
          <span class="facts soft small numbers">
            <span class="shop" dir="auto">${sale.merchant_name}</span>
            <span>
              ${formatMoney(sale.sale_price, sale.currency, sale.currency_exponent)} · ${formatCount(sale.stock)} of
              ${formatCount(sale.total_stock)} available
            </span>
            <span>${start}${zone ? ` (${zone})` : nothing}</span>
          </span>
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
        grid-template-columns: minmax(0, 1fr) auto;
        gap: var(--fs-space-1) var(--fs-space-4);
        align-items: center;
        padding: var(--fs-space-3) var(--fs-space-4);
        color: inherit;
        text-decoration: none;
      }
      li a:hover .name {
        color: var(--fs-accent);
      }
      .name {
        font-weight: var(--fs-weight-medium);
      }
      /* The first line is the shop's; the numbers stand beside each other where there is room. */
      .facts {
        display: flex;
        flex-wrap: wrap;
        grid-column: 1 / -1;
        justify-content: space-between;
        gap: 0 var(--fs-space-4);
      }
      .shop {
        flex: 0 0 100%;
        overflow: hidden;
        text-overflow: ellipsis;
        white-space: nowrap;
      }
      .more {
        justify-self: center;
        min-inline-size: var(--fs-column-s);
      }
    `,
  ];
}
