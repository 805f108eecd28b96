/** Why something is as it is, in English. One entry for every reason of protocol/src/code.rs (a test reads that file). */

/** The protocol's reasons, in a shopper's words. Each is true whenever the reason is given. */
export const REASONS_EN: Readonly<Record<string, string>> = {
  limit_reached: "You have as many units as one person may have.",
  no_supply: "There were no units left for your order; you were not charged.",
  stock_lost: "A failure on our side lost your units. You were not charged; we try to get them back for you.",
  restored: "A failure on our side is mended: you have again what you had.",
  line_lost: "A failure on our side lost your place in line. Please join again.",
  absent: "You were away for too long, so your place was given up. You may join again.",
  sale_paused: "The shop has paused the sale.",
  capacity: "So many people are buying that the shop lets in only as many as it can serve well.",
  inflow_cut: "The shop lets fewer people in at a time now.",
  ends_first: "The sale ends before your turn would come; the units left then are drawn among all in line.",
  stock_low: "No unit is available at the moment; the line goes on when one comes back.",
  checkout_failed: "Your checkout broke off; you were not charged.",
  drawn: "You were drawn.",
  passed_on: "Somebody who was drawn before you did not take their units.",
  by_shopper: "You cancelled it. If a payment was under way already, its money goes back to you.",
  by_shop: "The shop cancelled it; what you paid goes back to you.",
  unpaid: "It was not paid in time. If money still arrives for it, you get the unit or your money back.",
  payment_failed: "The payment could not be completed. Nothing was charged.",
  refunded: "The shop gives your money back.",
  order_lost: "It was lost in a failure of ours; what you paid goes back to you.",
};
