/** The keys with which a shop signs in its customers: which there are, a new one, and an end to one. */

import { LitElement, css, html, nothing, type PropertyValues, type TemplateResult } from "lit";
import { repeat } from "lit/directives/repeat.js";
import { shops, type Key } from "../client/shops";
import type { AskSure } from "../element/ask-sure";
import { baseStyle } from "../element/base-style";
import { when } from "../text/duration";
import { usableZone } from "../text/zone";
import { rowsStyle } from "./rows-style";
import { said } from "./said";

const KINDS: Readonly<Record<Key["kind"], string>> = {
  secret: "Secret",
  public_keys: "Public keys",
  jwks_uri: "Address of a key set",
};

export class ShopKeys extends LitElement {
  static override properties = { shop: { type: String }, zone: { type: String }, isFixed: { type: Boolean } };
  /** Its id. */
  declare shop: string;
  declare zone: string;
  /** This operator only looks. */
  declare isFixed: boolean;

  private keys: Key[] | null = null;
  private error = "";
  private done = "";

  constructor() {
    super();
    this.isFixed = false;
    this.shop = "";
    this.zone = "UTC";
  }

  protected override willUpdate(changed: PropertyValues): void {
    if (!changed.has("shop")) return;
    this.keys = null;
    this.done = "";
    void this.load();
  }

  private readonly load = async (): Promise<void> => {
    const { shop } = this;
    try {
      const keys = await shops.keys(shop);
      if (shop !== this.shop) return;
      this.keys = keys;
      this.error = "";
    } catch (error) {
      this.error = said(error);
    }
    this.requestUpdate();
  };

  private async revoke(key: Key): Promise<void> {
    const isSure = await this.renderRoot.querySelector<AskSure>("ask-sure")?.ask({
      title: "Revoke this key?",
      text: `Customers of ${key.issuer} cannot sign in with it any more, from the next second on. A revoked key stays revoked.`,
      yes: "Revoke the key",
      no: "Keep it",
    });
    if (!isSure) return;
    this.done = "";
    try {
      await shops.revokeKey(this.shop, key.key_id);
      await this.load();
      this.done = `The key of ${key.issuer} is revoked.`;
    } catch (error) {
      this.error = said(error);
    }
    this.requestUpdate();
    // The button that was pressed is gone.
    await this.updateComplete;
    this.renderRoot.querySelector<HTMLElement>("h2")?.focus();
  }

  protected override render(): TemplateResult {
    return html`
      <h2 tabindex="-1">Keys</h2>
      <p class="soft small">With a key, your own sign-in says who a customer is. It is good for customers of this shop, and for nothing else.</p>
      ${this.error ? html`<p class="notice" data-tone="bad" role="alert">${this.error}</p>` : nothing}
      ${this.keys?.length === 0 ? html`<p class="soft">There are none yet: all your customers are guests.</p>` : nothing}
      <ul class="card" ?hidden=${!this.keys?.length}>
        ${repeat(
          this.keys ?? [],
          (key) => key.key_id,
          (key) => this.line(key),
        )}
      </ul>
      <p class="small soft done" role="status">${this.done}</p>
      ${this.isFixed ? nothing : html`<key-form .shop=${this.shop} @key-added=${this.load}></key-form>`}
      <ask-sure></ask-sure>
    `;
  }

  private line(key: Key): TemplateResult {
    const zone = usableZone(this.zone);
    const time = (text: string) => `${when(Date.parse(text), Date.now(), zone)} (${zone})`;
    const customer = key.subject_claim === "sub" ? "" : ` · customer in “${key.subject_claim}”`;
    return html`
      <li data-key=${key.key_id} data-revoked=${key.revoked_at !== null}>
        <div class="what">
          <span class="name clamp">${key.issuer}</span>
          <span class="soft small clamp">for ${key.audience}${customer}</span>
          <span class="soft small clamp">${KINDS[key.kind]}${key.jwks_uri ? `: ${key.jwks_uri}` : ""}${key.proven_at ? " · proven to be yours" : ""}</span>
          <span class="soft small numbers">${key.revoked_at ? `Revoked ${time(key.revoked_at)}` : `Added ${time(key.created_at)}`}</span>
        </div>
        ${key.revoked_at
          ? html`<span class="badge">Revoked</span>`
          : html`<span class="badge" data-tone="good">In use</span>
              <button class="danger" ?hidden=${this.isFixed} aria-label="Revoke the key of ${key.issuer}" @click=${() => this.revoke(key)}>Revoke</button>`}
      </li>
    `;
  }

  static override styles = [
    ...baseStyle,
    rowsStyle,
    css`
      :host {
        display: grid;
        gap: var(--fs-space-3);
      }
      h2 {
        font-size: var(--fs-text-l);
      }
      [data-revoked="true"] .name {
        color: var(--fs-ink-soft);
      }
    `,
  ];
}
