/** Moments for people: a clock time, with its day when it is not today, and whose clock it is. */

import { when } from "./duration";

/** "14:32:10", by the clock of whoever reads: for deadlines of minutes. */
export function timeOf(at: number): string {
  return new Date(at).toLocaleTimeString("en-GB", { hour: "2-digit", minute: "2-digit", second: "2-digit" });
}

/** "18:00 today", "09:00 tomorrow", "06:38 on Thu 3 Dec": within a sentence. */
export function momentOf(at: number, now: number): string {
  const [day, time] = parts(at, now);
  if (day === "Today" || day === "Tomorrow") return `${time} ${day.toLowerCase()}`;
  return `${time} on ${day}`;
}

/** "Today 14:30 (your time, CET)", for the head of a countdown. */
export function momentHere(at: number, now: number): string {
  return `${when(at, now)} (your time, ${zoneName(at)})`;
}

/** The time alone if both are on one day; otherwise with its day. */
export function laterOn(at: number, before: number, now: number): string {
  const [day, time] = parts(at, now);
  return day === parts(before, now)[0] ? time : when(at, now);
}

function parts(at: number, now: number): [day: string, time: string] {
  const text = when(at, now);
  const time = text.slice(-5);
  return [text.slice(0, -5).replace(/[, ]+$/, ""), time];
}

/** What the reader's zone is called at that time: "CET", "GMT+5:30". */
function zoneName(at: number): string {
  const found = new Intl.DateTimeFormat("en-GB", { timeZoneName: "short" }).formatToParts(at).find(({ type }) => type === "timeZoneName");
  return found?.value ?? "local";
}
