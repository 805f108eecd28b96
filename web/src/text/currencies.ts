/** The currencies that a sale can have, by digits after the point: those of engine/src/sale.rs (a test reads that file). */

const BY_DIGITS: readonly (readonly [digits: number, codes: string])[] = [
  [0, "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF"],
  [
    2,
    `AED AFN ALL AMD AOA ARS AUD AWG AZN BAM BBD BDT BMD BND BOB BOV BRL BSD BTN BWP BYN BZD CAD CDF CHE CHF CHW CNY
    COP COU CRC CUP CVE CZK DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP GMD GTQ GYD HKD HNL HTG HUF IDR ILS
    INR IRR JMD KES KGS KHR KPW KYD KZT LAK LBP LKR LRD LSL MAD MDL MGA MKD MMK MNT MOP MRU MUR MVR MWK MXN MXV MYR
    MZN NAD NGN NIO NOK NPR NZD PAB PEN PGK PHP PKR PLN QAR RON RSD RUB SAR SBD SCR SDG SEK SGD SHP SLE SOS SRD SSP
    STN SVC SYP SZL THB TJS TMT TOP TRY TTD TWD TZS UAH USD USN UYU UZS VED VES WST XAD XCD XCG YER ZAR ZMW ZWG`,
  ],
  [3, "BHD IQD JOD KWD LYD OMR TND"],
  [4, "CLF UYW"],
];

const DIGITS: ReadonlyMap<string, number> = new Map(
  BY_DIGITS.flatMap(([digits, codes]) => codes.split(/\s+/).map((code) => [code, digits] as const)),
);

/** All codes, by the alphabet. */
export const CURRENCIES: readonly string[] = [...DIGITS.keys()].sort();

/**
 * Digits after the point; 2 if the currency is not one of ours. Browsers have a table of their own, and it differs: by theirs
 * the afghani has none.
 */
export function currencyExponent(currency: string): number {
  return DIGITS.get(currency) ?? 2;
}

/** Made by the first who asks: it takes a slow phone 90 ms, and shoppers ask for none. */
let names: Intl.DisplayNames | null = null;

/** "AUD, Australian Dollar"; the code alone if the browser does not know a name. */
export function currencyName(code: string): string {
  names ??= new Intl.DisplayNames("en", { type: "currency", fallback: "none" });
  const name = names.of(code);
  return name ? `${code}, ${name}` : code;
}
