/** The WASM client for pages: loaded once, one connection per platform and token, shared by everything on a page. */

import load, { FlashSaleClient } from "../wasm/flashsale_client.js";
import { forgetMe, getMyData, getProof, Problem } from "./rest";
import { deviceId, forgetGuest, guestSession, type Session } from "./session";
import type { Checked, Connection, Order, Outcome, View } from "./view";

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

/** The key of the operator's client. */
const OPERATOR = "operator";

type Listener<K extends keyof ClientEvents> = (detail: ClientEvents[K]) => void;

const OFFLINE: Connection = { state: "connecting" };

export class Client {
  private wasm: FlashSaleClient | null = null;
  private failed: Connection | null = null;
  private readonly watched = new Map<string, number>();
  private readonly listeners = new Map<keyof ClientEvents, Set<Listener<never>>>();
  private readonly started: Promise<FlashSaleClient>;

  constructor(
    private readonly api: string,
    private readonly token: string | Tickets | null,
  ) {
    this.started = this.start();
    this.started.catch((error: unknown) => {
      this.failed = { state: "stopped", code: "unsupported" };
      this.emit("connection", null);
      reportError(error);
    });
  }

  private async start(): Promise<FlashSaleClient> {
    await load();
    const url = `${this.api.replace(/^http/, "ws")}/ws`;
    const wasm = new FlashSaleClient(
      url,
      (stale: string | null) => this.freshToken(stale),
      (kind: "sale" | "connection" | "orders", sale: string | null) => {
        if (kind === "sale" && sale) this.emit("sale", sale);
        else if (kind !== "sale") this.emit(kind, null);
      },
      (outcome: Outcome) => this.emit("settled", outcome),
      (code: string, text: string) => this.emit("notice", { code, text }),
    );
    this.wasm = wasm;
    for (const sale of this.watched.keys()) wasm.watch(sale);
    wasm.connect();
    addEventListener("online", () => wasm.nudge());
    document.addEventListener("visibilitychange", () => {
      if (!document.hidden) wasm.nudge();
    });
    return wasm;
  }

  private async freshToken(stale: string | null): Promise<Session | null> {
    if (this.token === null) return guestSession(this.api, stale);
    if (typeof this.token === "function") {
      const ticket = await this.token();
      if (ticket === null) this.emit("token", null);
      return ticket === null ? null : { token: ticket, device: "" };
    }
    if (this.token === stale) {
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
  watch(sale: string): () => void {
    const count = this.watched.get(sale) ?? 0;
    if (count === 0) this.wasm?.watch(sale);
    this.watched.set(sale, count + 1);
    let isOver = false;
    return () => {
      if (isOver) return;
      isOver = true;
      const left = (this.watched.get(sale) ?? 1) - 1;
      if (left > 0) {
        this.watched.set(sale, left);
      } else {
        this.watched.delete(sale);
        this.wasm?.unwatch(sale);
      }
    };
  }

  /** What to draw of a sale; null until the client is loaded. */
  view(sale: string): View | null {
    return this.wasm ? (this.wasm.view(sale) as View) : null;
  }

  get connection(): Connection {
    return this.wasm ? (this.wasm.connection() as Connection) : (this.failed ?? OFFLINE);
  }

  get knownOrders(): Order[] {
    return this.wasm ? (this.wasm.known_orders() as Order[]) : [];
  }

  /** The server's time. */
  get now(): number {
    return this.wasm ? this.wasm.now() : Date.now();
  }

  /** Ends the connection for good. */
  close(): void {
    this.wasm?.close();
  }

  reconnect(): void {
    this.wasm?.connect();
  }

  dismiss(sale: string): void {
    this.wasm?.dismiss(sale);
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
  private async signed<T>(ask: (session: Session) => Promise<T>): Promise<T> {
    const session = await this.freshToken(null);
    if (!session) throw new Problem("token_missing", "", 401);
    try {
      return await ask(session);
    } catch (error) {
      const fresh = error instanceof Problem && error.status === 401 ? await this.freshToken(session.token) : null;
      if (!fresh) throw error;
      return ask(fresh);
    }
  }

  /** Checks a proof here, against what this page has heard of the draw before. */
  checkDraw(sale: string, proof: string): Checked {
    if (!this.wasm) throw new Problem("unsupported", "", 0);
    return this.wasm.check_draw(sale, proof) as Checked;
  }

  join = (sale: string, quantity: number) => this.give((wasm) => wasm.join(sale, quantity));
  leave = (sale: string) => this.give((wasm) => wasm.leave(sale));
  reserve = (sale: string, quantity: number) => this.give((wasm) => wasm.reserve(sale, quantity, false));
  release = (sale: string) => this.give((wasm) => wasm.release(sale));
  checkout = (sale: string) => this.give((wasm) => wasm.checkout(sale, undefined));
  pay = (order: string, payment: string) => this.give((wasm) => wasm.pay(order, payment));
  cancel = (order: string) => this.give((wasm) => wasm.cancel(order));
  orders = () => this.give((wasm) => wasm.orders());

  private async give(command: (wasm: FlashSaleClient) => Promise<unknown>): Promise<Outcome> {
    return (await command(await this.started)) as Outcome;
  }
}

const clients = new Map<string, Client>();

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
  const client = clients.get(key) ?? new Client(api, token);
  clients.set(key, client);
  return client;
}

export function isSaleId(text: string): boolean {
  return /^[0-7][0-9A-HJKMNP-TV-Z]{25}$/i.test(text);
}
