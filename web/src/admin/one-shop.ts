/** One shop: its settings, its keys, and what is stored of its people. */

import { LitElement, css, html, nothing, type PropertyValues, type TemplateResult } from "lit";
import { changes, isAdmin, managesAccess, type Operator } from "../client/operators";
import { Problem } from "../client/rest";
import { shops, type VersionedShop } from "../client/shops";
import { baseStyle } from "../element/base-style";
import { said } from "./said";

export class OneShop extends LitElement {
  static override properties = { who: { attribute: false }, slug: { type: String } };
  declare who: Operator;
  /** Its name in addresses; empty: a new shop. */
  declare slug: string;

  private shop: VersionedShop | null = null;
  private error = "";

  constructor() {
    super();
    this.slug = "";
  }

  protected override willUpdate(changed: PropertyValues): void {
    // After a change of its name in addresses, the shop is here already.
    if ((changed.has("slug") || changed.has("who")) && this.slug !== (this.shop?.slug ?? "")) void this.load();
  }

  private async load(): Promise<void> {
    const { slug } = this;
    this.shop = null;
    this.error = "";
    if (!slug) return;
    try {
      const shop = await shops.show(slug);
      if (slug === this.slug) this.shop = shop;
    } catch (error) {
      if (error instanceof Problem && error.status === 401) this.dispatchEvent(new Event("signed-out"));
      this.error = said(error);
    }
    this.requestUpdate();
  }

  private readonly changed = (event: CustomEvent<VersionedShop>) => {
    this.shop = event.detail;
    const isNew = !this.slug;
    this.slug = event.detail.slug;
    history.replaceState(null, "", `#/shop/${encodeURIComponent(this.slug)}`);
    this.requestUpdate();
    // The form is another one now: the keyboard goes on at the new shop's name.
    if (isNew) void this.updateComplete.then(() => this.renderRoot.querySelector<HTMLElement>("h1")?.focus());
  };

  protected override render(): TemplateResult {
    const { shop, who } = this;
    return html`
      <a class="soft small" href="#/shops">← All shops</a>
      <div class="row apart">
        <h1 class="clamp" dir="auto" tabindex="-1">${shop?.name ?? (this.slug ? "Shop" : "New shop")}</h1>
        ${shop && this.who.has_shop_pages ? html`<a class="small" href="/m/${encodeURIComponent(shop.slug)}" target="_blank" rel="noopener">Open shop page</a>` : nothing}
      </div>
      ${this.error ? html`<p class="notice" data-tone="bad" role="alert">${this.error}</p>` : nothing}
      ${shop || !this.slug
        ? html`<shop-form .shop=${shop} .isAdmin=${isAdmin(who)} .isFixed=${!changes(who)} @shop-changed=${this.changed}></shop-form>`
        : nothing}
      ${shop
        ? html`<shop-keys .shop=${shop.merchant_id} .zone=${shop.time_zone} .isFixed=${!managesAccess(who)}></shop-keys>
            ${managesAccess(who) ? html`<api-keys .shop=${shop.merchant_id} .zone=${shop.time_zone}></api-keys>` : nothing}
            <shop-person .shop=${shop.merchant_id} .zone=${shop.time_zone} .isFixed=${!changes(who)}></shop-person>`
        : nothing}
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
      shop-keys,
      api-keys,
      shop-person {
        margin-block-start: var(--fs-space-5);
      }
    `,
  ];
}
