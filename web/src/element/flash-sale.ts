/**
 * `<flash-sale sale="…">`: one sale, from the countdown to the paid order. It draws the client's view and decides
 * nothing. The shop's own page uses the same element.
 *
 * Attributes: `sale` (its id), `api` (the platform's origin; by default where this script came from), `token` (a
 * shopper's token from the merchant; without it a guest session). Style: the custom properties of tokens.css.
 * Events (bubbling, composed): `flash-sale-journey` {journey}, `flash-sale-confirmed` {order}, `flash-sale-refused`
 * {verb, code, message}, `flash-sale-token-needed`, and `flash-sale-pay` {order, pay(token)}, which a page cancels when
 * it brings a payment form of its own, and `flash-sale-handoff` {order, url}, which it cancels to go to the shop's checkout in its
 * own way.
 */

import { LitElement, html, nothing, type PropertyValues, type TemplateResult } from "lit";
import { clientFor, isSaleId, type Client } from "../client/client";
import type { Clocked, Journey, Line, Order, View } from "../client/view";
import { clock, formatCount, plural, range, spoken, staleness } from "../text/duration";
import { PHASES, noteWords, wordsFor } from "../text/journey";
import { discount, formatMoney } from "../text/money";
import { AT_THE_SHOP, cannotPay, isPaidAtShop, testCards, type Payments, type TestCard } from "../text/payments";
import { words } from "../text/rejects";
import { DrawCheck } from "./draw-check";
import { flashSaleStyle } from "./flash-sale-style";
import { stockBar } from "./stock-bar";
import { testMode } from "./test-mode";

const HOME = new URL(import.meta.url).origin;

/** Offline for less than this is not worth a word. */
const OFFLINE_GRACE_MS = 1_500;

export class FlashSaleElement extends LitElement {
  static override properties = {
    sale: { type: String },
    api: { type: String },
    token: { type: String },
  };

  declare sale: string;
  declare api: string;
  declare token: string | null;

  private client: Client | null = null;
  private stop: (() => void)[] = [];
  private timer = 0;
  private readonly check = new DrawCheck(() => this.requestUpdate());
  private quantity = 1;
  /** The test card that is chosen; null: the first one. */
  private card: string | null = null;
  private journey: Journey = "loading";
  private announced = "";
  private offlineSince: number | null = null;
  /** Their ends are told once, and orders that were there at the start are no news. */
  private confirmed: Set<string> | null = null;

  constructor() {
    super();
    this.sale = "";
    this.api = "";
    this.token = null;
  }

  override connectedCallback(): void {
    super.connectedCallback();
    if (this.hasUpdated) this.start();
  }

  override disconnectedCallback(): void {
    super.disconnectedCallback();
    this.end();
  }

  protected override willUpdate(changed: PropertyValues): void {
    if (changed.has("sale") || changed.has("api") || changed.has("token")) {
      this.end();
      this.start();
    }
  }

  private start(): void {
    if (!isSaleId(this.sale)) return;
    const client = clientFor((this.api || HOME).replace(/\/$/, ""), this.token || null);
    this.client = client;
    this.journey = "loading";
    this.confirmed = null;
    this.check.reset();
    this.stop = [
      client.watch(this.sale),
      client.on("sale", (sale) => {
        if (sale.toUpperCase() === this.sale.toUpperCase()) this.changed();
      }),
      client.on("connection", () => this.changed()),
      client.on("token", () => this.tell("flash-sale-token-needed", {})),
    ];
    this.tickOn();
  }

  private end(): void {
    clearTimeout(this.timer);
    for (const stop of this.stop) stop();
    this.stop = [];
    this.client = null;
  }

  /** Draws again when the shown second is over. */
  private tickOn(): void {
    clearTimeout(this.timer);
    const untilNextSecond = 1_000 - ((this.client?.now ?? Date.now()) % 1_000);
    this.timer = window.setTimeout(() => {
      this.requestUpdate();
      this.tickOn();
    }, untilNextSecond + 5);
  }

  private changed(): void {
    this.requestUpdate();
    const view = this.view;
    if (!view) return;
    if (view.journey !== this.journey) {
      this.journey = view.journey;
      this.tell("flash-sale-journey", { journey: view.journey });
    }
    if (view.journey === "loading") return;
    const paid = view.order?.status === "confirmed" ? view.order : null;
    if (paid && this.confirmed && !this.confirmed.has(paid.order)) this.tell("flash-sale-confirmed", { order: paid });
    this.confirmed ??= new Set();
    if (paid) this.confirmed.add(paid.order);
  }

  /** The sale as the client knows it now. */
  get view(): View | null {
    return this.client?.view(this.sale) ?? null;
  }

  private tell(name: string, detail: object): boolean {
    return this.dispatchEvent(new CustomEvent(name, { detail, bubbles: true, composed: true, cancelable: true }));
  }

  // ------------------------------------------------------------------------------------------------ commands

  private readonly join = () => this.give((client) => client.join(this.sale, this.quantity));
  private readonly leave = () => this.give((client) => client.leave(this.sale));
  private readonly release = () => this.give((client) => client.release(this.sale));
  private readonly checkout = () => this.give((client) => client.checkout(this.sale));

  private readonly reserve = async (): Promise<void> => {
    const quantity = this.view?.turn?.quantity ?? this.quantity;
    const outcome = await this.client?.reserve(this.sale, quantity);
    if (outcome?.error?.code === "join_first") {
      // Somebody was faster: the wish is the same, so it takes its place in line.
      this.client?.dismiss(this.sale);
      await this.join();
    } else if (outcome?.error) {
      this.tell("flash-sale-refused", outcome.error);
    }
  };

  private readonly pay = async (event: Event): Promise<void> => {
    event.preventDefault();
    const order = this.view?.order;
    if (!order) return;
    const pay = (token: string) => this.give((client) => client.pay(order.order, token));
    const card = this.card ?? testCards(this.view?.info?.payments)[0]?.token;
    if (this.tell("flash-sale-pay", { order, pay }) && card) await pay(card);
  };

  /** On to the shop's own checkout. Each time anew: its token is good once. */
  private readonly goToCheckout = async (): Promise<void> => {
    const id = this.view?.order?.order;
    if (!id) return;
    await this.give((client) => client.pay(id, AT_THE_SHOP));
    const order = this.view?.order;
    const url = order?.order === id ? order.handoff : null;
    if (!url || !/^https?:/.test(url)) return;
    if (this.tell("flash-sale-handoff", { order, url })) location.assign(url);
  };

  private cancel(order: Order): Promise<void> {
    return this.give((client) => client.cancel(order.order));
  }

  private async give(command: (client: Client) => ReturnType<Client["orders"]>): Promise<void> {
    if (!this.client) return;
    const outcome = await command(this.client);
    if (outcome.error) this.tell("flash-sale-refused", outcome.error);
  }

  // ------------------------------------------------------------------------------------------------ drawing

  protected override render(): TemplateResult {
    const view = this.view;
    if (!isSaleId(this.sale)) return html`<article class="card"><p class="head">This is not a sale’s id.</p></article>`;
    const shown = view ?? { ...LOADING, connection: this.client?.connection ?? LOADING.connection };
    return html`
      <article class="card" aria-busy=${shown.journey === "loading" ? "true" : "false"} data-journey=${shown.journey}>
        ${testMode(shown.info?.payments)} ${this.head(shown)} ${shown.journey === "unknown" ? nothing : html`<div class="middle">${stockBar(shown.stock)}</div>`}
        ${this.panel(shown)}
      </article>
      <div class="unseen" role="status" aria-live="polite">${this.announcement(shown)}</div>
    `;
  }

  private head(view: View): TemplateResult {
    const { info, phase, countdown } = view;
    const badge = phase ? PHASES[phase] : null;
    const off = info ? discount(info.original_price, info.sale_price) : null;
    const price = (minor: number) => (info ? formatMoney(minor, info.currency, info.currency_exponent) : "");
    return html`
      <header class="head">
        <div class="row apart small">
          <span class="badge" data-tone=${badge?.tone ?? "calm"}>${badge?.label ?? "…"}</span>
          ${this.connection(view) ??
          (countdown?.to === "end"
            ? html`<span class="soft numbers" role="timer">Ends in ${clock(countdown.left_ms)}</span>`
            : nothing)}
        </div>
        <h2>${info?.product_name ?? "Flash sale"}</h2>
        ${info?.description ? html`<p class="soft">${info.description}</p>` : nothing}
        <p class="price numbers">
          <strong>${info ? price(info.sale_price) : " "}</strong>
          ${info && off !== null
            ? html`<s class="soft" aria-label="instead of ${price(info.original_price)}">${price(info.original_price)}</s>
                <span class="badge" data-tone="good">−${off}%</span>`
            : nothing}
        </p>
      </header>
    `;
  }

  private connection({ connection, stale_ms }: View): TemplateResult | null {
    if (connection.state === "online") {
      this.offlineSince = null;
      if (stale_ms === null) return null;
      const kept = "Live numbers have stopped for a moment. Your place and your cart are kept.";
      return html`<span class="badge numbers" data-tone="warn" role="status" title=${kept}>${staleness(stale_ms)}</span>`;
    }
    if (connection.state === "stopped") {
      const why = words({ code: connection.code ?? "closed", message: "The connection was closed." });
      return html`<span class="row"><span class="badge" data-tone="bad" title=${why}>Disconnected</span>
        <button class="quiet" @click=${() => this.client?.reconnect()}>Reconnect</button></span>`;
    }
    this.offlineSince ??= Date.now();
    if (Date.now() - this.offlineSince < OFFLINE_GRACE_MS) return null;
    const wait = connection.retry_in_ms;
    const text = wait !== undefined && wait > 1_000 ? `Offline, trying again in ${clock(wait)}` : "Connecting…";
    return html`<span class="badge numbers" data-tone="warn">${text}</span>`;
  }

  private panel(view: View): TemplateResult {
    const { title, text, tone } = wordsFor(view);
    return html`
      <section class="panel" data-tone=${tone}>
        ${this.notices(view)}
        <div class="said">
          <h3>${title}</h3>
          <p class="soft">${text}</p>
        </div>
        ${this.middle(view)} ${this.check.render(view, this.client, (this.api || HOME).replace(/\/$/, ""))}
        <div class="actions">${this.actions(view)}</div>
      </section>
    `;
  }

  private notices(view: View): TemplateResult | typeof nothing {
    const { refusal, trouble } = view;
    if (refusal) {
      return html`<div class="notice" data-tone="bad" role="alert">
        <span>${words(refusal)}</span>
        <button @click=${() => this.client?.dismiss(this.sale)} aria-label="Close this message">OK</button>
      </div>`;
    }
    const stopped = view.connection.state === "stopped" ? view.connection.code : undefined;
    if (stopped) {
      return html`<div class="notice" data-tone="bad"><span>${words({ code: stopped, message: "The connection was closed." })}</span></div>`;
    }
    const note = view.note && !trouble ? noteWords(view.note) : null;
    return note
      ? html`<div class="notice" data-tone=${note.tone}><span><strong>${note.title}.</strong> ${note.text}</span></div>`
      : nothing;
  }

  private middle(view: View): TemplateResult | typeof nothing {
    switch (view.journey) {
      case "countdown":
      case "lobby":
        return html`${view.countdown ? countdownClock(view.countdown.left_ms) : nothing} ${this.place(view)}`;
      case "waiting":
      case "paused":
        return this.place(view);
      case "admitted":
        return view.turn ? claimClock(view.turn, "left to take it") : nothing;
      case "holding":
        return view.hold ? claimClock(view.hold, "left to check out") : nothing;
      case "checking_out":
        return html`<div class="running" role="progressbar" aria-label="Checking out"></div>`;
      case "paying":
        if (isPaidAtShop(view.info?.payments)) return view.order ? claimClock(view.order, "left to pay") : nothing;
        return html`<div class="running" role="progressbar" aria-label="Checking the payment"></div>`;
      case "pay":
        return view.order ? html`${claimClock(view.order, "left to pay")} ${this.cards(view.order, view.info?.payments)}` : nothing;
      case "confirmed":
        return view.order ? receipt(view.order) : nothing;
      default:
        return nothing;
    }
  }

  private place(view: View): TemplateResult | typeof nothing {
    const { line, journey } = view;
    if (!line) return nothing;
    const quantity = line.quantity > 1 ? `, for ${plural(line.quantity, "unit")}` : "";
    // The words above say how many are here, and when places are drawn.
    if (line.position === 0) return nothing;
    return html`
      <p class="place numbers">
        <span class=${journey === "lobby" ? "small" : "big"}><span class="soft">Place</span> ${formatCount(line.position)}</span>
        <span class="soft"
          >${line.priority ? "in the priority line" : html`of ${formatCount(line.waiting)} in line`}${quantity}</span
        >
      </p>
      ${journey === "lobby" ? nothing : outlook(line)}
    `;
  }

  private cards(order: Order, payments: Payments): TemplateResult {
    const cannot = cannotPay(payments);
    if (cannot) return html`<p class="notice">${cannot}</p>`;
    if (isPaidAtShop(payments)) return html``;
    const cards = testCards(payments);
    const chosen = this.card ?? cards[0]?.token;
    const card = ({ token, name, hint }: TestCard) => html`
      <label class="choice">
        <input type="radio" name="card" value=${token} .checked=${chosen === token} @change=${() => {
          this.card = token;
        }} />
        <span>${name}<br /><span class="soft small">${hint}</span></span>
      </label>
    `;
    // Without test cards the page brings its own form, by the event.
    return html`
      <form id="pay" @submit=${this.pay}>
        <fieldset ?disabled=${order.left_ms === 0}>
          <legend class="unseen">Card</legend>
          ${cards.map(card)}
        </fieldset>
      </form>
    `;
  }

  private actions(view: View): TemplateResult | typeof nothing {
    const { journey, line, stock, order, under_way } = view;
    const isBusy = (verb: View["under_way"][number]) => under_way.includes(verb);
    const nothingRuns = under_way.length === 0;
    const primary = (label: string, busy: string, verb: View["under_way"][number], run: () => Promise<void>) => html`
      <button class="primary" ?disabled=${!nothingRuns} @click=${run}>${isBusy(verb) ? busy : label}</button>
    `;
    const plain = (label: string, run: () => Promise<void>) => html`
      <button ?disabled=${!nothingRuns} @click=${run}>${label}</button>
    `;
    const quiet = (label: string, run: () => Promise<void>) => html`
      <button class="quiet" ?disabled=${!nothingRuns} @click=${run}>${label}</button>
    `;
    const join = () => html`${this.units(view)} ${primary("Join the line", "Joining…", "join", this.join)}`;
    const enter = () => html`${this.units(view)} ${primary("Enter the draw", "Entering…", "join", this.join)}`;
    const isDraw = view.info?.allocation === "draw";
    const buy = (label: string) =>
      view.outlook === "free" && stock?.waiting === 0
        ? html`${this.units(view)} ${primary(label, "Taking it…", isBusy("join") ? "join" : "reserve", this.reserve)}`
        : join();
    switch (journey) {
      case "lobby":
        if (isDraw) return enter();
        return line ? plain("Leave the line", this.leave) : join();
      case "entered":
        return view.draw?.stage === "open" ? plain("Leave the draw", this.leave) : nothing;
      case "open":
        if (isDraw) return view.may_take > 0 ? enter() : nothing;
        return view.may_take > 0 ? buy("Put in my cart") : nothing;
      case "waiting":
      case "paused":
        return line ? plain("Leave the line", this.leave) : nothing;
      case "admitted":
        return html`${primary("Put in my cart", "Taking it…", "reserve", this.reserve)} ${quiet("Let others go first", this.leave)}`;
      case "holding":
        return html`${primary("Check out", "Checking out…", "checkout", this.checkout)} ${quiet("Give back", this.release)}`;
      case "pay":
      case "paying":
        return order
          ? html`${this.payButton(order, journey, view.info?.payments, nothingRuns, isBusy("pay"))}
              ${quiet(isBusy("cancel") ? "Cancelling…" : "Cancel order", () => this.cancel(order))}`
          : nothing;
      case "confirmed":
        return view.may_take > 0 && view.phase === "live" && view.outlook === "free" ? buy("Buy another") : nothing;
      default:
        return nothing;
    }
  }

  private payButton(
    order: Order,
    journey: "pay" | "paying",
    payments: Payments,
    nothingRuns: boolean,
    isPaying: boolean,
  ): TemplateResult | typeof nothing {
    const isOff = !nothingRuns || order.left_ms === 0;
    if (isPaidAtShop(payments)) {
      return html`<button class="primary" ?disabled=${isOff} @click=${this.goToCheckout}>
        ${isPaying ? "One moment…" : "Continue to the shop's checkout"}
      </button>`;
    }
    if (journey === "paying" || cannotPay(payments)) return nothing;
    return html`<button class="primary numbers" type="submit" form="pay" ?disabled=${isOff}>
      ${isPaying ? "Paying…" : `Pay ${amount(order)}`}
    </button>`;
  }

  private units(view: View): TemplateResult | typeof nothing {
    const most = Math.min(view.may_take, 100);
    this.quantity = Math.max(1, Math.min(this.quantity, most));
    if (most <= 1) return nothing;
    const choose = (event: Event) => {
      this.quantity = Number((event.target as HTMLSelectElement).value);
    };
    return html`
      <label class="units"
        ><span class="unseen">How many</span>
        <select @change=${choose}>
          ${Array.from({ length: most }, (_, index) => index + 1).map(
            (units) => html`<option value=${units} ?selected=${units === this.quantity}>${plural(units, "unit")}</option>`,
          )}
        </select></label
      >
    `;
  }

  /** Changes of state are read out; numbers that run are not. */
  private announcement(view: View): string {
    const { title, text } = wordsFor(view);
    const note = view.note ? noteWords(view.note) : null;
    const clocked = view.turn ?? view.hold;
    const time = clocked && (view.journey === "admitted" || view.journey === "holding") ? ` You have ${spoken(clocked.total_ms)}.` : "";
    const key = `${view.journey} ${view.note?.kind ?? ""}`;
    if (!this.announced.startsWith(`${key}\n`)) {
      this.announced = `${key}\n${note ? `${note.title}. ` : ""}${title}. ${text}${time}`;
    }
    return this.announced.slice(this.announced.indexOf("\n") + 1);
  }

  static override styles = flashSaleStyle;
}

const LOADING: View = {
  sale: "",
  journey: "loading",
  now: 0,
  connection: { state: "connecting" },
  info: null,
  phase: null,
  outlook: null,
  countdown: null,
  stock: null,
  stale_ms: null,
  line: null,
  draw: null,
  turn: null,
  hold: null,
  order: null,
  may_take: 0,
  note: null,
  refusal: null,
  trouble: null,
  under_way: [],
};

/** The last part of a time looks different: below this share of it, and below these seconds. */
const LATE_MS = 30_000;

function countdownClock(leftMs: number): TemplateResult {
  return html`<p class="clock" role="timer" aria-label=${spoken(leftMs)}>${clock(leftMs)}</p>`;
}

function claimClock(clocked: Omit<Clocked, "quantity">, label: string): TemplateResult {
  const share = clocked.total_ms > 0 ? Math.min(1, clocked.left_ms / clocked.total_ms) : 0;
  const isLate = clocked.left_ms < Math.min(LATE_MS, clocked.total_ms / 4);
  return html`
    <div class="clocked" ?data-late=${isLate}>
      <p class="row"><span class="clock" role="timer">${clock(clocked.left_ms)}</span> <span class="soft small">${label}</span></p>
      <div class="left" aria-hidden="true"><span .style=${`inline-size:${share * 100}%`}></span></div>
    </div>
  `;
}

/** When the turn comes, how likely a unit is left then, and what may come back until then. */
function outlook(line: Line): TemplateResult {
  const row = (name: string, value: string) => html`<dt class="soft">${name}</dt><dd class="numbers">${value}</dd>`;
  const stands = line.reason === "ends_first" ? "Not before the end" : "Not moving";
  const wait = line.soonest_ms === null ? stands : line.latest_ms === null ? "Not known" : range(line.soonest_ms, line.latest_ms);
  return html`
    <dl class="receipt" data-part="outlook">
      ${row("Your turn in", wait)}
      ${line.chance_percent === null ? nothing : row("Chance of a unit", percent(line.chance_percent))}
      ${line.in_carts === 0 ? nothing : row("In other carts", plural(line.in_carts, "unit"))}
      ${line.in_carts === 0 || line.next_lapse_ms === null ? nothing : row("Next may come back in", clock(line.next_lapse_ms))}
    </dl>
  `;
}

/** A measured chance is never quite none, and never quite sure. */
function percent(chance: number): string {
  if (chance < 1) return "under 1 %";
  return chance > 99 ? "over 99 %" : `${chance} %`;
}

function receipt(order: Order): TemplateResult {
  return html`
    <dl class="receipt">
      <dt class="soft">Order</dt>
      <dd><code>${order.order}</code></dd>
      <dt class="soft">Paid</dt>
      <dd class="numbers">${amount(order)} for ${plural(order.quantity, "unit")}</dd>
    </dl>
  `;
}

function amount(order: Order): string {
  return formatMoney(order.amount, order.currency, order.currency_exponent ?? 2);
}
