/** An operator's own sign-in: whether the code of an authenticator app is asked for as well. */

import { LitElement, css, html, nothing, type TemplateResult } from "lit";
import { operators, type NewCodes, type Operator } from "../client/operators";
import { Problem } from "../client/rest";
import { baseStyle } from "../element/base-style";
import { qrCode, qrStyle } from "../element/qr";
import { focusField, formStyle, textField } from "./form";
import { said } from "./said";

const FIELDS = ["password", "code"] as const;
type Field = (typeof FIELDS)[number];

export class TwoSteps extends LitElement {
  static override properties = { who: { attribute: false } };
  declare who: Operator;

  /** What the app is set up with, while that is under way. */
  private fresh: NewCodes | null = null;
  private values: Record<Field, string> = { password: "", code: "" };
  private errors: Partial<Record<Field, string>> = {};
  private error = "";
  private done = "";
  private isBusy = false;

  private async run(step: () => Promise<void>): Promise<void> {
    if (this.isBusy) return;
    this.error = "";
    this.isBusy = true;
    this.requestUpdate();
    try {
      await step();
    } catch (error) {
      const code = error instanceof Problem ? error.code : "";
      if (code === "token_invalid") this.dispatchEvent(new Event("signed-out"));
      if (code === "password_refused") this.errors = { password: said(error) };
      else if (code === "code_refused") this.errors = { code: said(error) };
      else this.error = said(error);
    }
    this.isBusy = false;
    this.requestUpdate();
    await focusField(this, FIELDS.find((field) => this.errors[field]));
  }

  private readonly typed = (event: Event) => {
    const { name, value } = event.target as HTMLInputElement;
    this.values = { ...this.values, [name]: value };
    this.errors = {};
    this.requestUpdate();
  };

  private readonly prepare = () =>
    this.run(async () => {
      this.done = "";
      this.fresh = await operators.prepareCodes();
    });

  private readonly send = async (event: Event): Promise<void> => {
    event.preventDefault();
    const { password, code } = this.values;
    this.errors = password === "" ? { password: "Your password, please." } : code.trim() === "" ? { code: "What does the app show?" } : {};
    this.requestUpdate();
    const wrong = FIELDS.find((field) => this.errors[field]);
    if (wrong) return focusField(this, wrong);
    await this.run(async () => {
      const seed = this.fresh?.seed;
      await (seed ? operators.beginCodes(seed, password, code) : operators.endCodes(password, code));
      this.done = seed
        ? "Done. From now on, sign in with a code as well. Your other sessions have ended."
        : "Done. No code is asked for any more. Your other sessions have ended.";
      this.fresh = null;
      this.values = { password: "", code: "" };
      this.who = { ...this.who, has_codes: seed !== undefined };
      this.dispatchEvent(new CustomEvent<Operator>("changed", { detail: this.who }));
    });
    if (this.done) this.renderRoot.querySelector<HTMLElement>("h1")?.focus();
  };

  protected override render(): TemplateResult {
    const { has_codes, email } = this.who;
    return html`
      <h1 tabindex="-1">Your sign-in</h1>
      <p class="soft">You sign in as ${email}, with a password${has_codes ? " and the code of an authenticator app" : ""}.</p>
      ${this.error ? html`<p class="notice" data-tone="bad" role="alert">${this.error}</p>` : nothing}
      <p class="small soft" role="status">${this.done}</p>
      ${has_codes || this.fresh ? this.form(has_codes) : this.offer()}
    `;
  }

  private offer(): TemplateResult {
    return html`<section class="card">
      <h2>Authenticator app</h2>
      <p class="soft small">With an app on your phone that shows a new code every half minute, a stolen password is not enough to sign in.</p>
      <div><button class="primary" aria-disabled=${this.isBusy} @click=${this.prepare}>Set up an app</button></div>
    </section>`;
  }

  private form(hasCodes: boolean): TemplateResult {
    const part = (name: Field, label: string) => ({ name, label, value: this.values[name], error: this.errors[name] });
    return html`<form class="card" novalidate @submit=${this.send} @input=${this.typed}>
      <h2>${hasCodes ? "Turn codes off" : "Set up the app"}</h2>
      ${this.fresh ? this.setUp(this.fresh) : nothing}
      <div class="fields">
        ${textField(part("code", "Code"), { mode: "numeric", hint: "What the app shows now" })}
        ${textField(part("password", "Password"), { type: "password" })}
      </div>
      <div><button class=${hasCodes ? "danger" : "primary"} aria-disabled=${this.isBusy}>${hasCodes ? "Turn codes off" : "Turn codes on"}</button></div>
      ${hasCodes ? html`<p class="soft small">If you have lost the app, ask whoever invited you for a new link.</p>` : nothing}
    </form>`;
  }

  private setUp({ uri, secret }: NewCodes): TemplateResult {
    return html`<ol class="small">
        <li>Scan this picture with the app, or type the key.</li>
        <li>Enter the code that the app then shows, and your password.</li>
      </ol>
      ${qrCode(uri, "QR code for the authenticator app")}
      <code>${secret.match(/.{1,4}/g)?.join(" ") ?? secret}</code>`;
  }

  static override styles = [
    ...baseStyle,
    formStyle,
    qrStyle,
    css`
      :host {
        display: grid;
        gap: var(--fs-space-4);
      }
      h1 {
        font-size: var(--fs-text-xl);
      }
      h1:focus {
        outline: none;
      }
      h2 {
        font-size: var(--fs-text-l);
      }
      section {
        display: grid;
        gap: var(--fs-space-3);
        padding: var(--fs-space-4);
      }
      ol {
        margin: 0;
        list-style: decimal;
        padding-inline-start: var(--fs-space-5);
      }
      code {
        font-family: var(--fs-font-mono);
        overflow-wrap: anywhere;
      }
    `,
  ];
}
