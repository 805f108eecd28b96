/** The form for a new key, and what comes of it: a secret is shown here once. */

import { LitElement, css, html, nothing, type TemplateResult } from "lit";
import { Problem } from "../client/rest";
import { shops, type KeyWish, type NewKey } from "../client/shops";
import { baseStyle } from "../element/base-style";
import { plural } from "../text/duration";
import { focusField, formStyle, longField, textField } from "./form";
import { said } from "./said";
import { fieldError } from "./server-error";

const FIELDS = ["issuer", "audience", "subject_claim", "keys", "jwks_uri", "proof"] as const;
type Field = (typeof FIELDS)[number];
type Kind = NewKey["kind"];

const KINDS: readonly (readonly [kind: Kind, name: string, hint: string])[] = [
  ["secret", "Make a secret", "Your server signs with it (HS256). It is shown once."],
  ["public_keys", "Paste public keys", "PEM, or a JWKS document"],
  ["jwks_uri", "Address of a key set", "Your sign-in provider publishes it, and changes of it are followed."],
];

const EMPTY: Readonly<Record<Field, string>> = { issuer: "", audience: "", subject_claim: "sub", keys: "", jwks_uri: "", proof: "" };
const MISSING: Readonly<Record<Exclude<Field, "proof">, string>> = {
  issuer: "Who signs your customers in?",
  audience: "What are the tokens for?",
  subject_claim: "Which claim names the customer? Mostly sub.",
  keys: "Paste at least one public key.",
  jwks_uri: "The address of the key set.",
};

/** What is to be sent, or what is missing. */
export function checkKey(kind: Kind, values: Record<Field, string>): { wish: KeyWish } | { errors: Partial<Record<Field, string>> } {
  const wanted: Exclude<Field, "proof">[] = ["issuer", "audience", "subject_claim", ...(kind === "secret" ? [] : [kind === "jwks_uri" ? kind : ("keys" as const)])];
  const missing = wanted.filter((field) => values[field].trim() === "");
  if (missing.length > 0) return { errors: Object.fromEntries(missing.map((field) => [field, MISSING[field]])) };
  const given: Field[] = kind === "jwks_uri" && values.proof.trim() !== "" ? [...wanted, "proof"] : wanted;
  return { wish: Object.fromEntries(given.map((field) => [field, values[field].trim()])) as unknown as KeyWish };
}

export class KeyForm extends LitElement {
  static override properties = { shop: { type: String } };
  declare shop: string;

  private kind: Kind = "secret";
  private values: Record<Field, string> = { ...EMPTY };
  private errors: Partial<Record<Field, string>> = {};
  private error = "";
  private added: NewKey | null = null;
  private copied = "";
  private isBusy = false;

  constructor() {
    super();
    this.shop = "";
  }

  private readonly typed = (event: Event) => {
    const input = event.target as HTMLInputElement;
    if (input.name === "kind") {
      this.kind = input.value as Kind;
      this.errors = {};
    } else {
      const field = input.name as Field;
      this.values = { ...this.values, [field]: input.value };
      this.errors = Object.fromEntries(Object.entries(this.errors).filter(([name]) => name !== field));
    }
    this.requestUpdate();
  };

  private readonly send = async (event: Event): Promise<void> => {
    event.preventDefault();
    if (this.isBusy) return;
    const checked = checkKey(this.kind, this.values);
    this.error = "";
    if ("errors" in checked) return this.show(checked.errors);
    this.isBusy = true;
    this.show({});
    try {
      this.added = await shops.addKey(this.shop, checked.wish);
      this.values = { ...EMPTY };
      this.copied = "";
      this.dispatchEvent(new Event("key-added"));
      this.requestUpdate();
      await this.updateComplete;
      this.renderRoot.querySelector<HTMLElement>("h3")?.focus();
    } catch (error) {
      const named = error instanceof Problem ? fieldError(error.detail, FIELDS) : null;
      if (named) this.show({ [named.field]: named.text });
      else this.error = said(error);
    }
    this.isBusy = false;
    this.requestUpdate();
  };

  private show(errors: Partial<Record<Field, string>>): void {
    this.errors = errors;
    this.requestUpdate();
    void focusField(this, FIELDS.find((field) => errors[field]));
  }

  private readonly copy = async (): Promise<void> => {
    const shown = this.renderRoot.querySelector("code");
    try {
      await navigator.clipboard.writeText(this.added?.secret ?? "");
      this.copied = "Copied.";
    } catch {
      // Only secure pages may write to the clipboard.
      if (shown) getSelection()?.selectAllChildren(shown);
      this.copied = "Your browser does not allow it here: the secret is selected, copy it yourself.";
    }
    this.requestUpdate();
  };

  private readonly close = () => {
    this.added = null;
    this.requestUpdate();
    void this.updateComplete.then(() => this.renderRoot.querySelector<HTMLElement>("summary")?.focus());
  };

  protected override render(): TemplateResult {
    return this.added ? this.result(this.added) : this.form();
  }

  private result(key: NewKey): TemplateResult {
    const { secret, skipped } = key;
    return html`
      <section class="card added" aria-labelledby="added">
        <h3 id="added" tabindex="-1">${secret ? "The secret of the new key" : "The key is added"}</h3>
        ${secret
          ? html`<p>Copy it now and keep it on your server. <strong>It is not shown again.</strong></p>
              <p class="secret"><code>${secret}</code></p>`
          : nothing}
        ${skipped.length > 0
          ? html`<div class="notice">
              <div>
                <p>${plural(skipped.length, "key")} in it cannot be used:</p>
                <ul>
                  ${skipped.map((why) => html`<li>${why}</li>`)}
                </ul>
              </div>
            </div>`
          : nothing}
        <div class="row">
          ${secret ? html`<button class="primary" @click=${this.copy}>Copy</button>` : nothing}
          <button @click=${this.close}>${secret ? "I have it" : "Done"}</button>
          <span class="small soft" role="status">${this.copied}</span>
        </div>
      </section>
    `;
  }

  private form(): TemplateResult {
    const part = (name: Field, label: string) => ({ name, label, value: this.values[name], error: this.errors[name] });
    return html`
      <details class="card">
        <summary>Add a key</summary>
        <form novalidate @submit=${this.send} @input=${this.typed}>
          <fieldset>
            <legend>Kind</legend>
            ${KINDS.map(
              ([kind, name, hint]) => html`<label class="choice">
                <input type="radio" name="kind" value=${kind} .checked=${this.kind === kind} />
                <span>${name} <span class="soft small">${hint}</span></span>
              </label>`,
            )}
          </fieldset>
          <div class="fields">
            ${textField(part("issuer", "Issuer"), { hint: "The iss of your tokens, such as https://login.shop.example/" })}
            ${textField(part("audience", "Audience"), { hint: "The aud of your tokens" })}
            ${textField(part("subject_claim", "Claim that names the customer"), { hint: "Never the same for two people" })}
            ${this.kind === "public_keys" ? longField(part("keys", "Public keys"), 8) : nothing}
            ${this.kind === "jwks_uri"
              ? html`${textField(part("jwks_uri", "Address of the key set"), { wide: true, hint: "https://… It is fetched now, and again for a key that is not known yet." })}
                  ${textField(part("proof", "Token with the claim flashsale_shop"), { wide: true, hint: "Only if another shop has your issuer: it proves that the application is yours. Otherwise leave it empty." })}`
              : nothing}
          </div>
          ${this.error ? html`<p class="error" role="alert">${this.error}</p>` : nothing}
          <div class="row">
            <button class="primary" aria-disabled=${this.isBusy}>${this.isBusy ? "Adding…" : "Add key"}</button>
          </div>
        </form>
      </details>
    `;
  }

  static override styles = [
    ...baseStyle,
    formStyle,
    css`
      details > summary {
        inline-size: auto;
        padding: var(--fs-space-3) var(--fs-space-4);
      }
      details[open] > summary {
        margin: 0;
      }
      form {
        padding: var(--fs-space-3) var(--fs-space-4) var(--fs-space-4);
      }
      fieldset {
        display: grid;
        gap: var(--fs-space-2);
      }
      .choice {
        display: flex;
        align-items: start;
        gap: var(--fs-space-2);
        cursor: pointer;
      }
      .choice input {
        margin-block-start: var(--fs-space-1);
      }
      .choice .soft {
        display: block;
        font-weight: var(--fs-weight);
      }
      .added {
        display: grid;
        gap: var(--fs-space-3);
        padding: var(--fs-space-5);
        border-color: var(--fs-accent);
      }
      h3 {
        font-size: var(--fs-text-m);
      }
      .secret {
        padding: var(--fs-space-3);
        border-radius: var(--fs-radius-m);
        background: var(--fs-sunken);
      }
      code {
        font-family: var(--fs-font-mono);
        font-size: var(--fs-text-s);
        overflow-wrap: anywhere;
        user-select: all;
      }
      .notice {
        overflow-wrap: anywhere;
      }
    `,
  ];
}
