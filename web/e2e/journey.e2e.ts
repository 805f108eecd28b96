import { expect, inject, test } from "vitest";
import { ADD, api, button, complaintsSoFar, createSale, forgive, isAccessible, JOIN_OR_ADD, journey, metrics, picture, said, shopper, stock, storefront, sure, takeUnit } from "./harness";

test("a shopper goes from the countdown to a paid order", async () => {
  const sale = await createSale({ units: 5, startsInMs: 7_000, roomBeforeMs: 3_500 });
  const page = await (await shopper()).open(`${api}/sale/${sale}`);

  await journey(page, "countdown");
  await page.getByText("Test mode: no money is taken").waitFor();
  await said(page, "The waiting room is not open yet");
  await picture(page, "1-countdown");

  await journey(page, "lobby");
  await button(page, "Join the line").click();
  await said(page, "You are in the waiting room");
  await picture(page, "2-lobby");
  await isAccessible(page);

  await journey(page, "admitted");
  await said(page, "to add it to your cart");
  await picture(page, "3-admitted");
  await button(page, ADD).click();

  await journey(page, "holding");
  expect(await page.locator(".clocked .clock").innerText()).toMatch(/^(5:00|4:5\d)$/);
  await expect.poll(() => stock(page, "carts")).toBe(1);
  await picture(page, "4-holding");
  await button(page, "Check out").click();

  await journey(page, "pay");
  await picture(page, "5-pay");
  await isAccessible(page);
  await button(page, "Pay €99.00").click();

  await journey(page, "confirmed");
  await expect.poll(() => stock(page, "sold")).toBe(1);
  const order = await page.locator(".slip code").innerText();
  await page.locator(`order-list li[data-order="${order}"]`).getByText("Confirmed").waitFor();
  await picture(page, "6-confirmed");
  expect((await metrics(sale)).orders_confirmed).toBe(1);
});

test("a declined card leaves the order, and another card pays it", async () => {
  const sale = await createSale();
  const page = await (await shopper()).open(`${api}/sale/${sale}`);
  await journey(page, "open");
  await takeUnit(page);
  await button(page, "Check out").click();
  await page.getByText("Is declined").click();
  await button(page, "Pay €99.00").click();
  await said(page, "The card was declined. Nothing was charged.");
  await journey(page, "pay");
  await picture(page, "declined");
  await page.getByText("Is approved").click();
  await button(page, "Pay €99.00").click();
  await journey(page, "confirmed");
  expect(await page.getByText("The card was declined").count()).toBe(0);
});

test("two browsers and the last unit: one order, one honest sold out, both right within a second", async () => {
  const sale = await createSale({ units: 1 });
  const [a, b] = await Promise.all([
    (await shopper()).open(`${api}/sale/${sale}`),
    (await shopper()).open(`${api}/sale/${sale}`),
  ]);
  await Promise.all([journey(a, "open"), journey(b, "open")]);
  await Promise.all([a, b].map((page) => button(page, JOIN_OR_ADD).click()));
  const settled = (page: typeof a) =>
    page.locator('flash-sale article:is([data-journey="admitted"],[data-journey="holding"],[data-journey="waiting"],[data-journey="open"]):not(:has(button:disabled))');
  await expect.poll(async () => {
    const phases = await Promise.all([a, b].map((page) => page.locator("flash-sale article").getAttribute("data-journey")));
    return phases.filter((phase) => phase === "admitted" || phase === "holding").length;
  }).toBe(1);
  await Promise.all([settled(a).waitFor(), settled(b).waitFor()]);
  const aHas = /admitted|holding/.test((await a.locator("flash-sale article").getAttribute("data-journey")) ?? "");
  const [winner, other] = aHas ? [a, b] : [b, a];

  if (await button(winner, ADD).isVisible()) await button(winner, ADD).click();
  await journey(winner, "holding");
  // Not sold yet: the other one is told that it may come back.
  await said(other, /comes back|depends on units/);
  await expect.poll(() => stock(other, "free")).toBe(0);
  await picture(other, "all-in-carts");
  await button(winner, "Check out").click();
  await button(winner, "Pay €99.00").click();
  await journey(winner, "confirmed");
  await journey(other, "sold_out", 1_000);
  await expect.poll(() => stock(winner, "sold"), { timeout: 1_000 }).toBe(1);
  await picture(other, "sold-out");
  const numbers = await metrics(sale);
  expect([numbers.orders_confirmed, numbers.orders_pending, numbers.available]).toEqual([1, 0, 0]);
});

test("the widget buys from another origin", async () => {
  const sale = await createSale({ product_name: "The Harbour Lamp" });
  const page = await (await shopper()).open(`${storefront}/?sale=${sale}`);
  expect(new URL(page.url()).origin).not.toBe(api);
  await journey(page, "open");
  const colour = await page.locator(".bar .free").evaluate((bar) => getComputedStyle(bar).backgroundColor);
  expect(colour, "the widget brings its own colours").toMatch(/^rgb\(\d+, \d+, \d+\)$/);
  await picture(page, "storefront");
  await isAccessible(page);
  const confirmed = page.evaluate(
    () =>
      new Promise<number>((resolve) => {
        document.addEventListener("flash-sale-confirmed", (event) => {
          resolve((event as CustomEvent<{ order: { amount: number } }>).detail.order.amount);
        });
      }),
  );
  await takeUnit(page);
  await button(page, "Check out").click();
  await button(page, "Pay €99.00").click();
  await journey(page, "confirmed");
  expect(await confirmed).toBe(9_900);
  expect((await metrics(sale)).orders_confirmed).toBe(1);
});

test("the widget buys for a merchant's own shopper, and says when the token is no good", async () => {
  const sale = await createSale();
  const page = await (await shopper()).open(`${storefront}/?sale=${sale}`);
  await journey(page, "open");
  const asked = page.evaluate(
    () =>
      new Promise<string>((resolve) => {
        document.addEventListener("flash-sale-token-needed", (event) => resolve((event.target as Element).tagName));
      }),
  );
  const signIn = (token: string) =>
    page.evaluate((token) => document.querySelector("flash-sale")?.setAttribute("token", token), token);
  await signIn("not.a.token");
  expect(await asked).toBe("FLASH-SALE");
  await said(page, "Your sign-in is not valid any more. Sign in again, please.");
  await expect.poll(() => complaintsSoFar().length).toBe(1);
  forgive(/does not accept the attribute token/);
  await signIn(inject("shopperToken"));
  await journey(page, "open");
  await takeUnit(page);
  await button(page, "Check out").click();
  await button(page, "Pay €99.00").click();
  await journey(page, "confirmed");
  const orders = await fetch(`${api}/carts/e2e-shopper`, { headers: { Authorization: `Bearer ${inject("shopperToken")}` } });
  expect(orders.status, "the shopper of the token is known by name").toBe(200);
});

test("a reload in mid-hold finds the hold and its clock again", async () => {
  const sale = await createSale();
  const page = await (await shopper()).open(`${api}/sale/${sale}`);
  await journey(page, "open");
  await takeUnit(page);
  const seconds = async () => {
    const [minutes, rest] = (await page.locator(".clocked .clock").innerText()).split(":");
    return Number(minutes) * 60 + Number(rest);
  };
  const before = await seconds();
  const left = performance.now();
  await page.reload();
  await journey(page, "holding");
  const after = await seconds();
  const passed = (performance.now() - left) / 1_000;
  expect(after).toBeLessThanOrEqual(before);
  expect(before - after).toBeLessThanOrEqual(passed + 1);
  await button(page, "Remove").click();
  await sure(page, "Remove");
  await said(page, "Removed from your cart");
  await expect.poll(() => stock(page, "free")).toBe(10);
});

test("two tabs of one guest show the same place and the same hold", async () => {
  const sale = await createSale({ startsInMs: 10_000 });
  const ahead = await (await shopper()).open(`${api}/sale/${sale}`);
  await button(ahead, "Join the line").click();
  await said(ahead, "You are in the waiting room");

  const guest = await shopper();
  const first = await guest.open(`${api}/sale/${sale}`);
  await journey(first, "lobby");
  await button(first, "Join the line").click();
  await said(first, "You are in the waiting room");
  const second = await guest.open(`${api}/sale/${sale}`);
  await said(second, "You are in the waiting room");
  const place = (page: typeof first) => page.locator(".place").innerText();
  expect(await place(second)).toBe(await place(first));
  expect(await place(first)).toMatch(/2/);

  await journey(first, "admitted");
  await journey(second, "admitted");
  await button(second, ADD).click();
  await journey(second, "holding");
  await journey(first, "holding", 2_000);
});

test("an expired hold is said to be so, and the unit is free again", async () => {
  const sale = await createSale({ units: 1, hold_ms: 3_000 });
  const page = await (await shopper()).open(`${api}/sale/${sale}`);
  await journey(page, "open");
  await takeUnit(page);
  await said(page, "Your time ran out.");
  await journey(page, "open");
  await expect.poll(() => stock(page, "free")).toBe(1);
  await picture(page, "hold-expired");
});

test("a command given while offline is carried out once, after the connection is back", async () => {
  const sale = await createSale();
  const who = await shopper();
  const page = await who.open(`${api}/sale/${sale}`);
  await journey(page, "open");
  await takeUnit(page);
  await page.evaluate(() => {
    // The socket dies under the page, as it does in a tunnel.
    const Real = WebSocket;
    const original = Real.prototype.send;
    Real.prototype.send = function (text) {
      if (String(text).includes('"checkout"')) {
        Real.prototype.send = original;
        this.close();
        return;
      }
      original.call(this, text);
    };
  });
  await button(page, "Check out").click();
  await journey(page, "pay");
  const numbers = await metrics(sale);
  expect([numbers.orders_pending, numbers.sold]).toEqual([1, 1]);
  forgive(/WebSocket/);
});

test("a sale that is not there is said to be so", async () => {
  const page = await (await shopper()).open(`${api}/sale/01ARZ3NDEKTSV4RRFFQ69G5FAV`);
  await journey(page, "unknown");
  await said(page, "We cannot find this sale");
  await page.getByRole("link", { name: "See all sales" }).waitFor();
  const other = await (await shopper()).open(`${api}/sale/nonsense`);
  await other.getByText("We cannot find this sale").waitFor();
  await other.getByRole("link", { name: "See all sales" }).click();
  await other.getByRole("heading", { name: "Sales" }).waitFor();
  // The browser itself notes each answer that says no.
  forgive(/404/);
});

test("the shop lists the sales, and fits a small phone in the dark", async () => {
  const name = "A lamp with quite a long name that has to wrap somewhere";
  const sale = await createSale({ product_name: name, startsInMs: 3_600_000 });
  const phone = await shopper({ viewport: { width: 360, height: 740 }, colorScheme: "dark", hasTouch: true });
  const page = await phone.open(`${api}/`);
  await page.getByRole("link", { name: new RegExp(name) }).waitFor();
  await picture(page, "list-phone-dark");
  await isAccessible(page);
  await page.getByRole("link", { name: new RegExp(name) }).click();
  await journey(page, "countdown");
  expect(page.url()).toContain(sale);
  const overflow = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
  expect(overflow).toBeLessThanOrEqual(0);
  await picture(page, "countdown-phone-dark");
});
