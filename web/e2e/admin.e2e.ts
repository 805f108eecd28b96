import { expect, test } from "vitest";
import { zonedText } from "../src/text/zone";
import { api, button, createSale, createShop, crowd, endSale, forgive, isAccessible, journey, metrics, OPERATOR, operator, picture, said, setPassword, shopper, signIn, sure, takeUnit } from "./harness";

test("an operator creates a sale by form, sees its numbers move, pauses, resumes and ends it", async () => {
  const berlin = await createShop("Aurora Berlin", { time_zone: "Europe/Berlin", currency: "CHF" });
  await createShop("Aurora Lisbon", { time_zone: "Europe/Lisbon" });
  const page = await operator(`${api}/admin`, { timezoneId: "America/New_York" });
  await page.getByRole("link", { name: "New sale" }).click();

  // The sale is the shop's: its currency and its clocks.
  await page.getByLabel("Shop").selectOption(berlin);
  expect(await page.getByLabel("Currency").inputValue()).toBe("CHF");
  await page.getByLabel("Currency").selectOption("EUR");
  await page.getByLabel("Starts in Europe/Berlin").fill("2027-03-28T02:30:00");

  // Errors by field, before anything is sent.
  await button(page, "Create sale").click();
  await page.getByText("What is for sale?").waitFor();
  await page.getByText("The clocks go forward over this time in Europe/Berlin").waitFor();
  await page.getByLabel("Product").fill("Aurora Runner");
  await page.getByLabel("Units", { exact: true }).fill("7");
  await page.getByLabel("Original price").fill("120");
  await page.getByLabel("Sale price").fill("150.00");
  await button(page, "Create sale").click();
  await page.getByText("Not above the original price.").waitFor();
  await picture(page, "admin-errors");
  await isAccessible(page);
  await page.getByLabel("Sale price").fill("80.50");
  await page.getByLabel("Starts").fill(zonedText(Date.now() - 1_000, "Europe/Berlin"));
  await page.getByText("UTC+").first().waitFor();
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

test("an operator lets fewer people in, stops the line and lets it go on; a bad inflow is said and changes nothing", async () => {
  const sale = await createSale({ units: 3, inflow: 5, claim_ms: 1_500, startsInMs: 1_000 });
  await crowd(sale, 6);
  const page = await operator(`${api}/admin#/sale/${sale}`);
  await page.getByText("Live", { exact: true }).waitFor();
  const inflow = page.getByRole("textbox", { name: "Inflow" });
  await expect.poll(() => inflow.inputValue()).toBe("5");
  for (const bad of ["-1", "1000000000", "1.5", ""]) {
    await inflow.fill(bad);
    await button(page, "Set inflow").click();
    await page.getByRole("alert").getByText("A whole number from 1 to 100,000.").waitFor();
  }
  await picture(page, "admin-inflow-wrong");
  expect((await metrics(sale)).inflow, "nothing was changed").toBe(5);
  await inflow.fill("1");
  await button(page, "Set inflow").click();
  await page.getByText("Set: 600 people a minute at most.").waitFor();
  expect((await metrics(sale)).inflow).toBe(1);
  await button(page, "Pause").click();
  await page.getByText("Paused", { exact: true }).waitFor();
  await button(page, "Resume").click();
  await page.getByText("Live", { exact: true }).waitFor();

  // Nobody of the crowd comes: their turns lapse, and the card says so.
  const fair = (name: string) => page.locator(`[data-fairness="${name}"] dd`).innerText();
  await expect.poll(() => fair("no-show"), { timeout: 15_000 }).not.toBe("0.0%");
  await expect.poll(() => fair("wait"), { timeout: 15_000 }).toMatch(/s · .*s · .*s/);
  expect(await fair("inversions")).toBe("0");
  await picture(page, "admin-fairness-line");
  await isAccessible(page);
});

test("a draw's fairness is shown by weight", async () => {
  const sale = await createSale({ allocation: "draw", units: 2, claim_ms: 60_000 });
  await crowd(sale, 5);
  await endSale(sale);
  const page = await operator(`${api}/admin#/sale/${sale}`);
  await page.locator('[data-weight="1"]').waitFor();
  expect(await page.locator('[data-weight="1"]').innerText()).toMatch(/1\s+5\s+2\s+2\.0/);
  await page.getByText("All entries had the same weight.").waitFor();
  await picture(page, "admin-fairness-draw");
  await isAccessible(page);
});

test("a wrong password is told so at the door, a session outlives a reload, and everything fits a small phone", async () => {
  const page = await (await shopper({ viewport: { width: 360, height: 740 } })).open(`${api}/admin`);
  await page.getByLabel("E-mail").fill(OPERATOR.email);
  await page.getByLabel("Password").fill("wrong horse battery");
  await button(page, "Sign in").click();
  await page.getByText("The e-mail address or the password is wrong.").waitFor();
  forgive(/401/);
  await picture(page, "admin-door-phone");
  await isAccessible(page);
  await setPassword();
  await signIn(page);
  await page.reload();
  await button(page, "Sign out").first().waitFor();
  await createSale({ product_name: "Listed for the operator" });
  await page.getByText("Listed for the operator").first().waitFor();
  await picture(page, "admin-list-phone");
  await page.getByRole("link", { name: "New sale" }).click();
  await page.getByLabel("Product").fill("x");
  await picture(page, "admin-form-phone");
  const overflow = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
  expect(overflow).toBeLessThanOrEqual(0);
});

test("an owner is invited, chooses a password by the link, sees their shop only, and is out when they are removed", async () => {
  await createShop("Meridian Lamps", { slug: "meridian-lamps" });
  await createShop("Not theirs", { slug: "not-theirs" });
  const page = await operator(`${api}/admin#/operators`);
  await button(page, "Invite").click();
  await page.getByText("Who is it?").waitFor();
  await page.getByLabel("E-mail").fill("owner@lamps.example");
  await page.getByLabel("Role").selectOption("owner");
  await page.getByLabel("Shop", { exact: true }).selectOption({ label: "Meridian Lamps" });
  await button(page, "Invite").click();
  const link = await page.locator("operator-list code").innerText();
  await picture(page, "admin-operators");
  await isAccessible(page);

  const theirs = await (await shopper()).open(link);
  await page.getByText("Invited").waitFor();
  await theirs.getByRole("heading", { name: "Choose a password" }).waitFor();
  expect(theirs.url(), "the secret is not left in the address").not.toContain("invite");
  await theirs.getByLabel("Password").fill("short");
  await button(theirs, "Set password").click();
  await theirs.getByText("At least 12 characters, please.").waitFor();
  await isAccessible(theirs);
  await theirs.getByLabel("Password").fill("a lamp in the window");
  await button(theirs, "Set password").click();
  await theirs.getByRole("link", { name: "Shops" }).click();
  await theirs.getByText("Meridian Lamps").waitFor();
  expect(await theirs.getByText("Not theirs").count()).toBe(0);

  await page.locator('[data-operator="owner@lamps.example"] button').click();
  await button(page, "Remove").last().click();
  await page.getByText("owner@lamps.example is removed.").waitFor();
  await theirs.getByRole("link", { name: "Sales" }).click();
  await theirs.getByRole("heading", { name: "Sign in" }).waitFor();
  forgive(/401/);
  // The link does not work again.
  const again = await (await shopper()).open(link);
  await again.getByLabel("Password").fill("a lamp in the window");
  await button(again, "Set password").click();
  await again.getByText("This link is used or too old.").waitFor();
  forgive(/404/);
});

test("an operator finds an order by its code, gives a part of its money back, and cancels one that is not paid", async () => {
  const sale = await createSale({ units: 3, product_name: "Halo lamp" });
  const [buyer, late] = await Promise.all([0, 1].map(async () => (await shopper()).open(`${api}/sale/${sale}`)));
  if (!buyer || !late) throw new Error("two shoppers");
  for (const shopping of [buyer, late]) {
    await journey(shopping, "open");
    await takeUnit(shopping);
    await button(shopping, "Check out").click();
    await journey(shopping, "pay");
  }
  await button(buyer, "Pay €99.00").click();
  await journey(buyer, "confirmed");
  const code = await buyer.locator(".slip strong[dir=ltr]").first().innerText();

  const page = await operator(`${api}/admin#/sale/${sale}`);
  await page.getByRole("link", { name: "Orders", exact: true }).click();
  const lines = page.locator("li[data-order]");
  await expect.poll(() => lines.count()).toBe(2);
  await picture(page, "admin-orders");
  await isAccessible(page);
  const find = page.getByLabel("Find");
  await find.fill("a customer nobody knows");
  await button(page, "Show").click();
  await page.getByText("There are no such orders.").waitFor();
  await find.fill(code.toLowerCase());
  await button(page, "Show").click();
  await expect.poll(() => lines.count()).toBe(1);
  await page.getByRole("link", { name: code }).click();
  await page.getByRole("heading", { name: code }).waitFor();

  await page.getByLabel("Amount in EUR").fill("200");
  await button(page, "Give back").click();
  await page.getByText("An amount up to €99.00.").waitFor();
  await page.getByLabel("Amount in EUR").fill("20");
  await page.getByLabel("Why").fill("a scratch");
  await button(page, "Give back").click();
  await sure(page, "Give it back");
  await page.getByText("€20.00 is on its way back.").waitFor();
  const back = page.getByText("€20.00 went back");
  await expect
    .poll(async () => {
      await button(page, "Look again").click();
      return back.count();
    }, { timeout: 10_000 })
    .toBe(1);
  await picture(page, "admin-order");
  await isAccessible(page);
  await buyer.locator(".slip").getByText("Refunded").waitFor();
  const order = /order\/(\w+)$/.exec(page.url())?.[1] ?? "";
  await buyer.goto(`${api}/sale/${sale}?order=${order}`);
  await buyer.getByText("€20.00 of it went back to you.").waitFor();
  await picture(buyer, "order-partly-refunded");

  await page.getByRole("link", { name: "← All orders" }).click();
  await page.getByLabel("Which").selectOption("pending");
  await button(page, "Show").click();
  await expect.poll(() => lines.count()).toBe(1);
  await lines.getByRole("link").click();
  await button(page, "Cancel the order").click();
  await sure(page, "Cancel it");
  await page.getByText("The order is cancelled.").waitFor();
  await page.getByText("Cancelled by the shop").waitFor();
  await said(late, "The shop cancelled it");
});
