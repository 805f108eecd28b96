/** The receipt: loaded when something is in the cart, so that it is there when it is wanted. */

import type { Journey } from "../client/view";

/** From here on an order may follow. */
const NEAR: readonly Journey[] = ["holding", "checking_out", "pay", "paying", "confirmed"];

export class Receipt {
  slip: typeof import("./slip").slip | null = null;
  private isAsked = false;

  constructor(private readonly draw: () => void) {}

  follow(journey: Journey, root: DocumentFragment): void {
    if (this.isAsked || !NEAR.includes(journey)) return;
    this.isAsked = true;
    import("./slip").then(
      ({ slip, slipStyle }) => {
        this.slip = slip;
        if (root instanceof ShadowRoot && slipStyle.styleSheet) root.adoptedStyleSheets.push(slipStyle.styleSheet);
        this.draw();
      },
      // The connection is away: at the next step it is tried again.
      () => (this.isAsked = false),
    );
  }
}
