/** How `<flash-sale>` looks. */

import { css } from "lit";
import { baseStyle } from "./base-style";
import { stockBarStyle } from "./stock-bar";

export const flashSaleStyle = [
  ...baseStyle,
  stockBarStyle,
  css`
    article {
      overflow: hidden;
      max-inline-size: var(--fs-narrow);
    }
    [data-part="test-mode"] {
      justify-content: center;
      border-radius: 0;
    }
    .head {
      display: grid;
      gap: var(--fs-space-2);
      padding: var(--fs-space-5) var(--fs-space-5) 0;
    }
    .head .row {
      min-block-size: var(--fs-space-5);
    }
    .head button {
      min-block-size: auto;
      padding: var(--fs-space-1) var(--fs-space-2);
    }
    h2 {
      font-size: var(--fs-text-xl);
      overflow-wrap: anywhere;
    }
    .price {
      display: flex;
      flex-wrap: wrap;
      align-items: baseline;
      gap: var(--fs-space-2) var(--fs-space-3);
    }
    .price strong {
      font-size: var(--fs-text-xl);
      font-weight: var(--fs-weight-medium);
      letter-spacing: var(--fs-tracking-tight);
    }
    .price .badge {
      align-self: center;
    }
    .middle {
      padding: var(--fs-space-5);
    }
    .panel {
      display: flex;
      flex-direction: column;
      gap: var(--fs-space-4);
      min-block-size: var(--fs-panel);
      padding: var(--fs-space-5);
      border-block-start: var(--fs-hair) solid var(--fs-line);
      transition: background var(--fs-slow);
    }
    .panel[data-tone="turn"] {
      background: var(--fs-accent-soft);
    }
    .panel[data-tone="good"] {
      background: var(--fs-good-soft);
    }
    .said {
      display: grid;
      gap: var(--fs-space-1);
    }
    h3 {
      font-size: var(--fs-text-l);
    }
    [data-tone="good"] h3 {
      color: var(--fs-good);
    }
    .actions {
      display: flex;
      flex-wrap: wrap;
      gap: var(--fs-space-3);
      margin-block-start: auto;
    }
    .actions .primary {
      flex: 1 1 auto;
    }
    .units {
      flex: 0 1 var(--fs-column-s);
    }
    .clock {
      font-size: var(--fs-text-clock);
      font-weight: var(--fs-weight-medium);
      line-height: 1;
      letter-spacing: var(--fs-tracking-tight);
      font-variant-numeric: tabular-nums;
    }
    .clocked {
      display: grid;
      gap: var(--fs-space-2);
    }
    .clocked .clock {
      font-size: var(--fs-text-xl);
    }
    .clocked .row {
      align-items: baseline;
      gap: var(--fs-space-2);
    }
    .left {
      block-size: var(--fs-bar-thin);
      border-radius: var(--fs-round);
      background: color-mix(in srgb, var(--fs-accent) 18%, transparent);
      overflow: hidden;
    }
    .left span {
      display: block;
      block-size: 100%;
      border-radius: inherit;
      background: var(--fs-accent);
      transition: inline-size var(--fs-slow) linear;
    }
    .clocked[data-late] .clock {
      color: var(--fs-bad);
    }
    .clocked[data-late] .left span {
      background: var(--fs-bad);
    }
    .place {
      display: flex;
      flex-wrap: wrap;
      align-items: baseline;
      gap: var(--fs-space-1) var(--fs-space-3);
    }
    .place .big {
      font-size: var(--fs-text-clock);
      font-weight: var(--fs-weight-medium);
      line-height: 1;
      letter-spacing: var(--fs-tracking-tight);
    }
    .place .big .soft {
      font-size: var(--fs-text-m);
      font-weight: var(--fs-weight);
      letter-spacing: var(--fs-tracking);
    }
    .running {
      block-size: var(--fs-bar-thin);
      border-radius: var(--fs-round);
      background: linear-gradient(90deg, transparent, var(--fs-accent), transparent) 0 0 / 40% 100% no-repeat var(--fs-sunken);
      animation: run 1.2s ease-in-out infinite alternate;
    }
    @keyframes run {
      to {
        background-position-x: 100%;
      }
    }
    @media (prefers-reduced-motion: reduce) {
      .running {
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
      border: var(--fs-hair) solid var(--fs-line);
      border-radius: var(--fs-radius-m);
      background: var(--fs-surface);
      line-height: var(--fs-leading-tight);
      cursor: pointer;
    }
    .choice:has(:checked) {
      border-color: var(--fs-accent);
    }
    .check,
    .check ul {
      display: grid;
      gap: var(--fs-space-2);
      padding: 0;
      list-style: none;
      font-size: var(--fs-text-s);
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
    .check code {
      font-family: var(--fs-font-mono);
      font-size: var(--fs-text-xs);
      overflow-wrap: anywhere;
    }
    .receipt {
      display: grid;
      grid-template-columns: auto 1fr;
      gap: var(--fs-space-1) var(--fs-space-4);
      font-size: var(--fs-text-s);
    }
    .receipt dd {
      text-align: end;
      overflow-wrap: anywhere;
    }
    .receipt code {
      font-family: var(--fs-font-mono);
      font-size: var(--fs-text-xs);
    }
  `,
];
