/** Asks before something that cannot be taken back. A dialog of the browser: Escape says no, and the focus goes back. */

import { LitElement, css, html, nothing, type TemplateResult } from "lit";
import { baseStyle } from "./base-style";

export interface Question {
  title: string;
  text: string;
  /** The names of the two buttons. */
  yes: string;
  no: string;
}

export class AskSure extends LitElement {
  private question: Question | null = null;
  private answer: ((isSure: boolean) => void) | null = null;

  /** Whether they are sure. A question that is still open is answered with no. */
  async ask(question: Question): Promise<boolean> {
    this.reply(false);
    this.question = question;
    this.requestUpdate();
    await this.updateComplete;
    this.dialog?.showModal();
    return new Promise((answer) => {
      this.answer = answer;
    });
  }

  /** What was asked about is over: the answer is no, whatever is pressed now. */
  withdraw(): void {
    this.reply(false);
  }

  private get dialog(): HTMLDialogElement | null {
    return this.renderRoot.querySelector("dialog");
  }

  private reply(isSure: boolean): void {
    const { answer } = this;
    this.answer = null;
    if (this.dialog?.open) this.dialog.close();
    answer?.(isSure);
  }

  protected override render(): TemplateResult | typeof nothing {
    const { question } = this;
    if (!question) return nothing;
    return html`
      <dialog aria-labelledby="title" aria-describedby="text" @close=${() => this.reply(false)}>
        <h2 id="title">${question.title}</h2>
        <p id="text" class="soft">${question.text}</p>
        <div class="row">
          <button autofocus @click=${() => this.reply(false)}>${question.no}</button>
          <button class="danger" @click=${() => this.reply(true)}>${question.yes}</button>
        </div>
      </dialog>
    `;
  }

  static override styles = [
    ...baseStyle,
    css`
      dialog {
        max-inline-size: min(var(--fs-narrow), calc(100% - 2 * var(--fs-space-4)));
        padding: var(--fs-space-5);
        border: var(--fs-hair) solid var(--fs-line);
        border-radius: var(--fs-radius-l);
        background: var(--fs-surface);
        color: var(--fs-ink);
      }
      dialog[open] {
        display: grid;
        gap: var(--fs-space-4);
      }
      ::backdrop {
        background: var(--fs-veil);
      }
      h2 {
        font: var(--fs-weight-display) var(--fs-text-l) / var(--fs-leading-tight) var(--fs-font-display);
        overflow-wrap: anywhere;
      }
      .row {
        justify-content: flex-end;
      }
    `,
  ];
}
