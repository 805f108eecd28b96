/** What lets programs and operators in: API keys, and codes of an authenticator app. */

import { createHmac } from "node:crypto";
import type { Page } from "playwright-core";
import { expect, test } from "vitest";
import { api, button, createShop, forgive, isAccessible, operator, picture, shopper } from "./harness";

test("an admin makes an API key with one scope; it does that and no more, and nothing once it is revoked", async () => {
  await createShop("Programs & Co", { slug: "programs-co" });
  const page = await operator(`${api}/admin#/shop/programs-co`);
  await button(page, "Make an API key").click();
  await page.getByText("What is it for?").waitFor();
  await page.getByLabel("What the key is for").fill("warehouse");
  await button(page, "Make an API key").click();
  await page.getByText("What may it do?").waitFor();
  await page.getByLabel("sales:read").check();
  await button(page, "Make an API key").click();
  await page.getByText("Keep it now: it is not shown again.").waitFor();
  const key = await page.locator("api-keys code.card").innerText();
  expect(key).toMatch(/^fsk_/);
  await picture(page, "admin-api-key");
  await isAccessible(page);

  const ask = async (method: string, path: string) => {
    const answer = await fetch(`${api}${path}`, { method, headers: { Authorization: `Bearer ${key}` } });
    const { code } = (await answer.json()) as { code?: string };
    return { status: answer.status, code, left: answer.headers.get("ratelimit") };
  };
  const sales = await ask("GET", "/admin/sales");
  expect(sales.status).toBe(200);
  expect(sales.left).toMatch(/^"address";r=\d+;t=\d+, "caller";r=\d+;t=\d+$/);
  expect(await ask("POST", "/admin/sales")).toMatchObject({ status: 403, code: "scope_missing" });
  expect(await ask("GET", "/admin/merchants")).toMatchObject({ status: 403, code: "role_refused" });

  await page.reload();
  await page.locator('[data-api-key="warehouse"]').getByText("Last used").waitFor();
  expect(await page.getByText(key).count(), "it is shown once").toBe(0);
  await button(page, "Revoke the API key warehouse").click();
  await button(page, "Revoke the key").and(page.locator("dialog button")).click();
  await page.getByText("“warehouse” is revoked.").waitFor();
  await expect.poll(async () => (await ask("GET", "/admin/sales")).status, { timeout: 5_000 }).toBe(401);
});

/** What an authenticator app shows, so many steps of half a minute from now (RFC 6238). */
function code(secret: string, steps = 0): string {
  const bits = [...secret].map((letter) => "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567".indexOf(letter).toString(2).padStart(5, "0")).join("");
  const key = Buffer.from((bits.match(/.{8}/g) ?? []).map((byte) => parseInt(byte, 2)));
  const counter = Buffer.alloc(8);
  counter.writeBigUInt64BE(BigInt(Math.floor(Date.now() / 30_000) + steps));
  const mac = createHmac("sha1", key).update(counter).digest();
  const offset = mac.readUInt8(mac.length - 1) & 15;
  return String((mac.readUInt32BE(offset) & 0x7fffffff) % 1_000_000).padStart(6, "0");
}

const EMAIL = "codes@lamps.example";
const PASSWORD = "a lamp in the window";

async function signIn(page: Page): Promise<void> {
  await page.getByLabel("E-mail").fill(EMAIL);
  await page.getByLabel("Password").fill(PASSWORD);
  await button(page, "Sign in").click();
}

test("an operator sets up an authenticator app from the picture, signs in with its codes, and stops again", async () => {
  await createShop("Careful Lamps", { slug: "careful-lamps" });
  const admin = await operator(`${api}/admin#/operators`);
  await admin.getByLabel("E-mail").fill(EMAIL);
  await admin.getByLabel("Role").selectOption("viewer");
  await admin.getByLabel("Shop", { exact: true }).selectOption({ label: "Careful Lamps" });
  await button(admin, "Invite").click();
  const page = await (await shopper({ viewport: { width: 360, height: 740 } })).open(await admin.locator("operator-list code").innerText());
  await page.getByLabel("Password").fill(PASSWORD);
  await button(page, "Set password").click();

  await page.getByRole("link", { name: EMAIL }).click();
  await button(page, "Set up an app").click();
  await page.getByRole("img", { name: "QR code" }).waitFor();
  const secret = (await page.locator("two-steps code").innerText()).replaceAll(/\s/g, "");
  await picture(page, "admin-codes-phone");
  await isAccessible(page);
  await button(page, "Turn codes on").click();
  await page.getByText("Your password, please.").waitFor();
  await page.getByLabel("Password").fill("not the password");
  await page.getByRole("textbox", { name: "Code" }).fill(code(secret, -1));
  await button(page, "Turn codes on").click();
  await page.getByText("The password is wrong.").waitFor();
  await page.getByLabel("Password").fill(PASSWORD);
  await button(page, "Turn codes on").click();
  await page.getByText("From now on, sign in with a code as well.").waitFor();

  await button(page, "Sign out").last().click();
  await signIn(page);
  await page.getByText("Enter the code that your authenticator app shows.").waitFor();
  await picture(page, "admin-code-needed");
  await isAccessible(page);
  await page.getByLabel("Code of your authenticator app").fill("000 000 000");
  await button(page, "Sign in").click();
  await page.getByText("This code is wrong, too old, or was used before").waitFor();
  await page.getByLabel("Code of your authenticator app").fill(code(secret));
  await button(page, "Sign in").click();
  await page.getByRole("link", { name: EMAIL }).click();
  await page.getByLabel("Password").fill(PASSWORD);
  await page.getByRole("textbox", { name: "Code" }).fill(code(secret, 1));
  await button(page, "Turn codes off").click();
  await page.getByText("No code is asked for any more.").waitFor();
  await button(page, "Sign out").last().click();
  await signIn(page);
  await page.getByRole("link", { name: "Sales" }).waitFor();
  forgive(/401|403/);
});
