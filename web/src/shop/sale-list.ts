/** Sales as cards, of all shops or of one: what is on now, what comes, what is over. Fresh every few seconds while somebody looks. */

import { LitElement, css, html, nothing, type PropertyValues, type TemplateResult } from "lit";
import { repeat } from "lit/directives/repeat.js";
import { getSales, type Sale } from "../client/rest";
import type { Group } from "../client/listed";
import { SalePages, groupOf } from "../client/sale-pages";
import { baseStyle } from "../element/base-style";
import { picture } from "../element/picture";
import { testMode } from "../element/test-mode";
import { clock, when } from "../text/duration";
import { phaseBadge } from "../text/journey";
import { texts } from "../text/language";
import { shopTexts } from "../text/shop";
import { discount, formatMoney } from "../text/money";

/** Between two refreshes, for each page that is loaded. */
const REFRESH_MS = 5_000;

/** Fired when the list has its height: what stands below it may come. */
export const LISTED = "flash-sale-listed";

const SECTIONS: readonly Group[] = ["live", "coming", "over"];

/** What can be had of a sale, as far as the list knows. */
export function available({ status, stock, total_stock }: Sale): string {
  return status === "live" ? texts().stock.availableOf(stock, total_stock) : texts().units(total_stock);
}

export class SaleList extends LitElement {
  static override properties = { merchant: { type: String } };
  /** A shop's name in addresses; empty: all shops. */
  declare merchant: string;

  private pages = this.pagesOf("");
  private isLoaded = false;
  private isOffline = false;
  private isBusy = false;
  private said = "";
  private loadedAt = 0;
  private timers: number[] = [];
  private refresher = 0;
  /** The sale whose card had the focus before the list was drawn anew. */
  private focused: string | null = null;

  constructor() {
    super();
    this.merchant = "";
  }

  override connectedCallback(): void {
    super.connectedCallback();
    this.timers = [window.setInterval(() => this.requestUpdate(), 1_000)];
    if (this.hasUpdated) void this.load();
  }

  override disconnectedCallback(): void {
    super.disconnectedCallback();
    clearTimeout(this.refresher);
    this.timers.forEach((timer) => clearInterval(timer));
  }

  private pagesOf(merchant: string): SalePages {
    return new SalePages((after) => getSales("", { merchant: merchant || undefined, after }));
  }

  private async load(): Promise<void> {
    clearTimeout(this.refresher);
    const { pages } = this;
    if (!document.hidden || !this.isLoaded) await this.read(() => pages.refresh());
    this.dispatchEvent(new Event(LISTED, { bubbles: true, composed: true }));
    if (!this.isConnected || pages !== this.pages) return;
    this.refresher = window.setTimeout(() => void this.load(), REFRESH_MS * Math.max(1, pages.count));
  }

  private async read(run: () => Promise<void>): Promise<void> {
    try {
      await run();
      this.isLoaded = true;
      this.loadedAt = Date.now();
      this.isOffline = false;
    } catch {
      this.isOffline = true;
    }
    this.requestUpdate();
  }

  private readonly more = async (): Promise<void> => {
    const before = this.pages.sales;
    this.isBusy = true;
    this.said = "";
    this.requestUpdate();
    await this.read(() => this.pages.more());
    this.isBusy = false;
    const added = this.pages.sales.filter(({ sale_id }) => !before.some((known) => known.sale_id === sale_id));
    this.said = this.isOffline ? "" : shopTexts().moreLoaded(added.length);
    this.requestUpdate();
    await this.updateComplete;
    // After the last page the button is gone: the keyboard goes on at what it has brought.
    if (!this.pages.hasMore && added[0]) this.link(added[0].sale_id)?.focus();
  };

  private link(sale: string): HTMLElement | null {
    return this.renderRoot.querySelector<HTMLElement>(`a[data-sale="${CSS.escape(sale)}"]`);
  }

  protected override willUpdate(changed: PropertyValues): void {
    if (changed.has("merchant") || !this.hasUpdated) {
      this.pages = this.pagesOf(this.merchant);
      this.isLoaded = false;
      void this.load();
    }
    this.focused = (this.hasUpdated && this.shadowRoot?.activeElement?.getAttribute("data-sale")) || null;
  }

  /** A card that moves to another place is taken out for a moment, and loses the focus. */
  protected override updated(): void {
    if (this.focused && !this.shadowRoot?.activeElement) this.link(this.focused)?.focus({ preventScroll: true });
  }

  protected override render(): TemplateResult {
    const { sales } = this.pages;
    const now = Date.now();
    return html`
      ${testMode(this.pages.payments)}
      ${this.isOffline
        ? html`<p class="notice" role="status">${shopTexts().unreached}</p>`
        : nothing}
      ${this.isLoaded && sales.length === 0 ? html`<p class="soft">${shopTexts().noSales}</p>` : nothing}
      <div class="sections" aria-busy=${this.isLoaded ? "false" : "true"}>
        ${SECTIONS.map((group) => this.section(group, shopTexts().groups[group], sales.filter((sale) => groupOf(sale, now) === group)))}
      </div>
      ${this.pages.hasMore
        ? html`<button class="more" aria-disabled=${this.isBusy} @click=${this.isBusy ? nothing : this.more}>
            ${this.isBusy ? shopTexts().loading : shopTexts().more}
          </button>`
        : nothing}
      <p class="unseen" role="status">${this.said}</p>
    `;
  }

  private section(group: Group, title: string, sales: Sale[]): TemplateResult | typeof nothing {
    if (sales.length === 0) return nothing;
    return html`
      <section aria-labelledby=${group} data-group=${group}>
        <h2 id=${group}>${title}</h2>
        <ul>
          ${repeat(
            sales,
            (sale) => sale.sale_id,
            (sale) => this.card(sale),
          )}
        </ul>
      </section>
    `;
  }

  private card(sale: Sale): TemplateResult {
    const badge = phaseBadge(sale.status);
    const price = (minor: number) => formatMoney(minor, sale.currency, sale.currency_exponent);
    const off = discount(sale.original_price, sale.sale_price);
    // Nothing is available: whether it may come back, only the sale's own page knows.
    const isTaken = sale.stock === 0 && sale.status === "live";
    return html`
      <li>
        <a class="card" href="/sale/${sale.sale_id}" data-sale=${sale.sale_id}>
          ${picture(sale.picture, "", "22em")}
          <span class="row apart small">
            <span class="badge" data-tone=${isTaken ? "calm" : badge.tone}>${isTaken ? texts().phases.none : badge.label}</span>
            <span class="soft numbers">${this.time(sale)}</span>
          </span>
          <span class="name">
            <h3 class="clamp" dir="auto">${sale.product_name}</h3>
            ${this.merchant ? nothing : html`<span class="shop soft small" dir="auto">${sale.merchant_name}</span>`}
          </span>
          <span class="row price numbers">
            <strong>${price(sale.sale_price)}</strong>
            ${off === null ? nothing : html`<s class="soft">${price(sale.original_price)}</s>`}
          </span>
          <span class="soft small numbers">${available(sale)}</span>
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
        return isNear ? texts().ticket.startsIn(clock(left)) : when(Date.parse(sale.start_time), Date.now());
      case "live":
      case "paused":
        return isNear ? texts().ticket.endsIn(clock(left)) : texts().ticket.until(when(Date.parse(sale.end_time), Date.now()));
      default:
        // A sale that an operator has ended early: its time to end is still to come.
        return Date.parse(sale.end_time) > Date.now() ? "" : when(Date.parse(sale.end_time), Date.now());
    }
  }

  static override styles = [
    ...baseStyle,
    css`
      :host,
      section {
        display: grid;
        gap: var(--fs-space-3);
      }
      .sections {
        display: grid;
        gap: var(--fs-space-6);
        align-content: start;
        min-block-size: var(--fs-panel);
      }
      h2 {
        font-size: var(--fs-text-m);
        color: var(--fs-ink-soft);
      }
      ul {
        display: grid;
        grid-template-columns: repeat(auto-fill, minmax(min(100%, var(--fs-column)), 1fr));
        gap: var(--fs-space-4);
      }
      a {
        display: grid;
        gap: var(--fs-space-2);
        align-content: start;
        block-size: 100%;
        padding: var(--fs-space-4);
        color: inherit;
        text-decoration: none;
        transition: border-color var(--fs-quick);
      }
      a:hover {
        border-color: var(--fs-ink);
      }
      [data-group="over"] a:not(:hover) strong {
        color: var(--fs-ink-soft);
      }
      .picture {
        inline-size: calc(100% + 2 * var(--fs-space-4));
        block-size: auto;
        margin: calc(-1 * var(--fs-space-4)) calc(-1 * var(--fs-space-4)) 0;
        aspect-ratio: 3 / 2;
        object-fit: cover;
        background: var(--fs-sunken);
      }
      .name {
        display: grid;
        min-inline-size: 0;
      }
      h3 {
        font: var(--fs-weight-display) var(--fs-text-l) / var(--fs-leading-tight) var(--fs-font-display);
      }
      .shop {
        justify-self: start;
        max-inline-size: 100%;
        overflow: hidden;
        text-overflow: ellipsis;
        white-space: nowrap;
      }
      strong {
        font-weight: var(--fs-weight-medium);
      }
      .price {
        gap: var(--fs-space-2);
      }
      .more {
        justify-self: center;
        min-inline-size: var(--fs-column-s);
      }
    `,
  ];
}
