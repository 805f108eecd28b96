import { expect, test } from "vitest";
import { api, button, createSale, crowd, isAccessible, journey, picture, said, shopper } from "./harness";

test("a shuffled opening says how many are here and when places are drawn, and then shows the place", async () => {
  const sale = await createSale({ units: 1, startsInMs: 10_000, opening: "shuffle", inflow: 1 });
  await crowd(sale, 4);
  const page = await (await shopper()).open(`${api}/sale/${sale}`);
  await journey(page, "lobby");
  await button(page, "Join the line").click();
  await said(page, "5 people here");
  await said(page, /Places are drawn by lot when the sale starts/);
  expect(await page.locator(".place .big").count(), "no place before the start").toBe(0);
  await picture(page, "line-1-shuffle");
  await isAccessible(page);
  // By lot: the first of five, or one of those behind.
  await page.locator('flash-sale article:is([data-journey="admitted"],[data-journey="waiting"])').waitFor();
  if (await page.locator('flash-sale article[data-journey="waiting"]').isVisible()) {
    // The first of them is called a moment after the places are drawn.
    await expect.poll(() => page.locator(".place .big").innerText()).toMatch(/^[1-4]$/);
  }
});

test("who stands behind more people than there are units is told early, and what may come back", async () => {
  const sale = await createSale({ units: 2, startsInMs: 9_000, inflow: 1, claim_ms: 60_000 });
  await crowd(sale, 12);
  const page = await (await shopper()).open(`${api}/sale/${sale}`);
  await journey(page, "lobby");
  await button(page, "Join the line").click();
  await journey(page, "waiting");
  await said(page, /You will probably not get one/);
  await said(page, /The line goes on when a unit comes back\./);
  const outlook = page.locator('[data-part="outlook"]');
  await outlook.getByText("2 units").waitFor();
  expect(await outlook.innerText()).toMatch(/Next may come back in\s+(1:00|0:[0-5]\d)/);
  expect(await outlook.innerText()).toMatch(/Chance of a unit\s+small/);
  expect(await outlook.innerText()).not.toContain("%");
  await expect.poll(() => page.locator(".place .big").innerText(), { timeout: 5_000 }).toBe("11");
  await picture(page, "line-2-slim");
  await isAccessible(page);
});

test("whose turn would come after the end is told of the draw of what is left, with the chance in it", async () => {
  // Ten a second: until the end a hundred or so of the 120 ahead are called, and most units are left.
  const sale = await createSale({ units: 500, inflow: 1, startsInMs: 12_000, endsAfterMs: 9_000, claim_ms: 60_000 });
  await crowd(sale, 120);
  const page = await (await shopper()).open(`${api}/sale/${sale}`);
  await button(page, "Join the line").click();
  await said(page, "The sale ends before your turn would come; the units left then are drawn among all in line.", 25_000);
  await picture(page, "line-4-ends-first");
  expect(await page.getByText("You will probably not get one").count(), "there are more units than people").toBe(0);
  expect(await page.getByText(/Nobody (is|was) called/).count()).toBe(0);
  await said(page, "You were drawn", 25_000);
});
