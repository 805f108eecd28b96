/** Durations for people. A clock shows the second that is running out, so that 0:00 means over. */

const SECOND = 1_000;
const MINUTE = 60 * SECOND;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;

/** "4:59", "1:02:03", "2 d 01:00:00". */
export function clock(ms: number): string {
  const left = Math.ceil(Math.max(0, ms) / SECOND) * SECOND;
  const two = (value: number) => String(Math.floor(value)).padStart(2, "0");
  const seconds = two((left % MINUTE) / SECOND);
  if (left < HOUR) return `${Math.floor(left / MINUTE)}:${seconds}`;
  const minutes = two((left % HOUR) / MINUTE);
  if (left < DAY) return `${Math.floor(left / HOUR)}:${minutes}:${seconds}`;
  return `${Math.floor(left / DAY)} d ${two((left % DAY) / HOUR)}:${minutes}:${seconds}`;
}

/** "No news for 12 s": the numbers are the last known ones. */
export function staleness(ms: number): string {
  return `No news for ${ms < MINUTE ? `${Math.round(ms / SECOND)} s` : clock(ms)}`;
}

/** The same for a screen reader: "4 minutes 59 seconds". */
export function spoken(ms: number): string {
  const left = Math.ceil(Math.max(0, ms) / SECOND) * SECOND;
  const parts: [number, string][] = [
    [Math.floor(left / DAY), "day"],
    [Math.floor((left % DAY) / HOUR), "hour"],
    [Math.floor((left % HOUR) / MINUTE), "minute"],
    [Math.floor((left % MINUTE) / SECOND), "second"],
  ];
  const words = parts.filter(([count]) => count > 0).map(([count, unit]) => plural(count, unit));
  return words.slice(0, 2).join(" ") || "0 seconds";
}

/** What was measured: "0.4 s", "45 s", "3:20". */
export function measured(seconds: number): string {
  if (seconds < 10) return `${seconds.toFixed(1)} s`;
  return seconds < 60 ? `${Math.round(seconds)} s` : clock(seconds * SECOND);
}

/** An estimate is never exact: "under a minute", "about 4 minutes", "over 2 hours". */
export function about(ms: number): string {
  if (ms < MINUTE) return "under a minute";
  if (ms < 90 * MINUTE) return `about ${plural(Math.round(ms / MINUTE), "minute")}`;
  if (ms < 12 * HOUR) return `about ${plural(Math.round(ms / HOUR), "hour")}`;
  return "many hours";
}

/** Two estimates: "2 to 5 minutes". */
export function range(soonest: number, latest: number): string {
  const [from, to] = [about(soonest), about(latest)];
  if (from === to) return from;
  if (latest >= 12 * HOUR) return `${from} or much later`;
  if (latest < 90 * MINUTE) {
    const least = soonest < MINUTE ? "under 1" : formatCount(Math.round(soonest / MINUTE));
    return `${least} to ${plural(Math.round(latest / MINUTE), "minute")}`;
  }
  return `${from.replace("about ", "")} to ${to.replace("about ", "")}`;
}

/** Words whose plural is no "s" at the end. */
const PLURALS: Readonly<Record<string, string>> = { person: "people", entry: "entries" };

export function plural(count: number, unit: string): string {
  return `${formatCount(count)} ${count === 1 ? unit : (PLURALS[unit] ?? `${unit}s`)}`;
}

export function formatCount(count: number): string {
  return new Intl.NumberFormat("en").format(count);
}

/** "Today 14:30", "Tomorrow 09:00", "Mon 3 Nov, 14:30"; by the clocks of the zone, or of whoever reads. */
export function when(at: number, now: number, zone?: string): string {
  const there = zone === undefined ? {} : { timeZone: zone };
  const time = new Date(at).toLocaleTimeString("en-GB", { ...there, hour: "2-digit", minute: "2-digit" });
  const day = (ms: number) => Date.parse(new Date(ms).toLocaleDateString("sv-SE", there));
  const days = Math.round((day(at) - day(now)) / DAY);
  if (days === 0) return `Today ${time}`;
  if (days === 1) return `Tomorrow ${time}`;
  const isThisYear = Math.abs(days) < 300;
  const date = new Date(at).toLocaleDateString("en-GB", {
    ...there,
    weekday: "short",
    day: "numeric",
    month: "short",
    ...(isThisYear ? {} : { year: "numeric" }),
  });
  return `${isThisYear ? date : date.replace(",", "")}, ${time}`;
}
