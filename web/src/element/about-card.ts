/** The parts of a sale's card that never come over the socket: its picture, and its description. */

import { html, nothing, type TemplateResult } from "lit";
import { aboutSale, learnAbout, type About } from "../client/about";
import type { View } from "../client/view";
import { picture } from "./picture";

/** A picture is as wide as its column. */
const SIZES = "(min-width: 56em) 30em, 27em";

export class AboutCard {
  private api = "";
  private sale = "";
  /** Loaded with the first description that is known as HTML. */
  private prose: typeof import("./prose").prose | null = null;

  constructor(private readonly draw: () => void) {}

  async learn(api: string, sale: string): Promise<void> {
    [this.api, this.sale] = [api, sale];
    await learnAbout(api, sale);
    this.draw();
    // A text without marks needs none of them.
    if (!/<(?!\/?p>|br>)/.test(this.about?.description_html ?? "")) return;
    this.prose ??= (await import("./prose")).prose;
    this.draw();
  }

  private get about(): About | undefined {
    return aboutSale(this.api, this.sale);
  }

  get payments(): About["payments"] {
    return this.about?.payments;
  }

  picture(): TemplateResult | typeof nothing {
    return picture(this.about?.picture, this.api, SIZES);
  }

  /** As it was written, until it is there as HTML. */
  description({ info }: View): TemplateResult | typeof nothing {
    const made = this.about?.description_html;
    if (made && this.prose) return this.prose(made);
    return info?.description ? html`<p class="description soft" dir="auto">${info.description}</p>` : nothing;
  }
}
