/** The words of a sale that is asked for by REST: what everybody may see, and why it is slower. Pure. */

import type { Shown } from "../client/by-rest";
import type { View } from "../client/view";
import { age } from "./duration";
import { sentences, texts } from "./language";
import type { Words } from "./words";

/** Why nothing comes live, and what that means for whoever wants to buy. */
export function restNotice({ connection, stale_ms, own }: Shown): string {
  const { rest, offline } = texts();
  if (stale_ms !== null) return offline.lastKnown(age(stale_ms));
  return sentences(connection.code === "unsupported" ? rest.forbidden : rest.blocked, own ? rest.slower : rest.asked);
}

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
