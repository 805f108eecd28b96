/** A calendar file (iCalendar, RFC 5545) for what a shopper should not miss. Pure. */

import type { View } from "../client/view";
import { spoken } from "./duration";
import { texts } from "./language";

/** How long before it the calendar reminds. */
const REMIND_MINUTES = 10;
/** Octets of a line, its end not counted. */
const LINE_OCTETS = 75;
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

export function calendarFile({ uid, title, text, at, until, address }: Appointment, now: number): string {
  const lines = [
    "BEGIN:VCALENDAR",
    "VERSION:2.0",
    "PRODID:-//flash-sale//widget//EN",
    "BEGIN:VEVENT",
    `UID:${uid}`,
    `DTSTAMP:${stamp(now)}`,
    `DTSTART:${stamp(at)}`,
    `DTEND:${stamp(until)}`,
    `SUMMARY:${escaped(title)}`,
    `DESCRIPTION:${escaped(text)}`,
    `URL:${address.replaceAll(/[\r\n]/g, "")}`,
    "BEGIN:VALARM",
    "ACTION:DISPLAY",
    `DESCRIPTION:${escaped(title)}`,
    `TRIGGER:-PT${String(REMIND_MINUTES)}M`,
    "END:VALARM",
    "END:VEVENT",
    "END:VCALENDAR",
  ];
  return lines.map((line) => `${folded(line)}\r\n`).join("");
}

/** "20261203T120500Z" */
function stamp(at: number): string {
  return new Date(at).toISOString().replaceAll(/[-:]|\.\d+/g, "");
}

function escaped(text: string): string {
  return text.replaceAll(/[\\;,]/g, (mark) => `\\${mark}`).replaceAll(/\r\n?|\n/g, "\\n");
}

/** Long lines go on in the next one after a space; no letter is cut in two. */
function folded(line: string): string {
  const octets = new TextEncoder();
  const parts = [""];
  let room = LINE_OCTETS;
  for (const letter of line) {
    const size = octets.encode(letter).length;
    if (size > room) {
      parts.push(" ");
      room = LINE_OCTETS - 1;
    }
    parts[parts.length - 1] += letter;
    room -= size;
  }
  return parts.join("\r\n");
}
