/** The shop's frame: where we are, whose session it is, and the page for the address. */

import { LitElement, css, html, nothing, type TemplateResult } from "lit";
import { codeHere } from "../client/along";
import { clientFor } from "../client/client";
import { isSaleId } from "../client/sale-id";
import { baseStyle } from "../element/base-style";
import type { FlashSaleElement } from "../element/flash-sale";
import type { TurnAlert } from "../element/turn-alert";
import { decoded } from "../text/address";
import { age } from "../text/duration";
import { choose, onLanguage, speak, texts } from "../text/language";
import { shopTexts } from "../text/shop";
import { alertWords, tabTitle } from "../text/tab";
import { MerchantPage } from "./merchant-page";
import { MyData } from "./my-data";
import { OrderList } from "./order-list";
import { OrderPage } from "./order-page";
import { LISTED, SaleList } from "./sale-list";
import { ShopLink } from "./shop-link";
import { markTab } from "./tab-icon";
import { TakeAlong } from "./take-along";
import { TakeHere } from "./take-here";

customElements.define("sale-list", SaleList);
customElements.define("order-list", OrderList);
customElements.define("order-page", OrderPage);
customElements.define("merchant-page", MerchantPage);
customElements.define("shop-link", ShopLink);
customElements.define("my-data", MyData);
customElements.define("take-along", TakeAlong);
customElements.define("take-here", TakeHere);

export class ShopPage extends LitElement {
  private readonly client = clientFor(location.origin);
  private stop: (() => void)[] = [];
  /** The sale of this page, once it is known that there is one. */
  private found = "";
  /** What stands below a list waits until that has its height. */
  private isListed = false;
  private timer = 0;
  /** What the tab was called before something urgent came. */
  private calmTitle: string | null = null;

  override connectedCallback(): void {
    super.connectedCallback();
    this.addEventListener(LISTED, this.listed);
    this.stop = [
      this.client.use(),
      this.client.on("connection", () => this.requestUpdate()),
      // Timers of a hidden page are held back; news is not.
      this.client.on("sale", () => {
        if (document.hidden) this.follow();
      }),
      onLanguage(() => this.spoken()),
    ];
    // The elements inside go by the page's language, so it is set before they are there.
    document.documentElement.lang = choose(navigator.languages);
    void speak(navigator.languages);
    this.timer = window.setInterval(() => this.follow(), 1_000);
  }

  private readonly listed = () => {
    this.isListed = true;
    this.requestUpdate();
  };

  /** The first drawing is a task of its own: it is as long as what led to it. What the server has written stays until then. */
  protected override async scheduleUpdate(): Promise<void> {
    if (!this.hasUpdated) await new Promise((resume) => setTimeout(resume));
    await super.scheduleUpdate();
  }

  /** What the server has written into the page is drawn here now. */
  protected override firstUpdated(): void {
    this.replaceChildren();
  }

  override disconnectedCallback(): void {
    super.disconnectedCallback();
    clearInterval(this.timer);
    for (const stop of this.stop) stop();
  }

  /** The page speaks another language now: everything is drawn anew. */
  private spoken(): void {
    const { documentElement: page } = document;
    page.lang = texts().code;
    page.dir = texts().dir;
    for (const element of [this, ...this.renderRoot.querySelectorAll("*")]) if (element instanceof LitElement) element.requestUpdate();
  }

  /** The tab says what is going on: a turn comes while its shopper looks at something else. */
  private readonly follow = () => {
    const view = this.renderRoot.querySelector<FlashSaleElement>("flash-sale")?.view;
    // Its script may come later than the element.
    const strip: Partial<TurnAlert> | null = this.renderRoot.querySelector<TurnAlert>("flash-sale-alert");
    const urgent = strip?.alerts?.[0];
    if (urgent) {
      this.calmTitle ??= document.title;
      document.title = tabTitle(urgent);
    } else if (view) {
      this.calmTitle = null;
      document.title = tabTitle(view);
    } else if (this.calmTitle !== null) {
      document.title = this.calmTitle;
      this.calmTitle = null;
    }
    markTab(urgent !== undefined || (view !== null && view !== undefined && alertWords(view) !== null));
    // Whose sale it is can be asked now: there is one.
    if (view?.info && !view.by_rest) this.found = view.sale;
    this.requestUpdate();
  };

  protected override render(): TemplateResult {
    return html`
      <header>
        <a class="home" href="/"><svg viewBox="0 0 16 16" aria-hidden="true"><path d="M9 0 2 9h4l-1 7 8-10H8z" /></svg>${shopTexts().site}</a>
        ${this.presence()}
      </header>
      <main>${this.page()}</main>
      <flash-sale-alert></flash-sale-alert>
    `;
  }

  private page(): TemplateResult {
    const named = (folder: string) => new RegExp(`^/${folder}/([^/]+)/?$`).exec(location.pathname)?.[1];
    const [sale, merchant] = [named("sale"), named("m")];
    if (sale && !isSaleId(sale)) return this.unknown(texts().journey.unknown);
    const order = new URLSearchParams(location.search).get("order");
    if (sale && order) {
      return html`
        <order-page .sale=${sale} .order=${order.toUpperCase()}></order-page>
        <order-list></order-list>
        <my-data></my-data>
      `;
    }
    if (sale && codeHere() !== null) return html`<take-here></take-here>`;
    if (sale) {
      return html`
        <h1 class="unseen">${texts().ticket.flashSale}</h1>
        <div class="column">
          <shop-link .sale=${this.found}></shop-link>
          <flash-sale wide sale=${sale} @flash-sale-journey=${this.follow}></flash-sale>
          <order-list></order-list>
          <take-along .sale=${sale} ?data-later=${!this.found}></take-along>
          <my-data></my-data>
        </div>
      `;
    }
    if (!merchant && location.pathname !== "/") return this.unknown(shopTexts().noPage);
    return html`
      ${merchant
        ? html`<merchant-page .merchant=${decoded(merchant)}></merchant-page>`
        : html`<h1>${shopTexts().sales}</h1>
            <sale-list></sale-list>`}
      ${this.isListed
        ? html`<order-list></order-list>
            <my-data></my-data>`
        : nothing}
    `;
  }

  private unknown({ title, text }: { title: string; text: string }): TemplateResult {
    document.title = `${title} · ${shopTexts().site}`;
    return html`
      <h1>${title}</h1>
      <p class="soft">${text}</p>
      <p><a href="/">${texts().ticket.allSales}</a></p>
    `;
  }

  /** The same as the sale's card says: no green light over numbers that have stopped coming. */
  private presence(): TemplateResult {
    const { state, shopper } = this.client.connection;
    const { staleMs } = this.client;
    const said = state === "online" && staleMs !== null ? texts().offline.noNews(age(staleMs)) : shopTexts().presence[state];
    const tone = state === "stopped" ? "bad" : state === "online" && staleMs === null ? "good" : "warn";
    return html`<span class="presence small soft" data-tone=${tone} title=${shopper ? shopTexts().youAre(shopper) : ""}
      ><i></i>${said}</span
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
        fill: var(--fs-ink);
      }
      main {
        display: grid;
        gap: var(--fs-space-5);
        max-inline-size: var(--fs-wide);
        margin-inline: auto;
        padding: var(--fs-space-4) var(--fs-space-4) var(--fs-space-7);
      }
      h1 {
        font: var(--fs-weight-display) var(--fs-text-xl) / var(--fs-leading-tight) var(--fs-font-display);
      }
      .column {
        display: grid;
        grid-template-columns: minmax(0, var(--fs-narrow));
        gap: var(--fs-space-6);
        justify-content: center;
      }
      @media (min-width: 56em) {
        .column {
          grid-template-columns: minmax(0, 1fr);
        }
      }
      @media print {
        header,
        shop-link,
        order-list,
        take-along,
        my-data {
          display: none;
        }
      }
      /* Its room is kept, so that what stands below does not move. */
      take-along[data-later] {
        visibility: hidden;
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
        background: var(--fs-ink);
      }
      .presence[data-tone="bad"] i {
        background: var(--fs-bad);
      }
    `,
  ];
}
