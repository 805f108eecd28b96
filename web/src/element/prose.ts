/** The shop's description as the server has made it HTML, of elements that it lists (server/src/markdown.rs). Loaded where there is one. */

import { html, type TemplateResult } from "lit";
import { unsafeHTML } from "lit/directives/unsafe-html.js";

export function prose(made: string): TemplateResult {
  return html`<div class="description prose soft" part="description" dir="auto">${unsafeHTML(made)}</div>`;
}
