/** The words of a sale that is only asked for by REST: what everybody may see, and why there is no more. Pure. */

import type { View } from "../client/view";
import { sentences, texts } from "./language";
import type { Words } from "./words";

/** Of the shopper's own things nothing is known here, so nothing is said of them. */
export function restWords({ phase, stock }: View): Words {
  const { journey: t, rest } = texts();
  const said = (title: string, ...parts: string[]): Words => ({ title, text: sentences(...parts), tone: "calm" });
  const people = stock && stock.waiting > 0 ? rest.inLine(stock.waiting) : "";
  switch (phase) {
    case "scheduled":
      return said(t.beforeSale.title);
    case "waiting":
      return said(t.room.title, people);
    case "live":
      return said(t.on.title, stock && stock.free > 0 ? t.on.available(stock.free) : rest.none, people);
    case "paused":
      return said(t.paused.title, rest.mayGoOn);
    case "drawing":
      return said(t.drawing.title);
    case "ended":
      return said(t.ended.title);
    case "cancelled":
      return said(t.cancelled.title, t.cancelled.text);
    case null:
      return said(t.loading.title, t.loading.text);
  }
}
