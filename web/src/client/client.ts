/** The WASM client for pages: loaded once, one connection per platform and token, shared by everything on a page. */

import load, { FlashSaleClient } from "../wasm/flashsale_client.js";
import { isReadable, serverTime, viewOf, type Read, type Shown } from "./by-rest";
import { complain } from "./complain";
import { FlashSaleError } from "./errors";
import type { HandedOver, RestLink } from "./rest-link";
import { takeFirst } from "./first-read";
import { forgetMe, getMyData, getProof, getSale, Problem } from "./rest";
import { isSaleId } from "./sale-id";
import { deviceId, forgetGuest, guestSession, type Session } from "./session";
import type { Checked, Connection, Order, Outcome, Verb, View } from "./view";

export interface ClientEvents {
  sale: string;
  connection: null;
  orders: null;
  settled: Outcome;
  notice: { code: string; text: string };
  /** A merchant's own token has run out; the page may set a new one. */
  token: null;
}

/** Makes what opens one socket; null: nobody is signed in any more. */
export type Tickets = () => Promise<string | null>;

/** An element that is moved within its page is gone for a moment only. */
const LINGER_MS = 2_000;
/** After this time without a first word over the socket, the shopper takes part by REST. */
const READ_AFTER_MS = 4_000;
/**
 * A socket that was there and stays away is done without after this time, and a random part of the other: those of a whole server are
 * lost at once, and most of them come back by themselves.
 */
const LOST_AFTER_MS = 8_000;
const LOST_SPREAD_MS = 6_000;
/** So often it is asked for then, and where something of the shopper's runs. */
const READ_EVERY_MS = 10_000;
const READ_STAKE_MS = 3_000;
/** A sale that begins is asked for a little after that. */
const READ_START_MS = 300;
/** The server tells a time by REST in whole seconds. */
const SECOND_MS = 1_000;
/** The most units that one command may ask for. */
const MOST_UNITS = 100;
/** Tries to load the WebAssembly, where the network may be why it failed. */
const LOAD_TRIES = 3;
const LOAD_PAUSE_MS = 2_000;

/** Where the WebAssembly is, if it is not beside this module. */
export type WasmSource = Wasm | Promise<Wasm>;
type Wasm = string | URL | Request | Response | BufferSource | WebAssembly.Module;
let wasmSource: WasmSource | undefined;

export function useWasm(source: WasmSource): void {
  wasmSource = source;
}

async function loadWasm(): Promise<void> {
  for (let tries = 1; ; tries += 1) {
    try {
      await (wasmSource === undefined ? load() : load({ module_or_path: wasmSource }));
      return;
    } catch (error) {
      const isForbidden = error instanceof WebAssembly.CompileError || typeof WebAssembly !== "object";
      if (isForbidden || tries === LOAD_TRIES) throw error;
      await new Promise((resume) => setTimeout(resume, LOAD_PAUSE_MS * tries));
    }
  }
}

/** A view is asked for several times over to draw it once: for so long it is the same one, unless there is news. Clocks are drawn 5 ms after each second. */
const VIEW_KEPT_MS = 4;

/** The key of the operator's client. */
const OPERATOR = "operator";

type Listener<K extends keyof ClientEvents> = (detail: ClientEvents[K]) => void;

const OFFLINE: Connection = { state: "connecting" };

export class Client {
  private wasm: FlashSaleClient | null = null;
  private failed: Connection | null = null;
  private readonly watched = new Map<string, number>();
  private readonly listeners = new Map<keyof ClientEvents, Set<Listener<never>>>();
  private started: Promise<FlashSaleClient> | null = null;
  private users = 0;
  private isAwake = false;
  private timer: ReturnType<typeof setTimeout> | undefined;
  /** When the browser said that there is no network, until a message shows that there is. */
  private offlineAt: number | null = null;
  private readonly seen = new Map<string, { view: View; at_ms: number }>();
  private readonly reads = new Map<string, Read>();
  private readonly problems = new Map<string, Problem>();
  private reader: ReturnType<typeof setTimeout> | undefined;
  /** How this shopper takes part while nothing comes live. */
  private link: RestLink | null = null;
  private isByRest = false;
  /** The merchant's token is no good: nothing is to be asked in its name. */
  private isRefused = false;
  private wasOnline = false;
  private loser: ReturnType<typeof setTimeout> | undefined;
  /** A socket that was there stays away, and all goes on by REST. */
  private isLost = false;

  constructor(
    private readonly api: string,
    private readonly token: string | Tickets | null,
  ) {}

  /**
   * Keeps the connection until the returned function is called. When nobody uses it any more it is closed, as if the tab had been:
   * a single-page shop has taken its last element away, and a turn must not come unseen.
   */
  use(): () => void {
    this.users += 1;
    clearTimeout(this.timer);
    this.wake();
    let isOver = false;
    return () => {
      if (isOver) return;
      isOver = true;
      this.users = Math.max(0, this.users - 1);
      if (this.users === 0) this.timer = setTimeout(() => this.sleep(), LINGER_MS);
    };
  }

  /** Whether a connection is there or wanted. */
  get isUsed(): boolean {
    return this.isAwake;
  }

  private wake(): void {
    if (this.isAwake) return;
    this.isAwake = true;
    if (typeof document === "object") {
      addEventListener("online", this.isBack);
      addEventListener("offline", this.isGone);
      document.addEventListener("visibilitychange", this.isSeen);
    }
    this.reader = setTimeout(() => void this.takePartByRest(), READ_AFTER_MS);
    if (this.wasm) {
      this.wasm.connect();
      return;
    }
    this.started ??= this.start();
    this.started.catch(() => undefined);
  }

  private sleep(): void {
    if (!this.isAwake || this.users > 0) return;
    this.isAwake = false;
    this.wasOnline = false;
    this.found();
    clearTimeout(this.reader);
    if (typeof document === "object") {
      removeEventListener("online", this.isBack);
      removeEventListener("offline", this.isGone);
      document.removeEventListener("visibilitychange", this.isSeen);
    }
    this.wasm?.close();
  }

  private readonly isBack = () => {
    this.offlineAt = null;
    this.wasm?.nudge();
    this.link?.hurry();
    if (this.isLost) void this.takePartByRest();
    this.emit("connection", null);
  };

  private readonly isGone = () => {
    this.offlineAt = performance.now();
    this.wasm?.nudge();
    this.emit("connection", null);
  };

  private readonly isSeen = () => {
    if (!document.hidden) this.wasm?.nudge();
  };

  private async start(): Promise<FlashSaleClient> {
    try {
      await loadWasm();
    } catch (error) {
      this.failed = { state: "stopped", code: "unsupported" };
      // Whoever comes next tries again.
      this.started = null;
      complain(
        `the live part could not be loaded (${error instanceof Error ? error.message : String(error)}). A Content-Security-Policy needs 'wasm-unsafe-eval' and ${this.api} in script-src, and ${this.api} in connect-src.`,
      );
      void this.takePartByRest();
      this.emit("connection", null);
      throw new FlashSaleError("unsupported", "The live part could not be loaded.");
    }
    this.failed = null;
    const url = `${this.api.replace(/^http/, "ws")}/ws`;
    const wasm = new FlashSaleClient(
      url,
      (stale: string | null) => this.freshToken(stale),
      (kind: "sale" | "connection" | "orders", sale: string | null) => {
        this.seen.clear();
        if (kind === "connection") this.followConnection(wasm);
        if (kind === "sale" && sale) this.emit("sale", sale);
        else if (kind !== "sale") this.emit(kind, null);
      },
      (outcome: Outcome) => this.emit("settled", outcome),
      (code: string, text: string) => this.emit("notice", { code, text }),
    );
    this.wasm = wasm;
    for (const sale of this.watched.keys()) wasm.watch(sale);
    if (this.isAwake) wasm.connect();
    return wasm;
  }

  /** Notes when a socket that was there stays away, and when it is back. */
  private followConnection(wasm: FlashSaleClient): void {
    const { state } = wasm.connection() as Connection;
    if (state === "online") {
      this.wasOnline = true;
      this.found();
    } else if (this.wasOnline && this.isAwake && state !== "stopped" && typeof this.token !== "function") {
      this.loser ??= setTimeout(() => {
        this.isLost = true;
        this.link?.anew();
        void this.takePartByRest();
      }, LOST_AFTER_MS + Math.random() * LOST_SPREAD_MS);
    }
  }

  private found(): void {
    clearTimeout(this.loser);
    this.loser = undefined;
    if (!this.isLost) return;
    this.isLost = false;
    this.reads.clear();
    // What was given by REST is answered there.
    this.link?.hurry();
  }

  /** From now on sales of which nothing comes live are asked for, and commands go the same way. */
  private async takePartByRest(): Promise<void> {
    this.isByRest = true;
    clearTimeout(this.reader);
    // Without a network there is nothing to ask, and each try would stand on the console of the page around.
    const missing = this.offlineAt === null ? [...this.watched.keys()].filter((sale) => this.isMissing(sale)) : [];
    const isAway = this.offlineAt === null && this.connection.state !== "online";
    // An operator looks on: they have nothing in the sale.
    if ((missing.length > 0 || isAway) && !this.link && !this.isRefused && typeof this.token !== "function") {
      const part = await import("./rest-link").catch(() => null);
      if (part) this.link ??= new part.RestLink(this.api, this.signed, (sale) => this.emit("sale", sale));
      this.emit("connection", null);
    }
    await Promise.all(missing.map((sale) => this.readSale(sale)));
    if (missing.length > 0) await this.takeOver().catch(() => undefined);
    clearTimeout(this.reader);
    if (this.isAwake) this.reader = setTimeout(() => void this.takePartByRest(), this.readAgainIn());
  }

  /** Commands that the socket has not answered go on by REST, under their ids. */
  private async takeOver(): Promise<void> {
    const { wasm, link } = this;
    if (!wasm || !link || (wasm.connection() as Connection).state === "online") return;
    const take = () => JSON.parse(wasm.hand_over()) as HandedOver[];
    await link.adopt(take, (id, outcome) => {
      wasm.settle(id, outcome);
      this.seen.clear();
      this.emit("settled", outcome);
    });
  }

  private readAgainIn(): number {
    const missing = [...this.watched.keys()].filter((sale) => this.isMissing(sale));
    const period = missing.some((sale) => this.link?.hasStake(sale)) ? READ_STAKE_MS : READ_EVERY_MS;
    const steps = missing.map((sale) => this.view(sale)?.countdown?.left_ms ?? Infinity);
    return Math.min(period, Math.max(SECOND_MS, Math.min(...steps) + READ_START_MS));
  }

  /** Whether nothing comes live of a sale. */
  private isMissing(sale: string): boolean {
    return this.wasm === null || this.isLost || this.live(sale)?.journey === "loading";
  }

  private async readSale(sale: string): Promise<void> {
    try {
      const first = await takeFirst(this.api, sale);
      if (first && !first.sale) throw new Problem("sale_unknown", "There is no such sale.", 404);
      const read = first?.sale ?? (await getSale(this.api, sale));
      if (!isReadable(read)) throw new Problem("unreadable", "The server answers in a way that this page does not know.", 0);
      const at_ms = first?.at_ms ?? performance.now();
      const before = this.reads.get(sale)?.offset_ms;
      const least = serverTime(read) - at_ms;
      // Every reading narrows the second down in which the server's clock is; a socket has told it more exactly.
      const known = this.wasOnline && this.wasm ? this.wasm.now() - performance.now() : before;
      const offset_ms = known === undefined ? least : Math.min(Math.max(known, least), least + SECOND_MS);
      this.reads.set(sale, { sale: read, at_ms, offset_ms });
      this.problems.delete(sale);
      if (this.isByRest && !this.isRefused && this.isMissing(sale)) await this.link?.refresh(read, at_ms + offset_ms);
    } catch (error) {
      // Without the sale there is nothing to show; the shopper's own things are asked for again.
      if (error instanceof Problem && !this.reads.has(sale)) this.problems.set(sale, error);
    }
    this.emit("sale", sale);
  }

  private async freshToken(stale: string | null): Promise<Session | null> {
    if (this.token === null) return guestSession(this.api, stale);
    if (typeof this.token === "function") {
      const ticket = await this.token();
      if (ticket === null) this.emit("token", null);
      return ticket === null ? null : { token: ticket, device: "" };
    }
    if (this.token === stale) {
      this.isRefused = true;
      this.emit("token", null);
      return null;
    }
    return { token: this.token, device: deviceId() };
  }

  on<K extends keyof ClientEvents>(kind: K, listener: Listener<K>): () => void {
    const listeners = this.listeners.get(kind) ?? new Set();
    this.listeners.set(kind, listeners);
    listeners.add(listener as Listener<never>);
    return () => listeners.delete(listener as Listener<never>);
  }

  private emit<K extends keyof ClientEvents>(kind: K, detail: ClientEvents[K]): void {
    for (const listener of this.listeners.get(kind) ?? []) (listener as Listener<K>)(detail);
  }

  /** Watches a sale until the returned function is called. Throws on an id that is none. */
  watch(id: string): () => void {
    if (!isSaleId(id)) throw new FlashSaleError("sale_invalid", `"${id}" is no sale's id.`);
    const sale = id.toUpperCase();
    const count = this.watched.get(sale) ?? 0;
    if (count === 0) this.wasm?.watch(sale);
    this.watched.set(sale, count + 1);
    const stop = this.use();
    // Its price and its times are there before the live part is, and before that has a connection.
    if (count === 0 && this.connection.state !== "online" && typeof this.token !== "function") void this.readSale(sale);
    let isOver = false;
    return () => {
      if (isOver) return;
      isOver = true;
      const left = (this.watched.get(sale) ?? 1) - 1;
      if (left > 0) {
        this.watched.set(sale, left);
      } else {
        this.watched.delete(sale);
        this.reads.delete(sale);
        this.problems.delete(sale);
        this.seen.delete(sale);
        this.wasm?.unwatch(sale);
      }
      stop();
    };
  }

  /** What the live part knows of a sale; null: it is not there yet. */
  private live(sale: string): View | null {
    if (!this.wasm) return null;
    const now_ms = performance.now();
    const seen = this.seen.get(sale);
    if (seen && now_ms - seen.at_ms < VIEW_KEPT_MS) return seen.view;
    const view = this.wasm.view(sale) as View;
    this.seen.set(sale, { view, at_ms: now_ms });
    return view;
  }

  /** What to draw of a sale; null until something is known. */
  view(id: string): Shown | null {
    if (!isSaleId(id)) return null;
    const sale = id.toUpperCase();
    const view = this.live(sale);
    const read = this.reads.get(sale);
    const own = this.link?.own(sale);
    const isLive = view !== null && view.journey !== "loading" && !(this.isLost && own);
    if (!read || isLive) {
      // What was begun by REST ends there.
      const elsewhere = this.link?.underWay(sale) ?? [];
      return view && { ...view, connection: this.connection, under_way: [...view.under_way, ...elsewhere] };
    }
    const shown = viewOf(read, performance.now(), this.connection);
    return this.isByRest ? (this.link?.view(shown, read.sale) ?? shown) : atFirst(shown);
  }

  /** Why a sale cannot be had by REST either; null: it can, or nobody has asked. */
  problem(sale: string): Problem | null {
    return this.problems.get(sale.toUpperCase()) ?? null;
  }

  get connection(): Connection {
    const connection = this.wasm ? (this.wasm.connection() as Connection) : (this.failed ?? OFFLINE);
    if (this.offlineAt === null || connection.state !== "online") return connection;
    // The socket does not know yet. A message from after the network went shows that it did not.
    const heardAt = performance.now() - (connection.silent_ms ?? Infinity);
    if (heardAt > this.offlineAt) {
      this.offlineAt = null;
      return connection;
    }
    return { ...connection, state: "waiting" };
  }

  /** How long there was no news of a sale that this page watches, if it is too long. */
  get staleMs(): number | null {
    const ages = [...this.watched.keys()].map((sale) => this.live(sale)?.stale_ms ?? 0);
    const oldest = Math.max(0, ...ages);
    return oldest > 0 ? oldest : null;
  }

  /** Whether there is another way while nothing is live. */
  get isAskedByRest(): boolean {
    return this.link !== null && this.connection.state !== "online";
  }

  get knownOrders(): Order[] {
    const live = this.wasm ? (this.wasm.known_orders() as Order[]) : [];
    return live.length > 0 || !this.link ? live : this.link.orders(this.now);
  }

  /** The server's time. */
  get now(): number {
    return this.wasm ? this.wasm.now() : Date.now();
  }

  /** Ends the connection for good. */
  close(): void {
    this.users = 0;
    this.sleep();
    this.wasm?.close();
  }

  reconnect(): void {
    this.wasm?.connect();
  }

  dismiss(sale: string): void {
    this.seen.clear();
    this.wasm?.dismiss(sale);
    this.link?.dismiss(sale.toUpperCase());
  }

  /** This shopper's proof in a sale's draw, as the server sends it. */
  proof = (sale: string): Promise<string> => this.signed((session) => getProof(this.api, sale, session));

  /** What is stored of this shopper, as the server tells it. */
  myData = (): Promise<unknown> => this.signed((session) => getMyData(this.api, session));

  /** Forgets this shopper on the server and here. The page is to begin anew afterwards. */
  async forgetMe(): Promise<void> {
    await this.signed((session) => forgetMe(this.api, session));
    if (this.token === null) forgetGuest(this.api);
  }

  /** A request in this shopper's name. A stored token may have lost its owner in another tab: then once more with a fresh one. */
  private readonly signed = async <T>(ask: (session: Session) => Promise<T>): Promise<T> => {
    const session = await this.freshToken(null);
    if (!session) throw new Problem("token_missing", "", 401);
    try {
      return await ask(session);
    } catch (error) {
      const fresh = error instanceof Problem && error.status === 401 ? await this.freshToken(session.token) : null;
      if (!fresh) throw error;
      return ask(fresh);
    }
  };

  /** Checks a proof here, against what this page has heard of the draw before. What checks it is loaded now. */
  async checkDraw(sale: string, proof: string): Promise<Checked> {
    const { default: load, check_draw } = await import("../wasm/flashsale_draw_check.js");
    await load();
    const checked = check_draw(proof, await this.heardOfDraw(sale));
    if (checked === undefined) throw new FlashSaleError("internal", "The proof could not be checked.");
    return JSON.parse(checked) as Checked;
  }

  /** A socket that has told of the sale knows most. */
  private async heardOfDraw(sale: string): Promise<string> {
    const heard = this.wasm?.heard_of_draw(sale);
    const isTold = heard !== undefined && (JSON.parse(heard) as { commitment: string | null }).commitment !== null;
    if (isTold || !this.link) return heard ?? JSON.stringify({ sale, shopper: null, told: null, made: [], commitment: null, root: null });
    return this.link.heardOfDraw(sale);
  }

  // Each resolves when the server has carried it out, and rejects with a FlashSaleError when it has not.
  join = (sale: string, quantity: number) => this.give({ verb: "join", sale, quantity }, (wasm) => wasm.join(sale, quantity));
  leave = (sale: string) => this.give({ verb: "leave", sale }, (wasm) => wasm.leave(sale));
  reserve = (sale: string, quantity: number) => this.give({ verb: "reserve", sale, quantity }, (wasm) => wasm.reserve(sale, quantity, false));
  release = (sale: string) => this.give({ verb: "release", sale }, (wasm) => wasm.release(sale));
  extend = (sale: string) => this.give({ verb: "extend", sale }, (wasm) => wasm.extend(sale));
  checkout = (sale: string, token?: string) => this.give({ verb: "checkout", sale, token }, (wasm) => wasm.checkout(sale, token));
  pay = (order: string, token: string) => this.give({ verb: "pay", order, token }, (wasm) => wasm.pay(order, token));
  cancel = (order: string) => this.give({ verb: "cancel", order }, (wasm) => wasm.cancel(order));
  orders = async () => {
    if (!this.isAskedByRest) return this.give({ verb: "orders" }, (wasm) => wasm.orders());
    await this.link?.readOrders();
    this.emit("orders", null);
  };

  private async give(wish: Wish, command: (wasm: FlashSaleClient) => Promise<unknown>): Promise<void> {
    // WebAssembly would make a whole number of it.
    if (wish.quantity !== undefined && !(Number.isInteger(wish.quantity) && wish.quantity > 0 && wish.quantity <= MOST_UNITS)) {
      throw new FlashSaleError("invalid_field", `${String(wish.quantity)} is no number of units: write 1 to ${String(MOST_UNITS)}.`, { verb: wish.verb });
    }
    const sale = this.saleByRest(wish);
    const { verb, quantity, order, token } = wish;
    const given = { verb, ...(quantity === undefined ? {} : { quantity }), ...(order === undefined ? {} : { order }), ...(token === undefined ? {} : { token }) };
    let outcome: Outcome;
    if (sale !== null && this.link) {
      outcome = await this.link.give({ ...given, sale });
      this.emit("settled", outcome);
    } else {
      this.started ??= this.start();
      const wasm = await this.started;
      try {
        const given = command(wasm);
        this.seen.clear();
        outcome = (await given) as Outcome;
      } catch (error) {
        // An id or a number that is none.
        throw new FlashSaleError("invalid_field", error instanceof Error ? error.message : String(error), { verb });
      }
    }
    if (outcome.error) throw FlashSaleError.of(outcome.error);
  }

  /** The sale of a command that goes by REST; null: it goes live. */
  private saleByRest({ sale: id, order }: Wish): string | null {
    const sale = id?.toUpperCase() ?? (order === undefined ? null : (this.link?.knowsOrder(order) ?? null));
    return sale !== null && this.link?.own(sale) && this.isMissing(sale) ? sale : null;
  }
}

interface Wish {
  verb: Verb;
  sale?: string;
  quantity?: number;
  order?: string;
  token?: string | undefined;
}

/** What is true for everybody, while the live part is on its way. */
function atFirst(shown: Shown): Shown {
  // Before the room opens nobody has anything yet.
  const journey = shown.journey === "countdown" ? "countdown" : "loading";
  const known = { ...shown };
  delete known.by_rest;
  const view: Shown = { ...known, journey, stock: null, outlook: null };
  if (journey === "loading") view.later = { ...known, may_take: shown.info?.per_shopper_limit ?? 1 };
  return view;
}

/** One for all copies of this module on a page: a shop's bundle may have one, and the platform's script another. */
const clients = ((globalThis as unknown as Record<symbol, Map<string, Client> | undefined>)[Symbol.for("flash-sale 0.1 clients")] ??= new Map<string, Client>());

/** The client of an operator's page; each of its sockets takes a ticket. */
export function operatorClient(api: string, tickets: Tickets): Client {
  const client = clients.get(OPERATOR) ?? new Client(api, tickets);
  clients.set(OPERATOR, client);
  return client;
}

/** Somebody else signs in on this page: the next client is a new one. */
export function forgetOperatorClient(): void {
  clients.get(OPERATOR)?.close();
  clients.delete(OPERATOR);
}

/** The client of a platform; `token` is a merchant's own, without it the shopper is a guest. */
export function clientFor(api: string, token: string | null = null): Client {
  const key = `${api}\n${token ?? ""}`;
  const known = clients.get(key);
  if (known) return known;
  // Those of earlier tokens, which nobody uses any more.
  for (const [other, client] of clients) if (other !== OPERATOR && !client.isUsed) clients.delete(other);
  const client = new Client(api, token);
  clients.set(key, client);
  return client;
}
