/** The calendar file: what it is for, and that calendars can read it. */

import { afterEach, expect, test } from "vitest";
import type { View } from "../src/client/view";
import { appointmentOf } from "../src/text/appointment";
import { calendarFile } from "../src/text/calendar";
import { speak } from "../src/text/language";
import { INFO, LINE, MINUTE, NOW, SALE } from "./views";

afterEach(() => speak(["en"]));

const ADDRESS = `https://shop.example/sale/${INFO.sale}`;
const soon: View = { ...SALE, journey: "countdown", phase: "scheduled", countdown: { to: "room", at: NOW + 60 * MINUTE, left_ms: 60 * MINUTE } };
const draw = { stage: "open" as const, commitment: "", awaits: null, entered: 1, count: null, root: null, units: null, winners: null, reason: null };

/** A calendar's own reading: lines that go on are put together, and marks are taken off. */
function read(file: string): Map<string, string> {
  const lines = file.replaceAll("\r\n ", "").trimEnd().split("\r\n");
  return new Map(lines.map((line) => [line.slice(0, line.indexOf(":")), line.slice(line.indexOf(":") + 1).replaceAll(/\\([\\;,])/g, "$1").replaceAll("\\n", "\n")]));
}

test("a sale that is to come is an entry at the time when something can be done, with its name, its page and a reminder", () => {
  const entry = appointmentOf(soon, () => ADDRESS);
  if (!entry) throw new Error("there is nothing to be reminded of");
  const said = read(calendarFile(entry, NOW));
  expect(said.get("DTSTART")).toBe("20261203T130500Z");
  expect(said.get("SUMMARY")).toBe("Waiting room opens: Aurora Runner");
  expect(said.get("URL")).toBe(ADDRESS);
  expect(said.get("TRIGGER")).toBe("-PT10M");
  expect(said.get("UID")).toBe(`room-${INFO.sale}@flash-sale`);
});

test("who has entered a draw is reminded of it, and told how long they will have", () => {
  const entered: View = { ...SALE, journey: "entered", info: { ...INFO, allocation: "draw" }, draw };
  expect(appointmentOf(entered, () => ADDRESS)).toMatchObject({ at: INFO.ends_at, title: "Draw: Aurora Runner" });
  expect(appointmentOf(entered, () => ADDRESS)?.text).toContain("you have 2 minutes");
  expect(appointmentOf({ ...entered, draw: { ...draw, stage: "closed" } }, () => ADDRESS)).toBeNull();
});

test("where there is nothing to come back for, there is no entry", () => {
  for (const journey of ["open", "ended", "sold_out", "confirmed"] as const) expect(appointmentOf({ ...SALE, journey }, () => ADDRESS), journey).toBeNull();
  expect(appointmentOf({ ...SALE, journey: "waiting", line: LINE }, () => ADDRESS)).toBeNull();
});

test("names with commas, line ends and long letters do not break the file", async () => {
  const name = `Lamp; brass, "old"\\\r\nBEGIN:VALARM ${"灯".repeat(60)}`;
  await speak(["ja"]);
  const entry = appointmentOf({ ...soon, info: { ...INFO, product_name: name } }, () => ADDRESS);
  if (!entry) throw new Error("there is nothing to be reminded of");
  const file = calendarFile(entry, NOW);
  expect(file.split("\r\n").every((line) => Buffer.byteLength(line) <= 75)).toBe(true);
  expect(file.match(/^BEGIN:VALARM/gm)).toHaveLength(1);
  expect(read(file).get("SUMMARY")).toBe(`待合室オープン：${name.replace("\r\n", "\n")}`);
  expect(file.endsWith("END:VCALENDAR\r\n")).toBe(true);
});
