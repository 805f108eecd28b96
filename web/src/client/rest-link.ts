/**
 * Takes part in sales over REST, where nothing comes live: slower, and with nothing lost. A command has a key and is kept in the tab's
 * storage until it is answered, so a lost answer or a reload repeats it, and it has its effect once. Loaded by those who need it.
 */

import type { Sale } from "./bodies";
import type { Shown } from "./by-rest";
import { salesAtStake } from "./mine";
import type { CartItem, Own, Position, PublishedDraw, RestOrder } from "./own-by-rest";
import { orderOf, withOwn } from "./own-view";
import { Problem, call, newKey, type Options } from "./rest";
import { noncesKey, restKey, type Session } from "./session";
import type { Note, Order, Outcome, Refusal, Verb } from "./view";

/** A command that is not answered in this time has failed, as over the socket. */
const DEADLINE_MS = 90_000;
/** The pause before a command is repeated, which doubles, and the longest one. */
const REPEAT_MS = 1_000;
const MOST_REPEAT_MS = 15_000;
/** Commands kept at once. */
const MOST_PENDING = 16;
/** Orders of a list. */
const MOST_ORDERS = 20;
/** Sales whose random number for the draw is remembered. */
const MOST_NONCES = 32;

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

/** A command that a socket has taken and not answered, as the live client stores it. */
export interface HandedOver {
  id: string;
  sale: string;
  frame: string;
  shopper: string | null;
}

/** What goes over the socket. */
interface Frame {
  type: Verb;
  quantity?: number;
  nonce?: string;
  order?: string;
  payment?: { token: string };
}

/** A random number that this tab has made for a shopper's name in a sale's draw. */
interface Made {
  user: string;
  sale: string;
  nonce: string;
}

interface Me {
  /** The shopper's id in addresses. */
  user: string;
  /** Who they are at each shop, and in which sales they have entered a draw there. */
  people: { person: string; sales: string[] }[];
  orders: { order_id: string; sale_id: string; created_at: string }[];
  places: { sale_id: string; quantity: number; ended_at: string | null }[];
}

interface Known {
  place: Position | null;
  wanted: number;
  cart: CartItem | null;
  orders: RestOrder[];
  draw: PublishedDraw | null;
  /** The entries have closed, or what is left of a first-come sale is being drawn. */
  isDrawing: boolean;
  /** What was heard of the draw while nobody could know its outcome. */
  promised: { commitment: string; root: string | null } | null;
  /** The random number in the shopper's name, as the server told it. */
  told: string | null;
  note: Note | null;
  refusal: Refusal | null;
  isSynced: boolean;
}

export class RestLink {
  private me: Promise<Me> | null = null;
  private readonly known = new Map<string, Known>();
  private pending: { kept: Pending; isSent: boolean; answer: Promise<Outcome> }[] = [];
  /** Those who wait before they try again. */
  private readonly waiting = new Set<() => void>();
  /** Commands of before a reload of the page, until it is known whose they are. */
  private stored: Pending[];
  private made: Made[];

  constructor(
    private readonly api: string,
    private readonly signed: Signed,
    private readonly changed: (sale: string) => void,
  ) {
    this.stored = read<Pending>(restKey(api)).slice(0, MOST_PENDING);
    this.made = read<Made>(noncesKey(api));
  }

  /** What is known of a sale; null: not asked yet. */
  own(sale: string): Own | null {
    const known = this.known.get(sale);
    if (!known?.isSynced) return null;
    const mine = this.pending.filter(({ kept }) => kept.sale === sale);
    return {
      ...{ place: known.place, wanted: known.wanted, cart: known.cart, orders: known.orders, draw: known.draw, note: known.note, refusal: known.refusal },
      under_way: mine.map(({ kept }) => kept.verb),
      unsent: mine.filter(({ isSent }) => !isSent).map(({ kept }) => kept.verb),
    };
  }

  /** What is shown of a sale, with what the shopper has in it, if that is known. */
  view(shown: Shown, sale: Sale): Shown {
    const own = this.own(sale.sale_id);
    return own ? withOwn(shown, sale, own) : shown;
  }

  /** Whether something of the shopper's runs here, so that it is to be asked for more often. */
  hasStake(sale: string): boolean {
    const known = this.known.get(sale);
    if (!known) return false;
    const isPending = known.orders.some(({ order_status }) => order_status === "pending");
    const status = known.place?.status;
    return isPending || known.cart !== null || status === "waiting" || status === "admitted" || (status === "entered" && known.isDrawing);
  }

  /** The verbs of a sale that go on here. */
  underWay(sale: string): Verb[] {
    return this.pending.filter(({ kept }) => kept.sale === sale).map(({ kept }) => kept.verb);
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
  async refresh(of: Pick<Sale, "sale_id" | "allocation" | "status">, now: number): Promise<void> {
    const sale = of.sale_id;
    const me = await this.whoAmI();
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
    const mayBeInLine = !was.isSynced && !known.cart && !isPending && (place !== undefined || salesAtStake(this.api).includes(sale));
    // Not of everybody: the browser writes a refusal to the console of the page around.
    if (known.place || mayBeInLine) known.place = await this.placeIn(sale);
    known.isDrawing = of.status === "drawing";
    if (of.allocation === "draw" || known.isDrawing || isOfDraw(known.place)) await this.hearOfDraw(known, sale);
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
    if (isBusy || (known.place && STAND.includes(known.place.status))) known.note = null;
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
      ({ user }) => this.same(wish) ?? this.start({ ...wish, user, key: newKey(), nonce: this.nonceOf(user, wish.sale), until: Date.now() + DEADLINE_MS }),
      () => refused(wish, "not_sent", "It was not sent: there was no connection."),
    );
  }

  /** Commands of a socket that is gone go on here, under their ids: so each has its effect once, whichever way it comes. */
  async adopt(take: () => readonly HandedOver[], ended: (id: string, outcome: Outcome) => void): Promise<void> {
    // Not taken over before this way is known to be free.
    const { user } = await this.whoAmI();
    for (const { id, sale, frame, shopper } of take()) {
      const { type: verb, quantity, order, payment, nonce } = JSON.parse(frame) as Frame;
      const wish: Wish = { verb, sale, ...(quantity === undefined ? {} : { quantity }), ...(order === undefined ? {} : { order }), ...(payment ? { token: payment.token } : {}) };
      if (shopper !== null && shopper !== user) {
        ended(id, refused(wish, "no_answer", "No answer came in time. What is shown here is what the server knows."));
        continue;
      }
      const kept = { ...wish, user, key: id, nonce: nonce ?? this.nonceOf(user, sale), until: Date.now() + DEADLINE_MS };
      // Whether it has left this device, the socket did not say.
      void this.start(kept, true).then((outcome) => ended(id, outcome));
    }
  }

  /** Asks for this shopper's newest orders, in all sales. */
  async readOrders(): Promise<void> {
    this.me = null;
    const { orders } = await this.whoAmI();
    const newest = [...orders].sort((a, b) => Date.parse(b.created_at) - Date.parse(a.created_at)).slice(0, MOST_ORDERS);
    const read = await Promise.all(newest.map(({ order_id }) => this.ask<RestOrder>(`/orders/${order_id}`)));
    for (const order of read) this.take(this.knownOf(order.sale_id), order);
  }

  /** The orders that are known, newest first. */
  orders(now: number): Order[] {
    const all = [...this.known.values()].flatMap(({ orders }) => orders).map((order) => orderOf(order, null, now));
    return all.sort((a, b) => b.created_at - a.created_at);
  }

  /** What was asked for before is old: a socket has known more since. */
  anew(): void {
    this.me = null;
    for (const known of this.known.values()) known.isSynced = false;
  }

  /** The network has changed: what waits to be tried again is tried now. */
  hurry(): void {
    for (const resume of this.waiting) resume();
  }

  /** What a proof of this shopper's in the sale's draw can be held against, as JSON. */
  async heardOfDraw(sale: string): Promise<string> {
    this.me = null;
    const { user, people } = await this.whoAmI();
    const { promised, told } = this.knownOf(sale);
    const shopper = people.find(({ sales }) => sales.includes(sale))?.person ?? null;
    const made = this.made.filter((one) => one.user === user && one.sale === sale);
    return JSON.stringify({ sale, shopper, told, made: made.map(({ nonce }) => nonce), commitment: promised?.commitment ?? null, root: promised?.root ?? null });
  }

  private async hearOfDraw(known: Known, sale: string): Promise<void> {
    const draw = await call<PublishedDraw>(this.api, `/flash-sales/${sale}/draw`).catch(() => null);
    if (!draw) return;
    known.draw = draw;
    known.promised ??= { commitment: draw.commitment, root: null };
    if (draw.seed === undefined) known.promised.root ??= draw.root ?? null;
  }

  /** The same one for every join of a sale, kept for a reload: with it the draw can be checked afterwards. */
  private nonceOf(user: string, sale: string): string {
    const known = this.made.find((one) => one.user === user && one.sale === sale);
    if (known) return known.nonce;
    const made = { user, sale, nonce: nonce() };
    this.made = [...this.made, made].slice(-MOST_NONCES);
    store(noncesKey(this.api), this.made);
    return made.nonce;
  }

  private same({ verb, sale, order, token }: Wish): Promise<Outcome> | null {
    return this.pending.find(({ kept }) => kept.verb === verb && kept.sale === sale && kept.order === order && kept.token === token)?.answer ?? null;
  }

  private start(kept: Pending, isSent = false): Promise<Outcome> {
    const entry = { kept, isSent, answer: Promise.resolve<Outcome>(refused(kept, "not_sent", "")) };
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
        await this.wait(problem.retryAfterMs ?? pause);
      }
    }
  }

  private wait(ms: number): Promise<void> {
    return new Promise((resolve) => {
      const resume = () => {
        clearTimeout(timer);
        this.waiting.delete(resume);
        resolve();
      };
      const timer = setTimeout(resume, ms);
      this.waiting.add(resume);
    });
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
        const joined = await ask<Pick<Position, "position" | "status" | "claim_until"> & { nonce?: string }>(`/flash-sales/${sale}/join-queue`, { body: { user_id: user, quantity, nonce } });
        known.wanted = quantity;
        known.note = null;
        known.told = joined.nonce ?? null;
        known.place = { wait_time_seconds: null, wait_time_seconds_least: null, chance: null, units_in_carts: 0, ...joined };
        return;
      }
      case "leave":
        await ask(`/flash-sales/${sale}/queue-position`, { method: "DELETE" });
        known.place = null;
        known.note = { kind: "left", reason: null, at: Date.now() };
        return;
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
      case "extend": {
        const { expires_at } = await ask<{ expires_at: string }>(`/flash-sales/${sale}/extension`, { method: "POST" });
        if (known.cart) known.cart = { ...known.cart, expires_at, extended: true };
        else if (known.place) known.place = { ...known.place, claim_until: expires_at, extended: true };
        return;
      }
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
    store(restKey(this.api), [...this.stored, ...this.pending.map(({ kept }) => kept)]);
  }

  private knownOf(sale: string): Known {
    const known = this.known.get(sale) ?? { place: null, wanted: 1, cart: null, orders: [], draw: null, isDrawing: false, promised: null, told: null, note: null, refusal: null, isSynced: false };
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
    this.me ??= this.ask<{ session: string; people: PersonKept[] }>("/me").then(({ session, people }) => ({
      user: session,
      people: people.map(({ person, draws, places }) => ({ person, sales: [...(draws ?? []), ...places].map(({ sale_id }) => sale_id) })),
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

type PersonKept = Pick<Me, "orders" | "places"> & { person: string; draws?: { sale_id: string }[] };

/** A place that stands. */
const STAND: readonly Position["status"][] = ["waiting", "admitted", "entered"];

function isOfDraw(place: Position | null): boolean {
  return place?.status === "entered" || place?.status === "not_drawn";
}

function read<T>(key: string): T[] {
  try {
    const stored: unknown = JSON.parse(sessionStorage.getItem(key) ?? "[]");
    return Array.isArray(stored) ? (stored as T[]) : [];
  } catch {
    // Forbidden or not ours: nothing is remembered.
    return [];
  }
}

function store(key: string, list: readonly unknown[]): void {
  try {
    sessionStorage.setItem(key, JSON.stringify(list));
  } catch {
    // Then a reload forgets it; nothing else is lost.
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
