/**
 * Takes part in sales over REST, where nothing comes live: slower, and with nothing lost. A command has a key and is kept in the tab's
 * storage until it is answered, so a lost answer or a reload repeats it, and it has its effect once. Loaded by those who need it.
 */

import { salesAtStake } from "./mine";
import type { CartItem, Own, Position, RestOrder } from "./own-by-rest";
import { Problem, call, getSales, newKey, type Options } from "./rest";
import { restKey, type Session } from "./session";
import type { Note, Outcome, PaymentsBy, Refusal, Verb } from "./view";

/** A command that is not answered in this time has failed, as over the socket. */
const DEADLINE_MS = 90_000;
/** The pause before a command is repeated, which doubles, and the longest one. */
const REPEAT_MS = 1_000;
const MOST_REPEAT_MS = 15_000;
/** Commands kept at once. */
const MOST_PENDING = 8;

/** How this link asks in the shopper's name. */
export type Signed = <T>(ask: (session: Session) => Promise<T>) => Promise<T>;

interface Wish {
  verb: Verb;
  sale: string;
  quantity?: number;
  order?: string;
  token?: string;
}

interface Pending extends Wish {
  key: string;
  /** Random bits of a `join`, for the shopper's name in a draw. */
  nonce: string;
  user: string;
  until: number;
}

interface Me {
  /** The shopper's id in addresses. */
  user: string;
  orders: { order_id: string; sale_id: string }[];
  places: { sale_id: string; quantity: number; ended_at: string | null }[];
}

interface Known {
  place: Position | null;
  wanted: number;
  cart: CartItem | null;
  orders: RestOrder[];
  note: Note | null;
  refusal: Refusal | null;
  isSynced: boolean;
}

export class RestLink {
  /** How the server takes money, once it has said so. */
  payments: PaymentsBy | undefined;
  private me: Promise<Me> | null = null;
  private readonly known = new Map<string, Known>();
  private pending: { kept: Pending; isSent: boolean; answer: Promise<Outcome> }[] = [];
  /** Commands of before a reload of the page, until it is known whose they are. */
  private stored: Pending[];

  constructor(
    private readonly api: string,
    private readonly signed: Signed,
    private readonly changed: (sale: string) => void,
  ) {
    this.stored = read(api).slice(0, MOST_PENDING);
  }

  /** What is known of a sale; null: not asked yet. */
  own(sale: string): Own | null {
    const known = this.known.get(sale);
    if (!known?.isSynced) return null;
    const mine = this.pending.filter(({ kept }) => kept.sale === sale);
    return {
      ...{ place: known.place, wanted: known.wanted, cart: known.cart, orders: known.orders, note: known.note, refusal: known.refusal },
      under_way: mine.map(({ kept }) => kept.verb),
      unsent: mine.filter(({ isSent }) => !isSent).map(({ kept }) => kept.verb),
    };
  }

  /** Whether something of the shopper's runs here, so that it is to be asked for more often. */
  hasStake(sale: string): boolean {
    const known = this.known.get(sale);
    if (!known) return false;
    const isPending = known.orders.some(({ order_status }) => order_status === "pending");
    return isPending || known.cart !== null || known.place?.status === "waiting" || known.place?.status === "admitted";
  }

  knowsOrder(order: string): string | null {
    for (const [sale, { orders }] of this.known) if (orders.some(({ order_id }) => order_id === order)) return sale;
    return null;
  }

  dismiss(sale: string): void {
    const known = this.known.get(sale);
    if (known) known.refusal = null;
    this.changed(sale);
  }

  /** Asks for all that the shopper has in a sale, whose time is `now`. */
  async refresh(sale: string, now: number): Promise<void> {
    const me = await this.whoAmI();
    this.payments ??= (await getSales(this.api, { limit: 1 })).payments;
    const known = this.knownOf(sale);
    const was = { cart: known.cart, orders: known.orders, isSynced: known.isSynced };
    const ids = new Set([...me.orders.filter((order) => order.sale_id === sale).map(({ order_id }) => order_id), ...known.orders.map(({ order_id }) => order_id)]);
    const final = new Map(known.orders.filter(({ order_status }) => order_status !== "pending").map((order) => [order.order_id, order]));
    const [cart, ...orders] = await Promise.all([
      this.ask<{ items: CartItem[] }>(`/carts/${encodeURIComponent(me.user)}`),
      ...[...ids].map((id) => final.get(id) ?? this.ask<RestOrder>(`/orders/${id}`)),
    ]);
    known.cart = cart.items.find((item) => item.sale_id === sale) ?? null;
    const place = me.places.find((place) => place.sale_id === sale && place.ended_at === null);
    const isPending = orders.some(({ order_status }) => order_status === "pending");
    const mayBeInLine = !known.isSynced && !known.cart && !isPending && (place !== undefined || salesAtStake(this.api).includes(sale));
    // Not of everybody: the browser writes a refusal to the console of the page around.
    if (known.place || mayBeInLine) known.place = await this.placeIn(sale);
    // A checkout that has ended meanwhile knows an order that this question has not asked for.
    const newer = known.orders.filter(({ order_id }) => !ids.has(order_id));
    known.orders = [...newer, ...orders].sort((a, b) => Date.parse(b.created_at) - Date.parse(a.created_at));
    if (!was.isSynced) known.wanted = place?.quantity ?? known.wanted;
    known.isSynced = true;
    this.note(known, was, now);
    this.repeatStored(me.user);
    this.changed(sale);
  }

  /** What has ended since it was asked last, if nothing newer is there. */
  private note(known: Known, was: { cart: CartItem | null; orders: RestOrder[]; isSynced: boolean }, now: number): void {
    const isBusy = known.cart !== null || known.orders.some(({ order_status }) => order_status === "pending");
    const gone = was.orders.find(({ order_id, order_status }) => order_status === "pending" && known.orders.some((order) => order.order_id === order_id && order.order_status === "cancelled"));
    const kind: Note["kind"] | null = gone
      ? "order_cancelled"
      : was.cart?.status === "held" && known.orders.length === was.orders.length && known.note?.kind !== "hold_released"
        ? "hold_expired"
        : known.place?.status === "lapsed"
          ? "turn_lapsed"
          : known.place?.status === "removed"
            ? "removed"
            : null;
    if (isBusy || known.place?.status === "waiting" || known.place?.status === "admitted") known.note = null;
    else if (kind && (was.isSynced || kind === "turn_lapsed" || kind === "removed") && known.note?.kind !== kind) {
      const reason = gone ? (known.orders.find(({ order_id }) => order_id === gone.order_id)?.reason ?? null) : (known.place?.reason ?? null);
      known.note = { kind, reason, at: now };
    }
  }

  /** Gives a command. The same wish while it is under way is the same command. */
  give(wish: Wish): Promise<Outcome> {
    const same = this.same(wish);
    if (same) return same;
    const known = this.knownOf(wish.sale);
    known.refusal = null;
    if (this.pending.length >= MOST_PENDING) return Promise.resolve(refused(wish, "too_many_pending", "Too many commands are under way already."));
    return this.whoAmI().then(
      // A second click may have come while it was asked who this is.
      (me) => this.same(wish) ?? this.start({ ...wish, user: me.user, key: newKey(), nonce: nonce(), until: Date.now() + DEADLINE_MS }),
      () => refused(wish, "not_sent", "It was not sent: there was no connection."),
    );
  }

  private same({ verb, sale, order, token }: Wish): Promise<Outcome> | null {
    return this.pending.find(({ kept }) => kept.verb === verb && kept.sale === sale && kept.order === order && kept.token === token)?.answer ?? null;
  }

  private start(kept: Pending): Promise<Outcome> {
    const entry = { kept, isSent: false, answer: Promise.resolve<Outcome>(refused(kept, "not_sent", "")) };
    entry.answer = this.carryOut(kept, () => (entry.isSent = true)).then((outcome) => {
      this.pending = this.pending.filter((other) => other !== entry);
      this.keep();
      this.knownOf(kept.sale).refusal = outcome.error ?? null;
      this.changed(kept.sale);
      return outcome;
    });
    this.pending.push(entry);
    // Kept before it is sent: a reload in between repeats it under the same key.
    this.keep();
    this.changed(kept.sale);
    return entry.answer;
  }

  private async carryOut(kept: Pending, sent: () => void): Promise<Outcome> {
    for (let pause = REPEAT_MS; ; pause = Math.min(2 * pause, MOST_REPEAT_MS)) {
      try {
        await this.send(kept, sent);
        return { verb: kept.verb, sale: kept.sale, ok: true };
      } catch (error) {
        const problem = error instanceof Problem ? error : new Problem("offline", "", 0, true);
        // Nobody knows whether it has had its effect, or it may have one later: the same key makes both harmless.
        const isOpen = problem.code === "offline" || problem.code === "busy" || problem.status >= 500 || (problem.status === 429 && problem.retry);
        if (!isOpen) return refused(kept, problem.code, problem.detail, problem);
        if (Date.now() + pause > kept.until) return refused(kept, "no_answer", "No answer came in time. What is shown here is what the server knows.", problem);
        await new Promise((resume) => setTimeout(resume, problem.retryAfterMs ?? pause));
      }
    }
  }

  /** One try. What the answer says is taken up at once. */
  private async send({ verb, sale, quantity = 1, order, token, key, nonce, user }: Pending, sent: () => void): Promise<void> {
    const known = this.knownOf(sale);
    const ask = <T>(path: string, options: Options): Promise<T> =>
      this.signed((session) => {
        sent();
        return call<T>(this.api, path, { ...session, ...options, key });
      });
    switch (verb) {
      case "join": {
        const joined = await ask<Pick<Position, "position" | "status" | "claim_until">>(`/flash-sales/${sale}/join-queue`, { body: { user_id: user, quantity, nonce } });
        known.wanted = quantity;
        known.note = null;
        known.place = { wait_time_seconds: null, wait_time_seconds_least: null, chance: null, units_in_carts: 0, ...joined };
        return;
      }
      case "reserve": {
        const added = await ask<{ quantity_reserved: number; expires_at: string; status: CartItem["status"] }>(`/carts/${encodeURIComponent(user)}/items`, {
          body: { sale_id: sale, quantity_requested: quantity },
        });
        known.cart = { sale_id: sale, quantity: added.quantity_reserved, expires_at: added.expires_at, status: added.status };
        known.place = null;
        known.note = null;
        return;
      }
      case "release":
        await ask(`/carts/${encodeURIComponent(user)}/items/${sale}`, { method: "DELETE" });
        known.cart = null;
        known.note = { kind: "hold_released", reason: null, at: Date.now() };
        return;
      case "checkout":
        this.take(known, await ask<RestOrder>("/orders", { body: { user_id: user, cart_items: [{ sale_id: sale }], ...payment(token) } }));
        known.cart = null;
        return;
      case "pay":
        this.take(known, await ask<RestOrder>(`/orders/${order ?? ""}/pay`, { body: payment(token ?? "") }));
        return;
      case "cancel":
        this.take(known, await ask<RestOrder>(`/orders/${order ?? ""}/cancel`, { method: "POST" }));
        return;
      default:
        // The REST door has no word for it.
        throw new Problem("unsupported", "", 0);
    }
  }

  private take(known: Known, order: RestOrder): void {
    known.orders = [order, ...known.orders.filter(({ order_id }) => order_id !== order.order_id)];
  }

  /** Commands of before a reload of the page, if they are this shopper's. */
  private repeatStored(user: string): void {
    const { stored } = this;
    this.stored = [];
    for (const kept of stored) if (kept.user === user && kept.until > Date.now()) void this.start(kept);
  }

  private keep(): void {
    try {
      sessionStorage.setItem(restKey(this.api), JSON.stringify([...this.stored, ...this.pending.map(({ kept }) => kept)]));
    } catch {
      // Then a reload forgets them; nothing else is lost.
    }
  }

  private knownOf(sale: string): Known {
    const known = this.known.get(sale) ?? { place: null, wanted: 1, cart: null, orders: [], note: null, refusal: null, isSynced: false };
    this.known.set(sale, known);
    return known;
  }

  private async placeIn(sale: string): Promise<Position | null> {
    try {
      return await this.ask<Position>(`/flash-sales/${sale}/queue-position`);
    } catch (error) {
      // There is none.
      if (error instanceof Problem && error.status === 409) return null;
      throw error;
    }
  }

  private whoAmI(): Promise<Me> {
    this.me ??= this.ask<{ session: string; people: Pick<Me, "orders" | "places">[] }>("/me").then(({ session, people }) => ({
      user: session,
      orders: people.flatMap(({ orders }) => orders),
      places: people.flatMap(({ places }) => places),
    }));
    this.me.catch(() => (this.me = null));
    return this.me;
  }

  private ask<T>(path: string): Promise<T> {
    return this.signed((session) => call<T>(this.api, path, { ...session }));
  }
}

function read(api: string): Pending[] {
  try {
    const stored: unknown = JSON.parse(sessionStorage.getItem(restKey(api)) ?? "[]");
    return Array.isArray(stored) ? (stored as Pending[]) : [];
  } catch {
    // Forbidden or not ours: nothing is to be repeated.
    return [];
  }
}

function payment(token: string | undefined): object {
  return token === undefined ? {} : { payment: { token } };
}

function nonce(): string {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}

function refused({ verb, sale }: Wish, code: string, message: string, problem?: Problem): Outcome {
  const error: Refusal = { verb, code, message, retry: problem?.retry ?? true };
  if (problem?.retryAfterMs !== undefined) error.retry_after_ms = problem.retryAfterMs;
  if (problem?.order !== undefined) error.order = problem.order;
  return { verb, sale, ok: false, error };
}
