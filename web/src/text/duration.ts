/** Durations for people. A clock shows the second that is running out, so that 0:00 means over. */

import { texts } from "./language";
import { dateFormat, formatNumber, hourStyle, twoDigits } from "./locale";

const SECOND = 1_000;
const MINUTE = 60 * SECOND;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;

/** "4:59", "1:02:03", "2 d 01:00:00". */
export function clock(ms: number): string {
  const left = Math.ceil(Math.max(0, ms) / SECOND) * SECOND;
  const two = (value: number) => twoDigits(Math.floor(value));
  const seconds = two((left % MINUTE) / SECOND);
  if (left < HOUR) return `${formatNumber(Math.floor(left / MINUTE))}:${seconds}`;
  const minutes = two((left % HOUR) / MINUTE);
  if (left < DAY) return `${formatNumber(Math.floor(left / HOUR))}:${minutes}:${seconds}`;
  return texts().durations.days(Math.floor(left / DAY), `${two((left % DAY) / HOUR)}:${minutes}:${seconds}`);
}

/** "12 s", "1:05": how old the last news are. */
export function age(ms: number): string {
  return ms < MINUTE ? texts().offline.seconds(Math.round(ms / SECOND)) : clock(ms);
}

/** The same for a screen reader: "4 minutes 59 seconds". */
export function spoken(ms: number): string {
  const { day, hour, minute, second, and } = texts().durations;
  const left = Math.ceil(Math.max(0, ms) / SECOND) * SECOND;
  const parts: [number, (count: number) => string][] = [
    [Math.floor(left / DAY), day],
    [Math.floor((left % DAY) / HOUR), hour],
    [Math.floor((left % HOUR) / MINUTE), minute],
    [Math.floor((left % MINUTE) / SECOND), second],
  ];
  const words = parts.filter(([count]) => count > 0).map(([count, unit]) => unit(count));
  const [first, next] = words;
  if (first === undefined) return second(0);
  return next === undefined ? first : and(first, next);
}

/** What was measured: "0.4 s", "45 s", "3:20". */
export function measured(seconds: number): string {
  if (seconds < 10) return `${seconds.toFixed(1)} s`;
  return seconds < 60 ? `${Math.round(seconds)} s` : clock(seconds * SECOND);
}

/** An estimate is never exact: "under a minute", "about 4 minutes", "many hours". */
export function about(ms: number): string {
  const { underMinute, aboutMinutes, aboutHours, manyHours } = texts().durations;
  if (ms < MINUTE) return underMinute;
  if (ms < 90 * MINUTE) return aboutMinutes(Math.round(ms / MINUTE));
  if (ms < 12 * HOUR) return aboutHours(Math.round(ms / HOUR));
  return manyHours;
}

/** Two estimates: "2 to 5 minutes". */
export function range(soonest: number, latest: number): string {
  const { orMuchLater, upToMinutes, toMinutes, upToHours, minutesToHours, toHours } = texts().durations;
  const [from, to] = [about(soonest), about(latest)];
  if (from === to) return from;
  if (latest >= 12 * HOUR) return orMuchLater(from);
  const [least, most] = [Math.round(soonest / MINUTE), Math.round(latest / MINUTE)];
  if (latest < 90 * MINUTE) return soonest < MINUTE ? upToMinutes(most) : toMinutes(least, most);
  const hours = Math.round(latest / HOUR);
  if (soonest < MINUTE) return upToHours(hours);
  return soonest < 90 * MINUTE ? minutesToHours(least, hours) : toHours(Math.round(soonest / HOUR), hours);
}

/** For operators' pages, which are English. */
export function plural(count: number, unit: string): string {
  return `${formatCount(count)} ${unit}${count === 1 ? "" : "s"}`;
}

export function formatCount(count: number): string {
  return formatNumber(count);
}

/** "Today 14:30", "Tomorrow 09:00", "Mon 3 Nov, 14:30"; by the clocks of the zone, or of whoever reads. */
export function when(at: number, now: number, zone?: string): string {
  const { today, tomorrow, on } = texts().times;
  const { day, date, time } = moment(at, now, zone);
  return day === 0 ? today(time) : day === 1 ? tomorrow(time) : on(date, time);
}

/** A moment in parts: how many days from now, its date, its time. */
export function moment(at: number, now: number, zone?: string): { day: number; date: string; time: string } {
  const there = zone === undefined ? {} : { timeZone: zone };
  const time = dateFormat(`time ${zone ?? ""}`, { ...there, hour: hourStyle(), minute: "2-digit" }).format(at);
  const days = dayOf(at, zone) - dayOf(now, zone);
  const isThisYear = Math.abs(days) < 300;
  const date = dateFormat(`date ${zone ?? ""} ${String(isThisYear)}`, {
    ...there,
    weekday: "short",
    day: "numeric",
    month: "short",
    ...(isThisYear ? {} : { year: "numeric" }),
  }).format(at);
  return { day: days, date: isThisYear ? date : date.replace(",", ""), time };
}

/** The number of a day in a zone, whatever the language. */
function dayOf(at: number, zone?: string): number {
  if (zone === undefined) {
    const here = new Date(at);
    return Date.UTC(here.getFullYear(), here.getMonth(), here.getDate()) / DAY;
  }
  const parts = dateFormat(`day ${zone}`, { timeZone: zone, calendar: "iso8601", numberingSystem: "latn", year: "numeric", month: "numeric", day: "numeric" }).formatToParts(at);
  const part = (type: Intl.DateTimeFormatPartTypes) => Number(parts.find((found) => found.type === type)?.value);
  return Date.UTC(part("year"), part("month") - 1, part("day")) / DAY;
}
