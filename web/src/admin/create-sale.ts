/** The form for a new sale. What it checks and makes is in sale-form.ts. */

import { LitElement, css, html, type TemplateResult } from "lit";
import { Problem, admin } from "../client/rest";
import { baseStyle } from "../element/base-style";
import { words } from "../text/rejects";
import { FIELDS, check, defaults, serverError, type Errors, type Field, type Values } from "./sale-form";

const CURRENCIES = ["EUR", "USD", "GBP", "CHF", "JPY", "SEK", "PLN", "KWD"];

interface Look {
  type?: string;
  hint?: string;
  mode?: "numeric" | "decimal";
  wide?: boolean;
}

export class CreateSale extends LitElement {
  static override properties = { token: { type: String } };
  declare token: string;

  private values: Values = defaults(Date.now());
  private errors: Errors = {};
  private error = "";
  private isBusy = false;

  constructor() {
    super();
    this.token = "";
  }

  private readonly typed = (event: Event) => {
    const input = event.target as HTMLInputElement;
    const field = input.name as Field;
    this.values = { ...this.values, [field]: input.value };
    // An error goes as soon as it is no longer true; a new one comes only when the form is sent.
    if (this.errors[field]) {
      const checked = check(this.values, Date.now());
      const still = "errors" in checked ? checked.errors[field] : undefined;
      const others = Object.entries(this.errors).filter(([name]) => name !== field);
      this.errors = Object.fromEntries(still ? [...others, [field, still]] : others);
    }
    this.requestUpdate();
  };

  private readonly send = async (event: Event): Promise<void> => {
    event.preventDefault();
    const checked = check(this.values, Date.now());
    this.error = "";
    if ("errors" in checked) return this.show(checked.errors);
    this.isBusy = true;
    this.show({});
    try {
      const sale = await admin.create(this.token, checked.request);
      location.hash = `#/sale/${sale.sale_id}`;
    } catch (error) {
      const named = error instanceof Problem ? serverError(error.detail) : null;
      if (named) {
        this.show({ [named.field]: named.text });
      } else {
        this.error = error instanceof Problem ? words({ code: error.code, message: error.detail }) : String(error);
      }
    }
    this.isBusy = false;
    this.requestUpdate();
  };

  /** Shows the errors and goes to the first field that has one. */
  private show(errors: Errors): void {
    this.errors = errors;
    this.requestUpdate();
    const first = FIELDS.find((field) => errors[field]);
    if (!first) return;
    void this.updateComplete.then(() => {
      const input = this.renderRoot.querySelector<HTMLElement>(`[name="${first}"]`);
      input?.closest("details")?.setAttribute("open", "");
      input?.focus();
    });
  }

  protected override render(): TemplateResult {
    return html`
      <h1>New sale</h1>
      <form class="card" novalidate @submit=${this.send} @input=${this.typed}>
        <div class="fields">
          ${this.field("product_name", "Product", { wide: true })}
          ${this.field("description", "Description", { wide: true, hint: "Optional" })}
          ${this.currency()} ${this.field("total_stock", "Units", { mode: "numeric" })}
          ${this.choice("allocation", "Units go to", [
            ["queue", "whoever comes first; what is left at the end is drawn among those in line"],
            ["draw", "those drawn among all who enter until the end"],
          ])}
          ${this.field("original_price", "Original price", { mode: "decimal" })}
          ${this.field("sale_price", "Sale price", { mode: "decimal" })}
          ${this.field("start_time", "Starts", { type: "datetime-local" })}
          ${this.field("end_time", "Ends", { type: "datetime-local" })}
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
            ${this.field("inflow", "Inflow", { mode: "numeric", hint: "People called in 100 ms, at most" })}
            ${this.choice("opening", "Places before the start", [
              ["fifo", "in the order of coming"],
              ["shuffle", "by lot, so that coming early is no advantage"],
            ])}
            ${this.choice("draw_weight", "Chances in the draw", [
              ["equal", "the same for everybody"],
              ["waiting_time", "better the longer somebody has waited, up to ten times"],
            ])}
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

  private currency(): TemplateResult {
    return html`
      <div class="field">
        <label for="currency">Currency</label>
        <select id="currency" name="currency">
          ${CURRENCIES.map((currency) => html`<option ?selected=${currency === this.values.currency}>${currency}</option>`)}
        </select>
        ${this.below("currency", "")}
      </div>
    `;
  }

  private choice(field: Field, label: string, options: [value: string, name: string][]): TemplateResult {
    return html`
      <div class="field" data-wide>
        <label for=${field}>${label}</label>
        <select id=${field} name=${field} aria-describedby="${field}-below">
          ${options.map(([value, name]) => html`<option value=${value} ?selected=${value === this.values[field]}>${name}</option>`)}
        </select>
        ${this.below(field, "")}
      </div>
    `;
  }

  private field(field: Field, label: string, look: Look): TemplateResult {
    return html`
      <div class="field" ?data-wide=${look.wide}>
        <label for=${field}>${label}</label>
        <input
          id=${field}
          name=${field}
          type=${look.type ?? "text"}
          inputmode=${look.mode ?? "text"}
          step="1"
          autocomplete="off"
          class="numbers"
          .value=${this.values[field]}
          aria-invalid=${this.errors[field] ? "true" : "false"}
          aria-describedby="${field}-below"
        />
        ${this.below(field, look.hint ?? "")}
      </div>
    `;
  }

  private below(field: Field, hint: string): TemplateResult {
    const error = this.errors[field];
    return html`<p id="${field}-below" class="small ${error ? "error" : "soft"}">${error ?? hint}</p>`;
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
      form {
        display: grid;
        gap: var(--fs-space-5);
        padding: var(--fs-space-5);
      }
      .fields {
        display: grid;
        grid-template-columns: repeat(auto-fill, minmax(min(100%, var(--fs-column-m)), 1fr));
        gap: var(--fs-space-1) var(--fs-space-4);
      }
      .field {
        display: grid;
        gap: var(--fs-space-1);
        align-content: start;
        min-inline-size: 0;
      }
      [data-wide] {
        grid-column: 1 / -1;
      }
      label {
        font-size: var(--fs-text-s);
        font-weight: var(--fs-weight-medium);
      }
      .field p {
        min-block-size: calc(var(--fs-text-s) * var(--fs-leading));
      }
      summary {
        cursor: pointer;
        font-weight: var(--fs-weight-medium);
      }
      details[open] summary {
        margin-block-end: var(--fs-space-3);
      }
      .error {
        color: var(--fs-bad);
      }
      .error:empty {
        display: none;
      }
    `,
  ];
}
