/** The same in Firefox, where there is one (Debian's firefox-esr, or FIREFOX): from the line to the receipt, on our page and in a shop's. */

import { existsSync } from "node:fs";
import { firefox, type Browser, type Page } from "playwright-core";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { ADD, api, button, createSale, journey, metrics, picture, said, sure } from "./harness";
import { around, embed, host, type Host } from "./host";

const PATH = [process.env.FIREFOX, "/usr/bin/firefox-esr", "/usr/bin/firefox"].find((path) => path && existsSync(path));
const START_MS = 60_000;

/** A stable Firefox does not know every wish that Playwright has for a new window, as its colour scheme. What it does not know is not needed here. */
function forgiving(browser: Browser): void {
  type Send = (method: string, params: object) => Promise<unknown>;
  const { _connection } = browser as unknown as { _connection: { toImpl(of: Browser): { _browserSession: { send: Send } } } };
  const session = _connection.toImpl(browser)._browserSession;
  const send = session.send.bind(session);
  session.send = (method, params) => (method.startsWith("emulation.") ? send(method, params).catch(() => ({})) : send(method, params));
}

describe.runIf(PATH)("in Firefox", () => {
  let browser: Browser;
  let shop: Host;

  beforeAll(async () => {
    // By WebDriver BiDi: the browser is the system's own, not one that was changed for tests.
    browser = await firefox.launch({ channel: "moz-firefox", executablePath: PATH ?? "", timeout: START_MS });
    forgiving(browser);
    shop = await host();
  }, START_MS);

  afterAll(async () => {
    await browser.close();
    shop.end();
  });

  async function open(url: string): Promise<{ page: Page; errors: string[] }> {
    const page = await (await browser.newContext()).newPage();
    const errors: string[] = [];
    page.on("pageerror", (error) => errors.push(String(error)));
    page.on("console", (message) => {
      if (message.type() === "error") errors.push(message.text());
    });
    await page.goto(url);
    return { page, errors };
  }

  test.each(["on our own page", "in a shop's page"])("a shopper joins, is called, buys and keeps a receipt, %s", { timeout: 120_000 }, async (where) => {
    const sale = await createSale({ startsInMs: 6_000 });
    const address = where === "on our own page" ? `${api}/sale/${sale}` : shop.page("/firefox", { html: around(embed(api, sale)) });
    const { page, errors } = await open(address);
    await button(page, "Join the line").click();
    await said(page, "You are in the waiting room");
    await page.reload();
    await said(page, "You are in the waiting room");
    await journey(page, "admitted", 30_000);
    await button(page, ADD).click();
    await journey(page, "holding");
    await button(page, "Check out").click();
    await journey(page, "pay");
    await button(page, "Pay €99.00").click();
    await journey(page, "confirmed");
    await said(page, "It is yours");
    expect(await metrics(sale)).toMatchObject({ orders_confirmed: 1, sold: 1 });
    expect(errors).toEqual([]);
    // A picture puts a style into the page, which our own pages forbid.
    await picture(page, `firefox-${where === "on our own page" ? "home" : "shop"}`);
    await page.context().close();
  });

  test("a turn is given up after a question", { timeout: 120_000 }, async () => {
    const sale = await createSale({ startsInMs: 5_000 });
    const { page, errors } = await open(`${api}/sale/${sale}`);
    await button(page, "Join the line").click();
    await journey(page, "admitted", 30_000);
    await button(page, "Skip my turn").click();
    await sure(page, "Skip my turn");
    await journey(page, "open");
    expect(errors).toEqual([]);
    await page.context().close();
  });
});
