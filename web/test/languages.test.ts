/** Other languages: whole, and spoken where they are wanted. What is missing in a file, the compiler names; this names what was only copied. */

import { afterEach, describe, expect, test } from "vitest";
import { formatCount, range, spoken, when } from "../src/text/duration";
import { wordsFor } from "../src/text/journey";
import { choose, LANGUAGES, onLanguage, speak, texts } from "../src/text/language";
import { german } from "../src/text/languages/de";
import { english, type Texts } from "../src/text/languages/en";
import { lineWords } from "../src/text/line";
import { formatMoney } from "../src/text/money";
import { speakToOperators, words } from "../src/text/refusal";
import { REJECTS_OF_OPERATORS } from "../src/text/rejects-operators";
import { clocked, INFO, LINE, MINUTE, NOW, SALE, STOCK } from "./views";

afterEach(() => speak(["en"]));

/** Every sentence of a language by its place, with numbers and names put in. */
function leaves(of: unknown, place = ""): Map<string, string> {
  const found = new Map<string, string>();
  if (typeof of === "string") return found.set(place, of);
  if (typeof of === "function") {
    for (const count of [1, 2]) found.set(`${place}(${String(count)})`, String((of as (...args: unknown[]) => string)(count, count, count)));
    return found;
  }
  for (const [name, inner] of Object.entries(of as object)) for (const [at, text] of leaves(inner, place ? `${place}.${name}` : name)) found.set(at, text);
  return found;
}

/** The same in both languages, because it is. */
const SAME = /^(locale|shop\.shop$|shop\.presence\.online$|ticket\.close$|phases\.live$|journey\.sum|times\.on\(|tab\.|alert\.|durations\.days|offline\.seconds)/;
/** What only operators read: their pages are English. */
const OPERATORS = /^(sign_in_refused|code_|password_refused|codes_|role_refused|proof_missing|tls_needed|invite_unknown|scope_missing|key_|signature_|version_changed|nothing_to_recover|supply_in_use|merchant_taken|operator_|issuer_taken|quota_reached|already_refunded|refund_too_much|payment_unknown|payment_mismatch|extension_too_long|too_many_sign_ins)/;

describe.each([["de", german]] as const)("the language %s", (code, language: Texts) => {
  const [own, first] = [leaves(language), leaves(english)];

  test("has a sentence of its own wherever English has one", () => {
    expect(language.code).toBe(code);
    const empty = [...own].filter(([, text]) => text.trim() === "").map(([place]) => place);
    expect(empty).toEqual([]);
    const copied = [...own].filter(([place, text]) => text === first.get(place) && !SAME.test(place)).map(([place]) => place);
    expect(copied).toEqual([]);
    const missing = [...first.keys()].filter((place) => !own.has(place) && !OPERATORS.test(place.replace("rejects.", "")));
    expect(missing).toEqual([]);
  });

  test("puts in every number and name that English puts in", () => {
    const marks = (of: Texts, place: string) => {
      const inner = place.split(".").reduce<unknown>((part, name) => (part as Record<string, unknown>)[name], of);
      return typeof inner === "function" ? String((inner as (...args: unknown[]) => string)(7_001, 7_002, 7_003)).match(/7\D?00[123]/g)?.map((mark) => mark.replace(/\D/g, "")).sort() : null;
    };
    const functions = [...new Set([...first.keys()].filter((place) => place.endsWith("(1)")).map((place) => place.slice(0, -3)))];
    expect(functions.length).toBeGreaterThan(58);
    for (const place of functions) expect(marks(language, place), place).toEqual(marks(english, place));
  });
});

test("the page's language is the first of those wanted that there is", () => {
  expect([choose(["fr-FR", "de-AT", "en"]), choose(["en-GB", "de"]), choose([]), choose(["tlh"]), choose(["DE"])]).toEqual(["de", "en", "en", "en", "de"]);
  expect(LANGUAGES).toEqual(["en", "de"]);
});

test("in German everything is German: sentences, plurals, money, dates, refusals", async () => {
  let told = 0;
  const stop = onLanguage(() => (told += 1));
  await speak(["de-CH"]);
  stop();
  expect([told, texts().code]).toEqual([1, "de"]);
  expect(wordsFor({ ...SALE, stock: { ...STOCK, free: 1_200 } }).text).toBe("1.200 Stück verfügbar.");
  expect(wordsFor({ ...SALE, journey: "admitted", turn: clocked(MINUTE) })).toMatchObject({ title: "Sie sind dran" });
  expect(lineWords({ ...SALE, journey: "waiting", line: { ...LINE, soonest_ms: 2 * MINUTE, latest_ms: 5 * MINUTE } })).toBe("Sie sind in 2 bis 5 Minuten dran.");
  expect([spoken(61_000), range(1_000, 130_000), formatCount(1_234)]).toEqual(["1 Minute 1 Sekunde", "höchstens 2 Minuten", "1.234"]);
  expect(formatMoney(9_900, "EUR", 2).replace("\u00a0", " ")).toBe("99,00 €");
  expect(when(NOW, NOW, "UTC")).toBe("Heute 12:05");
  expect(words({ code: "sold_out", message: "" })).toMatch(/^Ausverkauft/);
  speakToOperators(REJECTS_OF_OPERATORS);
  expect(words({ code: "invite_unknown", message: "" }), "operators' words are English").toMatch(/^This link/);
  expect(wordsFor({ ...SALE, journey: "ended", phase: "ended", now: INFO.ends_at + 1 }).text).toBe("5 von 10 Stück wurden verkauft.");
});

test("of two wishes the later one counts, whichever is loaded first", async () => {
  const first = speak(["de"]);
  const second = speak(["en"]);
  await Promise.all([first, second]);
  expect(texts().code).toBe("en");
});
