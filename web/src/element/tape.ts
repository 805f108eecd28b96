/**
 * The line as a ruler: the door at its start, the shopper's dot, and a mark for everybody ahead. Calls slide the marks through the
 * door. Nothing moves unless somebody was called.
 */

import { css, html, nothing, type TemplateResult } from "lit";
import { keyed } from "lit/directives/keyed.js";
import type { Line } from "../client/view";
import { texts } from "../text/language";
import { tapeWords } from "../text/line";

/** With more people ahead than this, a mark stands for ten of them, a hundred, … */
const MOST_MARKS = 60;
/** Where motion is not wanted, the ruler is drawn anew this rarely. */
const STILL_MS = 2_000;

/** How many people one mark stands for. */
export function peopleAMark(ahead: number): number {
  let people = 1;
  while (ahead > people * MOST_MARKS) people *= 10;
  return people;
}

/** What the ruler shows of a line. */
export class Tape {
  private shown: { position: number; behind: number } | null = null;
  private drawnAt = -Infinity;

  render(line: Line, now = performance.now(), isStill = prefersStill()): TemplateResult {
    if (!this.shown || !isStill || now - this.drawnAt >= STILL_MS) {
      this.shown = { position: line.position, behind: line.behind };
      this.drawnAt = now;
    }
    const { position, behind } = this.shown;
    const ahead = Math.max(0, position - 1);
    const people = peopleAMark(ahead);
    const after = Math.min(MOST_MARKS, Math.ceil(behind / people));
    return html`
      <div class="tape" aria-hidden="true" .style=${`--ahead: ${String(ahead / people)}; --after: ${String(after)}`}>
        ${keyed(people, html`<div class="strip"><i class="ahead"></i><i class="you"></i><i class="after"></i></div>`)}
        <i class="door"></i>
      </div>
      ${people > 1 ? html`<p class="soft small" aria-hidden="true">${texts().line.mark(people)}</p>` : nothing}
      <p class="unseen">${tapeWords(line)}</p>
    `;
  }
}

function prefersStill(): boolean {
  return matchMedia("(prefers-reduced-motion: reduce)").matches;
}

export const tapeStyle = css`
  .tape {
    position: relative;
    block-size: var(--fs-tape);
    overflow: hidden;
    border-block-end: var(--fs-hair) solid var(--fs-line-strong);
  }
  .tape i {
    position: absolute;
  }
  .tape .door {
    inset-block: 0;
    inset-inline-start: 0;
    inline-size: var(--fs-ring);
    background: var(--fs-accent);
  }
  .tape .strip {
    position: absolute;
    inset-block-end: 0;
    inset-inline-start: var(--fs-ring);
    inline-size: 0;
    block-size: 100%;
    transform: translateX(calc(var(--flip) * var(--ahead) * var(--fs-mark)));
    transition: transform var(--fs-slide) linear;
  }
  .tape .ahead,
  .tape .after {
    inset-block-end: 0;
    block-size: 50%;
    inline-size: calc(80 * var(--fs-mark));
    color: var(--fs-ink);
  }
  /* A mark at each step away from the dot, in both directions. */
  .tape .ahead {
    inset-inline-end: 0;
    background: repeating-linear-gradient(
      calc(var(--flip) * -90deg),
      transparent 0 calc(var(--fs-mark) - var(--fs-hair)),
      currentcolor calc(var(--fs-mark) - var(--fs-hair)) var(--fs-mark)
    );
  }
  .tape .after {
    inset-inline-start: 0;
    block-size: 25%;
    inline-size: calc(var(--after) * var(--fs-mark));
    color: var(--fs-line-strong);
    background: repeating-linear-gradient(
      calc(var(--flip) * 90deg),
      transparent 0 calc(var(--fs-mark) - var(--fs-hair)),
      currentcolor calc(var(--fs-mark) - var(--fs-hair)) var(--fs-mark)
    );
  }
  .tape .you {
    inset-block-start: calc(50% - var(--fs-tape-you) - var(--fs-space-1));
    inset-inline-start: calc(var(--fs-tape-you) / -2);
    inline-size: var(--fs-tape-you);
    block-size: var(--fs-tape-you);
    border-radius: var(--fs-round);
    background: var(--fs-ink);
  }
  /* The dot's own mark goes down to the ruler. */
  .tape .you::after {
    content: "";
    position: absolute;
    inset-block-start: 100%;
    inset-inline-start: calc(50% - var(--fs-hair));
    inline-size: var(--fs-ring);
    block-size: calc(var(--fs-tape) / 2 + var(--fs-space-1));
    background: var(--fs-ink);
  }
  @media (forced-colors: active) {
    .tape i {
      forced-color-adjust: none;
    }
    .tape .door {
      background: Highlight;
    }
    .tape .ahead,
    .tape .after {
      color: CanvasText;
    }
    .tape .you,
    .tape .you::after {
      background: CanvasText;
    }
  }
`;
