/** How a server takes money, in words: what its pages say of it, and the test cards that they may offer. */

import type { PaymentsBy } from "../client/view";

/** Undefined: the server is older and does not say. */
export type Payments = PaymentsBy | undefined;

export interface TestCard {
  token: string;
  name: string;
  hint: string;
}

const TEST_CARDS: readonly TestCard[] = [
  { token: "sandbox_approve", name: "Test card •••• 4242", hint: "Is approved" },
  { token: "sandbox_decline", name: "Test card •••• 0002", hint: "Is declined" },
  { token: "sandbox_slow", name: "Test card •••• 0077", hint: "Takes some seconds" },
];

/** The cards to choose from: only where the server says that they take no money. */
export function testCards(payments: Payments): readonly TestCard[] {
  return payments === "sandbox" ? TEST_CARDS : [];
}

/** What every page says of it; null: nothing. */
export function paymentsNotice(payments: Payments): string | null {
  return payments === "sandbox" ? "Test mode: no money is taken" : null;
}

/** What a page says instead of a way to pay; null: there is one. */
export function cannotPay(payments: Payments): string | null {
  return payments === "none" ? "The shop cannot take payments at the moment. Your order stays yours until its time ends." : null;
}

/** Whether orders are paid at the shop's own checkout. */
export function isPaidAtShop(payments: Payments): boolean {
  return payments === "merchant";
}

/** What stands for a means of payment there: the checkout has its own. */
export const AT_THE_SHOP = "handoff";
