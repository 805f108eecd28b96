/** The shops that this operator may manage: all for admins, for others their own. */

import { LitElement, css, html, nothing, type PropertyValues, type TemplateResult } from "lit";
import { isAdmin, type Operator } from "../client/operators";
import { Problem } from "../client/rest";
import { shops, type ShopSettings } from "../client/shops";
import { baseStyle } from "../element/base-style";
import { said } from "./said";

export class ShopList extends LitElement {
  static override properties = { who: { attribute: false } };
  declare who: Operator;

  private list: ShopSettings[] | null = null;
  private error = "";

  protected override willUpdate(changed: PropertyValues): void {
    if (changed.has("who")) void this.load();
  }

  private async load(): Promise<void> {
    try {
      this.list = await ownShops(this.who);
      this.error = "";
    } catch (error) {
      if (error instanceof Problem && error.status === 401) this.dispatchEvent(new Event("signed-out"));
      this.error = said(error);
    }
    this.requestUpdate();
  }

  protected override render(): TemplateResult {
    return html`
      <div class="row apart">
        <h1>Shops</h1>
        ${isAdmin(this.who) ? html`<a class="new" href="#/shops/new">New shop</a>` : nothing}
      </div>
      ${this.error ? html`<p class="notice" data-tone="bad" role="alert">${this.error}</p>` : nothing}
      ${this.list?.length === 0 ? html`<p class="soft">There are none yet.</p>` : nothing}
      <ul class="card" ?hidden=${!this.list?.length}>
        ${this.list?.map((shop) => this.line(shop))}
      </ul>
    `;
  }

  private line(shop: ShopSettings): TemplateResult {
    return html`
      <li>
        <a href="#/shop/${encodeURIComponent(shop.slug)}">
          <span class="name clamp" dir="auto">${shop.name}</span>
          ${shop.active
            ? html`<span class="badge" data-tone="good">Open</span>`
            : html`<span class="badge" data-tone="bad">Suspended</span>`}
          <span class="soft small">/m/${shop.slug}</span>
          <span class="soft small">${shop.currency} · ${shop.time_zone}</span>
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
        overflow-wrap: anywhere;
      }
      li a:hover .name {
        color: var(--fs-accent);
      }
      li a > :nth-child(even) {
        justify-self: end;
      }
      .name {
        font-weight: var(--fs-weight-medium);
      }
    `,
  ];
}

/** The shops of this operator. One whose shop nobody has set up yet gets it by looking at it. */
export async function ownShops(who: Operator): Promise<ShopSettings[]> {
  const list = await shops.list();
  return list.length > 0 || !who.merchant ? list : [await shops.show(who.merchant)];
}
