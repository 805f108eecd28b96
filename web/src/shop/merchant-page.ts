/** One shop: its name and its sales. */

import { LitElement, css, html, type PropertyValues, type TemplateResult } from "lit";
import type { Shop } from "../client/listed";
import { Problem, getShop } from "../client/rest";
import { baseStyle } from "../element/base-style";
import { texts } from "../text/language";
import { shopTexts } from "../text/shop";
import { LISTED } from "./sale-list";

const TRY_AGAIN_MS = 3_000;

export class MerchantPage extends LitElement {
  static override properties = { merchant: { type: String } };
  /** Its name in addresses. */
  declare merchant: string;

  private shop: Shop | null = null;
  private state: "loading" | "here" | "unknown" | "offline" = "loading";
  private timer = 0;

  constructor() {
    super();
    this.merchant = "";
  }

  override disconnectedCallback(): void {
    super.disconnectedCallback();
    clearTimeout(this.timer);
  }

  protected override willUpdate(changed: PropertyValues): void {
    if (changed.has("merchant")) void this.load();
  }

  private async load(): Promise<void> {
    const { merchant } = this;
    try {
      this.shop = await getShop("", merchant);
      this.state = "here";
      document.title = `${this.shop.name} · ${shopTexts().site}`;
    } catch (error) {
      this.state = error instanceof Problem && error.status === 404 ? "unknown" : "offline";
      if (this.state === "unknown") document.title = `${shopTexts().noShop.tab} · ${shopTexts().site}`;
      if (this.state === "offline" && this.isConnected) this.timer = window.setTimeout(() => void this.load(), TRY_AGAIN_MS);
    }
    this.requestUpdate();
    if (this.state !== "here") this.dispatchEvent(new Event(LISTED, { bubbles: true, composed: true }));
  }

  protected override render(): TemplateResult {
    if (this.state === "unknown") {
      return html`
        <h1>${shopTexts().noShop.title}</h1>
        <p class="soft">${shopTexts().noShop.text}</p>
        <p><a href="/">${texts().ticket.allSales}</a></p>
      `;
    }
    return html`
      <h1 class="clamp" dir="auto" title=${this.shop?.name ?? ""}>${this.shop?.name ?? (this.state === "loading" ? "\u00a0" : shopTexts().shop)}</h1>
      ${this.state === "offline"
        ? html`<p class="notice" role="status">${shopTexts().unreached}</p>`
        : ""}
      ${this.shop
        ? html`<sale-list .merchant=${this.shop.merchant}></sale-list>
            <p class="small"><a href="/">${shopTexts().allShops}</a></p>`
        : ""}
    `;
  }

  static override styles = [
    ...baseStyle,
    css`
      :host {
        display: grid;
        gap: var(--fs-space-5);
      }
      h1 {
        font: var(--fs-weight-display) var(--fs-text-xl) / var(--fs-leading-tight) var(--fs-font-display);
      }
    `,
  ];
}
