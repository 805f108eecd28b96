/** One sale while it runs: the shared tick over the socket, the rest of the numbers every two seconds. */

import { LitElement, css, html, nothing, type PropertyValues, type TemplateResult } from "lit";
import { operatorClient, type Client } from "../client/client";
import { ticket } from "../client/operators";
import { Problem, admin, type Metrics } from "../client/rest";
import type { View } from "../client/view";
import { baseStyle } from "../element/base-style";
import { stockBar, stockBarStyle } from "../element/stock-bar";
import { age, clock, formatCount } from "../text/duration";
import { phaseBadge } from "../text/journey";
import { formatMoney } from "../text/money";
import { words } from "../text/refusal";
import { chart, type Point } from "./chart";
import { endQuestion } from "./end-question";
import { fairnessCard, fairnessStyle } from "./fairness-card";

const METRICS_EVERY_MS = 2_000;
const CHART_SPAN_MS = 120_000;
/** Points closer together than this tell nothing more. */
const CHART_STEP_MS = 500;

type Verb = "pause" | "resume" | "end" | "recover";

const SURE: Partial<Record<Verb, string>> = {
  recover: "Go on without what Postgres has lost? Orders that are missing are cancelled then, and their money goes back.",
};

export class LiveSale extends LitElement {
  static override properties = { sale: { type: String }, isFixed: { type: Boolean }, hasShopPage: { type: Boolean } };
  declare sale: string;
  /** This operator only looks. */
  declare isFixed: boolean;
  /** The sale has a page at this origin. */
  declare hasShopPage: boolean;

  private client: Client | null = null;
  private stop: (() => void)[] = [];
  private timers: number[] = [];
  private metrics: Metrics | null = null;
  private sold: Point[] = [];
  private waiting: Point[] = [];
  private delay: Point[] = [];
  private busy: Verb | null = null;
  private error = "";

  constructor() {
    super();
    this.isFixed = false;
    this.hasShopPage = false;
    this.sale = "";
  }

  override disconnectedCallback(): void {
    super.disconnectedCallback();
    this.end();
  }

  protected override willUpdate(changed: PropertyValues): void {
    if (changed.has("sale")) {
      this.end();
      this.start();
    }
  }

  private start(): void {
    const client = operatorClient(location.origin, ticket);
    this.client = client;
    this.metrics = null;
    this.sold = [];
    this.waiting = [];
    this.delay = [];
    try {
      this.stop = [client.watch(this.sale)];
    } catch {
      this.error = "This is not a sale’s id.";
      return;
    }
    this.stop.push(
      client.on("sale", () => this.ticked()),
      client.on("connection", () => this.requestUpdate()),
      client.on("token", () => this.dispatchEvent(new Event("signed-out"))),
    );
    this.timers = [
      window.setInterval(() => void this.measure(), METRICS_EVERY_MS),
      window.setInterval(() => this.requestUpdate(), 1_000),
    ];
    void this.measure();
  }

  private end(): void {
    for (const stop of this.stop) stop();
    for (const timer of this.timers) clearInterval(timer);
    this.stop = [];
    this.timers = [];
  }

  private get view(): View | null {
    try {
      return this.client?.view(this.sale) ?? null;
    } catch {
      return null;
    }
  }

  private ticked(): void {
    const view = this.view;
    if (view?.stock) {
      this.sold = grown(this.sold, view.now, view.stock.sold);
      this.waiting = grown(this.waiting, view.now, view.stock.waiting);
    }
    this.requestUpdate();
  }

  private async measure(): Promise<void> {
    if (document.hidden) return;
    try {
      this.metrics = await admin.metrics(this.sale);
      const { carried } = this.metrics;
      if (carried) this.delay = grown(this.delay, this.view?.now ?? Date.now(), carried.delay_ms);
      this.error = "";
    } catch (error) {
      if (error instanceof Problem && error.status === 401) this.dispatchEvent(new Event("signed-out"));
      this.error = said(error);
    }
    this.requestUpdate();
  }

  private async act(verb: Verb): Promise<void> {
    const sure = verb === "end" ? endQuestion(this.view) : SURE[verb];
    if (sure && !confirm(sure)) return;
    this.busy = verb;
    this.error = "";
    this.requestUpdate();
    try {
      await admin.act(this.sale, verb);
      await this.measure();
    } catch (error) {
      this.error = said(error);
    }
    this.busy = null;
    this.requestUpdate();
  }

  protected override render(): TemplateResult {
    const view = this.view;
    const hasLine = view?.info?.allocation === "queue" && !["drawing", "ended", "cancelled"].includes(view.phase ?? "");
    if (view?.trouble) return html`<p class="notice" data-tone="bad">${words(view.trouble)}</p>`;
    return html`
      <a class="soft small" href="#/">← All sales</a>
      ${this.head(view)} ${this.error ? html`<p class="notice" data-tone="bad" role="alert">${this.error}</p>` : nothing}
      ${this.disaster()}
      <section class="card block" aria-label="Stock">${stockBar(view?.stock ?? null)}</section>
      ${!hasLine || !this.metrics || this.isFixed ? nothing : html`<section class="card block">
        <inflow-form
         
          .sale=${this.sale}
          .inflow=${this.metrics.inflow}
          .target=${this.metrics.target_delay_ms}
          .version=${this.metrics.version}
        ></inflow-form>
      </section>`}
      <section class="grid" aria-label="Numbers">${this.numbers(view)}</section>
      <section class="charts">
        <figure class="card block">
          <figcaption class="soft small numbers">Sold, last 2 minutes${scale(this.sold)}</figcaption>
          ${chart(this.sold, CHART_SPAN_MS, "Units sold over the last two minutes")}
        </figure>
        <figure class="card block">
          <figcaption class="soft small numbers">In line, last 2 minutes${scale(this.waiting)}</figcaption>
          ${chart(this.waiting, CHART_SPAN_MS, "People in line over the last two minutes")}
        </figure>
        ${this.delay.length === 0 ? nothing : html`<figure class="card block">
          <figcaption class="soft small">Slowest step of a purchase, ms, last 2 minutes</figcaption>
          ${chart(this.delay, CHART_SPAN_MS, "Mean time of the slowest step of a purchase over the last two minutes")}
        </figure>`}
      </section>
      ${this.metrics ? fairnessCard(this.metrics.fairness) : nothing}
      <section class="card block"><picture-form .sale=${this.sale} .isFixed=${this.isFixed}></picture-form></section>
    `;
  }

  private head(view: View | null): TemplateResult {
    const phase = view?.phase ?? null;
    const badge = phase ? phaseBadge(phase) : null;
    const { countdown, connection } = view ?? {};
    const until = countdown ? `${{ room: "Room opens", start: "Starts", end: "Ends" }[countdown.to]} in ${clock(countdown.left_ms)}` : "";
    const button = (verb: Verb, label: string, look: string) => html`
      <button class=${look} ?hidden=${this.isFixed} ?disabled=${this.busy !== null} @click=${() => this.act(verb)}>${label}</button>
    `;
    const isOver = phase === "drawing" || phase === "ended" || phase === "cancelled";
    return html`
      <div class="row apart">
        <div>
          <h1>${view?.info?.product_name ?? "Sale"}</h1>
          <p class="row small">
            <span class="badge" data-tone=${badge?.tone ?? "calm"} role="status">${badge?.label ?? "…"}</span>
            <span class="soft numbers">${until}</span>
            ${connection && connection.state !== "online"
              ? html`<span class="badge" data-tone="warn">Reconnecting</span>`
              : view?.stale_ms
                ? html`<span class="badge numbers" data-tone="warn" role="status">No news for ${age(view.stale_ms)}</span>`
                : nothing}
          </p>
        </div>
        <div class="row">
          <a class="small" href="#/sale/${this.sale}/orders">Orders</a>
          ${this.hasShopPage ? html`<a class="small" href="/sale/${this.sale}" target="_blank" rel="noopener">Open shop page</a>` : nothing}
          ${phase === "scheduled" || phase === "waiting" || phase === "live" ? button("pause", "Pause", "") : nothing}
          ${phase === "paused" ? button("resume", "Resume", "primary") : nothing}
          ${phase && !isOver ? button("end", "End sale", "danger") : nothing}
        </div>
      </div>
    `;
  }

  /** Postgres has lost something: what is to be decided, or what became of it until it is settled. */
  private disaster(): TemplateResult | typeof nothing {
    const disaster = this.metrics?.disaster;
    if (!disaster || disaster.settled_at) return nothing;
    if (disaster.opened_at) {
      return html`<p class="notice" role="status">
        Selling goes on. ${formatCount(disaster.orders_lost)} orders were lost; their money is being looked for at the payment provider.
      </p>`;
    }
    return html`<div class="notice row apart" data-tone="bad" role="alert">
      <p>
        Selling has stopped: Postgres has lost rows of this sale. Row ${formatCount(disaster.known_number)} of
        ${disaster.lane === null ? "its log" : `lane ${disaster.lane}'s log`} was committed, and
        ${formatCount(disaster.found_number)} is the last one that is there. Look for a newer copy of the database first (docs/disaster.md).
      </p>
      ${disaster.confirmed_at
        ? html`<span class="badge" data-tone="warn">Confirmed, under way</span>`
        : html`<button class="danger" ?hidden=${this.isFixed} ?disabled=${this.busy !== null} @click=${() => this.act("recover")}>Go on without it</button>`}
    </div>`;
  }

  private numbers(view: View | null): TemplateResult {
    const { metrics } = this;
    const stock = view?.stock;
    const exponent = view?.info?.currency_exponent ?? 2;
    const count = (value: number | undefined) => (value === undefined ? "–" : formatCount(value));
    const number = (name: string, label: string, value: string) => html`
      <div class="number card" data-number=${name}>
        <span class="soft small">${label}</span>
        <strong class="numbers">${value}</strong>
      </div>
    `;
    const revenue = metrics ? formatMoney(metrics.revenue, metrics.currency, exponent) : "–";
    const conversion = metrics ? `${(metrics.conversion_rate * 100).toFixed(1)}%` : "–";
    return html`
      ${number("confirmed", "Orders paid", count(metrics?.orders_confirmed))}
      ${number("pending", "Orders to pay", count(metrics?.orders_pending))}
      ${number("cancelled", "Orders cancelled", count(metrics?.orders_cancelled))}
      ${number("revenue", "Revenue", revenue)} ${number("conversion", "Conversion", conversion)}
      ${number("waiting", "In line", count(stock?.waiting))} ${number("admitted", "Called", count(stock?.admitted))}
      ${number("pace", "Called a second", stock?.pace?.toFixed(1) ?? "–")}
      ${number("carried", metrics?.carried?.is_limiting ? "Carried a second: limits the line" : "Carried a second", count(metrics?.carried?.per_second))}
      ${number("delay", "Slowest step", metrics?.carried ? `${metrics.carried.delay_ms.toFixed(0)} of ${metrics.target_delay_ms} ms` : "–")}
      ${number("active", "People looking", count(metrics?.active_users))}
      ${number("reservations", "Reservations", count(metrics?.reservations))}
      ${number("expired", "Holds expired", count(metrics?.expired_reservations))}
      ${number("supply", "Supply", count(stock?.supply))}
    `;
  }

  static override styles = [
    ...baseStyle,
    stockBarStyle,
    fairnessStyle,
    css`
      :host {
        display: grid;
        gap: var(--fs-space-4);
      }
      h1 {
        margin-block-end: var(--fs-space-2);
        font-size: var(--fs-text-xl);
        overflow-wrap: anywhere;
      }
      .block {
        padding: var(--fs-space-5);
      }
      .grid {
        display: grid;
        grid-template-columns: repeat(auto-fill, minmax(var(--fs-column-s), 1fr));
        gap: var(--fs-space-3);
      }
      .number {
        display: grid;
        gap: var(--fs-space-1);
        padding: var(--fs-space-3) var(--fs-space-4);
      }
      .number strong {
        font-size: var(--fs-text-l);
        font-weight: var(--fs-weight-medium);
        white-space: nowrap;
      }
      .charts {
        display: grid;
        grid-template-columns: repeat(auto-fit, minmax(min(100%, var(--fs-column)), 1fr));
        gap: var(--fs-space-3);
      }
      figure {
        margin: 0;
      }
      .chart {
        display: block;
        inline-size: 100%;
        block-size: var(--fs-chart);
        margin-block-start: var(--fs-space-3);
        overflow: visible;
        border-block-end: var(--fs-hair) solid var(--fs-line);
      }
      .chart path {
        stroke: var(--fs-accent);
        stroke-width: var(--fs-ring);
        stroke-linejoin: round;
      }
    `,
  ];
}

/** What the top of a chart stands for. */
function scale(points: readonly Point[]): string {
  return points.length === 0 ? "" : `; most: ${formatCount(Math.max(...points.map(({ value }) => value)))}`;
}

function grown(points: Point[], at: number, value: number): Point[] {
  const last = points.at(-1);
  if (last && at - last.at < CHART_STEP_MS) return [...points.slice(0, -1), { at: last.at, value }];
  return [...points.filter((point) => at - point.at <= CHART_SPAN_MS), { at, value }];
}

function said(error: unknown): string {
  return error instanceof Problem ? words({ code: error.code, message: error.detail }) : String(error);
}
