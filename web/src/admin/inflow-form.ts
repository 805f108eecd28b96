/** How many people are called while the sale runs, and how slow purchases may become before they are fewer. */

import { LitElement, css, html, type TemplateResult } from "lit";
import { Problem, admin, type Steered } from "../client/rest";
import { baseStyle } from "../element/base-style";
import { formatCount } from "../text/duration";
import { words } from "../text/refusal";
import { parseWhole } from "../text/whole";

const MOST = 100_000;
const LEAST_MS = 10;
const MOST_MS = 10_000;
/** The server calls people ten times a second. */
const CALLS_A_MINUTE = 600;

/** The inflow that was typed, or what is wrong with it. */
export function readInflow(text: string): number | string {
  const value = parseWhole(text, 6) ?? NaN;
  return value >= 1 && value <= MOST ? value : `A whole number from 1 to ${formatCount(MOST)}. To stop the line, pause the sale.`;
}

/** The target that was typed, or what is wrong with it. */
export function readTarget(text: string): number | string {
  const value = parseWhole(text, 5) ?? NaN;
  return value >= LEAST_MS && value <= MOST_MS ? value : `A whole number of ms from ${formatCount(LEAST_MS)} to ${formatCount(MOST_MS)}.`;
}

/** Somebody else was faster: their number, and what to do about it. */
export function newer(inflow: number): string {
  return `Not set: somebody else has set ${formatCount(inflow)} meanwhile. Set yours again if you still want it.`;
}

export class InflowForm extends LitElement {
  static override properties = { sale: { type: String }, inflow: { type: Number }, target: { type: Number }, version: { type: Number } };
  declare sale: string;
  /** As it is set now. */
  declare inflow: number;
  /** The mean time in ms of a purchase's slowest step, beyond which fewer people are called. */
  declare target: number;
  /** Of what operators have set, when the inflow was read. */
  declare version: number;

  private typed: string | null = null;
  private typedTarget: string | null = null;
  private seen = { inflow: 0, version: 0 };
  private said = "";
  private isWrong = false;
  private isBusy = false;

  constructor() {
    super();
    this.sale = "";
    this.inflow = 0;
    this.target = 0;
    this.version = 0;
  }

  private readonly typeTarget = (event: Event) => {
    this.typedTarget = (event.target as HTMLInputElement).value;
    this.say("", false);
  };

  private readonly type = (event: Event) => {
    // The number that is being replaced is the one that was shown when typing began.
    if (this.typed === null) this.seen = { inflow: this.inflow, version: this.version };
    this.typed = (event.target as HTMLInputElement).value;
    this.say("", false);
  };

  private readonly send = async (event: Event): Promise<void> => {
    event.preventDefault();
    const inflow = readInflow(this.typed ?? String(this.inflow));
    if (typeof inflow === "string") return this.say(inflow, true);
    const target = this.typedTarget === null ? null : readTarget(this.typedTarget);
    if (typeof target === "string") return this.say(target, true);
    this.isBusy = true;
    this.say("", false);
    try {
      const from = this.typed === null ? { inflow: this.inflow, version: this.version } : this.seen;
      const set = await this.set(inflow, target, from);
      this.inflow = inflow;
      this.target = target ?? this.target;
      this.version = set.version;
      this.typed = null;
      this.typedTarget = null;
      this.say(`Set: ${aMinute(inflow)}.`, false);
    } catch (error) {
      this.say(said(error), true);
    }
    this.isBusy = false;
    this.requestUpdate();
  };

  /** Sets the inflow unless somebody else has set another one than `from` since. */
  private async set(inflow: number, target: number | null, from: { inflow: number; version: number }): Promise<Steered> {
    try {
      return await admin.setInflow(this.sale, inflow, target, from.version);
    } catch (error) {
      if (!(error instanceof Problem && error.code === "version_changed")) throw error;
      const now = await admin.sale(this.sale);
      this.inflow = now.inflow;
      this.version = now.version;
      this.seen = now;
      // A pause, say: what is replaced here is still what was shown.
      if (now.inflow === from.inflow) return await admin.setInflow(this.sale, inflow, target, now.version);
      throw new Problem(error.code, newer(now.inflow), error.status);
    }
  }

  private say(text: string, isWrong: boolean): void {
    this.said = text;
    this.isWrong = isWrong;
    this.requestUpdate();
  }

  protected override render(): TemplateResult {
    return html`
      <form novalidate @submit=${this.send}>
        <div class="row">
          <label for="inflow">Inflow</label>
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
          <label for="target">Slowest step, ms</label>
          <input
            id="target"
            class="numbers"
            inputmode="numeric"
            autocomplete="off"
            .value=${this.typedTarget ?? String(this.target)}
            aria-describedby="said"
            @input=${this.typeTarget}
          />
          <button ?disabled=${this.isBusy}>Set inflow</button>
        </div>
        <p id="said" class="small ${this.isWrong ? "error" : "soft"}" role=${this.isWrong ? "alert" : "status"}>
          ${this.said || hint(readInflow(this.typed ?? String(this.inflow)))}
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

/** "6,000 people a minute at most". */
function aMinute(inflow: number): string {
  return `${formatCount(inflow * CALLS_A_MINUTE)} people a minute at most`;
}

function hint(inflow: number | string): string {
  const what = "People called at a time, ten times a second, as far as units are available";
  const fewer = "Fewer while the slowest step of a purchase takes longer than its limit on average.";
  return typeof inflow === "number" ? `${what}: ${aMinute(inflow)}. ${fewer}` : `${what}. ${fewer}`;
}

function said(error: unknown): string {
  if (!(error instanceof Problem)) return String(error);
  return error.code === "version_changed" ? error.detail : words({ code: error.code, message: error.detail });
}
