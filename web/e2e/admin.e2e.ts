import { expect, test } from "vitest";
import { api, button, createSale, forgive, isAccessible, journey, picture, shopper, takeUnit } from "./harness";

test("an operator creates a sale by form, sees its numbers move, pauses, resumes and ends it", async () => {
  const page = await (await shopper()).open(`${api}/admin`);
  await button(page, "Development sign-in").click();
  await page.getByRole("link", { name: "New sale" }).click();

  // Errors by field, before anything is sent.
  await button(page, "Create sale").click();
  await page.getByText("What is for sale?").waitFor();
  await page.getByLabel("Product").fill("Aurora Runner");
  await page.getByLabel("Units", { exact: true }).fill("7");
  await page.getByLabel("Original price").fill("120");
  await page.getByLabel("Sale price").fill("150.00");
  await button(page, "Create sale").click();
  await page.getByText("Not above the original price.").waitFor();
  await picture(page, "admin-errors");
  await isAccessible(page);
  await page.getByLabel("Sale price").fill("80.50");
  const soon = new Date(Date.now() - 1_000);
  const two = (value: number) => String(value).padStart(2, "0");
  await page
    .getByLabel("Starts")
    .fill(
      `${soon.getFullYear()}-${two(soon.getMonth() + 1)}-${two(soon.getDate())}T${two(soon.getHours())}:${two(soon.getMinutes())}:${two(soon.getSeconds())}`,
    );
  await button(page, "Create sale").click();

  await page.getByRole("heading", { name: "Aurora Runner" }).waitFor();
  await page.getByText("Live", { exact: true }).waitFor();
  const number = (name: string) => page.locator(`[data-number="${name}"] strong`).innerText();
  await expect.poll(() => number("confirmed")).toBe("0");

  const sale = /sale\/(\w+)$/.exec(page.url())?.[1] ?? "";
  const buyer = await (await shopper()).open(`${api}/sale/${sale}`);
  await journey(buyer, "open");
  await takeUnit(buyer);
  await expect.poll(() => page.locator('[data-stock="carts"] dd').innerText(), { timeout: 2_000 }).toBe("1");
  await button(buyer, "Check out").click();
  await button(buyer, "Pay €80.50").click();
  await journey(buyer, "confirmed");
  await expect.poll(() => page.locator('[data-stock="sold"] dd').innerText(), { timeout: 2_000 }).toBe("1");
  await expect.poll(() => number("confirmed"), { timeout: 5_000 }).toBe("1");
  await expect.poll(() => number("revenue")).toBe("€80.50");
  await picture(page, "admin-live");
  await isAccessible(page);

  const looker = await (await shopper()).open(`${api}/sale/${sale}`);
  await journey(looker, "open");
  await button(page, "Pause").click();
  await journey(looker, "paused", 3_000);
  await picture(looker, "paused");
  await button(page, "Resume").click();
  await journey(looker, "open", 3_000);
  page.once("dialog", (dialog) => void dialog.accept());
  await button(page, "End sale").click();
  await journey(looker, "ended", 3_000);
});

test("a bad token is told so at the door, and everything fits a small phone", async () => {
  const page = await (await shopper({ viewport: { width: 360, height: 740 } })).open(`${api}/admin`);
  await page.getByLabel("Token").fill("not.a.token");
  await button(page, "Sign in").and(page.locator("form button")).click();
  await page.getByText("Your sign-in is not valid any more.").waitFor();
  forgive(/401/);
  await picture(page, "admin-door-phone");
  await isAccessible(page);
  await button(page, "Development sign-in").click();
  await createSale({ product_name: "Listed for the operator" });
  await page.getByText("Listed for the operator").first().waitFor();
  await picture(page, "admin-list-phone");
  await page.getByRole("link", { name: "New sale" }).click();
  await page.getByLabel("Product").fill("x");
  await picture(page, "admin-form-phone");
  const overflow = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
  expect(overflow).toBeLessThanOrEqual(0);
});
