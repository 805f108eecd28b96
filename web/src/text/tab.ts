/** What the tab is called: the moment first, because a tab shows only the beginning. Pure. */

import type { View } from "../client/view";
import { clock } from "./duration";
import { wordsFor } from "./journey";
import { texts } from "./language";

export function tabTitle(view: View): string {
  const t = texts().tab;
  const name = view.info?.product_name ?? t.site;
  switch (view.journey) {
    case "admitted":
      return t.turn(clock(view.turn?.left_ms ?? 0), name);
    case "holding":
      return t.cart(clock(view.hold?.left_ms ?? 0), name);
    case "pay":
      return t.pay(clock(view.order?.left_ms ?? 0), name);
    case "waiting":
      return view.line && view.line.position > 0 ? t.place(view.line.position, name) : t.inLine(name);
    case "loading":
      return name;
    default:
      return `${wordsFor(view, false).title} · ${name}`;
  }
}

/** What the strip on other pages says; null: nothing that could not wait. */
export function alertWords(view: View): { text: string; left: string } | null {
  const { alert: t, tab } = texts();
  const name = view.info?.product_name ?? tab.aSale;
  switch (view.journey) {
    case "admitted":
      return view.turn && view.turn.left_ms > 0 ? { text: t.turn(name), left: clock(view.turn.left_ms) } : null;
    case "holding":
      return view.hold && view.hold.left_ms > 0 ? { text: t.cart(name), left: clock(view.hold.left_ms) } : null;
    case "pay":
      return view.order && view.order.left_ms > 0 ? { text: t.pay(name), left: clock(view.order.left_ms) } : null;
    default:
      return null;
  }
}
