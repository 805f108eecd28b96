/** The admin page's frame: sign-in, then the part that the address names. */

import { LitElement, css, html, type TemplateResult } from "lit";
import { forgetOperatorClient } from "../client/client";
import { changes, managesAccess, operators, whoIsHere, type Operator } from "../client/operators";
import { AskSure } from "../element/ask-sure";
import { baseStyle } from "../element/base-style";
import { TestMode } from "../element/test-mode";
import { decoded } from "../text/address";
import { ApiKeys } from "./api-keys";
import { CreateSale } from "./create-sale";
import { InflowForm } from "./inflow-form";
import { KeyForm } from "./key-form";
import { LiveSale } from "./live-sale";
import { AdminSales } from "./admin-sales";
import { OneOrder } from "./one-order";
import { OneShop } from "./one-shop";
import { OperatorList } from "./operator-list";
import { PictureForm } from "./picture-form";
import { said } from "./said";
import { SaleOrders } from "./sale-orders";
import { ShopForm } from "./shop-form";
import { ShopKeys } from "./shop-keys";
import { ShopList } from "./shop-list";
import { ShopPerson } from "./shop-person";
import { SignInForm } from "./sign-in-form";
import { TwoSteps } from "./two-steps";

customElements.define("create-sale", CreateSale);
customElements.define("inflow-form", InflowForm);
customElements.define("live-sale", LiveSale);
customElements.define("picture-form", PictureForm);
customElements.define("admin-sales", AdminSales);
customElements.define("sale-orders", SaleOrders);
customElements.define("one-order", OneOrder);
customElements.define("ask-sure", AskSure);
customElements.define("test-mode", TestMode);
customElements.define("shop-list", ShopList);
customElements.define("one-shop", OneShop);
customElements.define("shop-form", ShopForm);
customElements.define("shop-keys", ShopKeys);
customElements.define("key-form", KeyForm);
customElements.define("shop-person", ShopPerson);
customElements.define("api-keys", ApiKeys);
customElements.define("operator-list", OperatorList);
customElements.define("sign-in-form", SignInForm);
customElements.define("two-steps", TwoSteps);

export class AdminPage extends LitElement {
  /** Undefined: not known yet. The session itself is in a cookie that no script reads. */
  private who: Operator | null | undefined;
  private invite = "";
  private error = "";

  override connectedCallback(): void {
    super.connectedCallback();
    addEventListener("hashchange", this.moved);
    this.takeInvite();
    void this.look();
  }

  override disconnectedCallback(): void {
    super.disconnectedCallback();
    removeEventListener("hashchange", this.moved);
  }

  private readonly moved = () => {
    this.takeInvite();
    this.requestUpdate();
    scrollTo(0, 0);
    // The link that was followed may be gone: the keyboard goes on at the new part.
    void this.updateComplete.then(() => this.renderRoot.querySelector("main")?.focus());
  };

  /** Takes a link's secret out of the address, where others could read it over a shoulder or in the history. */
  private takeInvite(): void {
    const secret = /^#invite=([\w-]+)$/.exec(location.hash)?.[1];
    if (!secret) return;
    this.invite = secret;
    history.replaceState(null, "", "#/");
  }

  private async look(): Promise<void> {
    try {
      this.who = await whoIsHere();
    } catch (error) {
      this.who = null;
      this.error = said(error);
    }
    this.requestUpdate();
  }

  private readonly signedIn = (event: CustomEvent<Operator>) => {
    forgetOperatorClient();
    this.invite = "";
    this.error = "";
    this.who = event.detail;
    this.requestUpdate();
  };

  private readonly changed = (event: CustomEvent<Operator>) => {
    this.who = event.detail;
    this.requestUpdate();
  };

  /** The session has ended, whoever ended it. */
  private readonly signedOut = () => {
    forgetOperatorClient();
    this.who = null;
    this.requestUpdate();
  };

  private readonly signOut = () => this.leave(operators.signOut);
  private readonly signOutEverywhere = () => this.leave(operators.signOutEverywhere);

  private async leave(end: () => Promise<null>): Promise<void> {
    try {
      await end();
      this.error = "";
    } catch (error) {
      this.error = said(error);
    }
    // If the server could not be reached, the session goes on: the page says so.
    await this.look();
    if (this.who) return;
    location.hash = "#/";
    this.signedOut();
  }

  protected override render(): TemplateResult {
    return html`
      <header>
        <test-mode></test-mode>
        <a class="home" href="#/"><svg viewBox="0 0 16 16" aria-hidden="true"><path d="M9 0 2 9h4l-1 7 8-10H8z" /></svg>Admin</a>
        ${this.who
          ? html`${this.nav(this.who)}<a class="soft small clamp" href="#/me" aria-current=${location.hash === "#/me" ? "true" : "false"}>${this.who.email}</a>
              <button class="quiet" @click=${this.signOutEverywhere}>Sign out everywhere</button>
              <button class="quiet" @click=${this.signOut}>Sign out</button>`
          : ""}
      </header>
      <main tabindex="-1">
        ${this.error ? html`<p class="notice" data-tone="bad" role="alert">${this.error}</p>` : ""}
        ${this.who && !this.invite ? this.room(this.who) : this.who === undefined ? "" : this.door()}
      </main>
    `;
  }

  private nav(who: Operator): TemplateResult {
    const isOfShops = location.hash.startsWith("#/shop");
    const isOfOperators = location.hash === "#/operators";
    const isOwn = location.hash === "#/me";
    const link = (href: string, text: string, isHere: boolean) => html`<a href=${href} aria-current=${isHere ? "true" : "false"}>${text}</a>`;
    return html`<nav aria-label="Admin pages">
      ${link("#/", "Sales", !isOfShops && !isOfOperators && !isOwn)}${link("#/shops", "Shops", isOfShops)}
      ${managesAccess(who) ? link("#/operators", "Operators", isOfOperators) : ""}
    </nav>`;
  }

  private room(who: Operator): TemplateResult {
    const named = (part: string) => new RegExp(`^#/${part}/([^/]+)$`).exec(location.hash)?.[1];
    const [sale, shop, order] = [named("sale"), named("shop"), named("order")];
    const orders = /^#\/sale\/([^/]+)\/orders$/.exec(location.hash)?.[1];
    if (orders) return html`<sale-orders .sale=${orders} @signed-out=${this.signedOut}></sale-orders>`;
    if (order) return html`<one-order .isFixed=${!changes(who)} .order=${order} @signed-out=${this.signedOut}></one-order>`;
    if (sale) return html`<live-sale .isFixed=${!changes(who)} .hasShopPage=${who.has_shop_pages} .sale=${sale} @signed-out=${this.signedOut}></live-sale>`;
    if (shop) return html`<one-shop .who=${who} .slug=${decoded(shop)} @signed-out=${this.signedOut}></one-shop>`;
    switch (location.hash) {
      case "#/new":
        return html`<create-sale .who=${who}></create-sale>`;
      case "#/me":
        return html`<two-steps .who=${who} @signed-out=${this.signedOut} @changed=${this.changed}></two-steps>`;
      case "#/operators":
        return html`<operator-list .who=${who} @signed-out=${this.signedOut}></operator-list>`;
      case "#/shops":
        return html`<shop-list .who=${who} @signed-out=${this.signedOut}></shop-list>`;
      case "#/shops/new":
        return html`<one-shop .who=${who} .slug=${""} @signed-out=${this.signedOut}></one-shop>`;
      default:
        return html`<admin-sales .who=${who} @signed-out=${this.signedOut}></admin-sales>`;
    }
  }

  private door(): TemplateResult {
    return html`<sign-in-form .invite=${this.invite} @signed-in=${this.signedIn}></sign-in-form>`;
  }

  static override styles = [
    ...baseStyle,
    css`
      header {
        display: flex;
        align-items: center;
        justify-content: space-between;
        max-inline-size: var(--fs-wide);
        min-block-size: calc(var(--fs-control) + 2 * var(--fs-space-3));
        margin-inline: auto;
        padding: var(--fs-space-3) var(--fs-space-4);
      }
      .home {
        display: flex;
        align-items: center;
        gap: var(--fs-space-2);
        color: inherit;
        font-weight: var(--fs-weight-bold);
        text-decoration: none;
      }
      header {
        flex-wrap: wrap;
        gap: var(--fs-space-1) var(--fs-space-4);
      }
      nav {
        display: flex;
        flex: 1;
        gap: var(--fs-space-4);
      }
      nav a {
        padding-block: var(--fs-space-2);
        border-block-end: var(--fs-ring) solid transparent;
        color: var(--fs-ink-soft);
        text-decoration: none;
      }
      nav a[aria-current="true"] {
        border-color: var(--fs-accent);
        color: inherit;
        font-weight: var(--fs-weight-medium);
      }
      header .quiet {
        margin-inline-end: calc(-1 * var(--fs-space-2));
        padding-inline: var(--fs-space-2);
      }
      svg {
        block-size: var(--fs-space-4);
        fill: var(--fs-accent);
      }
      main {
        max-inline-size: var(--fs-wide);
        margin-inline: auto;
        padding: var(--fs-space-3) var(--fs-space-4) var(--fs-space-7);
      }
      test-mode:not([hidden]) {
        flex-basis: 100%;
      }
      main:focus {
        outline: none;
      }
    `,
  ];
}
