/**
 * Builds the npm packages `flashsale-client` and `flashsale-widget` into web/packages-out: ES modules, the WebAssembly beside them,
 * and their types. Both are made from the same sources as the pages.
 */

import { execFileSync } from "node:child_process";
import { cpSync, mkdirSync, readFileSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { rolldown } from "rolldown";

const WEB = resolve(import.meta.dirname, "..");
const OUT = join(WEB, "packages-out");
const { version } = JSON.parse(readFileSync(join(WEB, "package.json"), "utf8"));

const PACKAGES = [
  { name: "flashsale-client", entry: "client", description: "Flash sales in your own page: the live client without a DOM." },
  { name: "flashsale-widget", entry: "widget", description: "Flash sales in your own page: the <flash-sale> element." },
];

/** `import text from "./style.css?inline"`, as Vite has it. */
const styleAsText = {
  name: "style-as-text",
  resolveId: (source, importer) => (source.endsWith(".css?inline") ? resolve(dirname(importer), source) : null),
  load: (id) => {
    if (!id.endsWith(".css?inline")) return null;
    const style = readFileSync(id.replace("?inline", ""), "utf8").replaceAll(/\/\*[\s\S]*?\*\//g, "").replaceAll(/\s+/g, " ");
    return { code: `export default ${JSON.stringify(style.trim())}`, moduleType: "js" };
  },
};

rmSync(OUT, { recursive: true, force: true });
for (const one of PACKAGES) await build(one);

async function build({ name, entry, description }) {
  const out = join(OUT, name);
  mkdirSync(out, { recursive: true });
  const bundle = await rolldown({ input: { index: join(WEB, "src/packages", `${entry}.ts`) }, platform: "browser", plugins: [styleAsText] });
  // One folder: each module finds the WebAssembly beside itself, which is also how bundlers find it.
  await bundle.write({ dir: out, format: "es", minify: true, entryFileNames: "[name].js", chunkFileNames: "[name]-[hash].js" });
  await bundle.close();
  for (const file of readdirSync(out)) asBundlersReadIt(join(out, file));
  for (const file of readdirSync(join(WEB, "src/wasm"))) if (file.endsWith("_bg.wasm")) cpSync(join(WEB, "src/wasm", file), join(out, file));
  types(entry, out);
  cpSync(join(WEB, "packages", name), out, { recursive: true });
  for (const licence of ["LICENSE-APACHE", "LICENSE-MIT"]) cpSync(join(WEB, "..", licence), join(out, licence));
  const about = {
    ...{ name, version, description, type: "module", license: "MIT OR Apache-2.0", sideEffects: entry === "widget" },
    exports: {
      ".": { types: `./types/packages/${entry}.d.ts`, default: "./index.js" },
      "./*.wasm": "./*.wasm",
      ...(entry === "widget" ? { "./react": { types: "./react.d.ts" } } : {}),
    },
    types: `./types/packages/${entry}.d.ts`,
  };
  writeFileSync(join(out, "package.json"), `${JSON.stringify(about, null, 2)}\n`);
}

/** Bundlers follow `new URL("./file", import.meta.url)`, and not every one a template in its place. */
function asBundlersReadIt(file) {
  const text = readFileSync(file, "utf8");
  writeFileSync(file, text.replaceAll(/new URL\(`([^`$]+\.wasm)`,\s*import\.meta\.url\)/g, 'new URL("./$1",import.meta.url)'));
}

/** Only what the package's entry names: our own modules, and no library's types. */
function types(entry, out) {
  const tsc = join(WEB, "node_modules/typescript/bin/tsc");
  const flags = ["--declaration", "--emitDeclarationOnly", "--noEmit", "false", "--stripInternal", "--rootDir", join(WEB, "src"), "--outDir", join(out, "types")];
  const config = join(OUT, `tsconfig-${entry}.json`);
  writeFileSync(config, JSON.stringify({ extends: join(WEB, "tsconfig.json"), include: [], files: [join(WEB, "src/packages", `${entry}.ts`)] }));
  execFileSync(process.execPath, [tsc, "-p", config, ...flags], { stdio: "inherit" });
  rmSync(config);
  const needed = new Set();
  const follow = (file) => {
    if (needed.has(file)) return;
    needed.add(file);
    for (const [, from] of readFileSync(join(out, "types", file), "utf8").matchAll(/from "(\.[^"]+)"/g)) {
      const next = join(file, "..", from.replace(/\.js$/, ""));
      follow(`${next}.d.ts`);
    }
  };
  follow(`packages/${entry}.d.ts`);
  for (const file of readdirSync(join(out, "types"), { recursive: true, withFileTypes: true })) {
    const path = join(file.parentPath, file.name);
    if (!file.isFile()) continue;
    if (!needed.has(path.slice(join(out, "types").length + 1))) rmSync(path);
    // Compilers that resolve as Node.js does want the ending.
    else writeFileSync(path, readFileSync(path, "utf8").replaceAll(/((?:from |import\()")(\.[^"]+?)(?:\.js)?"/g, '$1$2.js"'));
  }
}
