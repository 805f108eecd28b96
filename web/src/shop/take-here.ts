/** Asks before this browser becomes the guest of another one: whoever sends somebody such a link would have them buy in their name. */

import { LitElement, css, html, type TemplateResult } from "lit";
import { becomeGuest, codeHere } from "../client/along";
import { Problem } from "../client/rest";
import { baseStyle } from "../element/base-style";
import { onLanguage } from "../text/language";
import { shopTexts } from "../text/shop";
import { prepareRefusals, words } from "../text/refusal";

export class TakeHere extends LitElement {
  private readonly code = codeHere() ?? "";
  private isBusy = false;
  private error = "";
  private stop: (() => void) | null = null;

  override connectedCallback(): void {
    super.connectedCallback();
    this.stop = onLanguage(() => this.requestUpdate());
  }

  override disconnectedCallback(): void {
    super.disconnectedCallback();
    this.stop?.();
  }

  /** The page begins anew, without the code in its address and in the history. */
  private readonly leave = () => {
    history.replaceState(null, "", location.pathname + location.search);
    location.reload();
  };

  private readonly take = async (): Promise<void> => {
    if (this.isBusy) return;
    this.isBusy = true;
    this.error = "";
    this.requestUpdate();
    try {
      await becomeGuest(this.code);
      this.leave();
    } catch (error) {
      await prepareRefusals();
      this.isBusy = false;
      this.error = error instanceof Problem ? words({ code: error.code, message: error.detail }) : String(error);
      this.requestUpdate();
    }
  };

  protected override render(): TemplateResult {
    const t = shopTexts().along.here;
    return html`
      <h1>${t.title}</h1>
      <p>${t.text}</p>
      <p class="error" role="alert">${this.error}</p>
      <div class="row">
        <button class="primary" aria-disabled=${this.isBusy} @click=${this.take}>${this.isBusy ? t.busy : t.yes}</button>
        <button aria-disabled=${this.isBusy} @click=${this.leave}>${t.no}</button>
      </div>
    `;
  }

  static override styles = [
    ...baseStyle,
    css`
      :host {
        display: grid;
        gap: var(--fs-space-4);
        max-inline-size: var(--fs-narrow);
      }
      h1 {
        font: var(--fs-weight-display) var(--fs-text-xl) / var(--fs-leading-tight) var(--fs-font-display);
      }
      p:empty {
        display: none;
      }
    `,
  ];
}
