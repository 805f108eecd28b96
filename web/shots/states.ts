/** Every state of the widget without a server: `?state=waiting&lang=ar` shows one, `show(state)` another; `window.states` names them all. */

import type { Shown } from "../src/client/by-rest";
import { FlashSaleElement } from "../src/element/flash-sale";
import { speak, texts } from "../src/text/language";
import { BARE, clocked, INFO, LINE, MINUTE, NOW, ORDER, SALE, STOCK } from "../test/views";

const info = { ...INFO, description: "Solid brass, turned by hand. One batch of ten.\nShips in a week.", payments: "sandbox" as const, terms_url: "https://shop.example/terms", terms_version: "2026-11-01" };
const sale: Shown = { ...SALE, info };
const line = { ...LINE, position: 37, moves: { called: 12, watched_ms: MINUTE, per_second: 0.2, last_ms: 2_000 }, soonest_ms: 2 * MINUTE, latest_ms: 5 * MINUTE };
const draw = { stage: "open" as const, commitment: "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08", awaits: null, entered: 1, count: null, root: null, units: null, winners: null, reason: null };
const order = { ...ORDER, quantity: 3, amount: 29_700 };
const turn = { may_extend: false, extended: false, quantity: 1, until: NOW + 118_000, left_ms: 118_000, total_ms: 120_000 };

const STATES: Readonly<Record<string, Shown>> = {
  loading: { ...BARE, journey: "loading", phase: null, stock: null },
  unreached: { ...BARE, journey: "loading", phase: null, stock: null, connection: { state: "waiting", retry_in_ms: 12_000 } },
  unknown: { ...BARE, journey: "unknown", phase: null, stock: null },
  countdown: { ...sale, journey: "countdown", phase: "scheduled", info: { ...info, room_opens_at: NOW + 165 * MINUTE, starts_at: NOW + 180 * MINUTE }, countdown: { to: "room", at: NOW + 165 * MINUTE, left_ms: 165 * MINUTE } },
  lobby: { ...sale, journey: "lobby", phase: "waiting", countdown: { to: "start", at: NOW + 4 * MINUTE, left_ms: 4 * MINUTE }, may_take: 3 },
  lobby_joined: { ...sale, journey: "lobby", phase: "waiting", countdown: { to: "start", at: NOW + 4 * MINUTE, left_ms: 4 * MINUTE }, line },
  open: { ...sale, countdown: { to: "end", at: INFO.ends_at, left_ms: 60 * MINUTE } },
  limit: { ...sale, may_take: 0 },
  draw_open: { ...sale, info: { ...info, allocation: "draw", draw_weight: "waiting_time" }, draw: { ...draw, entered: 0 }, may_take: 3 },
  open_line: { ...sale, stock: { ...STOCK, waiting: 2_820, free: 0, newcomers_chance: "slim" }, outlook: "may_come_back" },
  waiting: { ...sale, journey: "waiting", line, countdown: { to: "end", at: INFO.ends_at, left_ms: 60 * MINUTE } },
  waiting_slim: { ...sale, journey: "waiting", stock: { ...STOCK, free: 0 }, line: { ...line, position: 1_204, waiting: 2_820, behind: 1_616, soonest_ms: null, latest_ms: null, chance: "slim", reason: "stock_low", moves: { called: 53, watched_ms: MINUTE, per_second: 8.2, last_ms: 300 } } },
  waiting_next: { ...sale, journey: "waiting", stock: { ...STOCK, free: 0 }, line: { ...line, position: 1, soonest_ms: null, latest_ms: null, chance: "slim", in_carts: 1, reason: "stock_low" } },
  waiting_offline: { ...sale, journey: "waiting", line, connection: { state: "waiting", retry_in_ms: 12_000 } },
  entered: { ...sale, journey: "entered", info: { ...info, allocation: "draw" }, stock: { ...STOCK, supply: 2, waiting: 6 }, draw },
  drawing: { ...sale, journey: "entered", phase: "drawing", info: { ...info, allocation: "draw" }, draw: { ...draw, stage: "closed" } },
  not_drawn: { ...sale, journey: "not_drawn", phase: "ended", info: { ...info, allocation: "draw" }, draw: { ...draw, stage: "drawn" } },
  admitted: { ...sale, journey: "admitted", turn },
  admitted_late: { ...sale, journey: "admitted", turn: { ...turn, left_ms: 14_000, may_extend: true } },
  holding: { ...sale, journey: "holding", hold: clocked(4 * MINUTE, 3), stock: { ...STOCK, in_carts: 4, mine: 3 } },
  unsent: { ...sale, journey: "checking_out", hold: clocked(12_000, 3), under_way: ["checkout"], unsent: ["checkout"], connection: { state: "waiting", retry_in_ms: 4_000 } },
  pay: { ...sale, journey: "pay", order },
  pay_at_shop: { ...sale, journey: "pay", order, info: { ...info, payments: "merchant" } },
  declined: { ...sale, journey: "pay", order: { ...order, declined: "insufficient funds" } },
  paying: { ...sale, journey: "paying", order: { ...order, paying: true } },
  paying_over: { ...sale, journey: "paying", order: { ...order, paying: true, left_ms: 0 } },
  confirmed: { ...sale, journey: "confirmed", order: { ...order, status: "confirmed" } },
  confirmed_refunded: { ...sale, journey: "confirmed", order: { ...order, status: "confirmed", refunded: 5_000 } },
  lapsed: { ...sale, note: { kind: "turn_lapsed", reason: null, at: NOW } },
  refused: { ...sale, refusal: { verb: "reserve", code: "not_enough", message: "", retry: false } },
  sold_out: { ...sale, journey: "sold_out", outlook: "sold_out", stock: { ...STOCK, free: 0, in_carts: 0, sold: 10 } },
  paused: { ...sale, journey: "paused", phase: "paused", line },
  ended: { ...sale, journey: "ended", phase: "ended", now: INFO.ends_at + MINUTE },
  cancelled: { ...sale, journey: "cancelled", phase: "cancelled" },
  stale: { ...sale, stale_ms: 42_000 },
  stopped: { ...sale, connection: { state: "stopped", code: "too_many_sockets" } },
  called_off: { ...sale, journey: "ended", phase: "ended", now: INFO.starts_at - MINUTE },
  by_rest: { ...sale, by_rest: true, connection: { state: "waiting", retry_in_ms: 12_000 } },
};

class Still extends FlashSaleElement {
  override get view(): Shown {
    return STATES[wanted] ?? { ...BARE };
  }
}
customElements.define("flash-sale", Still);

const query = new URLSearchParams(location.search);
let wanted = query.get("state") ?? "open";
document.documentElement.lang = query.get("lang") ?? "en";
await speak([document.documentElement.lang]);
document.documentElement.dir = texts().dir;

async function show(state: string): Promise<void> {
  wanted = state;
  const element = document.createElement("flash-sale") as FlashSaleElement;
  element.setAttribute("sale", INFO.sale);
  element.setAttribute("wide", "");
  document.querySelector("#place")?.replaceChildren(element);
  // Nothing runs: a second later what was unreachable is said to be.
  Object.assign(element, { offlineSince: -60_000 });
  await element.updateComplete;
}

await show(wanted);
Object.assign(window, { states: Object.keys(STATES), show });

export {};
