import { createHmac } from "node:crypto";
import { expect, test } from "vitest";
import { api, button, createSale, createShop, endSale, forgive, isAccessible, journey, operator, picture, shopper, takeUnit } from "./harness";

test("a shop's page has its name and its sales and nobody else's, and its sales lead back to it", async () => {
  const name = "Lumen & Oak, makers of lamps";
  const merchant = await createShop(name, { slug: "lumen-page" });
  const other = await createShop("Another shop", { slug: "another-page" });
  const sale = await createSale({ merchant, product_name: "Page lamp" });
  await createSale({ merchant, product_name: "Page stool", startsInMs: 3_600_000 });
  await createSale({ merchant: other, product_name: "Page chair" });
  const over = await createSale({ merchant, product_name: "Page hook" });
  await endSale(over);

  const page = await (await shopper({ viewport: { width: 360, height: 740 } })).open(`${api}/m/${merchant}`);
  await page.getByRole("heading", { level: 1, name }).waitFor();
  const section = (group: string) => page.locator(`sale-list section[data-group="${group}"]`);
  await section("live").getByRole("link", { name: /Page lamp/ }).waitFor();
  await section("coming").getByRole("link", { name: /Page stool/ }).waitFor();
  await section("over").getByRole("link", { name: /Page hook/ }).waitFor();
  expect(await page.getByText("Page chair").count()).toBe(0);
  expect(await page.title()).toContain(name);
  await picture(page, "shop-page");
  await isAccessible(page);
  const overflow = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
  expect(overflow).toBeLessThanOrEqual(0);

  // A refresh brings what is new, and does not take the focus.
  const lamp = page.getByRole("link", { name: /Page lamp/ });
  await lamp.focus();
  await createSale({ merchant, product_name: "Page vase", startsInMs: -500 });
  await section("live").getByRole("link", { name: /Page vase/ }).waitFor();
  expect(await lamp.evaluate((link) => (link.getRootNode() as ShadowRoot).activeElement === link)).toBe(true);
  await lamp.press("Enter");
  await journey(page, "open");
  expect(page.url()).toContain(sale);
  await page.getByRole("link", { name }).click();
  await page.getByRole("heading", { level: 1, name }).waitFor();

  const home = await (await shopper()).open(`${api}/`);
  await home.getByRole("link", { name: /Page chair.*Another shop/s }).waitFor();

  const lost = await (await shopper()).open(`${api}/m/no-such-shop`);
  await lost.getByRole("heading", { name: "We cannot find this shop" }).waitFor();
  forgive(/404/);
  await lost.getByRole("link", { name: "See all sales" }).click();
  await lost.getByRole("heading", { name: "Sales", exact: true }).waitFor();
});

test("an admin makes a shop and a key; the secret is shown once, signs customers in, and after it is revoked does not", async () => {
  const page = await operator(`${api}/admin`, { permissions: ["clipboard-read", "clipboard-write"] });
  await page.getByRole("link", { name: "Shops" }).click();
  await page.getByRole("link", { name: "New shop" }).click();
  await button(page, "Create shop").click();
  await page.getByText("What is the shop called?").waitFor();
  await page.getByLabel("Name", { exact: true }).fill("Keys & Sons");
  await page.getByLabel("Time zone").fill("Mars/Olympus");
  await button(page, "Create shop").click();
  await page.getByText("Must be a name of the IANA database").waitFor();
  await page.getByLabel("Time zone").fill("Europe/Vienna");
  await page.getByLabel("Pages that may show your sales").fill("https://keys.example\nhttps://www.keys.example");
  await button(page, "Create shop").click();
  await page.getByRole("heading", { level: 1, name: "Keys & Sons" }).waitFor();
  expect(page.url()).toMatch(/#\/shop\/keys-sons$/);
  await page.getByText("all your customers are guests").waitFor();

  await page.getByText("Add a key").click();
  await button(page, "Add key").click();
  await page.getByText("Who signs your customers in?").waitFor();
  await page.getByLabel("Issuer").fill("https://login.keys.example/");
  await page.getByLabel("Audience").fill("sales");
  await button(page, "Add key").click();
  await page.getByText("It is not shown again.").waitFor();
  const secret = await page.locator("key-form code").innerText();
  await button(page, "Copy").click();
  await page.getByText("Copied.").waitFor();
  expect(await page.evaluate(() => navigator.clipboard.readText())).toBe(secret);
  await picture(page, "admin-key-secret");
  await isAccessible(page);
  await page.reload();
  await page.getByText("In use").waitFor();
  expect(await page.content()).not.toContain(secret);
  expect(await page.getByText(secret).count(), "it is shown once").toBe(0);

  const customer = customerToken(secret);
  const asked = () => fetch(`${api}/me`, { headers: { Authorization: `Bearer ${customer}` } }).then(({ status }) => status);
  await expect.poll(asked, { timeout: 5_000 }).toBe(200);

  await button(page, "Revoke the key of https://login.keys.example/").click();
  await button(page, "Keep it").click();
  expect(await page.getByText("In use").count()).toBe(1);
  await button(page, "Revoke the key of https://login.keys.example/").click();
  await picture(page, "admin-key-revoke");
  await button(page, "Revoke the key").and(page.locator("dialog button")).click();
  await page.getByText("The key of https://login.keys.example/ is revoked.").waitFor();
  await expect.poll(asked, { timeout: 5_000 }).toBe(401);

  await button(page, "Find").click();
  await page.getByText("Who is it?").waitFor();
  await page.locator("shop-person").getByLabel("Name").fill("nobody");
  await button(page, "Find").click();
  await page.getByText("Nothing is stored of this person at this shop.").waitFor();
  await picture(page, "admin-shop");
  await isAccessible(page);
  forgive(/404|422/);
});

test("a guest sees what is stored, is told why they cannot be forgotten yet, and then is somebody new", async () => {
  const merchant = await createShop("Forgetful", { slug: "forgetful" });
  const sale = await createSale({ merchant, product_name: "Forgotten lamp" });
  const visitor = await shopper();
  const page = await visitor.open(`${api}/sale/${sale}`);
  await journey(page, "open");
  await takeUnit(page);
  await button(page, "Check out").click();
  await button(page, "Pay €99.00").click();
  await journey(page, "confirmed");

  // Another page knows the sale by its order alone, and names it.
  await page.goto(`${api}/m/${merchant}`);
  await page.locator("order-list").getByText("Forgotten lamp").waitFor();
  const stored = () => page.evaluate(() => localStorage.getItem(`flash-sale:${location.origin}:session`) ?? "");
  const before = JSON.parse(await stored()) as Record<string, string>;
  expect(Object.keys(before).sort(), "the secret is in the cookie only").toEqual(["device_id", "expires_at", "token"]);

  await page.getByText("What is stored of me").click();
  const download = page.waitForEvent("download");
  await button(page, "Download").click();
  expect((await download).suggestedFilename()).toBe("my-data.json");
  const forget = async () => {
    await page.locator("my-data").getByRole("button", { name: "Forget me" }).first().click();
    await page.locator("dialog").getByRole("button", { name: "Forget me" }).click();
  };
  await forget();
  await page.getByText("You can be forgotten after that.").waitFor();
  forgive(/409/);
  await picture(page, "forget-busy");
  await isAccessible(page);

  await endSale(sale);
  await expect
    .poll(
      async () => {
        await forget();
        await page.locator("my-data").getByText(/You are forgotten|after that/).first().waitFor();
        return page.getByText("You are forgotten.").count();
      },
      { timeout: 20_000, interval: 1_000 },
    )
    .toBe(1);
  forgive(/409/);
  expect(await page.locator("order-list li").count()).toBe(0);
  await expect.poll(async () => (JSON.parse((await stored()) || "{}") as Record<string, string>).device_id).not.toBe(undefined);
  expect((JSON.parse(await stored()) as Record<string, string>).device_id).not.toBe(before.device_id);
  await picture(page, "forgotten");
});

/** A token as the shop's own sign-in makes it. */
function customerToken(secret: string): string {
  const part = (of: object) => Buffer.from(JSON.stringify(of)).toString("base64url");
  const claims = { iss: "https://login.keys.example/", aud: "sales", sub: "auth0|jane", exp: Math.floor(Date.now() / 1_000) + 600 };
  const signed = `${part({ alg: "HS256", typ: "JWT" })}.${part(claims)}`;
  return `${signed}.${createHmac("sha256", secret).update(signed).digest("base64url")}`;
}
