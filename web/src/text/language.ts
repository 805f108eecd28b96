/**
 * Which language the page speaks. English is always there; any other is loaded when it is wanted. One at a time for a whole page.
 * A language that is not there is passed over: the next one that is wanted counts, and English where none of them is there.
 */

import { english, type Texts } from "./languages/en";
import { settle } from "./locale";

/** Another language: its file in `languages/`, and its line here. */
const OTHERS: Readonly<Record<string, () => Promise<Texts>>> = {
  ar: async () => (await import("./languages/ar")).arabic,
  de: async () => (await import("./languages/de")).german,
  es: async () => (await import("./languages/es")).spanish,
  fr: async () => (await import("./languages/fr")).french,
  ja: async () => (await import("./languages/ja")).japanese,
  zh: async () => (await import("./languages/zh")).chinese,
};

export const LANGUAGES: readonly string[] = ["en", ...Object.keys(OTHERS)];

let spoken: Texts = english;
let wanted = "en";
const listeners = new Set<() => void>();

export function texts(): Texts {
  return spoken;
}

/** Sentences that stand one after the other. Empty ones are left out. */
export function sentences(...parts: string[]): string {
  return parts.filter((part) => part !== "").join(spoken.between);
}

/** Calls back when the page speaks another language. */
export function onLanguage(changed: () => void): () => void {
  listeners.add(changed);
  return () => listeners.delete(changed);
}

/** What is said has changed: whoever says it draws it again. */
export function saidAnew(): void {
  for (const changed of listeners) changed();
}

/** A tag as Intl takes it; null: it is none. Shops write "de_AT" too. */
function parsed(tag: string): Intl.Locale | null {
  try {
    return new Intl.Locale(tag.trim().replaceAll("_", "-"));
  } catch {
    return null;
  }
}

/** Our language for a tag: "de-AT" is "de". Null: none. Chinese is there in simplified characters only. */
function languageOf(tag: string): string | null {
  const locale = parsed(tag);
  if (!locale || !LANGUAGES.includes(locale.language)) return null;
  return locale.language === "zh" && locale.maximize().script !== "Hans" ? null : locale.language;
}

/** Whether there is a language for this tag. */
export function isThere(tag: string): boolean {
  return languageOf(tag) !== null;
}

/** The first of these that there is. */
export function choose(tags: readonly string[]): string {
  return tags.map(languageOf).find((code) => code !== null) ?? "en";
}

/** The first of these tags that says in which region the language is read: "de-AT" writes numbers in another way than "de". */
function regional(code: string, tags: readonly string[]): string | null {
  const tag = tags.map(parsed).find((locale, index) => locale?.region !== undefined && languageOf(tags[index] ?? "") === code);
  return tag && Intl.NumberFormat.supportedLocalesOf(tag.toString()).length > 0 ? tag.toString() : null;
}

/** Speaks the first of these languages that there is. One that cannot be loaded leaves the page as it is. */
export async function speak(tags: readonly string[]): Promise<void> {
  const code = choose(tags);
  wanted = code;
  const load = OTHERS[code];
  const next = code === spoken.code ? spoken : load ? await load().catch(() => null) : english;
  // Somebody may have asked for another one meanwhile.
  if (!next || wanted !== code) return;
  const region = regional(code, tags);
  const isOther = settle(region === null ? next.locale : { numbers: region, dates: region });
  if (next === spoken && !isOther) return;
  spoken = next;
  saidAnew();
}
