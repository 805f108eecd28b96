/** The picture of a sale: chosen, looked at, sent, taken away. What it must be, the server decides. */

import { LitElement, css, html, nothing, type PropertyValues, type TemplateResult } from "lit";
import { Problem, admin, type Sale } from "../client/rest";
import { baseStyle } from "../element/base-style";
import { picture } from "../element/picture";
import { formStyle } from "./form";
import { said } from "./said";

/** Why the picture of a new sale was refused: its sale was made before, and has a page of its own now. */
export const PICTURE_REFUSED = "picture-refused";
/** Larger ones are refused before they are sent. */
const MAX_BYTES = 5_000_000;

/** A file that was chosen, with what it shows. */
export class ChosenPicture {
  private file: File | null = null;
  private alt = "";
  private error = "";

  constructor(private readonly draw: () => void) {}

  get isThere(): boolean {
    return this.file !== null;
  }

  async send(sale: string): Promise<void> {
    if (!this.file) return;
    await admin.setPicture(sale, this.file, this.alt.trim());
    this.file = null;
    this.alt = "";
  }

  private readonly choose = ({ target }: Event) => {
    const input = target as HTMLInputElement;
    const file = input.files?.[0] ?? null;
    this.error = file && file.size > MAX_BYTES ? "A picture may have at most 5 MB." : "";
    this.file = this.error === "" ? file : null;
    if (this.error !== "") input.value = "";
    this.draw();
  };

  private readonly describe = ({ target }: Event) => {
    this.alt = (target as HTMLInputElement).value;
  };

  field(): TemplateResult {
    return html`
      <div class="field" data-wide>
        <label for="picture">Picture</label>
        <input id="picture" name="picture" type="file" accept="image/png,image/jpeg,image/webp" aria-describedby="picture-below" @change=${this.choose} />
        <p id="picture-below" class="small ${this.error ? "error" : "soft"}">${this.error || "PNG, JPEG or WebP, at most 5 MB and 25 million pixels. Only its pixels are kept."}</p>
      </div>
      ${this.file
        ? html`<div class="field" data-wide>
            <label for="alt">What the picture shows</label>
            <input id="alt" name="alt" maxlength="300" autocomplete="off" .value=${this.alt} aria-describedby="alt-below" @input=${this.describe} />
            <p id="alt-below" class="small soft">Read to those who do not see it. Empty: the product’s name.</p>
          </div>`
        : nothing}
    `;
  }
}

/** The picture of a sale that is there. */
export class PictureForm extends LitElement {
  static override properties = { sale: { type: String }, isFixed: { type: Boolean } };
  declare sale: string;
  /** This operator only looks. */
  declare isFixed: boolean;

  private present: Sale["picture"];
  private chosen = new ChosenPicture(() => this.requestUpdate());
  private error = "";
  private isBusy = false;

  constructor() {
    super();
    this.sale = "";
    this.isFixed = false;
  }

  protected override willUpdate(changed: PropertyValues): void {
    if (!changed.has("sale") || this.sale === "") return;
    this.chosen = new ChosenPicture(() => this.requestUpdate());
    this.error = sessionStorage.getItem(PICTURE_REFUSED) ?? "";
    sessionStorage.removeItem(PICTURE_REFUSED);
    void this.look();
  }

  private async look(): Promise<void> {
    const { sale } = this;
    try {
      const found = await admin.sale(sale);
      if (sale === this.sale) this.present = found.picture;
    } catch (error) {
      if (error instanceof Problem && error.status === 401) this.dispatchEvent(new Event("signed-out"));
      this.error = said(error);
    }
    this.requestUpdate();
  }

  private async give(run: () => Promise<unknown>): Promise<void> {
    this.isBusy = true;
    this.error = "";
    this.requestUpdate();
    try {
      await run();
      this.renderRoot.querySelector("form")?.reset();
      await this.look();
    } catch (error) {
      this.error = said(error);
    }
    this.isBusy = false;
    this.requestUpdate();
  }

  private readonly send = (event: Event) => {
    event.preventDefault();
    if (this.chosen.isThere && !this.isBusy) void this.give(() => this.chosen.send(this.sale));
  };

  private readonly takeAway = () => void this.give(() => admin.setPicture(this.sale, null, ""));

  protected override render(): TemplateResult {
    const { present } = this;
    return html`
      <form novalidate @submit=${this.send}>
        <h2>Picture</h2>
        ${present
          ? html`<figure>${picture(present, "", "20em")}<figcaption class="soft small">${present.alt}</figcaption></figure>`
          : html`<p class="soft small">This sale has no picture yet.</p>`}
        ${this.isFixed
          ? nothing
          : html`${this.chosen.field()}
              <p class="error" role="alert">${this.error}</p>
              <div class="row">
                ${this.chosen.isThere ? html`<button class="primary" ?disabled=${this.isBusy}>${this.isBusy ? "Sending…" : present ? "Replace picture" : "Upload picture"}</button>` : nothing}
                ${present ? html`<button type="button" ?disabled=${this.isBusy} @click=${this.takeAway}>Remove picture</button>` : nothing}
              </div>`}
      </form>
    `;
  }

  static override styles = [
    ...baseStyle,
    formStyle,
    css`
      form {
        gap: var(--fs-space-3);
      }
      h2 {
        font-size: var(--fs-text-m);
      }
      figure {
        display: grid;
        gap: var(--fs-space-1);
        margin: 0;
      }
      .picture {
        inline-size: auto;
        max-inline-size: min(100%, var(--fs-column));
        block-size: auto;
        border-radius: var(--fs-radius-m);
      }
    `,
  ];
}
