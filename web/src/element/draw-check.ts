/** The verify button of a draw: fetches this shopper's proof, checks it here, and says in plain words what was checked. */

import { html, nothing, type TemplateResult } from "lit";
import type { Client } from "../client/client";
import { Problem } from "../client/rest";
import type { View } from "../client/view";
import type { Said } from "../text/draw";
import { drawTexts } from "../text/draws";
import { prepareRefusals, words } from "../text/refusal";

export class DrawCheck {
  private said: Said[] | null = null;
  private problem = "";
  private isBusy = false;

  constructor(private readonly changed: () => void) {}

  /** Another sale, or another shopper. */
  reset(): void {
    this.said = null;
    this.problem = "";
    this.isBusy = false;
  }

  private async run(client: Client, sale: string): Promise<void> {
    this.reset();
    this.isBusy = true;
    this.changed();
    try {
      const { checkWords } = await import("../text/draw");
      this.said = checkWords(await client.checkDraw(sale, await client.proof(sale)));
    } catch (error) {
      await prepareRefusals();
      // What is no refusal is WebAssembly that may not run here.
      this.problem = error instanceof Problem ? words({ code: error.code, message: error.detail }) : drawTexts().cannot;
    }
    this.isBusy = false;
    this.changed();
  }

  render(view: View, client: Client | null, api: string): TemplateResult | typeof nothing {
    const { draw, sale } = view;
    if (!draw || !client) return nothing;
    if (draw.stage !== "drawn") return promise(draw.commitment);
    const t = drawTexts();
    const file = `${api}/flash-sales/${sale}/draw/file`;
    return html`
      <div class="check">
        <div role="status">
          ${this.said
            ? html`<ul>
                ${this.said.map(({ ok, text }) => html`<li data-ok=${ok}><span aria-hidden="true">${ok ? "✓" : "✗"}</span> <span>${text}</span></li>`)}
              </ul>`
            : this.problem}
        </div>
        <p class="row">
          <button ?disabled=${this.isBusy} @click=${() => this.run(client, sale)}>${this.isBusy ? t.checking : this.said ? t.again : t.check}</button>
          <a class="plain small" href=${file} download>${t.file}</a>
        </p>
      </div>
    `;
  }
}

/** To be noted down by who wants to: what is said later can be held against it. One line for everybody else. */
function promise(hash: string): TemplateResult {
  return html`
    <details class="check soft">
      <summary>${drawTexts().anyone}</summary>
      <p>${drawTexts().promise}</p>
      <p><code dir="ltr">${hash}</code></p>
    </details>
  `;
}
