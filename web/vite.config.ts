import { defineConfig } from "vite";

/* `vite build --mode storefront` builds the example storefront, into a folder of its own: it is no part of the platform's pages. */

const server = process.env.FLASHSALE_URL ?? "http://127.0.0.1:8080";

export default defineConfig(({ mode }) => ({
  // Absolute, because /sale/{id} serves the same page as /.
  base: "/",
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
      },
    },
  },
}));
