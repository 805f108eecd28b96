/** What a failure means for an operator: mostly what it means for anybody. */

import { Problem } from "../client/rest";
import { words } from "../text/refusal";

const FOR_OPERATORS: Readonly<Record<string, string>> = {
  person_busy: "They take part in a sale that is not over, or an order of theirs waits for its payment. They can be forgotten after that.",
  merchant_suspended: "This shop is suspended: its keys sign nobody in, and it can make no sales. Nobody gets a place or a unit in those that it has; who has a cart or an order may finish.",
  forbidden: "Only admins may do this.",
};

export function said(error: unknown): string {
  if (!(error instanceof Problem)) return String(error);
  // The server says what to set, and where, or what is wrong with what was sent.
  if (error.code === "payments_off" || error.code === "picture_refused") return error.detail;
  return FOR_OPERATORS[error.code] ?? words({ code: error.code, message: error.detail });
}
