/** Whose sale this is, with the way to that shop's page. */

import { LitElement, css, html, nothing, type PropertyValues, type TemplateResult } from "lit";
import { isSaleId } from "../client/sale-id";
import { saleCard } from "../client/sale-cards";
import type { Sale } from "../client/listed";
import { baseStyle } from "../element/base-style";
import { shopTexts } from "../text/shop";

/** While the server does not know just now: so often, with this pause before the next time. */
const TRIES = 5;
const TRY_AGAIN_MS = 5_000;

export class ShopLink extends LitElement {
  static override properties = { sale: { type: String } };
  declare sale: string;

  private card: Sale | null = null;
  private timer = 0;

  constructor() {
    super();
    this.sale = "";
  }

  override disconnectedCallback(): void {
    super.disconnectedCallback();
    clearTimeout(this.timer);
  }

  protected override willUpdate(changed: PropertyValues): void {
    if (changed.has("sale") && isSaleId(this.sale)) void this.load(TRIES);
  }

  private async load(tries: number): Promise<void> {
    const { sale } = this;
    const card = await saleCard("", sale);
    if (sale !== this.sale || !this.isConnected) return;
    this.card = card;
    if (!card && tries > 1) this.timer = window.setTimeout(() => void this.load(tries - 1), TRY_AGAIN_MS);
    this.requestUpdate();
  }

  protected override render(): TemplateResult | typeof nothing {
    if (!this.card) return nothing;
    const { merchant, merchant_name } = this.card;
    return html`<span class="soft">${shopTexts().soldBy}</span> <a href="/m/${encodeURIComponent(merchant)}" dir="auto">${merchant_name}</a>`;
  }

  static override styles = [
    ...baseStyle,
    css`
      /* Its height is there before the name is, so that nothing jumps. */
      :host {
        overflow: hidden;
        min-block-size: calc(var(--fs-text-s) * var(--fs-leading));
        font-size: var(--fs-text-s);
        text-overflow: ellipsis;
        white-space: nowrap;
      }
    `,
  ];
}
