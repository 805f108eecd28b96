/** Each moment of a purchase in both themes and two languages on a small phone: readable by the rules that a machine can check, nothing cut off. */

import type { Page } from "playwright-core";
import { expect, test } from "vitest";
import { api, createSale, crowd, forgive, isAccessible, journey, picture, shopper } from "./harness";

async function fits(page: Page): Promise<void> {
  const overflow = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
  expect(overflow).toBeLessThanOrEqual(0);
  await isAccessible(page);
}

/** The button that leads on. */
const on = (page: Page) => page.locator("flash-sale .actions .primary");

test.each([
  ["light", "en-GB", "en", "The waiting room is open"],
  ["dark", "de-AT", "de", "Der Warteraum ist offen"],
  ["light", "ar-EG", "ar", "غرفة الانتظار مفتوحة"],
] as const)("in the %s, in %s", async (colorScheme, locale, lang, title) => {
  const sale = await createSale({ startsInMs: 6_000, limit: 3, product_name: "Donaudampfschifffahrtsgesellschaftskapitänsmütze" });
  const phone = await shopper({ viewport: { width: 360, height: 740 }, colorScheme, locale, hasTouch: true, reducedMotion: "reduce" });
  const page = await phone.open(`${api}/sale/${sale}`);
  await journey(page, "lobby");
  await page.getByRole("heading", { name: title }).waitFor();
  expect(await page.evaluate(() => [document.documentElement.lang, document.documentElement.dir || "ltr"])).toEqual([lang, lang === "ar" ? "rtl" : "ltr"]);
  await fits(page);
  const look = async (state: string) => {
    await fits(page);
    await picture(page, `look-${colorScheme}-${lang}-${state}`);
  };
  await on(page).click();
  await page.locator("flash-sale .place").waitFor();
  await look("1-lobby");
  await journey(page, "admitted");
  await look("2-turn");
  await on(page).click();
  await journey(page, "holding");
  await look("3-cart");
  await on(page).click();
  await journey(page, "pay");
  await look("4-pay");
  await on(page).click();
  await journey(page, "confirmed");
  await look("5-receipt");
  await page.emulateMedia({ media: "print" });
  expect(await page.locator("flash-sale .head").isVisible(), "only the receipt is printed").toBe(false);
  expect(await page.locator("flash-sale .slip").isVisible()).toBe(true);
});

test("on a phone on its side, and at 200 %, the turn, its clock and its button are in sight", async () => {
  const sale = await createSale({ startsInMs: 5_000 });
  const page = await (await shopper({ viewport: { width: 600, height: 400 }, reducedMotion: "reduce" })).open(`${api}/sale/${sale}`);
  await journey(page, "lobby");
  await on(page).click();
  await journey(page, "admitted");
  await page.evaluate(() => scrollTo(0, 0));
  for (const part of [page.getByRole("heading", { name: "It is your turn" }), page.locator(".clocked .clock"), on(page)]) {
    // In sight, and nothing lies over its corners.
    const seen = await part.evaluate((element) => {
      const { top, bottom, left } = element.getBoundingClientRect();
      const root = element.getRootNode() as ShadowRoot;
      return top >= 0 && bottom <= innerHeight && [top + 2, bottom - 2].every((y) => element.contains(root.elementFromPoint(left + 6, y)));
    });
    expect(seen, String(part)).toBe(true);
  }
  await picture(page, "look-landscape");
});

test("with text of 200 % on a small phone, names and values stand above each other and nothing is cut off", async () => {
  const sale = await createSale({ units: 2, startsInMs: 4_000, inflow: 1, claim_ms: 60_000 });
  await crowd(sale, 4);
  const page = await (await shopper({ viewport: { width: 360, height: 740 } })).open(`${api}/sale/${sale}`);
  await page.locator("flash-sale").evaluate((element: HTMLElement) => element.style.setProperty("--fs-scale", "2"));
  await on(page).click();
  await journey(page, "waiting");
  await page.locator('[data-part="outlook"]').waitFor();
  const lines = await page.locator(".facts dd").evaluateAll((all) => all.map((one) => one.getBoundingClientRect().height / Number.parseFloat(getComputedStyle(one).lineHeight)));
  expect(lines.length).toBeGreaterThan(1);
  expect(Math.max(...lines), "no letter by letter").toBeLessThanOrEqual(2.1);
  await fits(page);
  await picture(page, "look-large-text");
});

test("the strip and the lists are readable in the dark and in German too", async () => {
  await createSale({ startsInMs: 600_000, product_name: "Laterne" });
  const page = await (await shopper({ viewport: { width: 360, height: 740 }, colorScheme: "dark", locale: "de-DE" })).open(`${api}/`);
  await page.getByRole("link", { name: /Laterne/ }).first().waitFor();
  await page.getByRole("heading", { name: "Demnächst" }).waitFor();
  await fits(page);
  await page.goto(`${api}/salon`);
  await page.getByRole("heading", { name: "Diese Seite finden wir nicht" }).waitFor();
  await fits(page);
  forgive(/404/);
});
