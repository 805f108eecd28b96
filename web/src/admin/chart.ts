/** A line over time, small. Pure: points in, an SVG path out. */

import { svg, type SVGTemplateResult } from "lit";

export interface Point {
  at: number;
  value: number;
}

const WIDTH = 300;
const HEIGHT = 60;

/** The path of the points from `from` to `to`, in a box of 300 × 60; higher is more, `most` is the top. */
export function path(points: readonly Point[], from: number, to: number, most: number): string {
  const x = (at: number) => ((at - from) / Math.max(1, to - from)) * WIDTH;
  const y = (value: number) => HEIGHT - (value / Math.max(1, most)) * HEIGHT;
  // Steps: a count stays what it was until it changes.
  return points
    .map(({ at, value }, index) => (index === 0 ? `M${x(at).toFixed(1)} ${y(value).toFixed(1)}` : `H${x(at).toFixed(1)}V${y(value).toFixed(1)}`))
    .join("");
}

export function chart(points: readonly Point[], spanMs: number, label: string): SVGTemplateResult {
  const to = points.at(-1)?.at ?? 0;
  const most = Math.max(0, ...points.map(({ value }) => value));
  const line = path(points, to - spanMs, to, most * 1.1);
  return svg`
    <svg class="chart" viewBox="0 0 ${WIDTH} ${HEIGHT}" preserveAspectRatio="none" role="img" aria-label=${label}>
      <path d=${line || "M0 0"} fill="none" vector-effect="non-scaling-stroke" />
    </svg>
  `;
}
