/** What a refusal means for a person. One entry for every code of protocol/src/code.rs (a test reads that file). */

import type { Refusal } from "../client/view";

export const REJECTS: Readonly<Record<string, string>> = {
  bad_json: "This page sent something the shop could not read. Reload it, please.",
  unknown_command: "This page is older than the shop. Reload it, please.",
  invalid_field: "The shop did not accept one of the values.",
  binary_frame: "This page sent something the shop could not read. Reload it, please.",
  frame_too_large: "This page sent more than the shop accepts at once.",
  command_id_reused: "This page repeated itself with something different. Reload it, please.",
  not_found: "There is nothing here.",
  method_not_allowed: "The shop does not do this.",
  bad_handshake: "This page is older than the shop. Reload it, please.",
  command_superseded: "You have done something newer since, so this was not done. What you see is what is so now.",

  hello_first: "The connection was not ready yet. Try again, please.",
  hello_twice: "The connection got confused. Reload the page, please.",
  token_missing: "You are not signed in.",
  token_invalid: "Your sign-in is not valid any more. Sign in again, please.",
  token_expired: "Your sign-in has run out. Sign in again, please.",
  forbidden: "You may not do this.",
  device_missing: "Your browser did not say which device it is. Allow this site to store data, please.",
  device_mismatch: "This sign-in belongs to another device. Sign in here, please.",
  wrong_merchant: "This sign-in is of another shop. Sign in here, please.",
  device_unknown: "Your browser is not known here any more. Reload the page to go on as somebody new.",
  origin_refused: "The shop does not show its sales on this page. Look for them on the shop’s own site, please.",
  signature_invalid: "The message's signature is not valid.",
  signature_expired: "The message's signature is too old.",

  sale_unknown: "There is no such sale.",
  sale_not_open: "The sale has not started yet. This page will tell you when it does.",
  sale_ended: "The sale is over.",
  sale_paused: "The sale is paused. Your place is kept, and this page will tell you when it goes on.",
  sold_out: "Sold out. Every unit is sold and paid for.",
  not_enough: "Fewer units are free than you asked for. Try a smaller number.",
  none_free: "All units are in carts at the moment. Some may come back: join the line to be the next.",
  limit_reached: "You have reached the limit per person.",
  device_limit_reached: "This device has reached its limit.",
  join_first: "Others are waiting. Join the line and it will be your turn.",
  not_in_line: "You are not in line.",
  already_in_line: "You are in line already, for another number of units. Leave first to change it.",
  device_in_line: "Somebody else is in line on this device already.",
  room_closed: "The waiting room has not opened yet.",
  already_held: "You have units in your cart already.",
  sale_wrong_state: "The sale is not in a state that allows this.",
  no_draw: "This sale has no draw.",
  not_drawn_yet: "The draw has not been held yet.",
  not_in_draw: "You had no entry in this draw.",
  entries_closed: "The entries of this draw have closed.",
  nonce_missing: "This page is too old for this draw. Reload it, please, and enter again.",
  version_changed: "Somebody else has changed this sale since you read it. Look again, please.",
  sale_stopped: "Selling has stopped for a while after a failure of ours. Your place in line is kept; try again a little later.",
  nothing_to_recover: "Nothing of this sale is lost: there is nothing to confirm.",
  supply_in_use: "You cannot go below the units that are sold or in carts.",
  merchant_unknown: "There is no such shop.",
  merchant_taken: "Another shop has this name in addresses already. Choose another one.",
  issuer_taken: "Another shop has public keys for this issuer and audience. Use an audience of your own, or ask an admin of the platform.",
  key_unknown: "There is no such key. Somebody may have revoked it already.",
  quota_reached: "The shop has reached its limit.",
  merchant_suspended: "This shop is suspended: its customers cannot buy here for now.",
  person_unknown: "Nothing is stored of this person at this shop.",
  person_busy: "You take part in a sale that is not over, or an order of yours waits for its payment. You can be forgotten after that.",

  no_hold: "Your cart is empty.",
  hold_expired: "Your time to check out ran out, and the units went to the next in line.",
  hold_released: "You have given your units back.",
  checkout_running: "Your checkout is running already. One moment, please.",
  order_unknown: "There is no such order.",
  order_cancelled: "This order is cancelled.",
  order_confirmed: "This order is confirmed already.",
  order_lost: "This order was lost in a failure of ours. What you paid goes back to you.",
  payments_off: "The shop cannot take payments at the moment. Nothing was charged; what you have stays yours until its time ends.",
  payment_declined: "The card was declined. Nothing was charged. Try again or use another card.",
  payment_too_late: "The time to pay ran out, and the order was cancelled. Nothing was charged.",
  payment_pending: "Your payment is being checked. The result comes by itself; there is nothing to do.",
  not_paid: "This order is not paid.",
  already_refunded: "The money of this order has gone back already.",
  refund_too_much: "The refund is larger than what is left of the payment.",
  payment_unknown: "There is no such payment.",
  payment_mismatch: "The amount does not match the payment.",
  cancel_limit_reached: "You have cancelled, or not paid, too many orders here. Your cart ends with its time.",

  too_many_commands: "That was too fast. Wait a moment and try again.",
  too_many_sockets: "You have this shop open in too many places. Close another tab, then reconnect here.",
  too_many_from_address: "Many people are here from your network at once. You will get in in a moment.",
  too_many_sales: "This page follows too many sales at once.",
  too_many_changes: "You have changed your mind too often in this sale. What you have stays yours.",
  busy: "Very busy at the moment. Try again shortly.",

  unavailable: "The shop could not answer just now. Try again shortly.",
  internal: "Something failed on our side. Try again, please.",

  // The client's own words.
  no_answer: "No answer came in time. What you see here is what the shop knows.",
  unsupported: "This page could not load its live part. Your browser may be too old, or something blocks it.",
  too_many_pending: "Too many things are under way already. One moment, please.",

  // Close codes that stay closed.
  protocol_error: "The connection broke. Reload the page, please.",
  abuse: "This connection was closed after too many refused commands. Wait a moment and reconnect.",
  closed: "The shop closed the connection.",
};

/** The words for a refusal; the server's own text where it says more than the code. */
export function words(refusal: Pick<Refusal, "code" | "message">): string {
  if (refusal.code === "invalid_field" || refusal.code === "quota_reached") return refusal.message;
  return REJECTS[refusal.code] ?? refusal.message;
}
