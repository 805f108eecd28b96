/** What every shadow root of ours starts from: the tokens, type, buttons, fields, badges. */

import { css, unsafeCSS } from "lit";
import tokens from "../style/tokens.css?inline";
import { textSize } from "./text-size";

export const baseStyle = [
  unsafeCSS(tokens),
  ...textSize(),
  css`
    :host {
      display: block;
      font: var(--fs-weight) var(--fs-text-m) / var(--fs-leading) var(--fs-font);
      letter-spacing: var(--fs-tracking);
      color: var(--fs-ink);
    }
    :host([hidden]) {
      display: none;
    }
    *,
    ::before,
    ::after {
      box-sizing: border-box;
    }
    /* What has a direction and cannot be said by a logical property is multiplied by this. */
    :dir(ltr) {
      --flip: 1;
    }
    :dir(rtl) {
      --flip: -1;
    }
    h1,
    h2,
    h3,
    p,
    dl,
    dd,
    ul,
    ol,
    fieldset {
      margin: 0;
      padding: 0;
    }
    h1,
    h2,
    h3 {
      font-weight: var(--fs-weight-bold);
      line-height: var(--fs-leading-tight);
      letter-spacing: var(--fs-tracking-tight);
      text-wrap: balance;
    }
    /* Letters that join, or stand in squares, are not pulled together, and have more above and below them. */
    :is(h1, h2, h3, .product, .clock, .big):is(:lang(ar), :lang(ja), :lang(zh)) {
      letter-spacing: normal;
    }
    :is(h1, h2, h3, .product):is(:lang(ar), :lang(ja), :lang(zh)) {
      line-height: var(--fs-leading-tall);
    }
    :lang(ja) {
      line-break: strict;
      word-break: auto-phrase;
    }
    ul,
    ol {
      list-style: none;
    }
    fieldset {
      border: 0;
      min-inline-size: 0;
    }
    a {
      color: inherit;
      text-underline-offset: 0.15em;
    }
    .soft {
      color: var(--fs-ink-soft);
    }
    .small {
      font-size: var(--fs-text-s);
    }
    .numbers {
      font-variant-numeric: tabular-nums;
    }
    .row {
      display: flex;
      flex-wrap: wrap;
      align-items: center;
      gap: var(--fs-space-3);
    }
    .apart {
      justify-content: space-between;
    }
    /* The start of a long name; the page behind it has the whole. */
    .clamp {
      display: -webkit-box;
      overflow: hidden;
      -webkit-box-orient: vertical;
      -webkit-line-clamp: 2;
      overflow-wrap: anywhere;
      /* A name of another script runs its own way, on the side of the text around it. */
      text-align: -webkit-match-parent;
      text-align: match-parent;
    }
    .unseen {
      position: absolute;
      inline-size: var(--fs-hair);
      block-size: var(--fs-hair);
      overflow: hidden;
      clip-path: inset(50%);
      white-space: nowrap;
    }
    .error {
      color: var(--fs-bad);
    }
    :focus-visible {
      outline: var(--fs-ring) solid var(--fs-ink);
      outline-offset: var(--fs-ring);
    }

    button {
      min-block-size: var(--fs-control);
      padding: 0 var(--fs-space-4);
      border: var(--fs-hair) solid var(--fs-line-strong);
      border-radius: var(--fs-radius-m);
      background: var(--fs-raised);
      color: var(--fs-ink);
      font: var(--fs-weight-medium) var(--fs-text-m) / 1 var(--fs-font);
      letter-spacing: inherit;
      cursor: pointer;
      transition:
        background var(--fs-quick),
        border-color var(--fs-quick),
        opacity var(--fs-quick);
    }
    button[hidden] {
      display: none;
    }
    button:hover:not(:disabled) {
      border-color: var(--fs-ink-faint);
    }
    button.primary {
      border-color: transparent;
      background: var(--fs-ink);
      color: var(--fs-surface);
    }
    button.primary:hover:not(:disabled) {
      background: color-mix(in srgb, var(--fs-ink) 86%, var(--fs-ground));
    }
    /* What must be done before a time is over. */
    button.now {
      min-block-size: var(--fs-control-now);
      background: var(--fs-accent);
      color: var(--fs-on-accent);
    }
    button.now:hover:not(:disabled) {
      background: var(--fs-accent-strong);
    }
    button.quiet {
      border-color: transparent;
      background: none;
      color: var(--fs-ink-soft);
    }
    button.quiet:hover:not(:disabled) {
      background: var(--fs-sunken);
      color: var(--fs-ink);
    }
    button.danger {
      color: var(--fs-bad);
    }
    button:disabled {
      opacity: 0.55;
      cursor: default;
    }

    button[aria-disabled="true"] {
      cursor: default;
    }
    /* A guard of half a second is not worth a flicker. */
    button[aria-disabled="true"]:not([data-guard]) {
      opacity: 0.6;
    }
    /* A link to the form for something new looks like the button that it is for the eye. */
    a.new {
      display: inline-flex;
      align-items: center;
      min-block-size: var(--fs-control);
      padding: 0 var(--fs-space-4);
      border-radius: var(--fs-radius-m);
      background: var(--fs-ink);
      color: var(--fs-surface);
      font-weight: var(--fs-weight-medium);
      text-decoration: none;
    }
    a.plain {
      display: inline-flex;
      align-items: center;
      min-block-size: var(--fs-control);
    }

    input,
    select,
    textarea {
      inline-size: 100%;
      min-inline-size: 0;
      min-block-size: var(--fs-control);
      padding: var(--fs-space-2) var(--fs-space-3);
      border: var(--fs-hair) solid var(--fs-line-strong);
      border-radius: var(--fs-radius-m);
      background: var(--fs-surface);
      color: inherit;
      font: inherit;
      letter-spacing: inherit;
    }
    input:is([type="radio"], [type="checkbox"]) {
      inline-size: auto;
      min-block-size: auto;
      accent-color: var(--fs-ink);
      margin: 0;
    }
    [aria-invalid="true"] {
      border-color: var(--fs-bad);
    }

    .badge {
      display: inline-flex;
      align-items: center;
      gap: var(--fs-space-2);
      padding: var(--fs-ring) var(--fs-space-2);
      border-radius: var(--fs-radius-m);
      background: var(--fs-sunken);
      color: var(--fs-ink-soft);
      font-size: var(--fs-text-s);
      font-weight: var(--fs-weight-medium);
      white-space: nowrap;
    }
    .badge[data-tone="good"] {
      background: var(--fs-good-soft);
      color: var(--fs-good);
    }
    .badge[data-tone="turn"] {
      background: var(--fs-accent-soft);
      color: var(--fs-accent);
    }
    .badge[data-tone="warn"] {
      background: var(--fs-warn-soft);
      color: var(--fs-warn);
    }
    .badge[data-tone="bad"] {
      background: var(--fs-bad-soft);
      color: var(--fs-bad);
    }
    .card {
      border: var(--fs-hair) solid var(--fs-line);
      border-radius: var(--fs-radius-l);
      background: var(--fs-surface);
    }
    /* Names and values: side by side where both have room, one above the other where they do not. */
    .facts {
      display: grid;
      gap: var(--fs-space-2);
      font-size: var(--fs-text-s);
    }
    .facts > div {
      display: flex;
      flex-wrap: wrap;
      justify-content: space-between;
      gap: 0 var(--fs-space-4);
    }
    .facts dt {
      color: var(--fs-ink-soft);
    }
    .facts dd {
      font-weight: var(--fs-weight-medium);
      overflow-wrap: anywhere;
    }
    .facts code,
    .check code {
      font-family: var(--fs-font-mono);
      font-size: var(--fs-text-s);
      font-weight: var(--fs-weight);
      overflow-wrap: anywhere;
    }
    .notice {
      display: flex;
      align-items: flex-start;
      justify-content: space-between;
      gap: var(--fs-space-3);
      padding: var(--fs-space-3) var(--fs-space-4);
      overflow-wrap: anywhere;
      border-radius: var(--fs-radius-m);
      background: var(--fs-warn-soft);
      color: var(--fs-warn);
      font-size: var(--fs-text-s);
    }
    .notice[data-tone="bad"] {
      background: var(--fs-bad-soft);
      color: var(--fs-bad);
    }
    .notice[data-tone="calm"] {
      background: var(--fs-sunken);
      color: var(--fs-ink-soft);
    }
    .notice strong {
      font-weight: var(--fs-weight-bold);
    }
    .notice button {
      flex: none;
      min-inline-size: var(--fs-control);
      margin-block: calc(-1 * var(--fs-space-3));
      margin-inline: 0 calc(-1 * var(--fs-space-4));
      border: 0;
      background: none;
      color: inherit;
      font-size: inherit;
      text-decoration: underline;
    }
    @media (forced-colors: active) {
      .card,
      .notice,
      .badge {
        border: var(--fs-hair) solid CanvasText;
      }
      button.primary {
        forced-color-adjust: none;
        border-color: ButtonText;
        background: ButtonText;
        color: ButtonFace;
      }
      button:disabled,
      button[aria-disabled="true"] {
        opacity: 1;
      }
    }
  `,
];
