/** The words of a draw's check, in the language that the page speaks. */

import { texts } from "./language";
import { drawEnglish, type DrawTexts } from "./languages/en-draw";

export function drawTexts(): DrawTexts {
  return texts().draw ?? drawEnglish;
}
