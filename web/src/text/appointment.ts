/** What a shopper should not miss. Pure. */

import type { View } from "../client/view";
import { spoken } from "./duration";
import { texts } from "./language";

/** For how long the entry stands in a day, where the sale has no end of its own to go by. */
const SHOWN_MS = 15 * 60_000;

export interface Appointment {
  uid: string;
  title: string;
  text: string;
  at: number;
  until: number;
  address: string;
}

/** What there is to be reminded of now; null: nothing. */
export function appointmentOf(view: View, whereToFind: () => string): Appointment | null {
  const { info, countdown, journey, draw } = view;
  if (!info) return null;
  const t = texts().calendar;
  const of = (what: string, title: string, text: (address: string) => string, at: number): Appointment => {
    const address = whereToFind();
    return { uid: `${what}-${info.sale}@flash-sale`, title, text: text(address), at, until: at + SHOWN_MS, address };
  };
  if (journey === "countdown" && countdown && countdown.to !== "end") {
    const title = countdown.to === "room" ? t.room(info.product_name) : t.sale(info.product_name);
    return of(countdown.to, title, t.text, countdown.at);
  }
  if (journey === "entered" && info.allocation === "draw" && draw?.stage === "open") {
    return of("draw", t.draw(info.product_name), (address) => t.drawText(spoken(info.claim_ms), address), info.ends_at);
  }
  return null;
}
