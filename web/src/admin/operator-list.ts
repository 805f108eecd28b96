/** Who operates here: an invitation, and an end to one. Owners see those of their shop, admins all. */

import { LitElement, css, html, nothing, type TemplateResult } from "lit";
import { repeat } from "lit/directives/repeat.js";
import { isAdmin, operators, type Colleague, type Operator, type OperatorRole } from "../client/operators";
import { Problem } from "../client/rest";
import type { ShopSettings } from "../client/shops";
import type { AskSure } from "../element/ask-sure";
import { baseStyle } from "../element/base-style";
import { choiceField, focusField, formStyle, textField } from "./form";
import { rowsStyle } from "./rows-style";
import { said } from "./said";
import { fieldError } from "./server-error";
import { ownShops } from "./shop-list";

const ROLES: Readonly<Record<OperatorRole, string>> = {
  admin: "Admin: everything, at every shop",
  owner: "Owner: everything of the shop",
  staff: "Staff: everything but keys and operators",
  viewer: "Viewer: looks, and changes nothing",
};

const FIELDS = ["email", "role", "merchant"] as const;
type Field = (typeof FIELDS)[number];

export class OperatorList extends LitElement {
  static override properties = { who: { attribute: false } };
  declare who: Operator;

  private list: Colleague[] | null = null;
  private shops: ShopSettings[] = [];
  private values: Record<Field, string> = { email: "", role: "staff", merchant: "" };
  private errors: Partial<Record<Field, string>> = {};
  private error = "";
  private done = "";
  /** The address of the page that sets the password, which is told once. */
  private link = "";
  private isBusy = false;

  override connectedCallback(): void {
    super.connectedCallback();
    void this.load();
  }

  private async load(): Promise<void> {
    await this.run(async () => {
      [this.list, this.shops] = await Promise.all([operators.list(), ownShops(this.who)]);
    });
  }

  private async run(step: () => Promise<void>): Promise<void> {
    this.error = "";
    this.isBusy = true;
    this.requestUpdate();
    try {
      await step();
    } catch (error) {
      if (error instanceof Problem && error.status === 401) this.dispatchEvent(new Event("signed-out"));
      const named = error instanceof Problem ? fieldError(error.detail, FIELDS) : null;
      if (named) this.errors = { [named.field]: named.text };
      else this.error = said(error);
    }
    this.isBusy = false;
    this.requestUpdate();
  }

  private readonly typed = (event: Event) => {
    const { name, value } = event.target as HTMLInputElement;
    this.values = { ...this.values, [name]: value };
    this.errors = {};
    this.requestUpdate();
  };

  private readonly invite = async (event: Event): Promise<void> => {
    event.preventDefault();
    if (this.isBusy) return;
    const email = this.values.email.trim();
    const role = this.values.role as OperatorRole;
    this.errors = email === "" ? { email: "Who is it?" } : this.needsShop && !this.values.merchant ? { merchant: "For which shop?" } : {};
    this.requestUpdate();
    const wrong = FIELDS.find((field) => this.errors[field]);
    if (wrong) return void focusField(this, wrong);
    this.done = "";
    this.link = "";
    await this.run(async () => {
      const path = await operators.invite({ email, role, ...(this.needsShop ? { merchant: this.values.merchant } : {}) });
      this.link = `${location.origin}${path}`;
      this.done = `Send this link to ${email}. It sets their password once, within three days, and is not shown again.`;
      this.values = { ...this.values, email: "" };
      this.list = await operators.list();
    });
  };

  private get needsShop(): boolean {
    return isAdmin(this.who) && this.values.role !== "admin";
  }

  private async removed(colleague: Colleague): Promise<void> {
    const isSure = await this.renderRoot.querySelector<AskSure>("ask-sure")?.ask({
      title: "Remove this operator?",
      text: `${colleague.email} is signed out everywhere, and cannot sign in any more.`,
      yes: "Remove",
      no: "Keep",
    });
    if (!isSure) return;
    this.link = "";
    await this.run(async () => {
      await operators.remove(colleague.operator);
      this.done = `${colleague.email} is removed.`;
      this.list = await operators.list();
    });
    // The button that was pressed is gone.
    await this.updateComplete;
    this.renderRoot.querySelector<HTMLElement>("h1")?.focus();
  }

  protected override render(): TemplateResult {
    const roles = (Object.keys(ROLES) as OperatorRole[]).filter((role) => role !== "admin" || isAdmin(this.who));
    const part = (name: Field, label: string) => ({ name, label, value: this.values[name], error: this.errors[name] });
    const shops = [["", "Choose a shop"] as const, ...this.shops.map(({ merchant_id, name }) => [merchant_id, name] as const)];
    return html`
      <h1 tabindex="-1">Operators</h1>
      ${this.error ? html`<p class="notice" data-tone="bad" role="alert">${this.error}</p>` : nothing}
      <ul class="card" ?hidden=${!this.list?.length}>
        ${repeat(
          this.list ?? [],
          ({ operator }) => operator,
          (colleague) => this.line(colleague),
        )}
      </ul>
      <p class="small soft done" role="status">${this.done}</p>
      ${this.link ? html`<code class="card">${this.link}</code>` : nothing}
      <form class="card" novalidate @submit=${this.invite} @input=${this.typed}>
        <h2>Invite</h2>
        <div class="fields">
          ${textField(part("email", "E-mail"), { type: "email", wide: true, hint: "Again for the same address: a new link, if the password is lost" })}
          ${choiceField(part("role", "Role"), roles.map((role) => [role, ROLES[role]] as const), { wide: true })}
          ${this.needsShop ? choiceField(part("merchant", "Shop"), shops, { wide: true }) : nothing}
        </div>
        <div><button class="primary" aria-disabled=${this.isBusy}>Invite</button></div>
      </form>
      <ask-sure></ask-sure>
    `;
  }

  private line(colleague: Colleague): TemplateResult {
    const shop = this.shops.find(({ merchant_id }) => merchant_id === colleague.merchant)?.name ?? colleague.merchant;
    return html`
      <li data-operator=${colleague.email}>
        <div class="what">
          <span class="name clamp">${colleague.email}</span>
          <span class="soft small">${ROLES[colleague.role].split(":")[0]}${shop ? ` · ${shop}` : ""}${colleague.has_codes ? " · with codes" : ""}</span>
        </div>
        ${colleague.has_password
          ? html`<span class="badge" data-tone="good">Active</span>`
          : html`<span class="badge" data-tone="warn">${colleague.invited_until ? "Invited" : "Link too old"}</span>`}
        <button class="danger" aria-label="Remove ${colleague.email}" @click=${() => this.removed(colleague)}>Remove</button>
      </li>
    `;
  }

  static override styles = [
    ...baseStyle,
    rowsStyle,
    formStyle,
    css`
      :host {
        display: grid;
        gap: var(--fs-space-4);
      }
      h1 {
        font-size: var(--fs-text-xl);
      }
      h2 {
        font-size: var(--fs-text-l);
      }
      code {
        padding: var(--fs-space-4);
        font-family: var(--fs-font-mono);
        font-size: var(--fs-text-s);
        overflow-wrap: anywhere;
      }
    `,
  ];
}
