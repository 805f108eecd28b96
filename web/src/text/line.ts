/** The one sentence under a place in line: when the turn comes, or why nobody can say. Pure. */

import type { Line, Moves, View } from "../client/view";
import { about, range, spoken } from "./duration";
import { sentences, texts } from "./language";

/** A line in which nobody was called for this long stands; before that it may only pause between two bursts. */
const STANDS_MS = 10_000;
/** From this time on that a line was watched, it is called a minute. */
const MINUTE_MS = 55_000;
const SECOND_MS = 1_000;

export function lineWords(view: View): string {
  const { line } = view;
  if (!line) return "";
  return sentences(wait(line), chance(view));
}

function wait(line: Line): string {
  const { line: t, reasons } = texts();
  if (line.position === 0) return t.placesSoon;
  if (line.reason === "ends_first" || line.reason === "sale_paused") return reasons[line.reason] ?? "";
  const estimate =
    line.soonest_ms === null ? moving(line) : line.latest_ms === null ? t.turnAtSoonest(about(line.soonest_ms)) : t.turnIn(range(line.soonest_ms, line.latest_ms));
  return line.reason === "inflow_cut" || line.reason === "capacity" ? sentences(estimate, reasons[line.reason] ?? "") : estimate;
}

/** Without an estimate: what this page has seen of the line. */
function moving(line: Line): string {
  const { moves, reason } = line;
  const t = texts().line;
  if (moves && moves.last_ms !== null && moves.last_ms < STANDS_MS) return pace(moves, reason === "stock_low");
  // What the next one waits for has a sentence of its own.
  if (line.position === 1) return "";
  const since = moves?.last_ms ? t.standsSince(spoken(moves.last_ms)) : t.stands;
  return reason === "stock_low" ? sentences(since, t.goesOn) : since;
}

/** "About 8 turns a second.", "12 turns in the last minute." `isLow`: without a unit, so they come as units come back. */
function pace(moves: Moves, isLow: boolean): string {
  const t = texts().line;
  if (moves.per_second >= 1) return (isLow ? t.aSecondInBursts : t.aSecond)(Math.round(moves.per_second));
  const seen = moves.watched_ms >= MINUTE_MS ? t.inMinute(moves.called) : t.inTime(moves.called, spoken(Math.max(SECOND_MS, moves.watched_ms)));
  return isLow ? sentences(seen, t.goesOn) : seen;
}

function chance({ line, stock }: View): string {
  if (!line || line.position === 0) return "";
  const t = texts().line;
  if (line.position === 1 && stock !== null && stock.free === 0) {
    return line.in_carts === 0 ? t.nextOfNone : line.in_carts === 1 ? t.nextOfOne : t.nextOfSome(line.in_carts);
  }
  const isEnd = line.reason === "ends_first";
  if (line.chance === "possible") return isEnd ? "" : t.possible;
  if (line.chance !== "slim") return "";
  if (isEnd) return t.slim;
  const left = (stock?.free ?? 0) + line.in_carts;
  return line.position > left ? t.slimAhead(left) : t.slimCarts;
}

/** What a screen reader hears of the ruler: "Place 37. 12 called in the last minute." */
export function tapeWords(line: Line): string {
  const { moves, position } = line;
  const t = texts().line;
  if (!moves || moves.watched_ms < SECOND_MS) return t.place(position);
  return moves.watched_ms >= MINUTE_MS ? t.placeMinute(position, moves.called) : t.placeTime(position, moves.called, spoken(moves.watched_ms));
}
