/** The form for a new sale. What it checks and makes is in sale-form.ts. */

import { LitElement, css, html, nothing, type PropertyValues, type TemplateResult } from "lit";
import type { Operator } from "../client/operators";
import { Problem, admin } from "../client/rest";
import type { ShopSettings } from "../client/shops";
import { baseStyle } from "../element/base-style";
import { CURRENCIES, currencyName } from "../text/currencies";
import { when } from "../text/duration";
import { offsetName, ownZone, usableZone, zonedTimes } from "../text/zone";
import { choiceField, focusField, formStyle, longField, textField, type Look } from "./form";
import { ChosenPicture, PICTURE_REFUSED } from "./picture-form";
import { said } from "./said";
import { FIELDS, check, defaults, serverError, type Errors, type Field, type Values } from "./sale-form";
import { ownShops } from "./shop-list";

export class CreateSale extends LitElement {
  static override properties = { who: { attribute: false } };
  declare who: Operator;

  private shops: ShopSettings[] = [];
  /** The time zone of the shop, or until one is known that of the reader. */
  private zone = ownZone();
  private values: Values = defaults(Date.now(), this.zone);
  /** What was typed stays when the shop becomes another one; the rest is as that shop has it. */
  private readonly touched = new Set<Field>();
  private errors: Errors = {};
  private error = "";
  private isBusy = false;
  private readonly chosen = new ChosenPicture(() => this.requestUpdate());

  protected override willUpdate(changed: PropertyValues): void {
    if (changed.has("who")) void this.load();
  }

  private async load(): Promise<void> {
    try {
      this.shops = await ownShops(this.who);
    } catch (error) {
      this.error = said(error);
    }
    const own = this.shops.find((shop) => shop.merchant_id === this.who.merchant) ?? (this.shops.length === 1 ? this.shops[0] : undefined);
    if (own && !this.values.merchant) this.take(own);
    this.requestUpdate();
  }

  /** The sale is this shop's: its currency and its clocks. */
  private take(shop: ShopSettings): void {
    this.zone = usableZone(shop.time_zone);
    const fresh = { ...defaults(Date.now(), this.zone), currency: shop.currency, merchant: shop.slug };
    const typed = [...this.touched].map((field) => [field, this.values[field]] as const);
    this.values = { ...fresh, ...Object.fromEntries(typed), merchant: shop.slug };
  }

  private get shop(): ShopSettings | undefined {
    return this.shops.find((shop) => shop.slug === this.values.merchant);
  }

  private checked(): ReturnType<typeof check> {
    const checked = check(this.values, Date.now(), this.zone);
    if (this.shops.length < 2 || this.values.merchant) return checked;
    const errors = "errors" in checked ? checked.errors : {};
    return { errors: { ...errors, merchant: "Whose sale is it?" } };
  }

  private readonly typed = (event: Event) => {
    const input = event.target as HTMLInputElement;
    if (!(FIELDS as readonly string[]).includes(input.name)) return;
    const field = input.name as Field;
    this.touched.add(field);
    this.values = { ...this.values, [field]: input.value };
    if (field === "merchant" && this.shop) this.take(this.shop);
    // An error goes as soon as it is no longer true; a new one comes only when the form is sent.
    if (this.errors[field]) {
      const checked = this.checked();
      const still = "errors" in checked ? checked.errors[field] : undefined;
      const others = Object.entries(this.errors).filter(([name]) => name !== field);
      this.errors = Object.fromEntries(still ? [...others, [field, still]] : others);
    }
    this.requestUpdate();
  };

  private readonly send = async (event: Event): Promise<void> => {
    event.preventDefault();
    const checked = this.checked();
    this.error = "";
    if ("errors" in checked) return this.show(checked.errors);
    this.isBusy = true;
    this.show({});
    try {
      const sale = await admin.create(checked.request);
      // The sale is there by now: where it stands, a picture that was refused can be chosen again.
      await this.chosen.send(sale.sale_id).catch((error: unknown) => sessionStorage.setItem(PICTURE_REFUSED, said(error)));
      location.hash = `#/sale/${sale.sale_id}`;
    } catch (error) {
      const named = error instanceof Problem ? serverError(error.detail) : null;
      if (named) {
        this.show({ [named.field]: named.text });
      } else {
        this.error = said(error);
      }
    }
    this.isBusy = false;
    this.requestUpdate();
  };

  /** Shows the errors and goes to the first field that has one. */
  private show(errors: Errors): void {
    this.errors = errors;
    this.requestUpdate();
    void focusField(this, FIELDS.find((field) => errors[field]));
  }

  protected override render(): TemplateResult {
    return html`
      <h1>New sale</h1>
      <form class="card" novalidate @submit=${this.send} @input=${this.typed}>
        <div class="fields">
          ${this.shops.length > 1
            ? choiceField(
                this.named("merchant", "Shop"),
                [...(this.values.merchant ? [] : [["", "Choose a shop"] as const]), ...this.shops.map(({ slug, name }) => [slug, name] as const)],
                { wide: true },
              )
            : nothing}
          ${this.field("product_name", "Product", { wide: true })}
          ${longField(this.named("description", "Description"), 4, { hint: "Optional. Markdown: **bold**, lists and links; HTML in it is shown as text." })}
          ${this.chosen.field()}
          ${this.currency()} ${this.field("total_stock", "Units", { mode: "numeric" })}
          ${this.choice("allocation", "Units go to", [
            ["queue", "whoever comes first; what is left at the end is drawn among those in line"],
            ["draw", "those drawn among all who enter until the end"],
          ])}
          ${this.field("original_price", "Original price", { mode: "decimal" })}
          ${this.field("sale_price", "Sale price", { mode: "decimal" })}
          ${this.time("start_time", "Starts")}
          ${this.time("end_time", "Ends")}
        </div>
        <details>
          <summary>Limits and times</summary>
          <div class="fields">
            ${this.field("per_shopper_limit", "Units per person", { mode: "numeric" })}
            ${this.field("per_device_limit", "Units per device", { mode: "numeric", hint: "Empty: as per person" })}
            ${this.field("room_minutes", "Waiting room opens", { mode: "numeric", hint: "Minutes before the start" })}
            ${this.field("claim_seconds", "A turn lasts", { mode: "decimal", hint: "Seconds" })}
            ${this.field("hold_seconds", "A hold lasts", { mode: "decimal", hint: "Seconds" })}
            ${this.field("payment_seconds", "Time to pay", { mode: "decimal", hint: "Seconds" })}
            ${this.field("inflow", "Inflow", { mode: "numeric", hint: "People called at a time, ten times a second, at most" })}
            ${this.choice("opening", "Places before the start", [
              ["fifo", "in the order of coming"],
              ["shuffle", "by lot, so that coming early is no advantage"],
            ])}
            ${this.choice("draw_weight", "Chances in the draw", [
              ["equal", "the same for everybody"],
              ["waiting_time", "better the longer somebody has waited, up to ten times"],
            ])}
            ${this.choice("extend_once", "More time for whoever asks", [
              ["yes", "once for a turn and once for a cart, while nobody waits"],
              ["no", "never"],
            ])}
            ${this.field("terms_url", "Terms", { hint: "Optional: an address. The order button links it." })}
            ${this.field("terms_version", "Version of the terms", { hint: "Stored with each order" })}
            ${this.field("lanes", "Lanes", { mode: "numeric", hint: "Shares of the stock; 1 for most sales" })}
          </div>
        </details>
        <p class="error" role="alert">${this.error}</p>
        <div class="row">
          <button class="primary" ?disabled=${this.isBusy}>${this.isBusy ? "Creating…" : "Create sale"}</button>
          <a href="#/" class="soft">Cancel</a>
        </div>
      </form>
    `;
  }

  /** All that a sale can be priced in, the shop's own first. */
  private currency(): TemplateResult {
    const own = this.shop?.currency ?? "EUR";
    const codes = [own, ...CURRENCIES.filter((code) => code !== own)];
    return choiceField(this.named("currency", "Currency"), codes.map((code) => [code, currencyName(code)] as const));
  }

  /** A time by the shop's clocks, with what it is by the reader's own where that is another one. */
  private time(field: "start_time" | "end_time", label: string): TemplateResult {
    const [first, second] = zonedTimes(this.values[field], this.zone) ?? [];
    const own = ownZone();
    const hints: string[] = [];
    if (first !== undefined) {
      hints.push(`${offsetName(first, this.zone)}.`);
      if (second !== undefined) hints.push("The clocks show this time twice; the first one is meant.");
      if (offsetName(first, own) !== offsetName(first, this.zone)) hints.push(`By your clocks: ${when(first, Date.now())}.`);
    }
    return this.field(field, label, { type: "datetime-local", beside: `in ${this.zone}`, hint: hints.join(" ") });
  }

  private choice(field: Field, label: string, options: [value: string, name: string][]): TemplateResult {
    return choiceField(this.named(field, label), options, { wide: true });
  }

  private field(field: Field, label: string, look: Look): TemplateResult {
    return textField(this.named(field, label), look);
  }

  private named(name: Field, label: string) {
    return { name, label, value: this.values[name], error: this.errors[name] };
  }

  static override styles = [
    ...baseStyle,
    formStyle,
    css`
      :host {
        display: grid;
        gap: var(--fs-space-4);
      }
      h1 {
        font-size: var(--fs-text-xl);
      }
    `,
  ];
}
