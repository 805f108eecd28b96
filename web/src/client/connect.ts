/** The client for pages and programs that draw by themselves: what the package `flashsale-client` offers. It needs no page around it. */

import { clientFor, useWasm, type ClientEvents, type WasmSource } from "./client";
import type { Shown } from "./by-rest";
import { FlashSaleError } from "./errors";
import type { Connection, Order, OrderId, SaleId } from "./view";

export interface ConnectOptions {
  /** The platform's address, as `https://sale.example`. */
  api: string;
  /** The token of a customer whom the shop has signed in; without it the shopper is a guest of this browser. */
  token?: string | null;
  /** Where `flashsale_client_bg.wasm` is, if the bundler does not keep it beside this module: its address, its bytes, or a module. */
  wasm?: WasmSource;
}

/** One shopper's connection to one platform. All of a page with the same `api` and `token` share one socket. */
export interface FlashSale {
  /** Calls back until the returned function is called. */
  on<K extends keyof ClientEvents>(event: K, listener: (detail: ClientEvents[K]) => void): () => void;
  /** Follows a sale until the returned function is called; `sale` events tell of each change. */
  watch(sale: SaleId): () => void;
  /** All that a page shows of a sale now; null until something is known. */
  view(sale: SaleId): Shown | null;
  /** The shopper's orders, newest first: those that have been asked for, and those that news has come of. */
  readonly knownOrders: Order[];
  readonly connection: Connection;
  /** The server's time, in ms since 1970. */
  readonly now: number;

  // Each resolves when the server has carried it out, and rejects with a FlashSaleError when it has not.
  join(sale: SaleId, quantity?: number): Promise<void>;
  leave(sale: SaleId): Promise<void>;
  reserve(sale: SaleId, quantity?: number): Promise<void>;
  release(sale: SaleId): Promise<void>;
  /** Gives a turn or a cart its time once more: `may_extend` in the view says whether it can have that. */
  extend(sale: SaleId): Promise<void>;
  /** With a payment token the order is paid at once. */
  checkout(sale: SaleId, payment?: string): Promise<void>;
  pay(order: OrderId, payment: string): Promise<void>;
  cancel(order: OrderId): Promise<void>;
  orders(): Promise<void>;
  /** Forgets the refusal that is shown of a sale. */
  dismiss(sale: SaleId): void;
  /** Ends all that this connection follows. The socket closes with the last one that uses it. */
  close(): void;
}

/** Throws a FlashSaleError (`api_invalid`) if `api` is no address. */
export function connect({ api, token = null, wasm }: ConnectOptions): FlashSale {
  if (wasm !== undefined) useWasm(wasm);
  const client = clientFor(originOf(api), token === "" ? null : token);
  const stops = new Set<() => void>([client.use()]);
  const kept = (stop: () => void) => {
    stops.add(stop);
    return () => {
      if (stops.delete(stop)) stop();
    };
  };
  return {
    on: (event, listener) => kept(client.on(event, listener)),
    watch: (sale) => kept(client.watch(sale)),
    view: (sale) => client.view(sale),
    get knownOrders() {
      return client.knownOrders;
    },
    get connection() {
      return client.connection;
    },
    get now() {
      return client.now;
    },
    join: (sale, quantity = 1) => client.join(sale, quantity),
    leave: client.leave,
    reserve: (sale, quantity = 1) => client.reserve(sale, quantity),
    release: client.release,
    extend: client.extend,
    checkout: client.checkout,
    pay: client.pay,
    cancel: client.cancel,
    orders: client.orders,
    dismiss: (sale) => client.dismiss(sale),
    close: () => {
      for (const stop of stops) stop();
      stops.clear();
    },
  };
}

function originOf(api: string): string {
  try {
    const url = new URL(api);
    if (/^https?:$/.test(url.protocol)) return url.href.replace(/\/$/, "");
  } catch {
    // Said below.
  }
  throw new FlashSaleError("api_invalid", `"${api}" is no address. Write the platform's, as in "https://sale.example".`);
}
