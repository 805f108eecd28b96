/** How numbers and times are written: by the reader's region, as far as it is known. The words are in `languages/`. */

export interface Locale {
  numbers: string;
  dates: string;
}

/** A page uses a handful; a browser takes milliseconds to make one, and each second draws with all of them. */
const FORMATS_MOST = 64;

let locale: Locale = { numbers: "en", dates: "en-GB" };
const numbers = new Map<string, Intl.NumberFormat>();
const dates = new Map<string, Intl.DateTimeFormat>();
let hour: "numeric" | "2-digit" | null = null;

/** From now on numbers and times are written so. Returns whether that is another way. */
export function settle(next: Locale): boolean {
  if (next.numbers === locale.numbers && next.dates === locale.dates) return false;
  locale = next;
  numbers.clear();
  dates.clear();
  hour = null;
  return true;
}

/** How numbers are written now; one for each name, which stands for its options. */
export function numberFormat(name: string, options?: Intl.NumberFormatOptions): Intl.NumberFormat {
  return kept(numbers, name, () => new Intl.NumberFormat(locale.numbers, options));
}

/** How moments are written now; one for each name, which stands for its options. Whoever travels on gets one of the zone that they are in. */
export function dateFormat(name: string, options: Intl.DateTimeFormatOptions): Intl.DateTimeFormat {
  return kept(dates, `${name} ${String(new Date().getTimezoneOffset())}`, () => new Intl.DateTimeFormat(locale.dates, options));
}

function kept<F>(formats: Map<string, F>, name: string, make: () => F): F {
  const known = formats.get(name);
  if (known) return known;
  if (formats.size >= FORMATS_MOST) formats.clear();
  const made = make();
  formats.set(name, made);
  return made;
}

/** "1,200". */
export function formatNumber(count: number): string {
  return numberFormat("plain").format(count);
}

/** "05": part of a clock, in the reader's own digits. */
export function twoDigits(count: number): string {
  return numberFormat("padded", { minimumIntegerDigits: 2, useGrouping: false }).format(count);
}

/** "−60%": how much less. */
export function formatLess(percent: number): string {
  return numberFormat("percent", { style: "percent" }).format(-percent / 100).replace("-", "−");
}

/** How hours are written: "09:05", but "9:05 AM". */
export function hourStyle(): "numeric" | "2-digit" {
  hour ??= dateFormat("hour", { hour: "numeric" }).resolvedOptions().hour12 ? "numeric" : "2-digit";
  return hour;
}
