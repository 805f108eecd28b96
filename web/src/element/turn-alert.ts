/**
 * `<flash-sale-alert>`: a strip on the other pages of the shop. It follows the sales in which this browser's shopper has a place, and
 * says so when a turn comes, or when a cart or an unpaid order waits. Nothing is to be seen otherwise.
 *
 * Attributes: `api` and `token` as of `<flash-sale>`; `href`, where a sale is shown, with `{sale}` in the place of its id.
 */

import { LitElement, css, html, nothing, type PropertyValues, type TemplateResult } from "lit";
import { repeat } from "lit/directives/repeat.js";
import { clientFor, type Client } from "../client/client";
import { isSaleId } from "../client/sale-id";
import { isShown, noteStake, salesAtStake } from "../client/mine";
import type { View } from "../client/view";
import { onLanguage, speak, texts } from "../text/language";
import { alertWords } from "../text/tab";
import { baseStyle } from "./base-style";
import { homeOr } from "./home";
import { followLang, languagesFor } from "./languages";
import { Notices } from "./notices";

export class TurnAlert extends LitElement {
  static override properties = { api: { type: String }, token: { type: String }, href: { type: String } };

  declare api: string;
  declare token: string | null;
  declare href: string;

  private client: Client | null = null;
  private stop: (() => void)[] = [];
  private readonly watches = new Map<string, () => void>();
  private timer = 0;
  private readonly notices = new Notices(() => undefined);

  constructor() {
    super();
    this.api = "";
    this.token = null;
    this.href = "";
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
    if (changed.has("api") || changed.has("token")) {
      this.end();
      this.start();
    }
  }

  private get origin(): string {
    return homeOr(this.api);
  }

  private start(): void {
    // The element that shows a sale says what is missing.
    if (this.origin === "") return;
    const client = clientFor(this.origin, this.token || null);
    this.client = client;
    this.stop = [client.on("sale", (sale) => this.changed(sale)), onLanguage(() => this.requestUpdate()), followLang(this, () => void speak(languagesFor(this)))];
    void speak(languagesFor(this));
    this.timer = window.setInterval(() => this.look(), 1_000);
    this.look();
  }

  private end(): void {
    clearInterval(this.timer);
    for (const stop of [...this.stop, ...this.watches.values()]) stop();
    for (const sale of this.watches.keys()) this.notices.end(sale);
    this.stop = [];
    this.watches.clear();
    this.client = null;
  }

  /** Watches what there is something at stake in, unless the page shows it anyway. */
  private look(): void {
    const wanted = new Set(salesAtStake(this.origin).filter((sale) => isSaleId(sale) && !isShown(sale)));
    for (const [sale, stop] of this.watches) {
      if (wanted.has(sale)) continue;
      stop();
      this.notices.end(sale);
      this.watches.delete(sale);
    }
    for (const sale of wanted) {
      if (this.client && !this.watches.has(sale)) this.watches.set(sale, this.client.watch(sale));
    }
    this.requestUpdate();
  }

  private changed(sale: string): void {
    if (!this.watches.has(sale)) return;
    const view = this.client?.view(sale);
    if (view && (!view.by_rest || view.own)) {
      noteStake(this.origin, view);
      this.notices.follow(view, this.origin !== location.origin);
    }
    this.requestUpdate();
  }

  /** What there is to say now, most urgent first. */
  get alerts(): View[] {
    const views = [...this.watches.keys()].map((sale) => this.client?.view(sale) ?? null);
    const urgent = views.filter((view): view is NonNullable<typeof view> => view !== null && alertWords(view) !== null);
    return urgent.sort((a, b) => until(a) - until(b));
  }

  private address(sale: string): string {
    return (this.href || `${this.origin}/sale/{sale}`).replace("{sale}", encodeURIComponent(sale));
  }

  protected override render(): TemplateResult {
    const { alerts } = this;
    // Read out once for each turn; the clock that runs beside it is not.
    const said = alerts[0] ? texts().whole(alertWords(alerts[0])?.text ?? "") : "";
    return html`
      ${alerts.length === 0
        ? nothing
        : html`<nav aria-label=${texts().alert.name} lang=${texts().code} dir=${texts().dir}>
            ${repeat(
              alerts,
              (view) => view.sale,
              (view) => html`<a href=${this.address(view.sale)} data-journey=${view.journey}
                ><span dir="auto">${alertWords(view)?.text}</span><span class="numbers">${alertWords(view)?.left}</span></a
              >`,
            )}
          </nav>`}
      <div class="unseen" role="alert" lang=${texts().code}>${said}</div>
    `;
  }

  static override styles = [
    ...baseStyle,
    css`
      nav {
        position: fixed;
        z-index: 2147483000;
        inset-block-end: 0;
        inset-inline: 0;
        display: grid;
      }
      a {
        display: flex;
        justify-content: space-between;
        gap: var(--fs-space-4);
        align-items: center;
        min-block-size: var(--fs-control-now);
        padding: var(--fs-space-2) var(--fs-space-4);
        background: var(--fs-ink);
        color: var(--fs-surface);
        font-weight: var(--fs-weight-medium);
        text-decoration: none;
      }
      a[data-journey="admitted"] {
        background: var(--fs-accent);
        color: var(--fs-on-accent);
      }
      a > :first-child {
        overflow: hidden;
        text-overflow: ellipsis;
        white-space: nowrap;
      }
      a:focus-visible {
        outline-offset: calc(-2 * var(--fs-ring));
        outline-color: currentcolor;
      }
      @media (forced-colors: active) {
        a {
          border: var(--fs-ring) solid Highlight;
        }
      }
    `,
  ];
}

function until(view: View): number {
  return view.turn?.until ?? view.hold?.until ?? view.order?.until ?? Infinity;
}
