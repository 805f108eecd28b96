/**
 * Which language the page speaks. English is always there; any other is loaded when it is wanted. One at a time for a whole page.
 */

import { english, type Texts } from "./languages/en";

/** Another language: its file in `languages/`, and its line here. */
const OTHERS: Readonly<Record<string, () => Promise<Texts>>> = {
  de: async () => (await import("./languages/de")).german,
};

export const LANGUAGES: readonly string[] = ["en", ...Object.keys(OTHERS)];

let spoken: Texts = english;
let wanted = "en";
const listeners = new Set<() => void>();

export function texts(): Texts {
  return spoken;
}

/** Calls back when the page speaks another language. */
export function onLanguage(changed: () => void): () => void {
  listeners.add(changed);
  return () => listeners.delete(changed);
}

/** The first of these that there is: "de-AT" is "de". */
export function choose(tags: readonly string[]): string {
  const known = tags.map((tag) => tag.toLowerCase().split("-")[0] ?? "");
  return known.find((tag) => LANGUAGES.includes(tag)) ?? "en";
}

/** Speaks the first of these languages that there is. One that cannot be loaded leaves the page as it is. */
export async function speak(tags: readonly string[]): Promise<void> {
  const code = choose(tags);
  wanted = code;
  if (code === spoken.code) return;
  const load = OTHERS[code];
  const next = load ? await load().catch(() => null) : english;
  // Somebody may have asked for another one meanwhile.
  if (!next || wanted !== code) return;
  spoken = next;
  for (const changed of listeners) changed();
}
