/** How numbers and times are written: by the reader's region, as far as it is known. The words are in `languages/`. */

export interface Locale {
  numbers: string;
  dates: string;
}

let locale: Locale = { numbers: "en", dates: "en-GB" };
let plain = new Intl.NumberFormat(locale.numbers);
let padded = padding();
let hour = hours();

/** From now on numbers and times are written so. Returns whether that is another way. */
export function settle(next: Locale): boolean {
  if (next.numbers === locale.numbers && next.dates === locale.dates) return false;
  locale = next;
  plain = new Intl.NumberFormat(locale.numbers);
  padded = padding();
  hour = hours();
  return true;
}

export function current(): Locale {
  return locale;
}

/** "1,200". */
export function formatNumber(count: number): string {
  return plain.format(count);
}

/** "05": part of a clock, in the reader's own digits. */
export function twoDigits(count: number): string {
  return padded.format(count);
}

/** "−60%": how much less. */
export function formatLess(percent: number): string {
  return new Intl.NumberFormat(locale.numbers, { style: "percent" }).format(-percent / 100).replace("-", "−");
}

/** How hours are written: "09:05", but "9:05 AM". */
export function hourStyle(): "numeric" | "2-digit" {
  return hour;
}

function hours(): "numeric" | "2-digit" {
  return new Intl.DateTimeFormat(locale.dates, { hour: "numeric" }).resolvedOptions().hour12 ? "numeric" : "2-digit";
}

function padding(): Intl.NumberFormat {
  return new Intl.NumberFormat(locale.numbers, { minimumIntegerDigits: 2, useGrouping: false });
}
