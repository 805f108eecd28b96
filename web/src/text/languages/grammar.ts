/** What every language's file is built with: numbers and plurals by Intl. Pure. */

type Forms = Partial<Record<Intl.LDMLPluralRule, string>> & { other: string };

export interface Grammar {
  /** "1,200". */
  number(count: number): string;
  /** "1 unit", "2 units": the number with the word's form for it. */
  counted(forms: Forms): (count: number) => string;
  /** The form alone, where the number stands elsewhere or the verb changes with it. */
  form(forms: Forms): (count: number) => string;
}

export function grammar(locale: string): Grammar {
  const rules = new Intl.PluralRules(locale);
  const numbers = new Intl.NumberFormat(locale);
  const pick = (forms: Forms, count: number) => forms[rules.select(count)] ?? forms.other;
  return {
    number: (count) => numbers.format(count),
    counted: (forms) => (count) => `${numbers.format(count)} ${pick(forms, count)}`,
    form: (forms) => (count) => pick(forms, count),
  };
}
