/** What every language's file is built with: numbers and plurals by Intl. */

import { formatNumber } from "../locale";

/** The forms that each language has for numbers, by Unicode's rules (a test holds them to Intl). */
export const PLURALS = {
  en: ["one", "other"],
  de: ["one", "other"],
  es: ["one", "many", "other"],
  fr: ["one", "many", "other"],
  ar: ["zero", "one", "two", "few", "many", "other"],
  ja: ["other"],
  zh: ["other"],
} as const satisfies Readonly<Record<string, readonly Intl.LDMLPluralRule[]>>;

type Code = keyof typeof PLURALS;
/** All of a language's forms: one that is missing does not compile. */
type Forms<C extends Code> = Readonly<Record<(typeof PLURALS)[C][number], string>>;

export interface Grammar<C extends Code> {
  /** "1,200". */
  number(count: number): string;
  /** "1 unit", "2 units": the number with the word's form for it. */
  counted(forms: Forms<C>): (count: number) => string;
  /** The form alone with the number where `#` stands: where the verb changes with it, or the form says the number itself. */
  form(forms: Forms<C>): (count: number) => string;
}

export function grammar<C extends Code>(code: C): Grammar<C> {
  const rules = new Intl.PluralRules(code);
  const pick = (forms: Partial<Record<Intl.LDMLPluralRule, string>>, count: number) => forms[rules.select(count)] ?? forms.other ?? "";
  return {
    number: formatNumber,
    counted: (forms) => (count) => `${formatNumber(count)} ${pick(forms, count)}`,
    form: (forms) => (count) => pick(forms, count).replace("#", formatNumber(count)),
  };
}
