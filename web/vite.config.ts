import { build, defineConfig, type Plugin } from "vite";

/* `vite build --mode storefront` builds the example storefront, into a folder of its own: it is no part of the platform's pages. */

const server = process.env.FLASHSALE_URL ?? "http://127.0.0.1:8080";

/** Comments and indentation of styles in templates, which no minifier touches and every shopper would download. */
const lessStyle: Plugin = {
  name: "less-style",
  apply: "build",
  enforce: "pre",
  transform: (code, id) =>
    id.includes("/src/") && code.includes("css`")
      ? code.replaceAll(/css`[^`]*`/g, (style) => style.replaceAll(/\/\*[\s\S]*?\*\//g, "").replaceAll(/\s+/g, " ").replaceAll(/ ?([{};]) ?/g, "$1"))
      : null,
};

/**
 * The shop's page brings its own style, so that it is painted after one round trip; the server lets that in by its hash. Whatever it
 * needs to sell is named in it, so that it comes in the next one, and behind what is to be seen first.
 */
const oneRoundTrip: Plugin = {
  name: "one-round-trip",
  apply: "build",
  enforce: "post",
  transformIndexHtml: {
    order: "post",
    handler: (html, { filename, bundle = {} }) => {
      if (!filename.endsWith("/index.html")) return html;
      const outputs = Object.values(bundle);
      const chunks = new Map(outputs.flatMap((output) => (output.type === "chunk" ? [[output.fileName, output] as const] : [])));
      const needed = new Set<string>();
      const need = (name: string) => {
        if (needed.has(name)) return;
        needed.add(name);
        chunks.get(name)?.imports.forEach(need);
      };
      const index = [...chunks.values()].find((chunk) => chunk.isEntry && chunk.name === "index");
      for (const name of [...(index?.imports ?? []), ...(index?.dynamicImports ?? [])]) need(name);
      const named = (end: RegExp) => outputs.map(({ fileName }) => fileName).filter((name) => end.test(name));
      const module = (name: string) => `<link rel="modulepreload" href="/${name}" fetchpriority="low" />`;
      const font = (name: string) => `<link rel="preload" as="font" type="font/woff2" href="/${name}" crossorigin fetchpriority="low" />`;
      // The fonts are to be there when something is drawn with them: it would move when they come. Browsers ask for six at a time.
      const isFirst = (name: string) => /\/(?:elements|pages|parts)-/.test(name);
      const links = [
        ...[...needed].filter(isFirst).map(module),
        ...named(/\.woff2$/).map(font),
        ...[...needed].filter((name) => !isFirst(name)).map(module),
      ];
      const withStyle = html.replace(/<link rel="stylesheet"[^>]* href="\/([^"]+)">/, (_, name: string) => {
        const style = bundle[name];
        if (style?.type !== "asset") throw new Error(`${name} is no style`);
        return `<style>${String(style.source).trim()}</style>`;
      });
      return withStyle.replace("</head>", `  ${links.join("\n    ")}\n  </head>`);
    },
  },
};

/** Vite's own loads the styles of a script beside it; ours bring theirs. */
const plainImports: Plugin = {
  name: "plain-imports",
  apply: "build",
  enforce: "pre",
  load: (id) => (id === "\0vite/preload-helper.js" ? "export const __vitePreload = (load) => load();" : null),
};

/** Pages and the widget are for these. */
const BROWSERS = ["chrome123", "firefox120", "safari17.5"];

/** Without the tokens that nothing in it uses. */
function withUsedTokens(code: string): string {
  const less = code.replaceAll(/(--fs-[\w-]+):[^;{}`]*(?:;|(?=\}))/g, (declaration, name: string) => (code.includes(`var(${name})`) ? declaration : ""));
  return less === code ? code : withUsedTokens(less);
}

/** `widget.js` in one piece: what paints first stands in it, with copies of the few modules that it shares with the element. */
const widgetInOnePiece: Plugin = {
  name: "widget-in-one-piece",
  apply: "build",
  enforce: "post",
  async generateBundle(_, bundle) {
    const widget = bundle["widget.js"];
    if (widget?.type !== "chunk") return;
    if (widget.exports.length > 0) throw new Error("widget.js is a part of other files");
    const elements = Object.values(bundle).find((output) => output.type === "chunk" && output.name === "elements");
    if (!elements) throw new Error("there is no chunk with the elements");
    const made = await build({
      configFile: false,
      logLevel: "warn",
      plugins: [lessStyle],
      build: { write: false, copyPublicDir: false, target: BROWSERS, cssTarget: BROWSERS, minify: true, lib: { entry: "src/element/widget-first.ts", formats: ["es"] }, rolldownOptions: { output: { minify: true } } },
    });
    const [first] = (Array.isArray(made) ? made : [made]).flatMap((result) => ("output" in result ? result.output : []));
    if (first?.type !== "chunk" || first.imports.length > 0) throw new Error("what paints first is not one file");
    // What the element needs comes beside it, not after it.
    const beside = elements.type === "chunk" ? elements.imports.map((name) => `import("./${name}").catch(()=>{});`) : [];
    widget.code = `${withUsedTokens(first.code.trim())}\n${beside.join("")}import("./${elements.fileName}").catch(e=>reportError(e));\n`;
    widget.imports = [];
  },
};

/** What the element is made of, and what of it loads on demand, comes first, or belongs to operators. */
const WHOLE = /\/node_modules\/(?:lit|@lit|lit-)|\/src\/(?:element|text|client)\/|\/src\/style\/tokens|\/src\/wasm\/flashsale_client\.js/;
const ALONE = /\/unsafe-html\.js|\/text\/(?:draw|rejects)\.ts|\/languages\/(?!en\.|en-reasons|grammar)|(?:rest-link|own-view|notice|alert|turn-alert|ask-sure|draw-check|prose|slip|draws|shop|qr|along|calendar|cures|widget|widget-first|first-paint|first-read|operators|orders|shops|sale-pages|sale-cards|currencies|zone|save-file)\.ts/;

/** What the shop's pages need at once and the element on demand: small, and one round trip. */
const PARTS = /\/(?:ask-sure|slip|save-file|sale-pages|sale-cards)\.ts/;

export default defineConfig(({ mode }) => ({
  plugins: [lessStyle, plainImports, oneRoundTrip, widgetInOnePiece],
  // Absolute, because /sale/{id} serves the same page as /.
  base: "/",
  // Scripts name their files beside them: the platform may be below another host's address.
  experimental: { renderBuiltUrl: (_file, { hostType }) => (hostType === "js" ? { relative: true } : undefined) },
  server: {
    proxy: {
      "/ws": { target: server, ws: true },
      ...Object.fromEntries(
        ["/session", "/flash-sales", "/merchants", "^/me$", "^/admin/"].map((path) => [path, { target: server }]),
      ),
    },
  },
  build: {
    outDir: mode === "storefront" ? "dist-storefront" : "dist",
    // light-dark() must stay as it is: rewritten for older browsers it would hang on our own page's color-scheme, and
    // the widget lives in pages of others.
    target: BROWSERS,
    cssTarget: BROWSERS,
    modulePreload: false,
    manifest: true,
    // The WASM is fetched while it compiles; inlined it would be larger and block.
    assetsInlineLimit: 0,
    rolldownOptions: {
      input:
        mode === "storefront"
          ? { storefront: "storefront.html" }
          : { index: "index.html", admin: "admin.html", widget: "src/element/widget.ts" },
      output: {
        entryFileNames: (chunk) => (chunk.name === "widget" ? "widget.js" : "assets/[name]-[hash].js"),
        chunkFileNames: "assets/[name]-[hash].js",
        assetFileNames: "assets/[name]-[hash][extname]",
        // What all pages share is one file: fewer round trips, and it compresses better than its parts.
        codeSplitting: { groups: [{ name: "elements", test: (id) => WHOLE.test(id) && !ALONE.test(id), includeDependenciesRecursively: false }, { name: "parts", test: PARTS, includeDependenciesRecursively: false }] },
      },
    },
  },
}));
