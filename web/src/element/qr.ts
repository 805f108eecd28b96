/** A QR code as a picture: dark on light in every theme, as readers want it. */

import { css, html, svg, type TemplateResult } from "lit";
import { encode } from "uqr";

/** Light modules around the code. */
const QUIET_ZONE = 4;

export function qrCode(text: string, label: string): TemplateResult {
  const { data, size } = encode(text, { border: QUIET_ZONE });
  const dark = data.flatMap((row, y) => row.flatMap((isDark, x) => (isDark ? [`M${x} ${y}h1v1h-1z`] : [])));
  return html`<svg class="qr" viewBox="0 0 ${size} ${size}" role="img" aria-label=${label}>
    ${svg`<rect width=${size} height=${size} class="light" /><path d=${dark.join("")} class="dark" shape-rendering="crispEdges" />`}
  </svg>`;
}

export const qrStyle = css`
  .qr {
    color-scheme: light;
    inline-size: var(--fs-panel);
    max-inline-size: 100%;
    border-radius: var(--fs-radius-m);
  }
  .qr .light {
    fill: var(--fs-surface);
  }
  .qr .dark {
    fill: var(--fs-ink);
  }
`;
