/** Finds one of a shop's people, who asks what is stored of them or wants to be forgotten. */

import { LitElement, css, html, nothing, type PropertyValues, type TemplateResult } from "lit";
import { Problem } from "../client/rest";
import { shops, type Person, type Who } from "../client/shops";
import type { AskSure } from "../element/ask-sure";
import { baseStyle } from "../element/base-style";
import { saveJson } from "../element/save-file";
import { formatCount, when } from "../text/duration";
import { usableZone } from "../text/zone";
import { choiceField, focusField, formStyle, textField } from "./form";
import { said } from "./said";

export class ShopPerson extends LitElement {
  static override properties = { shop: { type: String }, zone: { type: String }, isFixed: { type: Boolean } };
  /** Its id. */
  declare shop: string;
  declare zone: string;
  /** This operator only looks. */
  declare isFixed: boolean;

  private by = "subject";
  private name = "";
  private found: Person | null = null;
  private error = "";
  private problem = "";
  private done = "";
  private isBusy = false;

  constructor() {
    super();
    this.isFixed = false;
    this.shop = "";
    this.zone = "UTC";
  }

  protected override willUpdate(changed: PropertyValues): void {
    if (!changed.has("shop")) return;
    this.found = null;
    this.name = "";
    this.error = "";
    this.done = "";
  }

  private readonly typed = (event: Event) => {
    const input = event.target as HTMLInputElement;
    if (input.name === "by") this.by = input.value;
    else this.name = input.value;
    this.error = "";
    this.requestUpdate();
  };

  private readonly find = (event: Event) => {
    event.preventDefault();
    // Names are taken as they are: a space at their end makes another person.
    const who: Who = this.by === "person" ? { person: this.name.trim() } : { subject: this.name };
    this.found = null;
    this.done = "";
    if (this.name.trim() === "") return this.wrong("Who is it?");
    void this.run(async () => {
      this.found = await shops.person(this.shop, who);
    });
  };

  private readonly download = () => {
    if (this.found) saveJson(`${this.found.person}.json`, this.found);
  };

  private readonly forget = async (): Promise<void> => {
    const { found } = this;
    if (!found) return;
    const isSure = await this.renderRoot.querySelector<AskSure>("ask-sure")?.ask({
      title: "Forget this person for good?",
      text: "Their orders and places stay as numbers that are nobody’s. This cannot be undone.",
      yes: "Forget them",
      no: "Keep their data",
    });
    if (!isSure) return;
    await this.run(async () => {
      await shops.forgetPerson(this.shop, { person: found.person });
      this.found = null;
      this.name = "";
      this.done = "They are forgotten.";
    });
    if (!this.found) void focusField(this, "who");
  };

  private async run(what: () => Promise<void>): Promise<void> {
    if (this.isBusy) return;
    this.isBusy = true;
    this.error = "";
    this.problem = "";
    this.requestUpdate();
    try {
      await what();
    } catch (error) {
      const isUnknown = error instanceof Problem && ["person_unknown", "invalid_field"].includes(error.code);
      if (isUnknown) this.wrong(said(error));
      else this.problem = said(error);
    }
    this.isBusy = false;
    this.requestUpdate();
  }

  private wrong(error: string): void {
    this.error = error;
    this.requestUpdate();
    void focusField(this, "who");
  }

  protected override render(): TemplateResult {
    return html`
      <h2>Find a person</h2>
      <p class="soft small">Somebody asks what is stored of them, or wants to be forgotten.</p>
      <form class="card" novalidate @submit=${this.find} @input=${this.typed}>
        <div class="fields">
          ${choiceField({ name: "by", label: "By", value: this.by }, [
            ["subject", "name in your sign-in"],
            ["person", "id here"],
          ])}
          ${textField(
            { name: "who", label: this.by === "person" ? "Id" : "Name", value: this.name, error: this.error },
            { hint: this.by === "person" ? "As orders and exports have it: p_…" : "The claim that names the customer, letter by letter" },
          )}
        </div>
        ${this.problem ? html`<p class="error" role="alert">${this.problem}</p>` : nothing}
        <div class="row">
          <button aria-disabled=${this.isBusy}>Find</button>
          <span class="small soft" role="status">${this.done || (this.found ? "Found." : "")}</span>
        </div>
        ${this.found ? this.person(this.found) : nothing}
      </form>
      <ask-sure></ask-sure>
    `;
  }

  private person(person: Person): TemplateResult {
    const zone = usableZone(this.zone);
    const row = (name: string, value: string) => html`<dt class="soft">${name}</dt><dd class="numbers">${value}</dd>`;
    return html`
      <section class="found" aria-label="What is stored">
        <dl>
          ${row("Id here", person.person)} ${row("Name in your sign-in", person.subject ?? "none: a guest")}
          ${person.since ? row("Known since", `${when(Date.parse(person.since), Date.now(), zone)} (${zone})`) : nothing}
          ${row("Orders", formatCount(person.orders.length))} ${row("Places in line", formatCount(person.places.length))}
          ${row("Entries in draws", formatCount(person.draws.length))}
        </dl>
        <div class="row">
          <button type="button" @click=${this.download}>Download</button>
          <button type="button" class="danger" ?hidden=${this.isFixed} aria-disabled=${this.isBusy} @click=${this.forget}>Forget</button>
        </div>
      </section>
    `;
  }

  static override styles = [
    ...baseStyle,
    formStyle,
    css`
      :host {
        display: grid;
        gap: var(--fs-space-3);
      }
      h2 {
        font-size: var(--fs-text-l);
      }
      form {
        gap: var(--fs-space-3);
      }
      .found {
        display: grid;
        gap: var(--fs-space-4);
        padding-block-start: var(--fs-space-4);
        border-block-start: var(--fs-hair) solid var(--fs-line);
      }
      dl {
        display: grid;
        grid-template-columns: auto minmax(0, 1fr);
        gap: var(--fs-space-1) var(--fs-space-4);
        font-size: var(--fs-text-s);
      }
      dd {
        overflow-wrap: anywhere;
      }
    `,
  ];
}
