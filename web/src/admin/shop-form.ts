/** The form for a shop's settings, new or there already. What it checks and makes is in shop-fields.ts. */

import { LitElement, html, nothing, type PropertyValues, type TemplateResult } from "lit";
import { Problem } from "../client/rest";
import { shops, type VersionedShop } from "../client/shops";
import { baseStyle } from "../element/base-style";
import { CURRENCIES, currencyName } from "../text/currencies";
import { knownZones, ownZone } from "../text/zone";
import { choiceField, focusField, formStyle, longField, textField, type Look } from "./form";
import { said } from "./said";
import { fieldError } from "./server-error";
import { FIELDS, check, valuesOf, type Errors, type Field, type Values } from "./shop-fields";

const ZONES = knownZones();

export class ShopForm extends LitElement {
  static override properties = { shop: { attribute: false }, isAdmin: { type: Boolean }, isFixed: { type: Boolean } };
  /** As it was read; null: a new one. */
  declare shop: VersionedShop | null;
  declare isAdmin: boolean;
  /** This operator only looks. */
  declare isFixed: boolean;

  private values: Values = valuesOf(null);
  private errors: Errors = {};
  private error = "";
  private done = "";
  private isOutdated = false;
  private isBusy = false;

  constructor() {
    super();
    this.isFixed = false;
    this.shop = null;
    this.isAdmin = false;
  }

  protected override willUpdate(changed: PropertyValues): void {
    if (!changed.has("shop")) return;
    this.values = valuesOf(this.shop);
    if (!this.shop) this.values.time_zone = ownZone();
    this.errors = {};
  }

  private readonly typed = (event: Event) => {
    const input = event.target as HTMLInputElement;
    const field = input.name as Field;
    this.values = { ...this.values, [field]: input.value };
    this.done = "";
    // An error goes as soon as it is no longer true; a new one comes only when the form is sent.
    if (this.errors[field]) {
      const checked = check(this.values, this.shop);
      const still = "errors" in checked ? checked.errors[field] : undefined;
      const others = Object.entries(this.errors).filter(([name]) => name !== field);
      this.errors = Object.fromEntries(still ? [...others, [field, still]] : others);
    }
    this.requestUpdate();
  };

  private readonly send = async (event: Event): Promise<void> => {
    event.preventDefault();
    if (this.isBusy) return;
    const checked = check(this.values, this.shop);
    this.error = "";
    this.done = "";
    this.isOutdated = false;
    if ("errors" in checked) return this.show(checked.errors);
    this.isBusy = true;
    this.show({});
    try {
      const { shop } = this;
      const saved = shop
        ? await shops.change(shop.slug, checked.change, shop.version)
        : await shops.create(checked.change);
      this.shop = saved;
      this.done = "Saved.";
      this.dispatchEvent(new CustomEvent("shop-changed", { detail: saved }));
    } catch (error) {
      this.fail(error);
    }
    this.isBusy = false;
    this.requestUpdate();
  };

  private fail(error: unknown): void {
    const named = error instanceof Problem ? fieldError(error.detail, FIELDS) : null;
    this.isOutdated = error instanceof Problem && error.code === "version_changed";
    if (named) this.show({ [named.field]: named.text });
    else if (error instanceof Problem && error.code === "merchant_taken") this.show({ slug: said(error) });
    else if (this.isOutdated) this.error = "Somebody else has changed this shop since you opened it. Nothing of yours is saved.";
    else this.error = said(error);
  }

  /** Takes what the other one has saved; what was typed here is gone then. */
  private readonly reload = async (): Promise<void> => {
    if (!this.shop) return;
    try {
      this.shop = await shops.show(this.shop.merchant_id);
      this.dispatchEvent(new CustomEvent("shop-changed", { detail: this.shop }));
      this.error = "";
      this.isOutdated = false;
      this.done = "These are the newest settings.";
    } catch (error) {
      this.error = said(error);
    }
    this.requestUpdate();
  };

  /** Shows the errors and goes to the first field that has one. */
  private show(errors: Errors): void {
    this.errors = errors;
    this.requestUpdate();
    void focusField(this, FIELDS.find((field) => errors[field]));
  }

  protected override render(): TemplateResult {
    const isNew = !this.shop;
    const usual = hints(isNew);
    return html`
      <form class="card" novalidate @submit=${this.send} @input=${this.typed}>
        <div class="fields">
          ${this.text("name", "Name", { wide: true })}
          ${this.isAdmin
            ? this.text("slug", "Name in addresses", { hint: isNew ? "Empty: made from the name" : "The shop’s page is /m/ and this" })
            : nothing}
          ${choiceField(this.named("currency", "Currency"), CURRENCIES.map((code) => [code, currencyName(code)] as const), {
            hint: "New sales start with it",
          })}
          ${this.text("time_zone", "Time zone", { list: "zones", hint: "Times of sales are entered in it" })}
          ${this.text("retention_days", "People are forgotten after", {
            mode: "numeric",
            hint: usual("Days after a sale"),
          })}
          ${longField(this.named("widget_origins", "Pages that may show your sales"), 3, {
            hint: "One address in each line, such as https://shop.example. Empty: every page may.",
          })}
          ${choiceField(
            this.named("null_origin", "Sandboxed frames"),
            [
              ["no", "not allowed"],
              ["yes", "allowed"],
            ],
            { hint: "They do not say whose page they are, so they are on no list." },
          )}
          ${this.text("checkout_url", "Your own checkout", {
            wide: true,
            hint: "If orders are paid there: its address, which begins with https://. Empty: none",
          })}
          ${this.text("checkout_max_s", "Longest time to pay there", {
            mode: "numeric",
            hint: usual("Seconds after the order was made, if your checkout asks for more time"),
          })}
        </div>
        ${this.isAdmin ? this.limits(isNew) : nothing}
        <datalist id="zones">${ZONES.map((zone) => html`<option value=${zone}></option>`)}</datalist>
        ${this.error
          ? html`<div class="notice" data-tone="bad" role="alert">
              <span>${this.error}</span>
              ${this.isOutdated ? html`<button type="button" @click=${this.reload}>Show the newest</button>` : nothing}
            </div>`
          : nothing}
        <div class="row">
          <button class="primary" ?hidden=${this.isFixed} aria-disabled=${this.isBusy}>${this.isBusy ? "Saving…" : isNew ? "Create shop" : "Save"}</button>
          ${isNew ? html`<a href="#/shops" class="soft">Cancel</a>` : nothing}
          <span class="small soft" role="status">${this.done}</span>
        </div>
      </form>
    `;
  }

  private limits(isNew: boolean): TemplateResult {
    const usual = hints(isNew);
    return html`
      <details>
        <summary>For admins only</summary>
        <div class="fields">
          ${choiceField(
            this.named("active", "State"),
            [
              ["yes", "open"],
              ["no", "suspended"],
            ],
            { hint: "Its keys sign nobody in, and it can make no sales. Sales that it has go on for guests: end them if they should not." },
          )}
          ${this.text("open_sales", "Sales that are not over", { mode: "numeric", hint: usual("At most") })}
          ${this.text("days_ahead", "Days ahead", { mode: "numeric", hint: usual("A sale starts at most so far ahead") })}
          ${this.text("text_chars", "Length of texts", { mode: "numeric", hint: usual("Characters in each text of a sale") })}
          ${this.text("exports", "Exports at a time", { mode: "numeric", hint: usual("At most") })}
          ${this.text("picture_mb", "Pictures", { mode: "numeric", hint: usual("Megabytes of all its sales' pictures, at most") })}
          ${this.text("role_claim", "Claim that makes operators", {
            hint: "If this claim of a token says “merchant”, its owner manages this shop. Empty: none does",
          })}
        </div>
      </details>
    `;
  }

  private text(field: Field, label: string, look: Look): TemplateResult {
    return textField(this.named(field, label), look);
  }

  private named(name: Field, label: string) {
    return { name, label, value: this.values[name], error: this.errors[name] };
  }

  static override styles = [...baseStyle, formStyle];
}

/** A hint for a number that the server fills in if a new shop does not bring one. */
function hints(isNew: boolean): (hint: string) => string {
  return (hint) => (isNew ? `${hint}; empty: the usual` : hint);
}
