/** The words for a refusal, in the page's language. */

import type { Refusal } from "../client/view";
import { texts } from "./language";
import { REJECTS } from "./rejects";

let operators: Readonly<Record<string, string>> = {};

/** Words for what only operators are refused: their pages bring them. */
export function speakToOperators(words: Readonly<Record<string, string>>): void {
  operators = words;
}

/** The server's own text where it says more than the code; English where another language has no word for it. */
export function words(refusal: Pick<Refusal, "code" | "message">): string {
  if (refusal.code === "invalid_field" || refusal.code === "quota_reached") return refusal.message;
  return texts().rejects[refusal.code] ?? REJECTS[refusal.code] ?? operators[refusal.code] ?? refusal.message;
}
