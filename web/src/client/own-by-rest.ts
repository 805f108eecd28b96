/** What a shopper has in a sale, as the REST door tells it. The parts that pages read (docs: /openapi.json). */

import type { Note, Reason, Refusal, Verb } from "./view";

/** The answer to `queue-position`. */
export interface Position {
  /** 1 is next; 0 on one's turn, and while places are not drawn yet. */
  position: number;
  wait_time_seconds: number | null;
  wait_time_seconds_least: number | null;
  chance: number | null;
  reason?: Reason;
  units_in_carts: number;
  next_lapse_time?: string;
  priority?: boolean;
  status: "waiting" | "admitted" | "served" | "lapsed" | "left" | "removed" | "entered" | "not_drawn";
  claim_until?: string;
  extended?: boolean;
}

export interface CartItem {
  sale_id: string;
  quantity: number;
  expires_at: string;
  status: "held" | "ordering";
  extended?: boolean;
}

export interface RestOrder {
  order_id: string;
  order_status: "pending" | "confirmed" | "cancelled";
  sale_id: string;
  quantity: number;
  unit_price: number;
  amount: number;
  currency: string;
  reason?: Reason;
  created_at: string;
  expires_at: string;
  paying?: boolean;
  refunded?: number;
  refunded_at?: string;
  declined?: { reason: string };
  handoff?: { url: string };
}

/** What is published of a draw. */
export interface PublishedDraw {
  commitment: string;
  awaits?: string;
  units?: number;
  count?: number;
  root?: string;
  seed?: string;
  winners?: number;
}

/** All of it. Times are those of the server. */
export interface Own {
  place: Position | null;
  /** Units wanted, as far as it is known. */
  wanted: number;
  cart: CartItem | null;
  /** Newest first. */
  orders: readonly RestOrder[];
  draw: PublishedDraw | null;
  note: Note | null;
  refusal: Refusal | null;
  under_way: readonly Verb[];
  /** Of these nothing has left this device yet. */
  unsent: readonly Verb[];
}
