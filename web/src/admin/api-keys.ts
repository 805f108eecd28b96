/** The keys of a shop's own programs: which there are, a new one, and an end to one. */

import { LitElement, css, html, nothing, type PropertyValues, type TemplateResult } from "lit";
import { repeat } from "lit/directives/repeat.js";
import { Problem } from "../client/rest";
import { SCOPES, shops, type ApiKey, type Scope } from "../client/shops";
import type { AskSure } from "../element/ask-sure";
import { baseStyle } from "../element/base-style";
import { when } from "../text/duration";
import { usableZone } from "../text/zone";
import { focusField, formStyle, textField } from "./form";
import { rowsStyle } from "./rows-style";
import { said } from "./said";
import { fieldError } from "./server-error";

const MEANINGS: Readonly<Record<Scope, string>> = {
  "sales:read": "look at sales",
  "sales:write": "create and steer sales",
  "orders:read": "look at orders",
  "orders:write": "refund orders, and answer for the shop's own checkout",
  exports: "download entries",
};

export class ApiKeys extends LitElement {
  static override properties = { shop: { type: String }, zone: { type: String } };
  /** Its id. */
  declare shop: string;
  declare zone: string;

  private keys: ApiKey[] | null = null;
  private name = "";
  private scopes = new Set<Scope>();
  private wrong: { field: "name" | "scopes"; text: string } | null = null;
  private error = "";
  private done = "";
  private secret = "";
  private isBusy = false;

  constructor() {
    super();
    this.shop = "";
    this.zone = "UTC";
  }

  protected override willUpdate(changed: PropertyValues): void {
    if (!changed.has("shop")) return;
    this.keys = null;
    this.secret = "";
    this.done = "";
    void this.run(() => this.load());
  }

  private async load(): Promise<void> {
    const { shop } = this;
    const keys = await shops.apiKeys(shop);
    if (shop === this.shop) this.keys = keys;
  }

  private async run(step: () => Promise<void>): Promise<void> {
    this.error = "";
    this.isBusy = true;
    this.requestUpdate();
    try {
      await step();
    } catch (error) {
      this.wrong = error instanceof Problem ? fieldError(error.detail, ["name", "scopes"]) : null;
      if (!this.wrong) this.error = said(error);
    }
    this.isBusy = false;
    this.requestUpdate();
  }

  private readonly typed = (event: Event) => {
    const input = event.target as HTMLInputElement;
    if (input.type === "checkbox") {
      const scope = input.value as Scope;
      if (input.checked) this.scopes.add(scope);
      else this.scopes.delete(scope);
    } else {
      this.name = input.value;
    }
    this.wrong = null;
    this.requestUpdate();
  };

  private readonly make = async (event: Event): Promise<void> => {
    event.preventDefault();
    if (this.isBusy) return;
    if (this.name.trim() === "") this.wrong = { field: "name", text: "What is it for?" };
    else if (this.scopes.size === 0) this.wrong = { field: "scopes", text: "What may it do?" };
    this.requestUpdate();
    if (this.wrong) return void focusField(this, "api-key-name");
    this.secret = "";
    await this.run(async () => {
      const made = await shops.makeApiKey(this.shop, { name: this.name.trim(), scopes: [...this.scopes] });
      this.secret = made.secret;
      this.done = `This is the key for “${made.name}”. Keep it now: it is not shown again.`;
      this.name = "";
      this.scopes = new Set();
      await this.load();
    });
  };

  private async revoke(key: ApiKey): Promise<void> {
    const isSure = await this.renderRoot.querySelector<AskSure>("ask-sure")?.ask({
      title: "Revoke this API key?",
      text: `“${key.name}” is refused from the next second on. A revoked key stays revoked.`,
      yes: "Revoke the key",
      no: "Keep it",
    });
    if (!isSure) return;
    this.secret = "";
    await this.run(async () => {
      await shops.revokeApiKey(this.shop, key.key_id);
      this.done = `“${key.name}” is revoked.`;
      await this.load();
    });
    // The button that was pressed is gone.
    await this.updateComplete;
    this.renderRoot.querySelector<HTMLElement>("h2")?.focus();
  }

  protected override render(): TemplateResult {
    const error = (field: "name" | "scopes") => (this.wrong?.field === field ? this.wrong.text : undefined);
    return html`
      <h2 tabindex="-1">API keys</h2>
      <p class="soft small">With an API key, a program of yours looks at sales and orders, or steers them. It is good for this shop only.</p>
      ${this.error ? html`<p class="notice" data-tone="bad" role="alert">${this.error}</p>` : nothing}
      <ul class="card" ?hidden=${!this.keys?.length}>
        ${repeat(
          this.keys ?? [],
          ({ key_id }) => key_id,
          (key) => this.line(key),
        )}
      </ul>
      <p class="small soft done" role="status">${this.done}</p>
      ${this.secret ? html`<code class="card">${this.secret}</code>` : nothing}
      <form class="card" novalidate @submit=${this.make} @input=${this.typed}>
        <div class="fields">
          ${textField({ name: "api-key-name", label: "What the key is for", value: this.name, error: error("name") }, { wide: true })}
        </div>
        <fieldset>
          <legend class="small">It may</legend>
          ${SCOPES.map(
            (scope) => html`<label class="row small">
              <input type="checkbox" value=${scope} .checked=${this.scopes.has(scope)} /> ${MEANINGS[scope]} <code>${scope}</code>
            </label>`,
          )}
          <p class="error small" role="alert">${error("scopes") ?? ""}</p>
        </fieldset>
        <div><button aria-disabled=${this.isBusy}>Make an API key</button></div>
      </form>
      <ask-sure></ask-sure>
    `;
  }

  private line(key: ApiKey): TemplateResult {
    const zone = usableZone(this.zone);
    const time = (text: string) => `${when(Date.parse(text), Date.now(), zone)} (${zone})`;
    return html`
      <li data-api-key=${key.name}>
        <div class="what">
          <span class="name clamp">${key.name}</span>
          <span class="soft small">${key.scopes.join(", ")}</span>
          <span class="soft small numbers">${key.used_at ? `Last used ${time(key.used_at)}` : "Never used"}</span>
        </div>
        ${key.revoked_at
          ? html`<span class="badge">Revoked</span>`
          : html`<span class="badge" data-tone="good">In use</span>
              <button class="danger" aria-label="Revoke the API key ${key.name}" @click=${() => this.revoke(key)}>Revoke</button>`}
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
        gap: var(--fs-space-3);
      }
      h2 {
        font-size: var(--fs-text-l);
      }
      .error:empty {
        display: none;
      }
      code {
        font-family: var(--fs-font-mono);
        font-size: var(--fs-text-s);
        overflow-wrap: anywhere;
      }
      code.card {
        padding: var(--fs-space-4);
      }
    `,
  ];
}
