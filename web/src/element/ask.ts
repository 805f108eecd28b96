/** Asks whether a shopper is sure, by a dialog that comes with the first question. */

import type { AskSure, Question } from "./ask-sure";

export const ASK = "flash-sale-ask";

/** Where the dialog cannot be had, the browser asks. */
export async function askWith(dialog: () => AskSure | null, question: Question): Promise<boolean> {
  try {
    const { AskSure } = await import("./ask-sure");
    if (!customElements.get(ASK)) customElements.define(ASK, class extends AskSure {});
  } catch {
    return confirm(`${question.title}\n\n${question.text}`);
  }
  return (await dialog()?.ask(question)) ?? false;
}
