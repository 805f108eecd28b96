/** How `<flash-sale>` looks: a ticket on paper. The state stands first; what one may read later stands below it. */

import { css } from "lit";
import { baseStyle } from "./base-style";
import { stockBarStyle } from "./stock-bar";
import { tapeStyle } from "./tape";

export const flashSaleStyle = [
  ...baseStyle,
  stockBarStyle,
  tapeStyle,
  css`
    article {
      display: grid;
      grid-template-columns: minmax(0, 1fr);
      max-inline-size: var(--fs-narrow);
    }
    [data-part="test-mode"] {
      justify-content: center;
      border-radius: 0;
    }
    .head,
    .details {
      display: grid;
      grid-template-columns: minmax(0, 1fr);
      gap: var(--fs-space-2);
      padding: var(--fs-space-4);
    }
    .details {
      gap: var(--fs-space-4);
      border-block-start: var(--fs-hair) solid var(--fs-line);
    }
    .head .row {
      min-block-size: var(--fs-space-5);
    }
    h2 {
      font: var(--fs-weight-display) var(--fs-text-l) / var(--fs-leading-tight) var(--fs-font-display);
      overflow-wrap: anywhere;
    }
    .description {
      overflow-wrap: anywhere;
      white-space: pre-line;
      font-size: var(--fs-text-s);
    }
    /* A band where there is one column: what goes on stands below it, and is to be seen. */
    .picture {
      inline-size: 100%;
      block-size: var(--fs-band);
      object-fit: cover;
      border-radius: var(--fs-radius-m);
      background: var(--fs-sunken);
    }
    /* While something is to be done in time, it has the room. */
    article:is([data-journey="admitted"], [data-journey="holding"], [data-journey="pay"]) .picture {
      display: none;
    }
    /* Large enough to be hit. */
    .prose a,
    .slip a,
    [part="terms"] {
      padding-block: var(--fs-space-1);
    }
    .prose {
      white-space: normal;
    }
    .prose > * + * {
      margin-block-start: var(--fs-space-2);
    }
    .prose :is(ul, ol) {
      display: block;
      padding-inline-start: var(--fs-space-5);
      list-style: revert;
    }
    .prose :is(h3, h4) {
      font: var(--fs-weight-bold) var(--fs-text-m) / var(--fs-leading-tight) var(--fs-font);
    }
    .price {
      display: flex;
      flex-wrap: wrap;
      align-items: baseline;
      gap: var(--fs-space-1) var(--fs-space-3);
      /* Kept before the price is there. */
      min-block-size: calc(var(--fs-leading) * var(--fs-text-l));
    }
    .price strong {
      font-size: var(--fs-text-l);
      font-weight: var(--fs-weight-medium);
    }
    .price .badge {
      align-self: center;
    }

    .panel {
      position: relative;
      display: flex;
      flex-direction: column;
      gap: var(--fs-space-4);
      min-block-size: var(--fs-panel);
      padding: var(--fs-space-4);
      border-block-start: var(--fs-hair) solid var(--fs-line);
      background: var(--fs-surface);
    }
    .panel:first-child {
      border-block-start: 0;
    }
    .panel > * {
      min-inline-size: 0;
    }
    .panel[data-later] > :not(.over) {
      visibility: hidden;
    }
    .over {
      position: absolute;
      inset: var(--fs-space-4);
      align-content: start;
    }
    .said {
      display: grid;
      gap: var(--fs-space-1);
    }
    h3 {
      font: var(--fs-weight-display) var(--fs-text-xl) / var(--fs-leading-tight) var(--fs-font-display);
      letter-spacing: var(--fs-tracking-tight);
      overflow-wrap: anywhere;
    }
    h3:focus {
      outline: none;
    }
    h3:focus-visible {
      outline: var(--fs-ring) solid currentcolor;
    }
    /* Two lines are kept for the sentence, so that what stands below does not jump. */
    .said p {
      min-block-size: calc(2 * var(--fs-leading) * var(--fs-text-m));
    }
    .label {
      font-size: var(--fs-text-s);
      color: var(--fs-ink-soft);
    }
    .sum {
      font-size: var(--fs-text-l);
      font-weight: var(--fs-weight-medium);
    }

    .actions {
      display: flex;
      flex-wrap: wrap;
      gap: var(--fs-space-3);
      margin: auto calc(-1 * var(--fs-space-4)) 0;
      padding: var(--fs-space-3) var(--fs-space-4);
      background: inherit;
    }
    .actions:not(:has(*)) {
      display: none;
    }
    /* What is to be done now is in reach, however much stands above it. */
    .actions:has(.primary) {
      position: sticky;
      inset-block-end: 0;
      z-index: 1;
    }
    .actions .primary {
      flex: 1 1 auto;
    }
    /* At 400 % they would cover what they are about. */
    @media (max-height: 20em) and (max-width: 24em) {
      .actions:has(.primary) {
        position: static;
      }
    }
    .notified {
      align-self: center;
      flex: 1 1 auto;
    }
    .units {
      flex: 0 1 auto;
      min-inline-size: min(100%, var(--fs-column-s));
    }
    /* As wide as its longest line, in whatever language. */
    .units select {
      inline-size: auto;
      min-inline-size: 100%;
      max-inline-size: 100%;
    }

    .clock,
    .place .big {
      font-size: min(var(--fs-text-clock), var(--fs-clock-share));
      font-weight: var(--fs-weight-medium);
      line-height: 1;
      letter-spacing: var(--fs-tracking-tight);
      font-variant-numeric: tabular-nums;
    }
    .clock[data-long] {
      font-size: min(calc(var(--fs-text-clock) * 0.6), calc(var(--fs-clock-share) * 0.6));
    }
    .clocked,
    .place {
      display: grid;
      gap: var(--fs-space-1);
    }
    .place[data-small] .big {
      font-size: var(--fs-text-xl);
    }
    .left {
      block-size: var(--fs-bar-thin);
      margin-block-start: var(--fs-space-2);
      overflow: hidden;
      background: var(--fs-line);
    }
    .left span {
      display: block;
      block-size: 100%;
      background: currentcolor;
      transform: translateX(calc(var(--flip) * var(--shift)));
      transition: transform var(--fs-slow) linear;
    }
    .clocked[data-late] :is(.clock, .left) {
      color: var(--fs-accent);
    }

    /* The turn: the one moment that has the colour to itself. It wipes across once. */
    .panel[data-turn] {
      background: var(--fs-accent);
      color: var(--fs-on-accent);
      animation: wipe var(--fs-wipe) ease-out;
      --fs-ink-soft: var(--fs-on-accent);
    }
    .panel[data-turn] .clocked[data-late] :is(.clock, .left) {
      color: inherit;
    }
    .panel[data-turn] .left {
      background: color-mix(in srgb, var(--fs-on-accent) 30%, transparent);
    }
    .panel[data-turn] .now {
      border-color: transparent;
      background: var(--fs-surface);
      color: var(--fs-ink);
    }
    .panel[data-turn] .now:hover {
      background: var(--fs-sunken);
    }
    .panel[data-turn] .quiet {
      color: inherit;
      text-decoration: underline;
    }
    .panel[data-turn] .quiet:hover {
      background: color-mix(in srgb, var(--fs-on-accent) 16%, transparent);
      color: inherit;
    }
    .panel[data-turn] :focus-visible {
      outline-color: var(--fs-on-accent);
    }
    .panel[data-turn] .check :is(a, button) {
      color: inherit;
      background: none;
    }
    @keyframes wipe {
      from {
        clip-path: inset(0 calc(50% + var(--flip) * 50%) 0 calc(50% - var(--flip) * 50%));
      }
      to {
        clip-path: inset(0);
      }
    }
    .panel[data-tone="good"] h3 {
      color: var(--fs-good);
    }
    /* The receipt is paper, and lies on something. */
    .panel:has(.slip) {
      background: var(--fs-sunken);
    }

    .running {
      block-size: var(--fs-bar-thin);
      background: linear-gradient(calc(var(--flip) * 90deg), transparent, var(--fs-ink), transparent) 0 0 / 40% 100% no-repeat var(--fs-line);
      animation: run 1.2s ease-in-out infinite alternate;
    }
    @keyframes run {
      to {
        background-position-x: 100%;
      }
    }
    @media (prefers-reduced-motion: reduce) {
      .running,
      .panel[data-turn],
      .slip[data-fresh] {
        animation: none;
      }
    }

    fieldset {
      display: grid;
      gap: var(--fs-space-2);
    }
    .choice {
      display: flex;
      align-items: center;
      gap: var(--fs-space-3);
      padding: var(--fs-space-3);
      border: var(--fs-hair) solid var(--fs-line-strong);
      border-radius: var(--fs-radius-m);
      background: var(--fs-surface);
      line-height: var(--fs-leading-tight);
      cursor: pointer;
    }
    .choice:has(:checked) {
      border-color: var(--fs-ink);
      box-shadow: inset 0 0 0 var(--fs-hair) var(--fs-ink);
    }

    .rules {
      padding-block-start: var(--fs-space-3);
      border-block-start: var(--fs-hair) solid var(--fs-line);
    }

    .check,
    .check ul {
      display: grid;
      gap: var(--fs-space-2);
      padding: 0;
      list-style: none;
      font-size: var(--fs-text-s);
    }
    .check summary {
      inline-size: fit-content;
      padding-block: var(--fs-space-2);
      cursor: pointer;
    }
    .check li {
      display: flex;
      gap: var(--fs-space-2);
    }
    .check [data-ok="true"] > :first-child {
      color: var(--fs-good);
    }
    .check [data-ok="false"] {
      color: var(--fs-bad);
    }
    .panel[data-turn] .check [data-ok] > :first-child {
      color: inherit;
    }

    /* Where there is hardly any height, as on a phone on its side or at 200 %, what must be done now stands first. */
    @media (max-height: 32em) and (orientation: landscape) {
      article:is([data-journey="admitted"], [data-journey="holding"], [data-journey="pay"]) .panel {
        order: -1;
      }
    }

    /* In two columns: what it is at the start, what goes on beside it. */
    @media (min-width: 56em) {
      :host([wide]) article {
        grid-template-columns: minmax(0, 1fr) minmax(0, var(--fs-ticket));
        grid-template-rows: auto auto 1fr;
        max-inline-size: none;
        border: 0;
        background: none;
      }
      :host([wide]) [data-part="test-mode"] {
        grid-column: 1 / -1;
        margin-block-end: var(--fs-space-4);
      }
      :host([wide]) :is(.head, .details) {
        grid-column: 1;
        padding-block: var(--fs-space-2) var(--fs-space-4);
        padding-inline: 0 var(--fs-space-7);
      }
      :host([wide]) .details {
        align-content: start;
        margin-inline-end: var(--fs-space-7);
        padding: var(--fs-space-4) 0;
      }
      :host([wide]) .panel {
        grid-column: 2;
        grid-row: 1 / span 2;
        align-self: start;
        padding: var(--fs-space-5);
        border: var(--fs-hair) solid var(--fs-line);
        border-block-start: var(--fs-ring) solid var(--fs-ink);
      }
      :host([wide]) [data-part="test-mode"] ~ .panel {
        grid-row: 2 / span 2;
      }
      :host([wide]) .panel[data-turn] {
        border-color: var(--fs-accent);
      }
      :host([wide]) .actions {
        margin-inline: calc(-1 * var(--fs-space-5));
        padding-inline: var(--fs-space-5);
      }
      :host([wide]) article:not(:has(.head)) .panel {
        grid-column: 1 / -1;
        inline-size: var(--fs-ticket);
      }
      :host([wide]) h2 {
        font-size: var(--fs-text-xl);
      }
      :host([wide]) .description {
        font-size: var(--fs-text-m);
      }
      :host([wide]) .picture {
        display: block;
        block-size: auto;
        max-block-size: var(--fs-narrow);
        object-fit: contain;
      }
    }

    @media (forced-colors: active) {
      .panel,
      .choice {
        border: var(--fs-hair) solid CanvasText;
      }
      .choice:has(:checked) {
        border: var(--fs-ring) solid Highlight;
      }
      .left {
        border: var(--fs-hair) solid CanvasText;
      }
      .left span {
        forced-color-adjust: none;
        background: CanvasText;
      }
      .panel[data-turn] {
        border: var(--fs-ring) solid Highlight;
      }
      .panel[data-turn] .now {
        border-color: ButtonText;
        background: ButtonText;
        color: ButtonFace;
      }
    }
    @media print {
      article > :not(.panel),
      .panel > :not(.slip),
      [data-part="test-mode"] {
        display: none;
      }
      article {
        border: 0;
      }
    }
  `,
];
