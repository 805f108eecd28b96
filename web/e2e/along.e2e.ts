/** A guest goes on in another browser, by a link that is good once. */

import { expect, test } from "vitest";
import { button, createSale, crowd, forgive, isAccessible, journey, api, picture, said, shopper } from "./harness";

test("a place in line comes along to a phone by the link, both browsers go on, and the link is good once", async () => {
  const sale = await createSale({ units: 1, claim_ms: 600_000 });
  await crowd(sale, 3);
  const page = await (await shopper()).open(`${api}/sale/${sale}`);
  await journey(page, "open");
  await button(page, "Join the line").click();
  await journey(page, "waiting");
  await said(page, /You are in line|Place/);
  const place = await page.locator("flash-sale .place .big").innerText();
  await page.getByText("Go on in another browser").click();
  await button(page, "Make a link").click();
  await page.getByRole("img", { name: "QR code of the link" }).waitFor();
  await page.getByText("Good until").waitFor();
  await picture(page, "along-made");
  await isAccessible(page);
  const link = await page.getByLabel("Go on in another browser").last().inputValue();
  expect(link).toContain(`/sale/${sale}#take=`);

  const phone = await (await shopper({ viewport: { width: 360, height: 740 }, colorScheme: "dark" })).open(link);
  await phone.getByRole("heading", { name: "Go on here?" }).waitFor();
  await picture(phone, "along-here");
  await isAccessible(phone);
  await button(phone, "Go on here").click();
  await journey(phone, "waiting");
  expect(await phone.locator("flash-sale .place .big").innerText()).toBe(place);
  expect(phone.url(), "the code is not left in the address").toBe(`${api}/sale/${sale}`);
  await page.getByText("Taken along at").waitFor();
  await journey(page, "waiting");
  await picture(page, "along-taken");
  // It is the same shopper: what one browser does, the other sees.
  await button(phone, "Leave the line").click();
  await phone.locator("dialog").getByRole("button", { name: /Give up|Leave/ }).click();
  await journey(phone, "open");
  await journey(page, "open");

  const late = await (await shopper()).open(link);
  await button(late, "Go on here").click();
  await late.getByText("This link was used, or is too old.").waitFor();
  forgive(/404/);
  await picture(late, "along-late");
  await button(late, "Stay as I am").click();
  await journey(late, "open");
});
