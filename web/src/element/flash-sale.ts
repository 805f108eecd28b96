/**
 * `<flash-sale sale="…">`: one sale, from the countdown to the paid order. It draws the client's view and decides
 * nothing. The shop's own page uses the same element.
 *
 * Attributes: `sale` (its id), `api` (the platform's origin; by default where this script came from), `token` (of the merchant's; without it
 * a guest session), `lang` (by default that of the page around), `wide` (two columns where there is room). Slots: docs/widget.md.
 * Events (bubbling, composed): `flash-sale-journey` {journey}, `flash-sale-confirmed` {order}, `flash-sale-refused`
 * {verb, code, message}, `flash-sale-error` {code, message}: it cannot show the sale, `flash-sale-token-needed`, and
 * `flash-sale-pay` {order, pay(token)}, which a page cancels when it brings a payment form of its own, and
 * `flash-sale-handoff` {order, url}, which it cancels to go to the shop's checkout in its own way.
 */

import { LitElement, html, nothing, type PropertyValues, type TemplateResult } from "lit";
import type { Shown } from "../client/by-rest";
import { clientFor, type Client } from "../client/client";
import { isSaleId } from "../client/sale-id";
import { complain } from "../client/complain";
import { FlashSaleError } from "../client/errors";
import { noteStake, shows } from "../client/mine";
import type { Journey, Order, View } from "../client/view";
import { orderPage } from "../text/address";
import { appointmentOf, type Appointment } from "../text/appointment";
import { age, clock } from "../text/duration";
import { badgeOf, isOffline, offlineWords, wordsFor } from "../text/journey";
import { onLanguage, speak, texts } from "../text/language";
import { formatLess } from "../text/locale";
import { discount, formatMoney } from "../text/money";
import { noteWords } from "../text/notes";
import { AT_THE_SHOP, testCards } from "../text/payments";
import { prepareRefusals, words } from "../text/refusal";
import { restNotice, restWords } from "../text/rest";
import { setupProblem, type SetupCode } from "../text/setup";
import type { Words } from "../text/words";
import { AboutCard } from "./about-card";
import { Announcer } from "./announce";
import { ASK, askWith } from "./ask";
import type { AskSure, Question } from "./ask-sure";
import { buttons, questionBefore, type Commands } from "./buttons";
import type { DrawCheck } from "./draw-check";
import { flashSaleStyle } from "./flash-sale-style";
import { FIRST, homeOr } from "./home";
import { LOADING } from "./loading";
import { Notices } from "./notices";
import { Receipt } from "./receipt";
import { stockBar, type How } from "./stock-bar";
import { Tape } from "./tape";
import { testMode } from "./test-mode";
import { followLang, languagesFor } from "./languages";
import { isToldOf, middle, outlook, rules, termsLink, type Held } from "./ticket";

/** Offline for less than this is not worth a word. */
const OFFLINE_GRACE_MS = 1_500;
/** A first connection may take this long on a slow network before it is called unreachable. */
const FIRST_GRACE_MS = 8_000;
/** For so long after a step of the journey, a click was meant for the button that stood there before. */
const GUARD_MS = 600;

/** The steps at which the shop's terms are to be seen beside the button. */
const BUYING: readonly Journey[] = ["holding", "checking_out", "pay", "paying"];

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
  private setup: SetupCode | null = null;
  private stop: (() => void)[] = [];
  private stopListening: (() => void)[] = [];
  private timer = 0;
  /** Loaded with the first draw that there is something to say of. */
  private check: Promise<void> | DrawCheck | null = null;
  private readonly about = new AboutCard(() => this.requestUpdate());
  private readonly receipt = new Receipt(() => this.requestUpdate());
  private readonly tape = new Tape();
  private readonly notice = new Notices(() => this.requestUpdate());
  private readonly announcer = new Announcer();
  private quantity = 1;
  private card: string | null = null;
  private journey: Journey = "loading";
  private told = "";
  private offlineSince: number | null = null;
  /** Their ends are told once, and orders that were there at the start are no news. */
  private confirmed: Set<string> | null = null;
  private fresh = "";
  /** What this shopper may do now, as one word: a change of it is a step. */
  private step = "";
  private guardedUntil = 0;
  private takesFocus = false;
  /** What a calendar file was saved for. */
  private reminded = "";
  private shown: Shown = LOADING;

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
    if (this.check === null && isToldOf(this.view)) {
      this.check = import("./draw-check").then(({ DrawCheck }) => {
        this.check = new DrawCheck(() => this.requestUpdate());
        this.requestUpdate();
      }, reportError);
    }
    this.shown = this.view ?? { ...LOADING, connection: this.client?.connection ?? LOADING.connection };
    this.follow(this.shown);
  }

  /** Each step guards its buttons for a moment, takes the keyboard along, and withdraws a question about the step before. */
  private follow(view: View): void {
    const step = `${view.journey} ${view.line ? "line" : ""} ${view.may_take > 0 ? "may" : ""}`;
    if (step === this.step) return;
    const isFirst = this.step === "" || this.step.startsWith("loading");
    this.step = step;
    if (isFirst) return;
    // From the frame in which it can be seen: a slow phone draws it some tenths of a second later.
    this.guardedUntil = Infinity;
    requestAnimationFrame(() => {
      this.guardedUntil = performance.now() + GUARD_MS;
      setTimeout(() => this.requestUpdate(), GUARD_MS);
    });
    const focused = this.shadowRoot?.activeElement;
    this.takesFocus = focused !== null && focused !== undefined;
    this.ask?.withdraw();
  }

  protected override firstUpdated(): void {
    this.renderRoot.querySelector(`[${FIRST}]`)?.remove();
  }

  protected override updated(): void {
    this.receipt.follow(this.shown.journey, this.renderRoot as ShadowRoot);
    if (!this.takesFocus) return;
    this.takesFocus = false;
    this.renderRoot.querySelector<HTMLElement>("h3")?.focus({ preventScroll: true });
  }

  private start(): void {
    this.languages();
    this.setup = setupProblem(this.sale, this.api || this.origin, isSaleId);
    if (this.setup) {
      this.fail({ code: this.setup, message: texts().ticket.cannotShow });
      return;
    }
    const client = clientFor(this.origin, this.token || null);
    this.client = client;
    this.journey = "loading";
    this.step = "";
    this.told = "";
    this.confirmed = null;
    this.fresh = "";
    this.drawCheck?.reset();
    // Before the client takes the first answer for itself: one question is enough for both.
    this.about.learn(this.origin, this.sale).catch(reportError);
    this.stop = [
      client.watch(this.sale),
      shows(this.sale),
      client.on("sale", (sale) => {
        if (sale.toUpperCase() === this.sale.toUpperCase()) this.changed();
      }),
      client.on("connection", () => this.changed()),
      client.on("token", () => this.tell("flash-sale-token-needed", {})),
    ];
    this.tickOn();
  }

  /** The language of the attribute, or of the page around, or of the reader. */
  private languages(): void {
    const listen = () => void speak(languagesFor(this));
    for (const stop of this.stopListening) stop();
    this.stopListening = [onLanguage(() => this.requestUpdate()), followLang(this, listen)];
    listen();
  }

  private end(): void {
    for (const stop of this.stopListening) stop();
    this.stopListening = [];
    clearTimeout(this.timer);
    for (const stop of this.stop) stop();
    this.stop = [];
    this.notice.end(this.sale);
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
    this.tellTrouble(view);
    if (!view || (view.by_rest && !view.own)) return;
    if (view.journey !== this.journey) {
      const wasLoading = this.journey === "loading";
      this.journey = view.journey;
      this.tell("flash-sale-journey", { journey: view.journey });
      if (view.journey === "confirmed" && !wasLoading) this.fresh = view.order?.order ?? "";
    }
    if (view.journey === "loading") return;
    noteStake(this.origin, view);
    this.notice.follow(view, !this.isAtHome);
    const paid = view.order?.status === "confirmed" ? view.order : null;
    if (paid && this.confirmed && !this.confirmed.has(paid.order)) this.tell("flash-sale-confirmed", { order: paid });
    this.confirmed ??= new Set();
    if (paid) this.confirmed.add(paid.order);
  }

  /** The page around learns once why the sale cannot be shown. */
  private tellTrouble(view: View | null): void {
    const stopped = this.client?.connection;
    const problem = view?.info ? null : this.client?.problem(this.sale);
    const known = problem?.status === 404 ? "sale_unknown" : problem?.code === "unreadable" ? problem.code : undefined;
    const code = view?.trouble?.code ?? known ?? (stopped?.state === "stopped" ? stopped.code : undefined);
    if (code === undefined || code === this.told) return;
    this.told = code;
    void prepareRefusals().then(() => this.fail({ code, message: words({ code, message: view?.trouble?.message ?? texts().offline.closed }) }));
  }

  /** The page around gets an event, and one warning on the console that names the cure. */
  private fail({ code, message }: { code: string; message: string }): void {
    this.tell("flash-sale-error", { code, message });
    if (!this.isAtHome) void this.complainOf(code);
  }

  /** The sale as the client knows it now. */
  get view(): Shown | null {
    return this.client?.view(this.sale) ?? null;
  }

  private get origin(): string {
    return homeOr(this.api);
  }

  /** On the platform's own pages, where there are other sales to look at. */
  private get isAtHome(): boolean {
    return this.origin === location.origin;
  }

  private get ask(): AskSure | null {
    return customElements.get(ASK) ? this.renderRoot.querySelector<AskSure>(ASK) : null;
  }

  private tell(name: string, detail: object): boolean {
    return this.dispatchEvent(new CustomEvent(name, { detail, bubbles: true, composed: true, cancelable: true }));
  }

  // ------------------------------------------------------------------------------------------------ commands

  private get isGuarded(): boolean {
    return performance.now() < this.guardedUntil;
  }

  private join(): Promise<void> {
    return this.give((client) => client.join(this.sale, this.quantity));
  }

  private async sure(verb: "leave" | "release" | "cancel", run: () => Promise<void>): Promise<void> {
    const question: Question = questionBefore(verb, this.shown);
    if (await askWith(() => this.ask, question)) await run();
  }

  private async reserve(): Promise<void> {
    const quantity = this.view?.turn?.quantity ?? this.quantity;
    const error = await failure(this.client?.reserve(this.sale, quantity));
    if (error?.code === "join_first") {
      // Somebody was faster: the wish is the same, so it takes its place in line.
      this.client?.dismiss(this.sale);
      await this.join();
    } else {
      this.tellRefusal(error);
    }
  }

  /** Pays the order that waits, with the token of a payment form of the page's own. */
  async pay(token: string): Promise<void> {
    const order = this.view?.order;
    if (!this.client || order?.status !== "pending") throw new FlashSaleError("order_unknown", "No order waits for a payment.");
    try {
      await this.client.pay(order.order, token);
    } catch (error) {
      if (isError(error)) this.tellRefusal(error);
      throw error;
    }
  }

  private async payNow(event: Event): Promise<void> {
    event.preventDefault();
    const order = this.view?.order;
    if (!order || this.isGuarded || order.left_ms === 0 || this.shown.under_way.length > 0) return;
    const pay = (token: string) => this.give((client) => client.pay(order.order, token));
    const known = testCards(this.view?.info?.payments)[0]?.token;
    if (!this.tell("flash-sale-pay", { order, pay })) return;
    if (known !== undefined && !this.hasPayForm) return pay(this.card ?? known);
    this.fail({ code: "pay_form_missing", message: texts().ticket.cannotShow });
  }

  /** A payment form of the page's own: a provider's frames refuse shadow roots. */
  private get hasPayForm(): boolean {
    return [...(this.children ?? [])].some((child) => child.slot === "pay");
  }

  /** On to the shop's own checkout. Each time anew: its token is good once. */
  private async goToCheckout(): Promise<void> {
    const id = this.view?.order?.order;
    if (!id) return;
    await this.give((client) => client.pay(id, AT_THE_SHOP));
    const order = this.view?.order;
    const url = order?.order === id ? order.handoff : null;
    if (!url || !/^https?:/.test(url)) return;
    if (this.tell("flash-sale-handoff", { order, url })) location.assign(url);
  }

  private async give(command: (client: Client) => Promise<void>): Promise<void> {
    if (this.client) this.tellRefusal(await failure(command(this.client)));
  }

  private tellRefusal(error: FlashSaleError | null): void {
    if (!error || error.verb === null) return;
    const { verb, code, message } = error;
    this.tell("flash-sale-refused", { verb, code, message });
  }

  private get drawCheck(): DrawCheck | null {
    return this.check && "render" in this.check ? this.check : null;
  }

  private async complainOf(code: string): Promise<void> {
    const [sale, api] = [this.sale, this.api || this.origin];
    const cure = (await import("../text/cures").catch(() => null))?.cureOf(code, sale, api);
    if (cure) complain(cure);
  }

  private async remind(appointment: Appointment, now: number): Promise<void> {
    const [{ calendarFile }, { saveFile }] = await Promise.all([import("../text/calendar"), import("./save-file")]);
    saveFile("reminder.ics", "text/calendar", calendarFile(appointment, now));
    this.reminded = appointment.uid;
    this.requestUpdate();
  }

  /** Where the shopper finds this sale again: on the page that shows it now, if it has an address. */
  private get address(): string {
    return /^https?:/.test(location.href) ? location.href.replace(/#.*/, "") : `${this.origin}/sale/${this.sale}`;
  }

  private commands(view: View): Commands {
    const appointment = appointmentOf(view, () => this.address);
    this.quantity = Math.max(1, Math.min(this.quantity, view.may_take));
    return {
      isGuarded: this.isGuarded,
      quantity: this.quantity,
      wish: (quantity) => {
        this.quantity = Number.isInteger(quantity) ? quantity : 1;
        this.requestUpdate();
      },
      join: () => void this.join(),
      leave: () => void this.sure("leave", () => this.give((client) => client.leave(this.sale))),
      reserve: () => void this.reserve(),
      release: () => void this.sure("release", () => this.give((client) => client.release(this.sale))),
      extend: () => void this.give((client) => client.extend(this.sale)),
      checkout: () => void this.give((client) => client.checkout(this.sale)),
      cancel: (order: Order) => void this.sure("cancel", () => this.give((client) => client.cancel(order.order))),
      goToCheckout: () => void this.goToCheckout(),
      print: () => print(),
      notice: this.notice.offer(view),
      notify: () => this.notice.ask(),
      isReminded: appointment !== null && this.reminded === appointment.uid,
      remind: appointment && (() => void this.remind(appointment, view.now).catch(reportError)),
    };
  }

  // ------------------------------------------------------------------------------------------------ drawing

  protected override render(): TemplateResult {
    const { code, dir } = texts();
    if (this.setup) return html`<article class="card" lang=${code} dir=${dir}><p class="notice" data-tone="bad">${texts().ticket.cannotShow}</p></article>`;
    const view = this.shown;
    const offline = this.isOffline(view);
    const said = this.words(view, offline);
    // The room that a newcomer's panel will take is kept for it, so that nothing moves when it comes.
    const later = offline ? undefined : view.later;
    // What is drawn while nothing is known shares no element with what comes then: the notice of test mode would push it down.
    const parts = html`${testMode(view.info?.payments ?? this.about.payments)} ${view.journey === "unknown" ? nothing : this.head(view)} ${later ? this.panel(later, wordsFor(later), offline, said) : this.panel(view, said, offline)}`;
    return html`
      <article class="card" part="card" lang=${code} dir=${dir} aria-busy=${view.journey === "loading" && !offline ? "true" : "false"} data-journey=${view.journey}>
        ${view.info ? html`${parts}` : parts}
        ${view.info ? html`<div class="details">${stockBar(view.stock, how(view), view.info.total_stock)} ${rules(later ?? view)} ${this.about.description(view)}</div>` : nothing}
      </article>
      <div class="unseen" role="status" aria-live="polite" lang=${code}>${this.announcer.say(view, said, offline ? offlineWords(view) : "")}</div>
      <flash-sale-ask lang=${code} dir=${dir}></flash-sale-ask>
    `;
  }

  /** What is said now: over the socket, by REST, or of the failure of both. */
  private words(view: Shown, offline: boolean): Words {
    if (view.by_rest && !hasOwn(view)) return restWords(view);
    if (view.by_rest) return wordsFor(view, false);
    if (view.journey !== "loading") return wordsFor(view, offline);
    const problem = this.client?.problem(this.sale);
    if (problem?.status === 404) return wordsFor({ ...view, journey: "unknown" });
    if (problem?.code === "unreadable") return { title: texts().rest.stopped, text: texts().ticket.cannotShow, tone: "warn" };
    if (view.connection.state === "stopped") return { title: texts().rest.stopped, text: words({ code: view.connection.code ?? "closed", message: "" }), tone: "warn" };
    return wordsFor(view, offline);
  }

  private head(view: Shown): TemplateResult {
    const { info, countdown } = view;
    const badge = badgeOf(view);
    const off = info ? discount(info.original_price, info.sale_price) : null;
    const price = (minor: number) => (info ? formatMoney(minor, info.currency, info.currency_exponent) : "");
    const isOn = view.journey !== "sold_out" && countdown?.to === "end" && badge?.label !== texts().phases.soldOut;
    return html`
      <header class="head">
        <div class="row apart small">
          <span class="badge" data-tone=${badge?.tone ?? "calm"}>${badge?.label ?? "…"}</span>
          ${isOn ? html`<span class="soft numbers" role="timer">${texts().ticket.endsIn(clock(countdown.left_ms))}</span>` : nothing}
        </div>
        <slot name="title"><h2 class="clamp" part="title" dir="auto" title=${info?.product_name ?? ""}>${info?.product_name ?? texts().ticket.flashSale}</h2></slot>
        <slot name="picture">${this.about.picture()}</slot>
        <p class="price numbers" part="price">
          <strong>${info ? price(info.sale_price) : " "}</strong>
          ${info && off !== null
            ? html`<s class="soft" aria-label=${texts().ticket.insteadOf(price(info.original_price))}>${price(info.original_price)}</s>
                <span class="badge">${formatLess(off)}</span>`
            : nothing}
        </p>
      </header>
    `;
  }

  /** No connection, for long enough to be worth a word. */
  private isOffline(view: Shown): boolean {
    // What is asked for has a line of its own, which says how it is asked for.
    if (view.by_rest || !isOffline(view)) {
      this.offlineSince = null;
      return false;
    }
    this.offlineSince ??= performance.now();
    const isFirst = view.connection.silent_ms === undefined && view.connection.state === "connecting";
    return performance.now() - this.offlineSince >= (isFirst ? FIRST_GRACE_MS : OFFLINE_GRACE_MS);
  }

  /** `over`: said instead, over the room that this panel will take. */
  private panel(view: Shown, said: Words, offline: boolean, over?: Words): TemplateResult {
    const isBuying = BUYING.includes(view.journey);
    const isTurn = view.journey === "admitted" && said.tone === "turn";
    // In line the place comes first, and the sentence explains it.
    const isPlaced = view.journey === "waiting" && view.line !== null && view.line.position > 0;
    const text = said.text === "" ? nothing : html`<p class=${isTurn ? "" : "soft"}>${said.text}</p>`;
    return html`
      <section class="panel" part="panel" data-tone=${said.tone} ?data-turn=${isTurn} ?data-later=${over !== undefined}>
        ${over ? html`<div class="said over"><h3>${over.title}</h3><p class="soft">${over.text}</p></div>` : nothing}
        ${this.line(view, offline)} ${this.notices(view)}
        ${isPlaced
          ? html`<h3 tabindex="-1">${said.title}</h3>
              ${middle(view, this.held(view))}
              <div class="said">${text}</div>`
          : html`<div class="said">
                <h3 tabindex="-1" aria-level=${view.journey === "unknown" ? "2" : nothing}>${said.title}</h3>
                ${text}
              </div>
              ${middle(view, this.held(view))}`}
        <slot name="terms" ?hidden=${!isBuying}>${isBuying ? termsLink(view.info) : nothing}</slot>
        <div class="actions" part="actions">${buttons(view, this.commands(view))}${this.wayOut(view)}</div>
        ${outlook(view)} ${isToldOf(view) ? this.drawCheck?.render(view, this.client, this.origin) : nothing}
      </section>
    `;
  }

  private held(view: View): Held {
    return {
      tape: this.tape,
      slip: this.receipt.slip,
      card: this.card,
      choose: (card) => {
        this.card = card;
        this.requestUpdate();
      },
      pay: (event) => void this.payNow(event),
      hasPayForm: this.hasPayForm,
      isFresh: view.order !== null && view.order.order === this.fresh,
    };
  }

  /** One line about the connection, where there is something to say. */
  private line(view: Shown, offline: boolean): TemplateResult | typeof nothing {
    const { connection, stale_ms } = view;
    if (connection.state === "stopped" && !view.by_rest) {
      return connection.code === "unsupported"
        ? nothing
        : html`<div class="notice" data-tone="bad" data-part="connection">
            <span>${words({ code: connection.code ?? "closed", message: texts().offline.closed })}</span>
            <button @click=${() => this.client?.reconnect()}>${texts().offline.reconnect}</button>
          </div>`;
    }
    if (view.by_rest) {
      return html`<div class="notice" data-part="connection"><span>${restNotice(view)} ${again(view)}</span></div>`;
    }
    if (offline) {
      const text = offlineWords(view);
      return text === "" ? nothing : html`<div class="notice" data-part="connection"><span class="numbers">${text} ${again(view) || texts().offline.reconnecting}</span></div>`;
    }
    if (stale_ms === null) return nothing;
    return html`<div class="notice" data-part="connection">
      <span class="numbers">${texts().offline.lastKnown(age(stale_ms))}</span>
    </div>`;
  }

  private notices(view: View): TemplateResult | typeof nothing {
    const { refusal, trouble } = view;
    if (refusal) {
      return html`<div class="notice" data-tone="bad" role="alert">
        <span>${words(refusal)}</span>
        <button @click=${() => this.client?.dismiss(this.sale)}>${texts().ticket.close}<span class="unseen">${texts().ticket.closeWhat}</span></button>
      </div>`;
    }
    const note = view.note && !trouble ? noteWords(view.note, view) : null;
    return note ? html`<div class="notice" data-tone=${note.tone}><span><strong>${texts().whole(note.title)}</strong> ${note.text}</span></div>` : nothing;
  }

  /** On from here: to what else there is, or to the page on which an order is kept. */
  private wayOut(view: View): TemplateResult | typeof nothing {
    const isOver = ["unknown", "sold_out", "ended", "cancelled", "not_drawn"].includes(view.journey) || this.client?.problem(this.sale)?.status === 404;
    const receipt = view.journey === "confirmed" ? view.order : null;
    if (!(isOver || receipt) || !this.isAtHome) return nothing;
    return receipt ? html`<a class="plain" href=${orderPage(receipt)}>${texts().buttons.order}</a>` : html`<a class="plain" href="/">${texts().ticket.allSales}</a>`;
  }

  static override styles = flashSaleStyle;
}

/** "Trying again in 0:12." */
function again({ connection }: View): string {
  const wait = connection.retry_in_ms;
  return wait !== undefined && wait > 1_000 ? texts().offline.again(clock(wait)) : "";
}

/** Whether something of this shopper's own is to be told. */
function hasOwn({ line, turn, hold, order, journey }: Shown): boolean {
  return line !== null || turn !== null || hold !== null || order !== null || journey === "entered" || journey === "not_drawn";
}

async function failure(done: Promise<void> | undefined): Promise<FlashSaleError | null> {
  try {
    await done;
    return null;
  } catch (error) {
    if (isError(error)) return error;
    throw error;
  }
}

/** The client may be another copy of the same module, with a class of its own. */
function isError(error: unknown): error is FlashSaleError {
  return error instanceof Error && error.name === "FlashSaleError";
}

function how(view: Shown): How {
  if (view.by_rest) return "asked";
  return view.phase === "ended" || view.phase === "cancelled" ? "over" : "live";
}
