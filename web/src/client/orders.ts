/** A shop's orders, for its operators. */

import { operate, query, steer } from "./rest";
import type { OrderStatus } from "./view";

/** Which of a sale's orders: `refunded` are those of whose money something has gone back. */
export type WhichOrders = OrderStatus | "refunded";

export interface OrderFacts {
  order_id: string;
  order_status: OrderStatus;
  sale_id: string;
  quantity: number;
  unit_price: number;
  amount: number;
  currency: string;
  reason?: string;
  created_at: string;
  expires_at: string;
  paying?: boolean;
  refunded?: number;
  refunded_at?: string;
}

/** An order in a list, with its buyer. */
export interface ListedOrder extends OrderFacts {
  person: string;
  /** What the shop's own sign-in calls them. */
  customer: string | null;
}

export interface OrdersPage {
  orders: ListedOrder[];
  next: string | null;
}

export interface WantedOrders {
  status?: WhichOrders | undefined;
  customer?: string | undefined;
  /** The end of the order's number, as receipts show it. */
  code?: string | undefined;
  after?: string | undefined;
}

export interface Refund {
  refund_id: string;
  amount: number;
  status: "wanted" | "done" | "dropped" | "refused";
  actor: string;
  reason: string;
  created_at: string;
  done_at: string | null;
  refusal: string | null;
}

export interface PaymentTry {
  payment_id: string;
  status: string;
  pays: boolean;
  amount: number;
  currency: string;
  refund_asked: number;
  refunded: number;
  /** "ok" or a refusal's code; null: not known yet. */
  answer: string | null;
  reason: string | null;
  created_at: string;
  answered_at: string | null;
  refunds: Refund[];
}

export interface Dispute {
  dispute_id: string;
  amount: number;
  currency: string;
  reason: string;
  status: "open" | "won" | "lost";
  opened_at: string;
  closed_at: string | null;
}

/** An order with its money. */
export interface WholeOrder {
  order: OrderFacts;
  person: string;
  customer: string | null;
  changed_at: string;
  payments: PaymentTry[];
  disputes: Dispute[];
}

export const orders = {
  list: (sale: string, wanted: WantedOrders = {}) => operate<OrdersPage>(`/admin/sales/${sale}/orders${query(wanted)}`),
  one: (order: string) => operate<WholeOrder>(`/admin/orders/${order}`),
  /** Without an amount the whole rest goes back, and the order ends. */
  refund: (order: string, reason: string, amount?: number) =>
    steer<unknown>(`/admin/orders/${order}/refund`, { body: amount === undefined ? { reason } : { reason, amount } }),
  retryRefund: (order: string, refund: string) => steer<unknown>(`/admin/orders/${order}/refunds/${refund}/retry`, { body: {} }),
  cancel: (order: string) => steer<unknown>(`/admin/orders/${order}/cancel`, { body: {} }),
};

/** What has neither gone back nor is asked back, of what was paid. */
export function refundable({ payments }: WholeOrder): number {
  const paid = payments.find(({ pays }) => pays);
  return paid ? paid.amount - paid.refund_asked : 0;
}

/** One thing that happened to an order. */
export interface Happening {
  at: number;
  text: string;
  /** In the words of a person or of the payment provider. */
  note?: string;
  tone?: "good" | "bad" | "warn";
}

/** What has happened to an order, oldest first. `money`: an amount as text. */
export function historyOf(whole: WholeOrder, money: (minor: number) => string): Happening[] {
  const { order } = whole;
  const at = (text: string) => Date.parse(text);
  const all: Happening[] = [{ at: at(order.created_at), text: "Ordered" }];
  const add = (time: string | null, text: string, more: Partial<Happening> = {}) => {
    if (time) all.push({ at: at(time), text, ...more });
  };
  for (const payment of whole.payments) {
    add(payment.created_at, `A payment of ${money(payment.amount)} began`);
    if (payment.answer === "ok") add(payment.answered_at, "Paid and confirmed", { tone: "good" });
    else if (payment.answer) add(payment.answered_at, "The payment was refused", { tone: "warn", note: payment.reason ?? payment.answer });
    for (const refund of payment.refunds) {
      add(refund.created_at, `A refund of ${money(refund.amount)} was asked for`, refund.reason ? { note: refund.reason } : {});
      add(refund.done_at, `${money(refund.amount)} went back`);
      if (refund.status === "refused") add(refund.created_at, "The provider refuses this refund", { tone: "bad", note: refund.refusal ?? "" });
    }
  }
  for (const dispute of whole.disputes) {
    add(dispute.opened_at, `The buyer’s bank asks for ${money(dispute.amount)} back`, { tone: "bad", note: dispute.reason });
    add(dispute.closed_at, dispute.status === "won" ? "The shop keeps the money" : "The bank gave the money back", {});
  }
  if (order.order_status === "confirmed" && order.amount === 0) add(order.created_at, "Confirmed: it costs nothing", { tone: "good" });
  if (order.order_status === "cancelled") {
    // Money that went back afterwards has changed the order again: it ended when that was asked for, at the latest.
    const asked = whole.payments.flatMap(({ refunds }) => refunds.map(({ created_at }) => at(created_at)));
    const last = order.reason === "refunded" ? Math.max(...asked) : Math.min(at(whole.changed_at), ...asked);
    all.push({ at: last, text: ENDS[order.reason ?? ""] ?? "Cancelled" });
  }
  // Of two at the same time, what was added first came first.
  return all.sort((one, other) => one.at - other.at);
}

const ENDS: Readonly<Record<string, string>> = {
  by_shopper: "Cancelled by the buyer",
  by_shop: "Cancelled by the shop",
  unpaid: "Cancelled: not paid in time",
  payment_failed: "Cancelled: its money could not be collected",
  refunded: "Ended: all of its money goes back",
  order_lost: "Lost in a failure of the platform: its money goes back",
};
