/** The admin page's frame: sign-in, then the part that the address names. */

import { LitElement, css, html, type TemplateResult } from "lit";
import { admin, devSignIn, hasDevSignIn } from "../client/rest";
import { AskSure } from "../element/ask-sure";
import { baseStyle } from "../element/base-style";
import { TestMode } from "../element/test-mode";
import { decoded } from "../text/address";
import { CreateSale } from "./create-sale";
import { InflowForm } from "./inflow-form";
import { KeyForm } from "./key-form";
import { LiveSale } from "./live-sale";
import { AdminSales } from "./admin-sales";
import { OneShop } from "./one-shop";
import { said } from "./said";
import { ShopForm } from "./shop-form";
import { ShopKeys } from "./shop-keys";
import { ShopList } from "./shop-list";
import { ShopPerson } from "./shop-person";

customElements.define("create-sale", CreateSale);
customElements.define("inflow-form", InflowForm);
customElements.define("live-sale", LiveSale);
customElements.define("admin-sales", AdminSales);
customElements.define("ask-sure", AskSure);
customElements.define("test-mode", TestMode);
customElements.define("shop-list", ShopList);
customElements.define("one-shop", OneShop);
customElements.define("shop-form", ShopForm);
customElements.define("shop-keys", ShopKeys);
customElements.define("key-form", KeyForm);
customElements.define("shop-person", ShopPerson);

/** For this tab only: a token that can end sales does not belong in a shared computer's storage. */
const KEY = "flash-sale:admin-token";

export class AdminPage extends LitElement {
  private token = sessionStorage.getItem(KEY) ?? "";
  private hasDev = false;
  private error = "";
  private isBusy = false;

  override connectedCallback(): void {
    super.connectedCallback();
    addEventListener("hashchange", this.moved);
    void hasDevSignIn().then((hasDev) => {
      this.hasDev = hasDev;
      this.requestUpdate();
    });
  }

  override disconnectedCallback(): void {
    super.disconnectedCallback();
    removeEventListener("hashchange", this.moved);
  }

  private readonly moved = () => {
    this.requestUpdate();
    scrollTo(0, 0);
    // The link that was followed may be gone: the keyboard goes on at the new part.
    void this.updateComplete.then(() => this.renderRoot.querySelector("main")?.focus());
  };

  private readonly signIn = async (event: Event): Promise<void> => {
    event.preventDefault();
    const field = (event.target as HTMLFormElement).elements.namedItem("token") as HTMLTextAreaElement;
    const token = field.value.trim();
    if (token) await this.take(() => Promise.resolve(token));
  };

  private readonly devSignIn = () => this.take(() => devSignIn("admin"));

  private async take(getToken: () => Promise<string>): Promise<void> {
    this.isBusy = true;
    this.error = "";
    this.requestUpdate();
    try {
      const token = await getToken();
      await admin.sales(token, { limit: 1 });
      this.token = token;
      sessionStorage.setItem(KEY, token);
    } catch (error) {
      this.error = said(error);
    }
    this.isBusy = false;
    this.requestUpdate();
  }

  private readonly signOut = () => {
    sessionStorage.removeItem(KEY);
    this.token = "";
    location.hash = "#/";
    this.requestUpdate();
  };

  protected override render(): TemplateResult {
    return html`
      <header>
        <test-mode></test-mode>
        <a class="home" href="#/"><svg viewBox="0 0 16 16" aria-hidden="true"><path d="M9 0 2 9h4l-1 7 8-10H8z" /></svg>Admin</a>
        ${this.token
          ? html`${this.nav()}<button class="quiet" @click=${this.signOut}>Sign out</button>`
          : ""}
      </header>
      <main tabindex="-1">${this.token ? this.room() : this.door()}</main>
    `;
  }

  private nav(): TemplateResult {
    const isOfShops = location.hash.startsWith("#/shop");
    const link = (href: string, text: string, isHere: boolean) => html`<a href=${href} aria-current=${isHere ? "true" : "false"}>${text}</a>`;
    return html`<nav aria-label="Admin pages">${link("#/", "Sales", !isOfShops)}${link("#/shops", "Shops", isOfShops)}</nav>`;
  }

  private room(): TemplateResult {
    const { token } = this;
    const named = (part: string) => new RegExp(`^#/${part}/([^/]+)$`).exec(location.hash)?.[1];
    const [sale, shop] = [named("sale"), named("shop")];
    if (sale) return html`<live-sale .token=${token} .sale=${sale} @signed-out=${this.signOut}></live-sale>`;
    if (shop) return html`<one-shop .token=${token} .slug=${decoded(shop)} @signed-out=${this.signOut}></one-shop>`;
    switch (location.hash) {
      case "#/new":
        return html`<create-sale .token=${token}></create-sale>`;
      case "#/shops":
        return html`<shop-list .token=${token} @signed-out=${this.signOut}></shop-list>`;
      case "#/shops/new":
        return html`<one-shop .token=${token} .slug=${""} @signed-out=${this.signOut}></one-shop>`;
      default:
        return html`<admin-sales .token=${token} @signed-out=${this.signOut}></admin-sales>`;
    }
  }

  private door(): TemplateResult {
    return html`
      <section class="door card">
        <h1>Sign in</h1>
        ${this.hasDev
          ? html`<button class="primary" ?disabled=${this.isBusy} @click=${this.devSignIn}>Development sign-in</button>
              <p class="soft small">Or with a token:</p>`
          : ""}
        <form @submit=${this.signIn}>
          <label for="token">Token</label>
          <textarea id="token" name="token" rows="3" required spellcheck="false" autocomplete="off" aria-describedby="hint error"></textarea>
          <p id="hint" class="soft small">
            A token with the role merchant or admin, for example from <code>flashsale token --sub me --role admin</code>.
          </p>
          <p id="error" class="error small" role="alert">${this.error}</p>
          <button ?disabled=${this.isBusy}>Sign in</button>
        </form>
      </section>
    `;
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
      .door {
        display: grid;
        gap: var(--fs-space-4);
        max-inline-size: var(--fs-narrow);
        margin: var(--fs-space-6) auto;
        padding: var(--fs-space-5);
      }
      .door h1 {
        font-size: var(--fs-text-xl);
      }
      form {
        display: grid;
        gap: var(--fs-space-2);
      }
      textarea,
      code {
        font-family: var(--fs-font-mono);
        font-size: var(--fs-text-xs);
        overflow-wrap: anywhere;
      }
      .error:empty {
        display: none;
      }
    `,
  ];
}
