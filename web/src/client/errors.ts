/** The one kind of error that this client's callers meet. `code` is the server's word, or one of the client's own. */

import type { OrderId, Refusal, Verb } from "./view";

export class FlashSaleError extends Error {
  override readonly name = "FlashSaleError";
  /** `sold_out`, `limit_reached`, …: docs/protocol.md lists the server's; `no_answer`, `not_sent`, `unsupported` are the client's own. */
  readonly code: string;
  /** The command that was refused. */
  readonly verb: Verb | null;
  /** Whether the same command may succeed later, and when. */
  readonly retry: boolean;
  readonly retryAfterMs: number | null;
  /** The order that it is about: a declined payment leaves its order for another try. */
  readonly order: OrderId | null;

  constructor(code: string, message: string, refusal: Partial<Refusal> = {}) {
    super(message);
    this.code = code;
    this.verb = refusal.verb ?? null;
    this.retry = refusal.retry ?? false;
    this.retryAfterMs = refusal.retry_after_ms ?? null;
    this.order = refusal.order ?? null;
  }

  static of(refusal: Refusal): FlashSaleError {
    return new FlashSaleError(refusal.code, refusal.message, refusal);
  }
}
