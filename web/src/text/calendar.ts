/** A calendar file (iCalendar, RFC 5545) for what a shopper should not miss: loaded by those who ask for it. Pure. */

import type { Appointment } from "./appointment";

/** How long before it the calendar reminds. */
const REMIND_MINUTES = 10;
/** Octets of a line, its end not counted. */
const LINE_OCTETS = 75;

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
