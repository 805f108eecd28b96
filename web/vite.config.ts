import { defineConfig, type Plugin } from "vite";

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

/** What the element is made of, and what of it loads on demand, comes first, or belongs to operators. */
const WHOLE = /\/node_modules\/(?:lit|@lit|lit-)|\/src\/(?:element|text|client)\/|\/src\/wasm\/flashsale_client\.js/;
const ALONE = /\/unsafe-html\.js|\/text\/(?:draw|rejects)\.ts|\/languages\/(?!en\.|en-reasons|grammar)|(?:rest-link|own-view|notice|alert|turn-alert|ask-sure|draw-check|prose|slip|draws|shop|qr|along|calendar|cures|widget|first-paint|first-read|sale-id|home|operators|orders|shops|sale-pages|sale-cards|currencies|zone|save-file)\.ts/;

export default defineConfig(({ mode }) => ({
  plugins: [lessStyle],
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
    target: ["chrome123", "firefox120", "safari17.5"],
    cssTarget: ["chrome123", "firefox120", "safari17.5"],
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
        codeSplitting: { groups: [{ name: "elements", test: (id) => WHOLE.test(id) && !ALONE.test(id), includeDependenciesRecursively: false }] },
      },
    },
  },
}));
