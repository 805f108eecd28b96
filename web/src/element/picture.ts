/** A product's picture, in the file that fits. Its size is known before it is there, so nothing moves when it comes. */

import { html, nothing, type TemplateResult } from "lit";
import type { Picture } from "../client/bodies";

/** `sizes`: how wide it is drawn, as in `<img sizes>`. */
export function picture(of: Picture | undefined, api: string, sizes: string): TemplateResult | typeof nothing {
  if (!of) return nothing;
  const files = of.files.map(({ url, width }) => `${api}${url} ${width}w`);
  return html`<img class="picture" part="picture" src=${api + of.url} srcset=${files.join(",")} sizes=${sizes} width=${of.width} height=${of.height} alt=${of.alt} @error=${hide} />`;
}

/** It was taken away meanwhile, or the page around forbids it. */
function hide({ target }: Event): void {
  (target as HTMLElement).hidden = true;
}
