/** Money is a whole number of minor units; how many of them make one is the currency's exponent (EUR 2, JPY 0). */

import { numberFormat } from "./locale";

export function formatMoney(minor: number, currency: string, exponent: number): string {
  const value = decimal(minor, exponent);
  try {
    const digits = { minimumFractionDigits: exponent, maximumFractionDigits: exponent };
    return numberFormat(`${currency} ${String(exponent)}`, { style: "currency", currency, ...digits }).format(value).replace("-", "−");
  } catch {
    // A currency that the browser does not know.
    return `${value} ${currency}`;
  }
}

/** The amount as a decimal number without rounding: (1050, 2) is "10.50". */
export function decimal(minor: number, exponent: number): `${number}` {
  const digits = Math.abs(minor).toFixed(0).padStart(exponent + 1, "0");
  const whole = digits.slice(0, digits.length - exponent);
  const fraction = exponent > 0 ? `.${digits.slice(-exponent)}` : "";
  return `${minor < 0 ? "-" : ""}${whole}${fraction}` as `${number}`;
}

/** What a person typed, as minor units; null where it is no amount, or finer than the currency. */
export function parseMoney(text: string, exponent: number): number | null {
  const match = /^\s*(\d{1,12})(?:[.,](\d+))?\s*$/.exec(text);
  if (!match) return null;
  const fraction = match[2] ?? "";
  if (fraction.length > exponent) return null;
  return Number(`${match[1] ?? ""}${fraction.padEnd(exponent, "0")}`);
}

/** How much cheaper, in whole percent that are certain: 100 only for what costs nothing. Null where it is less than one. */
export function discount(original: number, sale: number): number | null {
  if (original <= 0 || sale >= original) return null;
  const percent = Math.floor(((original - sale) * 100) / original);
  return percent < 1 ? null : percent;
}
