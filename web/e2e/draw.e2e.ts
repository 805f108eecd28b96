/** A sale whose units are drawn: two enter, one is drawn, and both check it in their browser. */

import { expect, test } from "vitest";
import { ADD, api, button, createSale, crowd, endSale, isAccessible, journey, pauseSale, picture, said, shopper, sure } from "./harness";

test("two enter a draw, one is drawn, both are told, and both can check it", async () => {
  const sale = await createSale({ allocation: "draw", units: 1 });
  const pages = await Promise.all([shopper(), shopper()].map(async (one) => (await one).open(`${api}/sale/${sale}`)));
  for (const page of pages) {
    await journey(page, "open");
    await button(page, "Enter the draw").click();
    await journey(page, "entered");
    await said(page, "Anyone can check this draw");
    expect(await page.getByText("This is its fingerprint").isVisible(), "behind its line").toBe(false);
  }
  const [first, second] = pages;
  if (!first || !second) throw new Error("two pages");
  await said(first, /You are one of 2 people for 1 unit\. Be here at .*: if you are drawn, you have 2 minutes to take it/);
  await picture(first, "draw-entered");
  // Out and in again, and what was entered survives a reload.
  await button(first, "Leave the draw").click();
  await sure(first, "Leave the draw");
  await button(first, "Enter the draw").click();
  await journey(first, "entered");
  await first.reload();
  await journey(first, "entered");

  await endSale(sale);
  await Promise.all(pages.map((page) => page.locator('article:is([data-journey="admitted"],[data-journey="not_drawn"])').waitFor()));
  const isDrawn = await first.locator('article[data-journey="admitted"]').isVisible();
  const [winner, other] = isDrawn ? [first, second] : [second, first];
  await journey(winner, "admitted");
  await journey(other, "not_drawn");
  await said(winner, "You were drawn");

  for (const [page, outcome] of [
    [winner, "It is the smallest, which wins: you were drawn."],
    [other, "The smallest number wins, and yours is not the smallest."],
  ] as const) {
    await button(page, "Check the draw").click();
    await said(page, outcome);
    await said(page, /promised before the entries closed. This page had seen the promise/);
    await said(page, /one of the 2 that were counted at the close/);
    await said(page, /It comes from a random number of this page/);
    expect(await page.locator('.check [data-ok="true"]').count()).toBe(4);
  }
  await isAccessible(other);
  await picture(winner, "draw-won");
  await picture(other, "draw-not-drawn");

  // What the winner leaves comes to the other.
  await button(winner, "Skip my turn").click();
  await sure(winner, "Skip my turn");
  await journey(other, "admitted");
  await said(other, "A unit has come to you");
  // That it had to be this one, anybody can check as well.
  await other.reload();
  await button(other, "Check the draw").click();
  await said(other, "So far, units that others did not take have gone on to the first 2, and your number is among those: your turn came.");
  await picture(other, "draw-passed-on");
  await button(other, ADD).click();
  await journey(other, "holding");
});

test("a proof that was changed on its way is found out, and the part is named", async () => {
  const sale = await createSale({ allocation: "draw", units: 1 });
  const page = await (await shopper()).open(`${api}/sale/${sale}`);
  await button(page, "Enter the draw").click();
  await journey(page, "entered");
  await endSale(sale);
  await journey(page, "admitted");
  await page.route("**/draw/proof", async (route) => {
    const response = await route.fetch();
    const proof = (await response.json()) as { draw: { seed: string } };
    proof.draw.seed = "0".repeat(64);
    await route.fulfill({ response, json: proof });
  });
  await button(page, "Check the draw").click();
  await said(page, /The check failed. The secret number is not the one that was promised/);
  await picture(page, "draw-found-out");
});

test("what is left at the end of a first-come sale is drawn among those in line, and they can check it", async () => {
  // Paused, so that a unit is left.
  const sale = await createSale({ units: 1, claim_ms: 60_000 });
  const pages = await Promise.all([shopper(), shopper()].map(async (one) => (await one).open(`${api}/sale/${sale}`)));
  const [first, second] = pages;
  if (!first || !second) throw new Error("two pages");
  await journey(first, "open");
  expect(await first.getByText("check this draw").count(), "no talk of a draw before there is one").toBe(0);
  await pauseSale(sale);
  for (const page of pages) {
    await journey(page, "paused");
    await page.reload();
    await journey(page, "paused");
  }
  await picture(first, "left-1-paused");
  await crowd(sale, 1);
  await endSale(sale);
  // Nobody of these two was in line: they are told what happens.
  for (const page of pages) await said(page, "What is left is being drawn");
  await picture(first, "left-2-drawing");
  await isAccessible(first);
});

test("somebody in line at the end sees the draw of what is left, the outcome and the proof", async () => {
  // Time enough for both to join before anybody can be called.
  const starts = Date.now() + 12_000;
  const sale = await createSale({ units: 1, claim_ms: 60_000, startsInMs: 12_000 });
  const pages = await Promise.all([shopper(), shopper()].map(async (one) => (await one).open(`${api}/sale/${sale}`)));
  for (const page of pages) {
    await journey(page, "lobby");
    await button(page, "Join the line").click();
    await button(page, "Leave the line").waitFor();
  }
  await pauseSale(sale);
  // Called off before its start, it would have no draw.
  await expect.poll(() => Date.now() > starts + 200, { timeout: 14_000 }).toBe(true);
  await endSale(sale);
  const [first, second] = pages;
  if (!first || !second) throw new Error("two pages");
  await Promise.all(pages.map((page) => page.locator('article:is([data-journey="admitted"],[data-journey="not_drawn"])').waitFor()));
  const isDrawn = await first.locator('article[data-journey="admitted"]').isVisible();
  const [winner, other] = isDrawn ? [first, second] : [second, first];
  await journey(other, "not_drawn");
  await said(winner, "You were drawn");
  await picture(winner, "left-3-won");
  await picture(other, "left-4-not-drawn");
  await button(other, "Check the draw").click();
  await said(other, /promised before the entries closed. This page had seen the promise/);
  await said(other, /one of the 2 that were counted at the close/);
  await picture(other, "left-5-checked");
  await isAccessible(other);
  await button(winner, ADD).click();
  await journey(winner, "holding");
});

test("where waiting counts the page says so", async () => {
  const sale = await createSale({ allocation: "draw", draw_weight: "waiting_time", units: 1 });
  const page = await (await shopper()).open(`${api}/sale/${sale}`);
  await said(page, "The longer you are in, the better your chance: up to ten times.");
  await picture(page, "draw-weight");
});
