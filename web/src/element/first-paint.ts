/**
 * The first paint: name, price and the time that runs, before the element itself and the live part are there. What everybody may know,
 * and no words, because no language is loaded yet. The element takes its place as soon as it is defined.
 */

import type { Sale } from "../client/bodies";
import { readFirst } from "../client/first-read";
import { isSaleId } from "../client/sale-id";
import tokens from "../style/tokens.css?inline";
import { FIRST, homeOr } from "./home";

const STYLE = `${tokens}
:host { display: block }
article { box-sizing: border-box; min-block-size: var(--fs-first); padding: var(--fs-space-5); border: var(--fs-hair) solid var(--fs-line);
  border-radius: var(--fs-radius-l); background: var(--fs-surface); color: var(--fs-ink); font: var(--fs-weight) var(--fs-text-m) / var(--fs-leading) var(--fs-font) }
h2, p { margin: 0 }
h2 { font: var(--fs-weight-display) var(--fs-text-xl) / var(--fs-leading-tight) var(--fs-font-display); overflow-wrap: anywhere }
.price { font-size: var(--fs-text-l); font-weight: var(--fs-weight-bold) }
.clock { font-variant-numeric: tabular-nums }
img { inline-size: 100%; block-size: var(--fs-band); object-fit: cover }`;

export function firstPaint(): void {
  for (const element of document.querySelectorAll<HTMLElement>("flash-sale:not(:defined)")) void paint(element);
}

/** Any element that is not defined yet; it has the attributes of `<flash-sale>`. */
export async function paint(element: HTMLElement): Promise<void> {
  const [sale, api] = [element.getAttribute("sale") ?? "", homeOr(element.getAttribute("api") ?? "")];
  if (!isSaleId(sale) || !/^https?:\/\/./.test(api) || !("adoptedStyleSheets" in Document.prototype)) return;
  const read = await readFirst(api, sale);
  if (Number.isFinite(read?.sale?.sale_price) && read?.sale) show(element, api, read.sale, read.at_ms);
}

function show(element: HTMLElement, api: string, sale: Sale, at_ms: number): void {
  if ((element.localName.includes("-") && element.matches(":defined")) || element.shadowRoot) return;
  const root = element.attachShadow({ mode: "open" });
  const style = new CSSStyleSheet();
  style.replaceSync(STYLE);
  root.adoptedStyleSheets = [style];
  const languages = [element.closest("[lang]")?.getAttribute("lang") ?? "", ...navigator.languages].filter((tag) => tag !== "");
  const clock = part("p", "clock", "");
  const card = part("article", "card", "", part("h2", "", sale.product_name), ...picture(element, sale, api), part("p", "price", price(sale, languages)), clock);
  card.setAttribute(FIRST, "");
  card.setAttribute("aria-busy", "true");
  root.append(card);
  const isOver = sale.status === "ended" || sale.status === "cancelled";
  const tick = () => {
    if (!card.isConnected || isOver) return;
    clock.textContent = left(sale.remaining_time * 1_000 - (performance.now() - at_ms));
    setTimeout(tick, 1_000);
  };
  tick();
}

/** The sale's own, unless the page around brings one. */
function picture(element: HTMLElement, { picture: of }: Sale, api: string): HTMLElement[] {
  if (!of || element.querySelector("[slot=picture]")) return [];
  const image = new Image();
  image.srcset = of.files.map(({ url, width }) => `${api}${url} ${width}w`).join();
  image.sizes = "27em";
  image.alt = of.alt;
  image.onerror = () => (image.hidden = true);
  return [image];
}

function part(tag: string, name: string, text: string, ...parts: Node[]): HTMLElement {
  const element = document.createElement(tag);
  if (name !== "") element.className = name;
  if (text !== "") element.textContent = text;
  element.append(...parts);
  return element;
}

function price({ sale_price, currency, currency_exponent: digits }: Sale, languages: string[]): string {
  const value = sale_price / 10 ** digits;
  try {
    return new Intl.NumberFormat(languages, { style: "currency", currency, minimumFractionDigits: digits, maximumFractionDigits: digits }).format(value);
  } catch {
    return `${String(value)} ${currency}`;
  }
}

/** "1:02:03": digits, which every language reads. */
function left(ms: number): string {
  const seconds = Math.max(0, Math.ceil(ms / 1_000));
  const two = (number: number) => String(number).padStart(2, "0");
  const [hours, minutes] = [Math.floor(seconds / 3_600), Math.floor(seconds / 60) % 60];
  return hours > 0 ? `${String(hours)}:${two(minutes)}:${two(seconds % 60)}` : `${String(minutes)}:${two(seconds % 60)}`;
}
