/** Which language is spoken, which way it runs, what can be kept: a calendar entry, an order's page, a printed receipt. */

import { readFile } from "node:fs/promises";
import { afterAll, beforeAll, expect, test } from "vitest";
import { api, button, complaintsSoFar, createSale, forgive, isAccessible, journey, picture, said, shopper, takeUnit } from "./harness";
import { around, embed, host, type Host } from "./host";

let shop: Host;

beforeAll(async () => {
  shop = await host();
});

afterAll(() => shop.end());

test("the element's own language counts first, then the page's, then the reader's, and another choice is followed", async () => {
  const sale = await createSale({ startsInMs: 3_600_000 });
  const address = shop.page("/lang", { html: around(embed(api, sale)).replace('lang="en"', 'lang="fr-CA"') });
  const page = await (await shopper({ locale: "es-ES" })).open(address);
  const article = page.locator("flash-sale article");
  await said(page, "La salle d’attente n’est pas encore ouverte");
  expect(await article.getAttribute("lang")).toBe("fr");
  const set = (selector: string, lang: string) => page.evaluate(([selector = "", lang = ""]) => document.querySelector(selector)?.setAttribute("lang", lang), [selector, lang]);
  await set("flash-sale", "ja");
  await said(page, "待合室はまだ開いていません");
  await set("flash-sale", "");
  await set("html", "zh-CN");
  await said(page, "等候室还没有开放");
  await page.evaluate(() => document.documentElement.removeAttribute("lang"));
  await said(page, "La sala de espera aún no está abierta");
  expect(complaintsSoFar()).toEqual([]);
});

test("a language that is not there is passed over, with one warning that names the cure", async () => {
  const sale = await createSale({ startsInMs: 3_600_000 });
  const page = await (await shopper({ locale: "de-DE" })).open(shop.page("/klingon", { html: around(embed(api, sale, 'lang="tlh"')).replace('lang="en"', "") }));
  await said(page, "Der Warteraum ist noch nicht offen");
  expect(await page.locator("flash-sale article").getAttribute("lang")).toBe("de");
  const warned = complaintsSoFar().filter((complaint) => complaint.includes("<flash-sale>"));
  expect(warned).toHaveLength(1);
  expect(warned[0]).toMatch(/lang="tlh" is no language that there is: write one of en, ar, de, es, fr, ja, zh/);
  forgive(/<flash-sale>/);
});

test("in a page that runs the other way the element keeps the direction of its own language", async () => {
  const sale = await createSale({ startsInMs: 3_600_000 });
  const direction = (html: string, path: string) =>
    shopper({ viewport: { width: 360, height: 740 } }).then(async (visitor) => {
      const page = await visitor.open(shop.page(path, { html }));
      await journey(page, "countdown");
      await isAccessible(page);
      return page.locator("flash-sale article").evaluate((article) => getComputedStyle(article).direction);
    });
  expect(await direction(around(embed(api, sale, 'lang="ar"')), "/ar-in-en")).toBe("rtl");
  expect(await direction(around(embed(api, sale, 'lang="en"')).replace('lang="en"', 'lang="ar" dir="rtl"'), "/en-in-ar")).toBe("ltr");
});

test("our own pages run from right to left in Arabic: nothing is cut off, nothing against the rules", async () => {
  await createSale({ startsInMs: 600_000, product_name: "Fanous" });
  const page = await (await shopper({ viewport: { width: 320, height: 640 }, locale: "ar-EG" })).open(`${api}/`);
  await page.getByRole("heading", { name: "قريبًا" }).waitFor();
  const fits = async () => {
    expect(await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth)).toBeLessThanOrEqual(0);
    await isAccessible(page);
  };
  await fits();
  const [home, presence] = [await page.locator(".home").boundingBox(), await page.locator(".presence").boundingBox()];
  expect(home?.x ?? 0, "the way home is on the right").toBeGreaterThan(presence?.x ?? 1_000);
  // The digits are those of the region, in the list's clocks too.
  expect(await page.getByRole("link", { name: /Fanous/ }).innerText()).toMatch(/[٠-٩]:[٠-٩]{2}/);
  await picture(page, "home-arabic");
  await page.goto(`${api}/salon`);
  await page.getByRole("heading", { name: "لم نجد هذه الصفحة" }).waitFor();
  await fits();
  forgive(/404/);
});

test("a sale that is to come can be put into the shopper's calendar", async () => {
  const sale = await createSale({ startsInMs: 7_200_000, product_name: "Aurora, Runner" });
  const page = await (await shopper()).open(`${api}/sale/${sale}`);
  await journey(page, "countdown");
  const coming = page.waitForEvent("download");
  await button(page, "Add to calendar").click();
  const file = await coming;
  expect(file.suggestedFilename()).toBe("reminder.ics");
  const text = await readFile(await file.path(), "utf8");
  expect(text).toContain("SUMMARY:Waiting room opens: Aurora\\, Runner\r\n");
  expect(text.replaceAll("\r\n ", "")).toContain(`URL:${api}/sale/${sale}\r\n`);
  await said(page, /^Saved\. Open the file/);
  await isAccessible(page);
  await picture(page, "calendar");
});

test("an order has a page of its own, in the list, from the receipt and after a reload; elsewhere nobody sees it", async () => {
  const sale = await createSale({ product_name: "Harbour lamp" });
  const visitor = await shopper({ viewport: { width: 360, height: 740 } });
  const page = await visitor.open(`${api}/sale/${sale}`);
  await journey(page, "open");
  await takeUnit(page);
  await button(page, "Check out").click();
  await button(page, "Pay €99.00").click();
  await journey(page, "confirmed");
  const number = await page.locator("flash-sale .slip code").innerText();
  const listed = page.locator(`order-list li[data-order="${number}"] a`);
  await expect.poll(() => listed.getAttribute("href")).toBe(`/sale/${sale}?order=${number}`);
  await page.getByRole("link", { name: "Open the order’s page" }).click();
  await page.getByRole("heading", { name: "Your order" }).waitFor();
  await page.reload();
  const slip = page.locator("order-page .slip");
  await slip.getByText("Harbour lamp").waitFor();
  expect(await slip.innerText()).toMatch(/€99\.00[\s\S]*Paid[\s\S]*What happens next/);
  await page.getByText("Paid and confirmed. Thank you.").waitFor();
  await expect.poll(() => page.title()).toBe("Your order · Harbour lamp");
  await isAccessible(page);
  await picture(page, "order-page");
  await page.emulateMedia({ media: "print" });
  expect(await slip.isVisible()).toBe(true);
  for (const other of ["header", "order-list", "my-data", "order-page button"]) expect(await page.locator(other).first().isVisible(), other).toBe(false);
  await picture(page, "order-printed");

  const stranger = await (await shopper()).open(`${api}/sale/${sale}?order=${number}`);
  await stranger.getByRole("heading", { name: "We cannot find this order" }).waitFor();
  await stranger.getByRole("link", { name: "See all sales" }).waitFor();
  await isAccessible(stranger);
});
