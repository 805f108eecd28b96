/** How many people are called, while the sale runs. */

import { LitElement, css, html, type TemplateResult } from "lit";
import { Problem, admin } from "../client/rest";
import { baseStyle } from "../element/base-style";
import { formatCount } from "../text/duration";
import { words } from "../text/rejects";

const MOST = 100_000;

/** The inflow that was typed, or what is wrong with it. */
export function readInflow(text: string): number | string {
  const value = /^\d{1,6}$/.test(text.trim()) ? Number(text.trim()) : NaN;
  return value >= 1 && value <= MOST ? value : `A whole number from 1 to ${formatCount(MOST)}. To stop the line, pause the sale.`;
}

export class InflowForm extends LitElement {
  static override properties = { token: { type: String }, sale: { type: String }, inflow: { type: Number } };
  declare token: string;
  declare sale: string;
  /** As it is set now. */
  declare inflow: number;

  private typed: string | null = null;
  private said = "";
  private isWrong = false;
  private isBusy = false;

  constructor() {
    super();
    this.token = "";
    this.sale = "";
    this.inflow = 0;
  }

  private readonly type = (event: Event) => {
    this.typed = (event.target as HTMLInputElement).value;
    this.say("", false);
  };

  private readonly send = async (event: Event): Promise<void> => {
    event.preventDefault();
    const inflow = readInflow(this.typed ?? String(this.inflow));
    if (typeof inflow === "string") return this.say(inflow, true);
    this.isBusy = true;
    this.say("", false);
    try {
      await admin.setInflow(this.token, this.sale, inflow);
      this.inflow = inflow;
      this.typed = null;
      this.say(`Set: ${formatCount(inflow * 10)} a second at most.`, false);
    } catch (error) {
      this.say(error instanceof Problem ? words({ code: error.code, message: error.detail }) : String(error), true);
    }
    this.isBusy = false;
    this.requestUpdate();
  };

  private say(text: string, isWrong: boolean): void {
    this.said = text;
    this.isWrong = isWrong;
    this.requestUpdate();
  }

  protected override render(): TemplateResult {
    return html`
      <form novalidate @submit=${this.send}>
        <label for="inflow">Inflow</label>
        <div class="row">
          <input
            id="inflow"
            class="numbers"
            inputmode="numeric"
            autocomplete="off"
            .value=${this.typed ?? String(this.inflow)}
            aria-invalid=${this.isWrong}
            aria-describedby="said"
            @input=${this.type}
          />
          <button ?disabled=${this.isBusy}>Set inflow</button>
        </div>
        <p id="said" class="small ${this.isWrong ? "error" : "soft"}" role=${this.isWrong ? "alert" : "status"}>
          ${this.said || "People called in 100 ms, at most; as far as units are free."}
        </p>
      </form>
    `;
  }

  static override styles = [
    ...baseStyle,
    css`
      form {
        display: grid;
        gap: var(--fs-space-1);
      }
      label {
        font-size: var(--fs-text-s);
        font-weight: var(--fs-weight-medium);
      }
      input {
        inline-size: var(--fs-column-s);
      }
      .error {
        color: var(--fs-bad);
      }
    `,
  ];
}
