/** What the tab is called: the moment first, because a tab shows only the beginning. Pure. */

import type { View } from "../client/view";
import { clock, formatCount } from "./duration";
import { wordsFor } from "./journey";

export function tabTitle(view: View, site = "Flash sales"): string {
  const name = view.info?.product_name ?? site;
  switch (view.journey) {
    case "admitted":
      return `● ${clock(view.turn?.left_ms ?? 0)} Your turn · ${name}`;
    case "holding":
      return `${clock(view.hold?.left_ms ?? 0)} In your cart · ${name}`;
    case "pay":
      return `${clock(view.order?.left_ms ?? 0)} To pay · ${name}`;
    case "waiting":
      return view.line && view.line.position > 0 ? `Place ${formatCount(view.line.position)} · ${name}` : `In line · ${name}`;
    case "loading":
      return name;
    default:
      return `${wordsFor(view, false).title} · ${name}`;
  }
}

/** What the strip on other pages says; null: nothing that could not wait. */
export function alertWords(view: View): { text: string; left: string } | null {
  const name = view.info?.product_name ?? "a sale";
  switch (view.journey) {
    case "admitted":
      return view.turn && view.turn.left_ms > 0 ? { text: `Your turn: ${name}`, left: clock(view.turn.left_ms) } : null;
    case "holding":
      return view.hold && view.hold.left_ms > 0 ? { text: `In your cart: ${name}`, left: clock(view.hold.left_ms) } : null;
    case "pay":
      return view.order && view.order.left_ms > 0 ? { text: `To pay: ${name}`, left: clock(view.order.left_ms) } : null;
    default:
      return null;
  }
}
