/** The stock split of a sale as a bar with its numbers: free, in carts, sold. */

import { css, html } from "lit";
import type { Stock } from "../client/view";
import { formatCount } from "../text/duration";

export function stockBar(stock: Stock | null) {
  const supply = stock?.supply ?? 0;
  const share = (units: number) => (supply > 0 ? `${(units / supply) * 100}%` : "0%");
  const parts = [
    { name: "free", label: "Free", units: stock?.free ?? 0 },
    { name: "carts", label: "In carts", units: stock?.in_carts ?? 0 },
    { name: "sold", label: "Sold", units: stock?.sold ?? 0 },
  ];
  return html`
    <div class="stock" ?data-empty=${!stock}>
      <div class="bar" aria-hidden="true">
        ${parts.filter(({ units }) => units > 0).map(({ name, units }) => html`<span class=${name} .style=${`inline-size:${share(units)}`}></span>`)}
      </div>
      <dl>
        ${parts.map(
          ({ name, label, units }) => html`
            <div data-stock=${name}>
              <dt><i class=${name}></i>${label}</dt>
              <dd>${stock ? formatCount(units) : "–"}</dd>
            </div>
          `,
        )}
      </dl>
    </div>
  `;
}

export const stockBarStyle = css`
  .bar {
    display: flex;
    gap: var(--fs-ring);
    block-size: var(--fs-bar);
    border-radius: var(--fs-round);
    overflow: hidden;
    background: var(--fs-sunken);
  }
  .bar span {
    transition: inline-size var(--fs-slow) ease-out;
  }
  .free {
    background: var(--fs-stock-free);
  }
  .carts {
    background: var(--fs-stock-carts);
  }
  .sold {
    background: var(--fs-stock-sold);
  }
  .stock dl {
    display: grid;
    grid-template-columns: repeat(3, 1fr);
    gap: var(--fs-space-2);
    margin: var(--fs-space-3) 0 0;
  }
  .stock dt {
    display: flex;
    align-items: center;
    gap: var(--fs-space-2);
    color: var(--fs-ink-soft);
    font-size: var(--fs-text-s);
  }
  .stock dt i {
    inline-size: var(--fs-dot);
    block-size: var(--fs-dot);
    border-radius: var(--fs-round);
  }
  .stock dd {
    margin: 0;
    font-size: var(--fs-text-l);
    font-weight: var(--fs-weight-medium);
    font-variant-numeric: tabular-nums;
  }
`;
