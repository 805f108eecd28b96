/** Whole numbers as people type them. Pure. */

/** "1,000", "1 000", "1.000" and "1000" are all a thousand; null where it is no whole number, or has more digits than are read. */
export function parseWhole(text: string, mostDigits: number): number | null {
  const typed = text.trim();
  // Groups of three with one mark between them throughout.
  const digits = /^\d{1,3}([,. \u00a0\u202f'’])\d{3}(?:\1\d{3})*$/.test(typed) ? typed.replaceAll(/\D/g, "") : typed;
  return /^\d+$/.test(digits) && digits.length <= mostDigits ? Number(digits) : null;
}
