/** The elements and their events as the page around them sees them. Types only. */

import type { Journey, Order, Verb } from "../client/view";

/** `<flash-sale>`: docs/widget.md. */
export interface FlashSaleElement extends HTMLElement {
  sale: string;
  api: string;
  token: string | null;
  /** Pays the order that waits, with the token of a payment form of the page's own. Rejects if there is none, or if it is refused. */
  pay(token: string): Promise<void>;
}

/** `<flash-sale-alert>`. */
export interface FlashSaleAlertElement extends HTMLElement {
  api: string;
  token: string | null;
  href: string;
}

/** What the elements tell the page around them: `detail` by the name of the event. */
export interface FlashSaleEvents {
  "flash-sale-journey": CustomEvent<{ journey: Journey }>;
  "flash-sale-confirmed": CustomEvent<{ order: Order }>;
  "flash-sale-refused": CustomEvent<{ verb: Verb; code: string; message: string }>;
  "flash-sale-error": CustomEvent<{ code: string; message: string }>;
  "flash-sale-token-needed": CustomEvent<Record<string, never>>;
  "flash-sale-pay": CustomEvent<{ order: Order; pay: (token: string) => Promise<void> }>;
  "flash-sale-handoff": CustomEvent<{ order: Order; url: string }>;
}

declare global {
  // eslint-disable-next-line @typescript-eslint/no-empty-object-type -- it adds the events to those of every element
  interface HTMLElementEventMap extends FlashSaleEvents {}
  interface HTMLElementTagNameMap {
    "flash-sale": FlashSaleElement;
    "flash-sale-alert": FlashSaleAlertElement;
  }
}
