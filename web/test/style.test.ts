import { readFileSync, readdirSync } from "node:fs";
import { resolve } from "node:path";
import { expect, test } from "vitest";

const SRC = resolve(import.meta.dirname, "../src");
const files = readdirSync(SRC, { recursive: true, encoding: "utf8" })
  .filter((file) => /\.(ts|css)$/.test(file) && !file.startsWith("wasm"))
  .map((file) => ({ file, text: readFileSync(resolve(SRC, file), "utf8") }));

test("raw colours and sizes are in the tokens only", () => {
  const raw = /#[0-9a-f]{3,8}\b(?=[;\s,)])|\b\d*\.?\d+(?:px|rem|pt|vh|vw)\b|\b(?:rgb|hsl|oklch)a?\(/gi;
  const found = files
    .filter(({ file }) => !file.endsWith("tokens.css"))
    .flatMap(({ file, text }) => [...text.matchAll(raw)].map((match) => `${file}: ${match[0]}`));
  expect(files.length).toBeGreaterThan(20);
  expect(found).toEqual([]);
});

test("every custom property that is used is there", () => {
  const all = files.map(({ text }) => text).join("\n");
  const defined = new Set([...all.matchAll(/(--(?:fs|shop)-[\w-]+):/g)].map((match) => match[1]));
  const used = new Set([...all.matchAll(/var\((--(?:fs|shop)-[\w-]+)/g)].map((match) => match[1]));
  expect([...used].filter((name) => !defined.has(name))).toEqual([]);
});

test("every token of the platform is used", () => {
  const tokens = readFileSync(resolve(SRC, "style/tokens.css"), "utf8");
  const all = files.map(({ text }) => text).join("\n");
  const names = [...tokens.matchAll(/^\s*(--fs-[\w-]+):/gm)].map((match) => match[1] ?? "");
  expect([...new Set(names)].filter((name) => !all.includes(`var(${name})`))).toEqual([]);
});

/** Declarations of a file's CSS, by property and value. */
function declarations(text: string): [property: string, value: string][] {
  return [...text.matchAll(/(?<=[{;]\s*(?:\/\*[^*]*\*\/\s*)?)([a-z-]+):\s*([^;{}`]+);/g)].map((match) => [match[1] ?? "", (match[2] ?? "").replaceAll(/\s+/g, " ")]);
}

/** The values of a shorthand, as `margin: a calc(b + c)` has two. */
function values(value: string): string[] {
  const found = [""];
  let depth = 0;
  for (const letter of value.trim()) {
    if (letter === "(") depth += 1;
    if (letter === ")") depth -= 1;
    if (letter === " " && depth === 0) found.push("");
    else found[found.length - 1] += letter;
  }
  return found;
}

/** What would stay on its side where the text runs the other way. */
function isPhysical(property: string, value: string): boolean {
  if (/^(?:(?:margin|padding|border|inset|scroll-margin|scroll-padding)-(?:left|right|top|bottom).*|left|right|top|bottom|border-(?:top|bottom)-(?:left|right)-radius)$/.test(property)) return true;
  if (/^(?:text-align|float|clear)$/.test(property) && /\b(?:left|right)\b/.test(value)) return true;
  if (/^(?:margin|padding|inset|border-(?:width|color|style)|border-radius)$/.test(property)) {
    const [, second, , fourth] = values(value);
    if (fourth !== undefined && second !== fourth) return true;
  }
  const turns = /\bto (?:left|right)\b|\b-?90deg\b|translateX\(|scaleX\(|inset\(/.test(value);
  const sides = /inset\(([^()]+)\)/.exec(value)?.[1]?.split(" ");
  const isEven = sides !== undefined && (sides.length < 4 || sides[1] === sides[3]);
  return turns && !value.includes("--flip") && !isEven;
}

test("nothing has a physical side: pages are mirrored for languages that are written from right to left", () => {
  const found = files.flatMap(({ file, text }) => declarations(text).filter(([property, value]) => isPhysical(property, value)).map(([property, value]) => `${file}: ${property}: ${value}`));
  expect(files.flatMap(({ text }) => declarations(text)).length).toBeGreaterThan(500);
  expect(found).toEqual([]);
});

test("what a physical side is, the test above knows", () => {
  const physical = [["margin-left", "0"], ["right", "0"], ["text-align", "left"], ["padding", "1px 2px 3px 4px"], ["transform", "translateX(4px)"], ["background", "linear-gradient(to left, red, blue)"], ["clip-path", "inset(0 100% 0 0)"]];
  const logical = [["margin-inline-start", "0"], ["text-align", "start"], ["padding", "1px calc(2px + 1px) 3px"], ["inset", "0 1px 0 1px"], ["transform", "translateX(calc(var(--flip) * 4px))"], ["clip-path", "inset(0 0 100% 0)"], ["transform", "translateY(4px)"]];
  expect(physical.filter(([property = "", value = ""]) => !isPhysical(property, value))).toEqual([]);
  expect(logical.filter(([property = "", value = ""]) => isPhysical(property, value))).toEqual([]);
});
