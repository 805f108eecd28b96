/** The shop's frame: where we are, whose session it is, and the page for the address. */

import { LitElement, css, html, type TemplateResult } from "lit";
import { clientFor } from "../client/client";
import { baseStyle } from "../element/base-style";
import type { FlashSaleElement } from "../element/flash-sale";
import { decoded } from "../text/address";
import { wordsFor } from "../text/journey";
import { MerchantPage } from "./merchant-page";
import { MyData } from "./my-data";
import { OrderList } from "./order-list";
import { SaleList } from "./sale-list";
import { ShopLink } from "./shop-link";

customElements.define("sale-list", SaleList);
customElements.define("order-list", OrderList);
customElements.define("merchant-page", MerchantPage);
customElements.define("shop-link", ShopLink);
customElements.define("my-data", MyData);

export class ShopPage extends LitElement {
  private readonly client = clientFor(location.origin);
  private stop: (() => void)[] = [];
  /** The sale of this page, once it is known that there is one. */
  private found = "";

  override connectedCallback(): void {
    super.connectedCallback();
    this.stop = [this.client.on("connection", () => this.requestUpdate())];
  }

  override disconnectedCallback(): void {
    super.disconnectedCallback();
    for (const stop of this.stop) stop();
  }

  /** The tab says what is going on: a turn comes while its shopper looks at something else. */
  private readonly moved = (event: Event) => {
    const view = (event.target as FlashSaleElement).view;
    if (!view) return;
    document.title = `${wordsFor(view).title} · ${view.info?.product_name ?? "Flash sales"}`;
    // Whose sale it is can be asked now: there is one.
    if (view.info) this.found = view.sale;
    this.requestUpdate();
  };

  protected override render(): TemplateResult {
    return html`
      <header>
        <a class="home" href="/"><svg viewBox="0 0 16 16" aria-hidden="true"><path d="M9 0 2 9h4l-1 7 8-10H8z" /></svg>Flash sales</a>
        ${this.presence()}
      </header>
      <main>${this.page()}</main>
    `;
  }

  private page(): TemplateResult {
    const named = (folder: string) => new RegExp(`^/${folder}/([^/]+)/?$`).exec(location.pathname)?.[1];
    const [sale, merchant] = [named("sale"), named("m")];
    if (sale) {
      return html`
        <h1 class="unseen">Flash sale</h1>
        <div class="column">
          <shop-link .sale=${this.found}></shop-link>
          <flash-sale sale=${sale} @flash-sale-journey=${this.moved}></flash-sale>
          <order-list></order-list>
          <my-data></my-data>
        </div>
      `;
    }
    return html`
      ${merchant
        ? html`<merchant-page .merchant=${decoded(merchant)}></merchant-page>`
        : html`<h1>Sales</h1>
            <sale-list></sale-list>`}
      <order-list></order-list>
      <my-data></my-data>
    `;
  }

  private presence(): TemplateResult {
    const { state, shopper } = this.client.connection;
    const words = {
      idle: "Not connected",
      connecting: "Connecting",
      online: "Live",
      waiting: "Reconnecting",
      stopped: "Disconnected",
    };
    const tone = state === "online" ? "good" : state === "stopped" ? "bad" : "warn";
    return html`<span class="presence small soft" data-tone=${tone} title=${shopper ? `You are ${shopper}` : ""}
      ><i></i>${words[state]}</span
    >`;
  }

  static override styles = [
    ...baseStyle,
    css`
      header {
        display: flex;
        align-items: center;
        justify-content: space-between;
        max-inline-size: var(--fs-wide);
        margin-inline: auto;
        padding: var(--fs-space-4);
      }
      .home {
        display: flex;
        align-items: center;
        gap: var(--fs-space-2);
        color: inherit;
        font-weight: var(--fs-weight-bold);
        text-decoration: none;
      }
      svg {
        block-size: var(--fs-space-4);
        fill: var(--fs-accent);
      }
      main {
        display: grid;
        gap: var(--fs-space-5);
        max-inline-size: var(--fs-wide);
        margin-inline: auto;
        padding: var(--fs-space-4) var(--fs-space-4) var(--fs-space-7);
      }
      h1 {
        font-size: var(--fs-text-xl);
      }
      .column {
        display: grid;
        grid-template-columns: minmax(0, var(--fs-narrow));
        gap: var(--fs-space-6);
        justify-content: center;
      }
      shop-link {
        margin-block-end: calc(var(--fs-space-3) - var(--fs-space-6));
      }
      .presence {
        display: inline-flex;
        align-items: center;
        gap: var(--fs-space-2);
      }
      .presence i {
        inline-size: var(--fs-dot);
        block-size: var(--fs-dot);
        border-radius: var(--fs-round);
        background: var(--fs-warn);
      }
      .presence[data-tone="good"] i {
        background: var(--fs-good);
      }
      .presence[data-tone="bad"] i {
        background: var(--fs-bad);
      }
    `,
  ];
}
