/** Moments for people: a clock time, with its day when it is not today, and whose clock it is. */

import { moment } from "./duration";
import { texts } from "./language";
import { dateFormat, hourStyle } from "./locale";

/** "14:32:10", by the clock of whoever reads: for deadlines of minutes. */
export function timeOf(at: number): string {
  return dateFormat("time of deadlines", { hour: hourStyle(), minute: "2-digit", second: "2-digit" }).format(at);
}

/** "18:00 today", "09:00 tomorrow", "06:38 on Thu 3 Dec": within a sentence. */
export function momentOf(at: number, now: number): string {
  const { atToday, atTomorrow, atOn } = texts().times;
  const { day, date, time } = moment(at, now);
  return day === 0 ? atToday(time) : day === 1 ? atTomorrow(time) : atOn(date, time);
}

/** "14:30 today (your time, CET)", under a countdown. */
export function momentHere(at: number, now: number): string {
  return texts().times.here(momentOf(at, now), zoneName(at));
}

/** Within a sentence: the time alone if both are on one day; otherwise with its day. */
export function laterOn(at: number, before: number, now: number): string {
  const { day, time } = moment(at, now);
  return day === moment(before, now).day ? time : momentOf(at, now);
}

/** What the reader's zone is called at that time: "CET", "GMT+5:30". */
function zoneName(at: number): string {
  const found = dateFormat("zone", { timeZoneName: "short" }).formatToParts(at).find(({ type }) => type === "timeZoneName");
  return found?.value ?? "UTC";
}
