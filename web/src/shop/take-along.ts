/** A link and a QR code with which a guest goes on in another browser. This browser goes on as well, and says when the link was taken. */

import { LitElement, css, html, nothing, type TemplateResult } from "lit";
import { linkState, linkTo, makeLink } from "../client/along";
import { clientFor } from "../client/client";
import { Problem } from "../client/rest";
import { baseStyle } from "../element/base-style";
import { shopTexts } from "../text/shop";
import { prepareRefusals, words } from "../text/refusal";
import { timeOf } from "../text/times";

/** How often it is asked whether the link was taken, while it is on show. */
const LOOK_MS = 3_000;

export class TakeAlong extends LitElement {
  static override properties = { sale: { type: String } };
  declare sale: string;

  private readonly client = clientFor(location.origin);
  private link: { address: string; until: number } | null = null;
  /** Loaded with the first link. */
  private qr: typeof import("../element/qr") | null = null;
  private taken: number | null = null;
  private isOver = false;
  private isBusy = false;
  private said = "";
  private isWrong = false;
  private timer = 0;

  constructor() {
    super();
    this.sale = "";
  }

  override disconnectedCallback(): void {
    super.disconnectedCallback();
    clearTimeout(this.timer);
  }

  private readonly make = async (): Promise<void> => {
    if (this.isBusy) return;
    this.isBusy = true;
    this.said = "";
    this.isWrong = false;
    this.requestUpdate();
    try {
      const [{ code, expires_at }, qr] = await Promise.all([makeLink(location.origin), this.qr ?? import("../element/qr").catch(() => null)]);
      this.takeStyle(qr);
      this.link = { address: linkTo(this.sale, code), until: Date.parse(expires_at) };
      this.taken = null;
      this.isOver = false;
      this.lookLater();
    } catch (error) {
      await prepareRefusals();
      this.isWrong = true;
      this.said = error instanceof Problem ? words({ code: error.code, message: error.detail }) : String(error);
    }
    this.isBusy = false;
    this.requestUpdate();
  };

  /** Without the picture the address is there still. */
  private takeStyle(qr: typeof import("../element/qr") | null): void {
    if (!qr || this.qr) return;
    this.qr = qr;
    const sheet = qr.qrStyle.styleSheet;
    if (sheet) this.shadowRoot?.adoptedStyleSheets.push(sheet);
  }

  private lookLater(): void {
    clearTimeout(this.timer);
    this.timer = window.setTimeout(() => void this.look(), LOOK_MS);
  }

  private async look(): Promise<void> {
    if (!this.isConnected || !this.link) return;
    const state = await linkState(location.origin).catch(() => null);
    if (state?.taken_at) {
      this.taken = Date.parse(state.taken_at);
      this.link = null;
    } else if (this.client.now > this.link.until) {
      this.link = null;
      this.isOver = true;
    } else {
      this.lookLater();
    }
    this.requestUpdate();
  }

  private readonly copy = async (): Promise<void> => {
    if (!this.link) return;
    try {
      await navigator.clipboard.writeText(this.link.address);
      this.said = shopTexts().along.copied;
    } catch {
      // The browser forbids it: the address stands there to be marked.
      this.renderRoot.querySelector("input")?.select();
    }
    this.requestUpdate();
  };

  protected override render(): TemplateResult {
    const t = shopTexts().along;
    const { link } = this;
    const news = this.taken !== null ? t.taken(timeOf(this.taken)) : this.isOver ? t.over : link ? t.until(timeOf(link.until)) : "";
    return html`
      <details class="small">
        <summary>${t.title}</summary>
        <div class="inside">
          <p class="soft">${t.text}</p>
          ${link
            ? html`${this.qr?.qrCode(link.address, t.picture) ?? nothing}
                <div class="row">
                  <input readonly dir="ltr" aria-label=${t.title} .value=${link.address} @focus=${({ target }: Event) => (target as HTMLInputElement).select()} />
                  <button @click=${this.copy}>${t.copy}</button>
                </div>`
            : nothing}
          <p class="numbers" role="status">${news}</p>
          <p class=${this.isWrong ? "error" : "soft"} role=${this.isWrong ? "alert" : "status"}>${this.said}</p>
          <div><button aria-disabled=${this.isBusy} @click=${this.make}>${this.link || this.taken !== null || this.isOver ? t.again : t.make}</button></div>
        </div>
      </details>
    `;
  }

  static override styles = [
    ...baseStyle,
    css`
      summary {
        inline-size: fit-content;
        padding-block: var(--fs-space-2);
        color: var(--fs-ink-soft);
        cursor: pointer;
      }
      .inside {
        display: grid;
        gap: var(--fs-space-3);
        max-inline-size: var(--fs-narrow);
        padding-block: var(--fs-space-2);
      }
      input {
        flex: 1 1 var(--fs-column-s);
        min-inline-size: 0;
      }
      p:empty {
        display: none;
      }
    `,
  ];
}
