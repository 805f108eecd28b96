/** Other languages: whole, and spoken where they are wanted. What is missing in a file, the compiler names; this names what was only copied. */

import { readdirSync, readFileSync } from "node:fs";
import { resolve } from "node:path";
import { afterEach, describe, expect, test } from "vitest";
import { clock, formatCount, range, spoken, when } from "../src/text/duration";
import { wordsFor } from "../src/text/journey";
import { choose, isThere, LANGUAGES, onLanguage, sentences, speak, texts } from "../src/text/language";
import { arabic } from "../src/text/languages/ar";
import { german } from "../src/text/languages/de";
import { english as core, type WholeTexts } from "../src/text/languages/en";
import { drawEnglish } from "../src/text/languages/en-draw";
import { shopEnglish } from "../src/text/languages/en-shop";
import { spanish } from "../src/text/languages/es";
import { french } from "../src/text/languages/fr";
import { PLURALS } from "../src/text/languages/grammar";
import { japanese } from "../src/text/languages/ja";
import { chinese } from "../src/text/languages/zh";
import { lineWords } from "../src/text/line";
import { formatMoney } from "../src/text/money";
import { noteWords } from "../src/text/notes";
import { speakToOperators, words } from "../src/text/refusal";
import { REJECTS } from "../src/text/rejects";
import { REJECTS_OF_OPERATORS } from "../src/text/rejects-operators";
import { timeOf } from "../src/text/times";
import { clocked, INFO, LINE, MINUTE, NOW, SALE, STOCK } from "./views";

afterEach(() => speak(["en"]));

const english: WholeTexts = { ...core, shop: shopEnglish, draw: drawEnglish };

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
const SAME =
  /^(locale|dir$|between$|whole|shop\.shop$|shop\.presence\.online$|ticket\.(close|place)$|phases\.live$|journey\.sum|line\.place\(|times\.on\(|tab\.(place|site)|alert\.|durations\.(days|and|minute)|offline\.seconds)/;

const ALL = [arabic, german, spanish, french, japanese, chinese].map((language) => [language.code, language] as const);

describe.each(ALL)("the language %s", (code, language: WholeTexts) => {
  const [own, first] = [leaves(language), leaves(english)];

  test("has a sentence of its own wherever English has one", () => {
    expect(language.code).toBe(code);
    const empty = [...own].filter(([place, text]) => text.trim() === "" && place !== "between").map(([place]) => place);
    expect(empty).toEqual([]);
    const copied = [...own].filter(([place, text]) => text === first.get(place) && !SAME.test(place)).map(([place]) => place);
    expect(copied).toEqual([]);
    expect([...first.keys()].filter((place) => !own.has(place))).toEqual([]);
    // What only operators meet stays English, as their pages are.
    expect(Object.keys(REJECTS).filter((refusal) => !language.rejects[refusal])).toEqual([]);
  });

  test("puts in every number and name that English puts in", () => {
    const marks = (of: WholeTexts, place: string) => {
      const inner = place.split(".").reduce<unknown>((part, name) => (part as Record<string, unknown>)[name], of);
      return typeof inner === "function" ? String((inner as (...args: unknown[]) => string)(7_001, 7_002, 7_003)).match(/7\D?00[123]/g)?.map((mark) => mark.replace(/\D/g, "")).sort() : null;
    };
    const functions = [...new Set([...first.keys()].filter((place) => place.endsWith("(1)")).map((place) => place.slice(0, -3)))];
    expect(functions.length).toBeGreaterThan(58);
    for (const place of functions) expect(marks(language, place), place).toEqual(marks(english, place));
  });
});

test("every language that can be asked for is tried here, and has a file", () => {
  expect(LANGUAGES.filter((code) => code !== "en").sort()).toEqual(ALL.map(([code]) => code).sort());
});

test("each language has the plural forms that Unicode says it has", () => {
  for (const [code, forms] of Object.entries(PLURALS)) {
    expect([...forms].sort(), code).toEqual([...new Intl.PluralRules(code).resolvedOptions().pluralCategories].sort());
  }
  const [none, one, two, few, many, other] = [0, 1, 2, 3, 11, 100].map((count) => arabic.units(count));
  expect(new Set([none, one, two, few, many, other]).size).toBe(6);
  expect([one, two, few, many].map((text) => text?.replace(/\d+ /, ""))).toEqual(["قطعة واحدة", "قطعتان", "قطع", "قطعة"]);
});

test("the page's language is the first of those wanted that there is", () => {
  expect([choose(["pt-BR", "de-AT", "en"]), choose(["en-GB", "de"]), choose([]), choose(["tlh"]), choose(["DE"])]).toEqual(["de", "en", "en", "en", "de"]);
  expect([choose(["fr_CA"]), choose(["ar-EG"]), choose(["no good"]), choose([""])]).toEqual(["fr", "ar", "en", "en"]);
  // Who reads traditional characters does not want simplified ones before their next language.
  expect([choose(["zh-TW", "ja"]), choose(["zh-Hant"]), choose(["zh-CN"]), choose(["zh"]), choose(["zh-Hans-HK"])]).toEqual(["ja", "en", "zh", "zh", "zh"]);
  expect([isThere("es-MX"), isThere("tlh"), isThere("")]).toEqual([true, false, false]);
});

test("numbers, money and times are those of the reader's region, the words those of the language", async () => {
  const amount = () => formatMoney(123_450, "EUR", 2).replaceAll(/[\u00a0\u202f]/g, " ");
  await speak(["de", "de-CH"]);
  expect([texts().code, amount().replace("’", "'")]).toEqual(["de", "EUR 1'234.50"]);
  await speak(["de"]);
  expect(amount()).toBe("1.234,50 €");
  await speak(["en", "fr-FR", "en-US"]);
  expect(timeOf(NOW - 3 * 3_600_000)).toMatch(/^9:05:00.AM$/);
  await speak(["en"]);
  expect(timeOf(NOW - 3 * 3_600_000)).toBe("09:05:00");
  // The digits of a clock are those of the numbers beside it.
  await speak(["ar-EG"]);
  expect([formatCount(1_234), clock(299_000), clock(3_600_000)]).toEqual(["١٬٢٣٤", "٤:٥٩", "١:٠٠:٠٠"]);
  await speak(["ar-MA"]);
  expect(clock(299_000)).toBe("4:59");
});

test("sentences stand side by side as the language does it", async () => {
  await speak(["ja"]);
  expect(sentences("一。", "", "二。")).toBe("一。二。");
  expect(noteWords({ kind: "turn_lapsed", reason: null, at: 0 })?.text).not.toMatch(/\s/);
  expect(spoken(299_000)).toBe("4分59秒");
  await speak(["ar"]);
  expect([spoken(125_000), spoken(60_000)]).toEqual(["دقيقتان و5 ثوانٍ", "دقيقة واحدة"]);
});

test("in Arabic, what comes from elsewhere is kept apart from the sentence around it", () => {
  const name = "Aurora (Runner)";
  for (const text of [arabic.tab.turn("1:58", name), arabic.alert.turn(name), arabic.notice.title(name), arabic.calendar.sale(name)]) {
    expect(text).toContain(`\u2068${name}\u2069`);
  }
  expect(arabic.journey.declined.text("insufficient funds.", "12:05:00")).toContain("\u2068insufficient funds.\u2069");
});

test("in German everything is German: sentences, plurals, money, dates, refusals", async () => {
  let told = 0;
  const stop = onLanguage(() => (told += 1));
  await speak(["de-DE"]);
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

test("no language but English is in the first file: each is loaded when it is wanted", () => {
  const src = resolve(import.meta.dirname, "../src");
  const files = readdirSync(src, { recursive: true, encoding: "utf8" }).filter((file) => file.endsWith(".ts") && !file.startsWith("wasm"));
  const others = LANGUAGES.filter((code) => code !== "en").join("|");
  const found = files.filter((file) => new RegExp(`^import (?!type).*languages/(?:${others})(?:-refusals)?"|^import (?!type).*"\\./(?:${others})"`, "m").test(readFileSync(resolve(src, file), "utf8")));
  expect(files.length).toBeGreaterThan(100);
  expect(found).toEqual([]);
});
