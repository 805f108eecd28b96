/**
 * Puts a `.br` and a `.gz` beside each file of a build, for servers that send them as they are, and says how large the widget is.
 *
 *   node compress.mjs dist dist-storefront
 */

import { readFileSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { extname, join } from "node:path";
import { brotliCompressSync, constants, gzipSync } from "node:zlib";

/** What compresses well; fonts and pictures are compressed already, and pages are filled in by the server. */
const KINDS = new Set([".js", ".css", ".wasm", ".svg", ".json", ".txt"]);
/** A smaller file is not worth two more. */
const LEAST_BYTES = 512;

/** The most bytes that travel (brotli). What loads on demand is not among them: another language, the draw's check, the receipt, a description with marks, REST, a question before giving up, what tells of a turn. */
const BUDGET = { "before the first paint": 25_000, "in all": 110_000 };

const brotli = (bytes) =>
  brotliCompressSync(bytes, {
    params: { [constants.BROTLI_PARAM_QUALITY]: constants.BROTLI_MAX_QUALITY, [constants.BROTLI_PARAM_LGWIN]: 24, [constants.BROTLI_PARAM_SIZE_HINT]: bytes.length },
  });

for (const folder of process.argv.slice(2)) {
  for (const file of readdirSync(folder, { recursive: true, withFileTypes: true })) {
    const path = join(file.parentPath, file.name);
    if (!file.isFile() || !KINDS.has(extname(file.name)) || path.includes(".vite")) continue;
    const bytes = readFileSync(path);
    if (bytes.length < LEAST_BYTES) continue;
    writeFileSync(`${path}.br`, brotli(bytes));
    writeFileSync(`${path}.gz`, gzipSync(bytes, { level: 9 }));
  }
}
if (process.argv.includes("dist")) measure("dist");

function measure(folder) {
  const manifest = JSON.parse(readFileSync(join(folder, ".vite/manifest.json"), "utf8"));
  // The server hands out what is in the folder; nobody needs this.
  rmSync(join(folder, ".vite"), { recursive: true });
  const size = (file) => brotli(readFileSync(join(folder, file))).length;
  /** The files that a module needs before it runs. */
  const needs = (key, seen = new Set()) => {
    const { file, imports = [], css = [] } = manifest[key];
    if (seen.has(file)) return seen;
    seen.add(file);
    for (const style of css) seen.add(style);
    for (const other of imports) needs(other, seen);
    return seen;
  };
  const WIDGET = "src/element/widget.ts";
  const first = needs(WIDGET);
  const all = new Set(first);
  for (const key of manifest[WIDGET].dynamicImports) for (const file of needs(key)) all.add(file);
  for (const { file, src } of Object.values(manifest)) if (src?.endsWith("flashsale_client_bg.wasm")) all.add(file);
  const sum = (files) => [...files].reduce((bytes, file) => bytes + size(file), 0);
  const found = { "before the first paint": sum(first), "in all": sum(all) };
  for (const [what, most] of Object.entries(BUDGET)) {
    console.log(`web: the widget is ${(found[what] / 1_000).toFixed(1)} KB ${what} (brotli; at most ${most / 1_000})`);
    // A build goes on: e2e/packages.e2e.ts fails.
    if (found[what] > most) console.error(`web: that is too much. ${[...all].map((file) => `${file}: ${size(file)}`).join(", ")}`);
  }
}
