/** The words for a refusal, in the page's language. */

import type { Refusal } from "../client/view";
import { saidAnew, texts } from "./language";

let english: Readonly<Record<string, string>> | null = null;
let operators: Readonly<Record<string, string>> = {};
let asked: Promise<void> | null = null;

/** Words for what only operators are refused: their pages bring them. */
export function speakToOperators(words: Readonly<Record<string, string>>): void {
  operators = words;
}

/** Brings the English words, which most pages never need. Another language has its own with it. */
export function prepareRefusals(): Promise<void> {
  asked ??= import("./rejects").then(
    ({ REJECTS }) => {
      english = REJECTS;
      saidAnew();
    },
    () => {
      // Without a network: the next refusal tries again.
      asked = null;
    },
  );
  return asked;
}

/** The server's own text where it says more than the code, and until our words are there. English where another language has no word for it. */
export function words(refusal: Pick<Refusal, "code" | "message">): string {
  if (refusal.code === "invalid_field" || refusal.code === "quota_reached") return refusal.message;
  const own = texts().rejects[refusal.code] ?? operators[refusal.code];
  if (own === undefined && english === null) void prepareRefusals();
  return own ?? english?.[refusal.code] ?? refusal.message;
}
