/** Times of day in a shop's time zone: what its clocks show, and which moments that can mean. Pure. */

const DAY_MS = 86_400_000;

/** The zone, if this browser knows it; otherwise UTC, which is named to the reader as such. */
export function usableZone(zone: string): string {
  try {
    return new Intl.DateTimeFormat("en", { timeZone: zone }).resolvedOptions().timeZone && zone;
  } catch {
    return "UTC";
  }
}

export function ownZone(): string {
  return new Intl.DateTimeFormat("en").resolvedOptions().timeZone;
}

/** The zones that this browser knows by name. */
export function knownZones(): string[] {
  return [...new Set(["UTC", ...Intl.supportedValuesOf("timeZone")])];
}

/** What a clock in the zone shows, as `<input type="datetime-local">` wants it: "2026-03-29T01:59:59". */
export function zonedText(at: number, zone: string): string {
  return new Date(shown(at, zone)).toISOString().slice(0, 19);
}

/**
 * The moments at which a clock in the zone shows this: normally one. None: the clocks go forward over it. Two, the earlier
 * first: they go back, and it comes twice. Null: the text is no date with a time.
 */
export function zonedTimes(text: string, zone: string): number[] | null {
  if (!/^\d{4}-\d\d-\d\dT\d\d:\d\d(:\d\d(\.\d+)?)?$/.test(text)) return null;
  const clock = Date.parse(`${text}Z`);
  if (Number.isNaN(clock)) return null;
  // Clocks are put forward or back less often than once in two days.
  const offsets = [clock - DAY_MS, clock + DAY_MS].map((at) => shown(at, zone) - at);
  const moments = [...new Set(offsets)].map((offset) => clock - offset);
  return moments.filter((at) => shown(at, zone) === clock).sort((a, b) => a - b);
}

/** "UTC+1", "UTC−3:30", "UTC". */
export function offsetName(at: number, zone: string): string {
  const minutes = Math.round((shown(at, zone) - at) / 60_000);
  if (minutes === 0) return "UTC";
  const [hours, rest] = [Math.floor(Math.abs(minutes) / 60), Math.abs(minutes) % 60];
  return `UTC${minutes < 0 ? "−" : "+"}${hours}${rest === 0 ? "" : `:${String(rest).padStart(2, "0")}`}`;
}

/** What a clock in the zone shows, as if it showed UTC. */
function shown(at: number, zone: string): number {
  const parts = formatter(zone).formatToParts(at);
  const part = (type: Intl.DateTimeFormatPartTypes) => Number(parts.find((found) => found.type === type)?.value ?? 0);
  const second = Date.UTC(part("year"), part("month") - 1, part("day"), part("hour"), part("minute"), part("second"));
  return second + (((at % 1_000) + 1_000) % 1_000);
}

const formatters = new Map<string, Intl.DateTimeFormat>();

function formatter(zone: string): Intl.DateTimeFormat {
  const known = formatters.get(zone);
  if (known) return known;
  const two = "2-digit";
  const made = new Intl.DateTimeFormat("en", {
    timeZone: zone,
    calendar: "iso8601",
    numberingSystem: "latn",
    hourCycle: "h23",
    year: "numeric",
    month: two,
    day: two,
    hour: two,
    minute: two,
    second: two,
  });
  formatters.set(zone, made);
  return made;
}
