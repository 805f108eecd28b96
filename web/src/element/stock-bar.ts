/** A sale's stock in one line, with a bar: what is available, what is reserved and by whom, what is sold. */

import { css, html, nothing, type TemplateResult } from "lit";
import type { Stock } from "../client/view";
import { formatCount } from "../text/duration";
import { texts } from "../text/language";

/** `over`: nothing can be had any more. `asked`: by REST, which does not tell what is reserved and what is sold. */
export type How = "live" | "over" | "asked";

interface Part {
  name: "free" | "carts" | "sold";
  label: string;
  units: number;
  detail?: string;
}

/** `most`: units that there may be. Each number keeps their room, so that what stands beside it does not move. */
export function stockBar(stock: Stock | null, how: How = "live", most = 0): TemplateResult {
  const parts = partsOf(stock, how);
  return html`
    <div class="stock" ?data-empty=${!stock}>
      ${how === "asked"
        ? nothing
        : html`<div class="bar" aria-hidden="true">
            ${layers(stock, how).map(({ name, shift }) => html`<span class=${name} .style=${`--shift:${String(100 * shift)}%`}></span>`)}
          </div>`}
      <dl .style=${`--digits:${String(formatCount(Math.max(most, stock?.supply ?? 0)).length)}`}>
        ${parts.map(
          ({ name, label, units, detail }) => html`
            <div data-stock=${name}>
              <dt>${how === "asked" ? nothing : html`<i class=${name}></i>`}${label}</dt>
              <dd>${stock ? formatCount(units) : "–"}${detail ? html`<span class="soft"> ${detail}</span>` : nothing}</dd>
            </div>
          `,
        )}
      </dl>
    </div>
  `;
}

/** What the bar is painted with, one over the other, each as wide as the bar: what moves is not laid out anew. `shift`: in widths of it. */
function layers(stock: Stock | null, how: How): { name: Part["name"]; shift: number }[] {
  if (!stock || stock.supply === 0) return [];
  const { supply, free, in_carts: carts, sold } = stock;
  if (how === "over") return [{ name: "free", shift: sold / supply }];
  return [
    { name: "carts", shift: (free + carts) / supply - 1 },
    { name: "free", shift: free / supply - 1 },
  ];
}

function partsOf(stock: Stock | null, how: How): Part[] {
  const t = texts().stock;
  const free = { name: "free", label: t.available, units: stock?.free ?? 0 } as const;
  const carts = { name: "carts", label: t.reserved, units: stock?.in_carts ?? 0, detail: shares(stock) } as const;
  const sold = { name: "sold", label: t.sold, units: stock?.sold ?? 0 } as const;
  switch (how) {
    case "asked":
      return [free];
    case "over":
      // Nothing of it can be had: "available" would be a promise.
      return [sold, { ...free, label: t.notSold, units: free.units + carts.units }];
    case "live":
      return [free, carts, sold];
  }
}

/** "3 by others, 1 by you": only where something is this shopper's own. */
function shares(stock: Stock | null): string {
  if (!stock || stock.mine === 0) return "";
  const others = Math.max(0, stock.in_carts - stock.mine);
  return others === 0 ? texts().stock.byYou : texts().stock.shares(others, stock.mine);
}

export const stockBarStyle = css`
  .bar {
    display: grid;
    block-size: var(--fs-bar);
    overflow: hidden;
    border: var(--fs-hair) solid var(--fs-line-strong);
  }
  .bar span {
    grid-area: 1 / 1;
    transform: translateX(calc(var(--flip) * var(--shift)));
    transition: transform var(--fs-slow) ease-out;
  }
  /* Ink is there, hatched is reserved, empty is gone: told apart without a colour. */
  .free {
    background: var(--fs-ink);
  }
  .carts {
    background: repeating-linear-gradient(
      135deg,
      var(--fs-ink-soft) 0 var(--fs-hair),
      transparent var(--fs-hair) var(--fs-bar-thin)
    );
  }
  .sold {
    background: transparent;
  }
  .stock dl {
    display: flex;
    flex-wrap: wrap;
    gap: var(--fs-space-1) var(--fs-space-4);
    margin: var(--fs-space-2) 0 0;
    font-size: var(--fs-text-s);
  }
  .stock dl > div {
    display: flex;
    gap: var(--fs-space-2);
    align-items: baseline;
  }
  .stock dt {
    display: flex;
    align-items: center;
    gap: var(--fs-space-2);
    color: var(--fs-ink-soft);
  }
  .stock dt i {
    inline-size: var(--fs-dot);
    block-size: var(--fs-dot);
    border: var(--fs-hair) solid var(--fs-line-strong);
  }
  .stock dd {
    min-inline-size: calc(var(--digits) * 1ch);
    margin: 0;
    font-weight: var(--fs-weight-medium);
    font-variant-numeric: tabular-nums;
  }
  .stock dd .soft {
    font-weight: var(--fs-weight);
  }
  @media (forced-colors: active) {
    .bar span,
    .stock dt i {
      forced-color-adjust: none;
    }
    .free {
      background: CanvasText;
    }
    .carts {
      background: repeating-linear-gradient(135deg, CanvasText 0 var(--fs-hair), Canvas var(--fs-hair) var(--fs-bar-thin));
    }
    .bar,
    .stock dt i {
      border-color: CanvasText;
    }
  }
`;
