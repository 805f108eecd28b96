/** What a shop brings to its sale: a picture, a description in Markdown, terms. And the link that is shared. */

import type { Page } from "playwright-core";
import { afterAll, beforeAll, expect, inject, test } from "vitest";
import { api, button, createSale, createShop, forgive, isAccessible, journey, operator, picture, shopper, takeUnit } from "./harness";
import { around, embed, host, type Host } from "./host";
import { png } from "./png";

let shop: Host;
beforeAll(async () => {
  shop = await host();
});
afterAll(() => shop.end());

async function upload(sale: string, file: Buffer, alt = ""): Promise<void> {
  const response = await fetch(`${api}/admin/sales/${sale}/picture?alt=${encodeURIComponent(alt)}`, {
    method: "POST",
    headers: { Authorization: `Bearer ${inject("adminToken")}`, "Content-Type": "application/octet-stream" },
    body: new Uint8Array(file),
  });
  if (!response.ok) throw new Error(`no picture: ${response.status} ${await response.text()}`);
}

/** How much has moved on the page by itself. */
const SHIFT = `window.shift = []; new PerformanceObserver((list) => { for (const entry of list.getEntries()) if (!entry.hadRecentInput) window.shift.push([entry.value.toFixed(4), Math.round(entry.startTime), ...entry.sources.map(({ node, previousRect: a, currentRect: b }) => [node?.nodeName + "." + (node?.className ?? ""), a.y, b.y, a.height, b.height].join(" "))]); }).observe({ type: "layout-shift", buffered: true });`;

const shown = (page: Page, inside: string) =>
  expect.poll(() => page.locator(`${inside} img`).first().evaluate((image: HTMLImageElement) => image.complete && image.naturalWidth > 0)).toBe(true);

test("an operator uploads a picture, replaces it and takes it away; a bad one is refused in a sentence", async () => {
  // Whoever has one shop is not asked for it; how many the other tests have made by now, nobody knows.
  await createShop("Plain Lamps");
  await createShop("Pictured Lamps");
  const page = await operator(`${api}/admin#/new`);
  await page.getByLabel("Shop", { exact: true }).selectOption({ label: "Pictured Lamps" });
  await page.getByLabel("Product").fill("Lamp of oak");
  await page.getByLabel("Original price").fill("120");
  await page.getByLabel("Sale price").fill("80");
  await page.getByLabel("Picture", { exact: true }).setInputFiles({ name: "lamp.png", mimeType: "image/png", buffer: png(900, 600, [200, 120, 60]) });
  await page.getByLabel("What the picture shows").fill("A table lamp");
  await picture(page, "admin-form-picture");
  await isAccessible(page);
  await button(page, "Create sale").click();
  await page.getByRole("img", { name: "A table lamp" }).waitFor();
  await shown(page, "picture-form");
  const first = await page.locator("picture-form img").getAttribute("src");

  await page.getByLabel("Picture", { exact: true }).setInputFiles({ name: "no.png", mimeType: "image/png", buffer: Buffer.from("this is no picture") });
  await button(page, "Replace picture").click();
  await page.getByText("This is no picture that we can read.").waitFor();
  forgive(/422/);
  await page.getByLabel("Picture", { exact: true }).setInputFiles({ name: "big.png", mimeType: "image/png", buffer: Buffer.alloc(5_000_001) });
  await page.getByText("A picture may have at most 5 MB.").waitFor();
  await page.getByLabel("Picture", { exact: true }).setInputFiles({ name: "new.png", mimeType: "image/png", buffer: png(640, 640, [40, 90, 160]) });
  await button(page, "Replace picture").click();
  await expect.poll(() => page.locator("picture-form img").getAttribute("src")).not.toBe(first);
  await page.getByRole("img", { name: "Lamp of oak" }).waitFor();
  await picture(page, "admin-picture");
  await isAccessible(page);
  await button(page, "Remove picture").click();
  await page.getByText("This sale has no picture yet.").waitFor();
});

test("the picture and the description stand on the shop's page and on the sale's, and nothing moves when they come", async () => {
  const description = "Turned **oak**, by hand.\n\n- 40 cm high\n- [how we make it](https://shop.example/made)\n\n<script>document.title = 'pwned'</script><img src=x onerror=alert(1)>";
  const sale = await createSale({ product_name: "Pictured lamp", description });
  await upload(sale, png(1_600, 1_000, [190, 110, 50]), "A lamp on a table");
  for (const [viewport, name] of [
    [{ width: 360, height: 740 }, "phone"],
    [{ width: 1_200, height: 800 }, "laptop"],
  ] as const) {
    for (const colorScheme of ["light", "dark"] as const) {
      const page = await (await shopper({ viewport, colorScheme })).blank();
      await page.addInitScript(SHIFT);
      await page.goto(`${api}/sale/${sale}`);
      await journey(page, "open");
      await shown(page, "flash-sale");
      await page.locator("flash-sale .prose strong").waitFor();
      await picture(page, `product-${name}-${colorScheme}`);
      const shifts = await page.evaluate(() => (window as unknown as { shift: string[][] }).shift);
      expect(shifts.reduce((sum, [value]) => sum + Number(value), 0), JSON.stringify(shifts)).toBeLessThan(0.02);
      const link = page.locator("flash-sale .prose a");
      expect([await link.getAttribute("rel"), await link.getAttribute("target")]).toEqual(["nofollow noopener noreferrer", "_blank"]);
      expect(await page.locator("flash-sale .prose").innerText()).toContain("<script>document.title = 'pwned'</script>");
      expect(await page.title()).not.toContain("pwned");
      await isAccessible(page);
      await page.goto(`${api}/`);
      await page.locator(`a[data-sale="${sale}"] img`).scrollIntoViewIfNeeded();
      await shown(page, `a[data-sale="${sale}"]`);
      await picture(page, `product-list-${name}-${colorScheme}`);
    }
  }
});

test("a widget under a strict policy shows both, a picture of the page's own wins, and a forbidden one leaves no hole", async () => {
  const sale = await createSale({ description: "Turned **oak**." });
  await upload(sale, png(800, 500, [190, 110, 50]), "A lamp on a table");
  const policy = (images: string) =>
    `default-src 'none'; script-src ${api} 'wasm-unsafe-eval'; connect-src ${api} ${api.replace("http", "ws")}; img-src ${images}; require-trusted-types-for 'script'; trusted-types lit-html`;
  const page = await (await shopper()).open(shop.page("/strict", { html: around(embed(api, sale)), headers: { "Content-Security-Policy": policy(`${api} data:`) } }));
  await journey(page, "open");
  await shown(page, "flash-sale");
  await page.locator("flash-sale .prose strong").waitFor();
  await picture(page, "product-widget");

  const own = `<script type="module" src="${api}/widget.js"></script><flash-sale sale="${sale}"><p slot="picture">Our own picture</p></flash-sale>`;
  const slotted = await (await shopper()).open(shop.page("/own", { html: around(own) }));
  await journey(slotted, "open");
  await slotted.getByText("Our own picture").waitFor();
  expect(await slotted.locator("flash-sale img").isVisible()).toBe(false);

  const without = await (await shopper()).open(shop.page("/without", { html: around(embed(api, sale)), headers: { "Content-Security-Policy": policy("data:") } }));
  await journey(without, "open");
  await expect.poll(() => without.locator("flash-sale img").isVisible()).toBe(false);
  forgive(/Content Security Policy|csp/i);
});

test("the terms are linked beside the order button, and their version is on the receipt and in what is stored", async () => {
  const made = await fetch(`${api}/admin/sales`, {
    method: "POST",
    headers: { Authorization: `Bearer ${inject("adminToken")}`, "Content-Type": "application/json" },
    body: JSON.stringify({
      ...{ product_name: "Lamp with terms", currency: "EUR", original_price: 9_900, sale_price: 9_900, total_stock: 5 },
      ...{ start_time: new Date(Date.now() - 1_000).toISOString(), end_time: new Date(Date.now() + 3_600_000).toISOString() },
      ...{ terms_url: "https://shop.example/terms", terms_version: "2026-11-01" },
    }),
  });
  const { sale_id: sale } = (await made.json()) as { sale_id: string };
  const page = await (await shopper()).open(`${api}/sale/${sale}`);
  await journey(page, "open");
  const terms = page.locator("flash-sale [part=terms]");
  expect(await terms.isVisible()).toBe(false);
  await takeUnit(page);
  await terms.getByText("With your order you accept the shop’s terms (2026-11-01).").waitFor();
  expect(await terms.getAttribute("href")).toBe("https://shop.example/terms");
  await picture(page, "terms-cart");
  await isAccessible(page);
  await button(page, "Check out for €99.00").click();
  await journey(page, "pay");
  await terms.waitFor();
  await picture(page, "terms-pay");
  await button(page, "Pay €99.00").click();
  await journey(page, "confirmed");
  await page.locator("flash-sale .slip").getByRole("link", { name: "2026-11-01" }).waitFor();
  await picture(page, "terms-receipt");
  await page.getByRole("link", { name: "Open the order’s page" }).click();
  await page.locator("order-page").getByRole("link", { name: "2026-11-01" }).waitFor();
});

test("a link that is shared says what it leads to, and can be read without a script", async () => {
  const sale = await createSale({ product_name: "Shared lamp", description: "Turned **oak**." });
  await upload(sale, png(800, 500, [190, 110, 50]), "A lamp on a table");
  const page = await (await shopper({ javaScriptEnabled: false, locale: "de-DE", viewport: { width: 360, height: 740 } })).open(`${api}/sale/${sale}`);
  await page.getByRole("heading", { name: "Shared lamp" }).waitFor();
  expect(await page.title()).toContain("Shared lamp · ");
  expect(await page.locator("article").innerText()).toMatch(/EUR 99\.00[\s\S]*Ende \d{4}-\d\d-\d\d \d\d:\d\d UTC/);
  expect(await page.content()).toContain("<noscript>Schalten Sie zum Mitmachen bitte JavaScript");
  await shown(page, "article");
  await picture(page, "without-script");
  const meta = (name: string) => page.locator(`meta[property="${name}"]`).getAttribute("content");
  expect(await meta("og:title")).toBe("Shared lamp");
  expect((await fetch((await meta("og:image")) ?? "")).headers.get("content-type")).toBe("image/jpeg");
  await page.goto(`${api}/`);
  await page.getByRole("link", { name: "Shared lamp" }).waitFor();
  // The page names the scripts that it will need; a browser without scripts asks for none of them, and says so.
  forgive(/\.js: csp$/);

  const unknown = await (await shopper()).open(`${api}/sale/01ARZ3NDEKTSV4RRFFQ69G5FAV`);
  await journey(unknown, "unknown");
  await unknown.getByRole("link", { name: "See all sales" }).first().waitFor();
  await picture(unknown, "unknown-sale");
  forgive(/404/);
});
