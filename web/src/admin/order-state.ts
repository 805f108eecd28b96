/** What is the matter with an order, for operators. */

import type { OrderFacts } from "../client/orders";
import { currencyExponent } from "../text/currencies";
import { formatMoney } from "../text/money";
import type { Tone } from "../text/words";

export function orderState(order: OrderFacts): { label: string; tone: Tone } {
  const { order_status, amount, currency, refunded = 0 } = order;
  const back = formatMoney(refunded, currency, currencyExponent(currency));
  if (order_status === "pending") return order.paying ? { label: "Payment under way", tone: "calm" } : { label: "To pay", tone: "turn" };
  if (order_status === "cancelled") return { label: refunded > 0 ? `Cancelled, ${back} back` : "Cancelled", tone: "calm" };
  if (refunded > 0) return { label: `Paid, ${back} back`, tone: "warn" };
  return { label: amount === 0 ? "Confirmed, free" : "Paid", tone: "good" };
}
