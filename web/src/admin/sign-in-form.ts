/** The door of the admin page: e-mail and password, or a new password for somebody who has followed a link. */

import { LitElement, css, html, type TemplateResult } from "lit";
import { operators, type Operator } from "../client/operators";
import { Problem } from "../client/rest";
import { baseStyle } from "../element/base-style";
import { said } from "./said";
import { fieldError } from "./server-error";

/** Fewest characters of a password; the server holds to the same. */
const MIN_PASSWORD_CHARS = 12;

export class SignInForm extends LitElement {
  static override properties = { invite: { type: String } };
  /** The secret of a link; empty: somebody who has a password. */
  declare invite: string;

  private error = "";
  private isBusy = false;
  /** The password is right, and a code is asked for. */
  private needsCode = false;

  constructor() {
    super();
    this.invite = "";
  }

  private readonly send = async (event: Event): Promise<void> => {
    event.preventDefault();
    if (this.isBusy) return;
    const fields = (event.target as HTMLFormElement).elements;
    const value = (name: string) => (fields.namedItem(name) as HTMLInputElement | null)?.value ?? "";
    const password = value("password");
    if (this.invite && password.length < MIN_PASSWORD_CHARS) {
      return this.say(`At least ${MIN_PASSWORD_CHARS} characters, please.`);
    }
    this.isBusy = true;
    this.say("");
    try {
      const who = await (this.invite ? operators.setPassword(this.invite, password) : operators.signIn(value("email"), password, value("code")));
      this.dispatchEvent(new CustomEvent<Operator>("signed-in", { detail: who }));
    } catch (error) {
      const named = error instanceof Problem ? fieldError(error.detail, ["email", "password"]) : null;
      this.say(named?.text ?? said(error));
      if (error instanceof Problem && error.code === "code_needed") this.needsCode = true;
    }
    this.isBusy = false;
    this.requestUpdate();
    await this.updateComplete;
    if (this.needsCode) this.renderRoot.querySelector<HTMLInputElement>("#code")?.select();
  };

  private say(error: string): void {
    this.error = error;
    this.requestUpdate();
  }

  protected override render(): TemplateResult {
    const isNew = this.invite !== "";
    return html`
      <section class="card">
        <h1>${isNew ? "Choose a password" : "Sign in"}</h1>
        <form @submit=${this.send}>
          ${isNew
            ? html`<p class="soft small">
                This link works once. Afterwards you sign in with your e-mail address and this password. It needs ${MIN_PASSWORD_CHARS} characters or more.
              </p>`
            : html`<label for="email">E-mail</label>
                <input id="email" name="email" type="email" required autocomplete="username" aria-describedby="error" />`}
          <label for="password">Password</label>
          <input
            id="password"
            name="password"
            type="password"
            required
            autocomplete=${isNew ? "new-password" : "current-password"}
            aria-describedby="error"
          />
          ${this.needsCode
            ? html`<label for="code">Code of your authenticator app</label>
                <input id="code" name="code" required inputmode="numeric" autocomplete="one-time-code" aria-describedby="error" />`
            : ""}
          <p id="error" class="error small" role="alert">${this.error}</p>
          <button class="primary" aria-disabled=${this.isBusy}>${isNew ? "Set password" : "Sign in"}</button>
        </form>
      </section>
    `;
  }

  static override styles = [
    ...baseStyle,
    css`
      section {
        display: grid;
        gap: var(--fs-space-4);
        max-inline-size: var(--fs-narrow);
        margin: var(--fs-space-6) auto;
        padding: var(--fs-space-5);
      }
      h1 {
        font-size: var(--fs-text-xl);
      }
      form {
        display: grid;
        gap: var(--fs-space-2);
      }
      .error:empty {
        display: none;
      }
    `,
  ];
}
