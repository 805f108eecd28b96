/** The one sentence under a place in line: when the turn comes, or why nobody can say. Pure. */

import type { Line, Moves, View } from "../client/view";
import { about, formatCount, plural, range, spoken } from "./duration";
import { REASONS } from "./notes";

/** A line in which nobody was called for this long stands; before that it may only pause between two bursts. */
const STANDS_MS = 10_000;

export function lineWords(view: View): string {
  const { line } = view;
  if (!line) return "";
  return [wait(line), chance(view)].filter((part) => part !== "").join(" ");
}

function wait(line: Line): string {
  if (line.position === 0) return "Places are being drawn; yours comes in a moment.";
  if (line.reason === "ends_first") return REASONS.ends_first ?? "";
  if (line.reason === "sale_paused") return REASONS.sale_paused ?? "";
  const slower = line.reason === "inflow_cut" ? ` ${REASONS.inflow_cut ?? ""}` : "";
  if (line.soonest_ms !== null && line.latest_ms !== null) return `Your turn in ${range(line.soonest_ms, line.latest_ms)}.${slower}`;
  if (line.soonest_ms !== null) return `Your turn in ${about(line.soonest_ms)} at the soonest.${slower}`;
  return `${moving(line)}${slower}`;
}

/** Without an estimate: what this page has seen of the line. */
function moving(line: Line): string {
  const { moves } = line;
  const isCalled = moves && moves.last_ms !== null && moves.last_ms < STANDS_MS;
  if (isCalled) {
    return line.reason === "stock_low"
      ? `${pace(moves)}, in bursts: whenever units come back.`
      : `${pace(moves)}.`;
  }
  // "You are next" says the rest in its own sentence.
  if (line.position === 1) return "";
  const since = moves?.last_ms ? `Nobody was called for ${spoken(moves.last_ms)}.` : "Nobody is called at the moment.";
  return line.reason === "stock_low" ? `${since} The line goes on when a unit comes back.` : since;
}

/** "About 8 turns a second", "12 turns in the last minute". */
export function pace(moves: Moves): string {
  if (moves.per_second >= 1) return `About ${plural(Math.round(moves.per_second), "turn")} a second`;
  return `${plural(moves.called, "turn")} in the last ${moves.watched_ms >= 55_000 ? "minute" : spoken(Math.max(1_000, moves.watched_ms))}`;
}

function chance({ line, stock }: View): string {
  if (!line || line.position === 0) return "";
  const isLeftForNone = stock !== null && stock.free === 0;
  if (line.position === 1 && isLeftForNone) {
    return line.in_carts === 0
      ? "No unit is left that could come back."
      : `${line.in_carts === 1 ? "One unit is" : `${plural(line.in_carts, "unit")} are`} in ${line.in_carts === 1 ? "somebody’s cart" : "other people’s carts"}; if ${line.in_carts === 1 ? "it comes" : "one comes"} back, you are called first.`;
  }
  switch (line.chance) {
    case "possible":
      return line.reason === "ends_first" ? "" : "It depends on units that others have in their carts.";
    case "slim":
      return `You will probably not get one${line.reason === "ends_first" ? "." : `: ${slim(line, stock)}`}`;
    default:
      return "";
  }
}

function slim(line: Line, stock: View["stock"]): string {
  const left = (stock?.free ?? 0) + line.in_carts;
  return line.position > left
    ? `more people are ahead of you than there are units left (${formatCount(left)}).`
    : "the units left are in other people’s carts, and few come back.";
}

/** What a screen reader hears of the ruler: "Place 37. 12 called in the last minute." */
export function tapeWords(line: Line): string {
  const { moves } = line;
  const place = `Place ${formatCount(line.position)}.`;
  if (!moves || moves.watched_ms < 1_000) return place;
  return `${place} ${formatCount(moves.called)} called in the last ${moves.watched_ms >= 55_000 ? "minute" : spoken(moves.watched_ms)}.`;
}

/** The chance as a word for the row of facts. */
export const CHANCES: Readonly<Record<string, string>> = { good: "good", possible: "it may work out", slim: "small" };
