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
