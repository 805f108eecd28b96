/** How fair a sale is, in an operator's words. Pure: numbers in, a card out. */

import { css, html, nothing, type TemplateResult } from "lit";
import type { Fairness } from "../client/rest";
import { formatCount, measured } from "../text/duration";

/** Below this, chance alone would rarely deviate so much. */
const SUSPICIOUS_P = 0.01;

export function fairnessCard(fairness: Fairness): TemplateResult {
  const { weights } = fairness;
  return html`
    <section class="card block fairness" aria-labelledby="fairness">
      <h2 id="fairness">Fairness</h2>
      <dl>
        ${rows(fairness).map(
          ([name, label, value, hint]) => html`
            <div data-fairness=${name}>
              <dt>${label}<span class="soft small">${hint}</span></dt>
              <dd class="numbers">${value}</dd>
            </div>
          `,
        )}
      </dl>
      ${weights.length > 0 ? byWeight(fairness) : nothing}
    </section>
  `;
}

type Row = [name: string, label: string, value: string, hint: string];

/** Only what this sale has numbers for. */
function rows(fairness: Fairness): Row[] {
  const { order_inversions: inversions, wait_seconds_p50: p50, wait_seconds_p90: p90, wait_seconds_p99: p99 } = fairness;
  const found: (Row | null)[] = [
    inversions === null ? null : ["inversions", "Overtaken", formatCount(inversions), "called after somebody behind them"],
    p50 === null || p90 === null || p99 === null
      ? null
      : ["wait", "Wait of those called", `${measured(p50)} · ${measured(p90)} · ${measured(p99)}`, "half, 90 %, 99 % waited no longer"],
    fairness.queue_move_rate === null ? null : ["move", "Line moves", `${fairness.queue_move_rate.toFixed(1)} / s`, "people called, now"],
    fairness.no_show_rate === null ? null : ["no-show", "Turns not used", percent(fairness.no_show_rate), "of all turns given"],
    fairness.top_devices_share === null
      ? null
      : ["devices", "Top 10 devices", percent(fairness.top_devices_share), "their share of all units ordered"],
    fairness.win_chance_gini === null
      ? null
      : ["gini", "Inequality of chances", fairness.win_chance_gini.toFixed(2), "Gini: 0 if all have the same, 1 if one has all"],
  ];
  const rows = found.filter((row) => row !== null);
  return rows.length > 0 ? rows : [["none", "Nothing yet", "–", "numbers come with the first turns"]];
}

function byWeight({ weights, chi_square: test }: Fairness): TemplateResult {
  const verdict = test
    ? `χ² ${test.statistic.toFixed(1)}, ${test.degrees_of_freedom} degrees of freedom, p ${test.p < 0.001 ? "< 0.001" : test.p.toFixed(3)}: ${
        test.p < SUSPICIOUS_P ? "chance alone would rarely deviate so much. Check the draw." : "no further from the expected than chance has it."
      }`
    : weights.length === 1
      ? "All entries had the same weight."
      : "Too few winners to compare them with the expected.";
  return html`
    <table class="numbers">
      <caption class="soft small">The draw, by weight</caption>
      <thead>
        <tr>
          <th scope="col">Weight</th>
          <th scope="col">Entries</th>
          <th scope="col">Drawn</th>
          <th scope="col">Expected</th>
        </tr>
      </thead>
      <tbody>
        ${weights.map(
          ({ weight, entries, winners, expected_winners: expected }) => html`
            <tr data-weight=${weight}>
              <td>${weight}</td>
              <td>${formatCount(entries)}</td>
              <td>${formatCount(winners)}</td>
              <td>${expected.toFixed(1)}</td>
            </tr>
          `,
        )}
      </tbody>
    </table>
    <p class="soft small" data-fairness="chi-square">${verdict}</p>
  `;
}

function percent(share: number): string {
  return `${(share * 100).toFixed(1)}%`;
}

export const fairnessStyle = css`
  .fairness {
    display: grid;
    gap: var(--fs-space-3);
  }
  .fairness h2 {
    font-size: var(--fs-text-l);
  }
  .fairness dl {
    display: grid;
    grid-template-columns: repeat(auto-fit, minmax(min(100%, var(--fs-column)), 1fr));
    gap: var(--fs-space-2) var(--fs-space-6);
    margin: 0;
  }
  .fairness dl div {
    display: flex;
    justify-content: space-between;
    align-items: baseline;
    gap: var(--fs-space-3);
  }
  .fairness dt span {
    display: block;
  }
  .fairness dd {
    margin: 0;
    font-weight: var(--fs-weight-medium);
    text-align: end;
    white-space: nowrap;
  }
  .fairness table {
    border-collapse: collapse;
    inline-size: 100%;
  }
  .fairness caption {
    text-align: start;
    padding-block-end: var(--fs-space-2);
  }
  .fairness th,
  .fairness td {
    padding: var(--fs-space-1) var(--fs-space-2);
    text-align: end;
    border-block-end: var(--fs-hair) solid var(--fs-line);
  }
`;
