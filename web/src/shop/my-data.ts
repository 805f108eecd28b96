/** What is stored of this shopper: to have, and to have forgotten. */

import { LitElement, css, html, type TemplateResult } from "lit";
import { clientFor } from "../client/client";
import { Problem } from "../client/rest";
import { AskSure } from "../element/ask-sure";
import { baseStyle } from "../element/base-style";
import { saveJson } from "../element/save-file";
import { prepareRefusals, words } from "../text/refusal";
import { shopTexts } from "../text/shop";

if (!customElements.get("ask-sure")) customElements.define("ask-sure", AskSure);

const FILE = "my-data.json";

/** Tells the page that begins anew what has happened. */
const FORGOTTEN = "flash-sale:forgotten";

export class MyData extends LitElement {
  private readonly client = clientFor(location.origin);
  private said = "";
  private isWrong = false;
  private isBusy = false;
  private isOpen = false;

  override connectedCallback(): void {
    super.connectedCallback();
    try {
      if (sessionStorage.getItem(FORGOTTEN)) {
        this.isOpen = true;
        this.said = shopTexts().data.forgotten;
      }
      sessionStorage.removeItem(FORGOTTEN);
    } catch {
      // Without storage the page begins anew without a word.
    }
  }

  private readonly download = () =>
    this.run(async () => {
      saveJson(FILE, await this.client.myData());
      this.said = shopTexts().data.saved(FILE);
    });

  private readonly forget = async (): Promise<void> => {
    const isSure = await this.renderRoot.querySelector<AskSure>("ask-sure")?.ask(shopTexts().data.sure);
    if (!isSure) return;
    await this.run(async () => {
      await this.client.forgetMe();
      try {
        sessionStorage.setItem(FORGOTTEN, "yes");
      } catch {
        // Nothing can be told to the next page then.
      }
      location.reload();
    });
  };

  private async run(what: () => Promise<void>): Promise<void> {
    if (this.isBusy) return;
    this.isBusy = true;
    this.said = "";
    this.isWrong = false;
    this.requestUpdate();
    try {
      await what();
    } catch (error) {
      this.isWrong = true;
      await prepareRefusals();
      this.said = error instanceof Problem ? words({ code: error.code, message: error.detail }) : String(error);
    }
    this.isBusy = false;
    this.requestUpdate();
  }

  protected override render(): TemplateResult {
    return html`
      <details class="small" ?open=${this.isOpen}>
        <summary>${shopTexts().data.title}</summary>
        <div class="inside">
          <p class="soft">${shopTexts().data.text}</p>
          <div class="row">
            <button aria-disabled=${this.isBusy} @click=${this.download}>${shopTexts().data.download}</button>
            <button class="danger" aria-disabled=${this.isBusy} @click=${this.forget}>${shopTexts().data.forget}</button>
          </div>
          <p class=${this.isWrong ? "error" : "soft"} role=${this.isWrong ? "alert" : "status"}>${this.said}</p>
        </div>
      </details>
      <ask-sure></ask-sure>
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
    `,
  ];
}
