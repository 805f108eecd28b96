/** How a server takes money, in words: what its pages say of it, and the test cards that they may offer. */

import type { PaymentsBy } from "../client/view";
import { texts } from "./language";

/** Undefined: the server is older and does not say. */
export type Payments = PaymentsBy | undefined;

export interface TestCard {
  token: string;
  name: string;
  hint: string;
}

const TEST_CARDS = ["sandbox_approve", "sandbox_decline", "sandbox_slow"] as const;

/** The cards to choose from: only where the server says that they take no money. */
export function testCards(payments: Payments): readonly TestCard[] {
  const { cards } = texts().payments;
  return payments === "sandbox" ? TEST_CARDS.map((token) => ({ token, ...cards[token] })) : [];
}

/** What every page says of it; null: nothing. */
export function paymentsNotice(payments: Payments): string | null {
  return payments === "sandbox" ? texts().payments.test : null;
}

/** What a page says instead of a way to pay; null: there is one. */
export function cannotPay(payments: Payments): string | null {
  return payments === "none" ? texts().payments.none : null;
}

/** Whether orders are paid at the shop's own checkout. */
export function isPaidAtShop(payments: Payments): boolean {
  return payments === "merchant";
}

/** What stands for a means of payment there: the checkout has its own. */
export const AT_THE_SHOP = "handoff";
