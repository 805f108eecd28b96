/** From one step to the next: second clicks, questions, the keyboard, what is read out, and a connection that goes away. */

import type { Page, WebSocketRoute } from "playwright-core";
import { expect, test } from "vitest";
import { ADD, api, button, createSale, forgive, isAccessible, journey, JOIN_OR_ADD, metrics, picture, said, shopper, sure, takeUnit } from "./harness";

test("a second click after 180 ms does not hit the button of the next step", async () => {
  const sale = await createSale();
  const page = await (await shopper()).open(`${api}/sale/${sale}`);
  await journey(page, "open");
  await button(page, JOIN_OR_ADD).click();
  await page.locator('flash-sale article:is([data-journey="admitted"],[data-journey="holding"])').waitFor();
  if (await page.locator('flash-sale article[data-journey="admitted"]').isVisible()) {
    await button(page, ADD).click();
  }
  // At the moment of the new step, at the place of its button, as a nervous hand does it.
  const clicks = await page.locator("flash-sale").evaluate(async (element) => {
    const find = <T extends HTMLElement>(selector: string) => element.shadowRoot?.querySelector<T>(selector);
    const deadline = performance.now() + 10_000;
    while (find("article")?.dataset.journey !== "holding" && performance.now() < deadline) await new Promise(requestAnimationFrame);
    const seen = performance.now();
    let clicks = 0;
    for (const wait of [0, 180, 180]) {
      await new Promise((resume) => setTimeout(resume, wait));
      // On a machine with much to do timers come late, and a later click is a new wish.
      if (performance.now() - seen > 450) break;
      const primary = find(".actions .primary");
      primary?.click();
      clicks += primary ? 1 : 0;
    }
    return clicks;
  });
  expect(clicks).toBeGreaterThan(0);
  await journey(page, "holding");
  expect((await metrics(sale)).orders_pending).toBe(0);
  // Afterwards it works.
  await button(page, "Check out").click();
  await journey(page, "pay");
});

test("what cannot be taken back is asked once, and a question whose moment is over is withdrawn", async () => {
  const sale = await createSale({ startsInMs: 7_000 });
  const ahead = await (await shopper()).open(`${api}/sale/${sale}`);
  await button(ahead, "Join the line").click();
  await said(ahead, "You are in the waiting room");
  const page = await (await shopper()).open(`${api}/sale/${sale}`);
  await button(page, "Join the line").click();
  await said(page, "You are in the waiting room");
  await button(page, "Leave the line").click();
  await page.getByRole("heading", { name: "Give up place 2?" }).waitFor();
  await picture(page, "ask-leave");
  await isAccessible(page);
  await sure(page, "Keep my place");
  await button(page, "Leave the line").click();
  await page.getByRole("heading", { name: "Give up place 2?" }).waitFor();
  // The turn comes while the question stands: a yes to it would now give up the turn.
  await journey(page, "admitted", 20_000);
  await page.locator("dialog[open]").waitFor({ state: "detached" }).catch(() => undefined);
  expect(await page.locator("dialog[open]").count()).toBe(0);
  await button(page, "Skip my turn").click();
  await page.getByText("You cannot get this turn back.").waitFor();
  await page.keyboard.press("Escape");
  await journey(page, "admitted");
});

/** What has the focus, through all shadow roots. */
const focused = (page: Page) =>
  page.evaluate(() => {
    let active = document.activeElement;
    while (active?.shadowRoot?.activeElement) active = active.shadowRoot.activeElement;
    return `${active?.tagName ?? ""} ${active?.textContent?.trim() ?? ""}`;
  });

test("by keyboard alone the focus follows the steps, and each step is read out", async () => {
  const sale = await createSale({ startsInMs: 4_000, claim_ms: 30_000 });
  const page = await (await shopper()).open(`${api}/sale/${sale}`);
  await button(page, "Join the line").focus();
  await page.keyboard.press("Enter");
  await said(page, "You are in the waiting room");
  const status = page.locator("flash-sale [role=status]").last();
  await expect.poll(() => status.innerText()).toContain("You are in the waiting room");
  expect(await focused(page)).toContain("H3 You are in the waiting room");
  await journey(page, "admitted");
  await expect.poll(() => focused(page)).toContain("H3 It is your turn");
  await expect.poll(() => status.innerText()).toMatch(/It is your turn\. .* You have \d+ seconds\./);
  await picture(page, "turn");
  await page.keyboard.press("Tab");
  expect(await focused(page)).toMatch(/^BUTTON Add to cart for €99\.00/);
  await expect.poll(() => button(page, ADD).getAttribute("aria-disabled")).toBe("false");
  await page.keyboard.press("Enter");
  await journey(page, "holding");
  await expect.poll(() => focused(page)).toContain("H3 In your cart");
});

test("who reads elsewhere on the page keeps their focus when a step comes", async () => {
  const sale = await createSale({ startsInMs: 4_000 });
  const page = await (await shopper()).open(`${api}/sale/${sale}`);
  await button(page, "Join the line").click();
  await said(page, "You are in the waiting room");
  await page.getByRole("link", { name: "Flash sales" }).focus();
  await journey(page, "admitted");
  expect(await focused(page)).toMatch(/^A Flash sales/);
});

test("the last ten seconds of a turn are read out", async () => {
  const sale = await createSale({ startsInMs: 4_000, claim_ms: 21_000 });
  const page = await (await shopper()).open(`${api}/sale/${sale}`);
  await button(page, "Join the line").click();
  await journey(page, "admitted");
  const status = page.locator("flash-sale [role=status]").last();
  await expect.poll(() => status.innerText(), { timeout: 20_000 }).toBe("10 seconds left to add it to your cart. You can take more time, once.");
  await said(page, "Last 20 seconds");
});

test("where nobody waits a turn and a cart are extended once each, and the extension is read out", async () => {
  const sale = await createSale({ startsInMs: 4_000, claim_ms: 31_000, hold_ms: 40_000, units: 3 });
  const page = await (await shopper()).open(`${api}/sale/${sale}`);
  const heard = page.locator("flash-sale [role=status]").last();
  await button(page, "Join the line").click();
  await journey(page, "admitted");
  await expect.poll(() => heard.innerText(), { timeout: 20_000 }).toBe("20 seconds left to add it to your cart. You can take more time, once.");
  await isAccessible(page);
  await picture(page, "more-time");
  await button(page, "I need more time").click();
  await expect.poll(() => heard.innerText()).toMatch(/^You have more time: (?:4\d|50|51) seconds\.$/);
  await button(page, "I need more time").waitFor({ state: "hidden" });
  // Known after a reload too.
  await page.reload();
  await journey(page, "admitted");
  expect(await button(page, "I need more time").count()).toBe(0);
  await button(page, ADD).click();
  await journey(page, "holding");
  await button(page, "I need more time").click();
  await expect.poll(() => heard.innerText()).toMatch(/^You have more time: 1 minute(?: \d+ seconds?)?\.$/);
  expect((await metrics(sale)).held).toBe(1);
});

test("on the platform's other pages a strip and the tab say that it is the shopper's turn", async () => {
  const sale = await createSale({ product_name: "Aurora Runner", startsInMs: 5_000 });
  const page = await (await shopper()).open(`${api}/sale/${sale}`);
  await button(page, "Join the line").click();
  await said(page, "You are in the waiting room");
  await page.goto(`${api}/`);
  const strip = page.getByRole("link", { name: /^Your turn: Aurora Runner/ });
  await strip.waitFor({ timeout: 20_000 });
  await expect.poll(() => page.title()).toMatch(/^● [12]:\d\d Your turn · Aurora Runner$/);
  const icon = () => page.locator("link[rel=icon][data-urgent]").getAttribute("href");
  await expect.poll(icon).toContain("circle");
  await isAccessible(page);
  await picture(page, "strip-home");
  await strip.click();
  await journey(page, "admitted");
  expect(await page.getByRole("link", { name: /^Your turn/ }).count(), "not over the page that shows it").toBe(0);
});

/** A way to the server that can be cut. */
async function cuttable(page: Page): Promise<{ cut(): Promise<void>; mend(): void; mute(): void }> {
  let isCut = false;
  let isMute = false;
  let open: WebSocketRoute[] = [];
  await page.routeWebSocket(/\/ws$/, (socket) => {
    if (isCut) {
      void socket.close();
      return;
    }
    const server = socket.connectToServer();
    open.push(socket);
    server.onMessage((message) => {
      if (!isMute) socket.send(message);
    });
    socket.onMessage((message) => {
      if (!isMute) server.send(message);
    });
  });
  return {
    cut: async () => {
      isCut = true;
      for (const socket of open) await socket.close();
      open = [];
    },
    mend: () => {
      isCut = false;
      isMute = false;
    },
    mute: () => (isMute = true),
  };
}

test("a checkout without a connection is said to be unsent with its deadline, and goes out when the connection is back", async () => {
  const sale = await createSale({ hold_ms: 60_000 });
  const page = await (await shopper()).blank();
  const way = await cuttable(page);
  await page.goto(`${api}/sale/${sale}`);
  await journey(page, "open");
  await takeUnit(page);
  await way.cut();
  await said(page, /No connection\. Your cart is held until \d\d:\d\d:\d\d\./);
  await button(page, "Check out").click();
  await said(page, "Not sent yet");
  await said(page, /There is no connection\. Your cart is held until \d\d:\d\d:\d\d; the order goes out when the connection is back\./);
  expect(await page.getByText(/safe|written down/).count()).toBe(0);
  await picture(page, "offline-checkout");
  expect((await metrics(sale)).orders_pending).toBe(0);
  way.mend();
  await journey(page, "pay", 40_000);
  forgive(/WebSocket/);
});

test("when the network goes, no green light stays: header, card and voice say so", async () => {
  const sale = await createSale({ startsInMs: 600_000, roomBeforeMs: 700_000 });
  const page = await (await shopper()).blank();
  const way = await cuttable(page);
  await page.goto(`${api}/sale/${sale}`);
  await button(page, "Join the line").click();
  await said(page, "You are in the waiting room");
  await page.locator(".presence").getByText("Live").waitFor();
  way.mute();
  await page.evaluate(() => dispatchEvent(new Event("offline")));
  await page.locator(".presence").getByText("No connection").waitFor({ timeout: 4_000 });
  await said(page, /^No connection\. Your place is kept for a while\./);
  await expect.poll(() => page.locator("flash-sale [role=status]").last().innerText()).toContain("No connection.");
  await picture(page, "offline-place");
  way.mend();
  await page.evaluate(() => dispatchEvent(new Event("online")));
  await page.locator(".presence").getByText("Live").waitFor({ timeout: 30_000 });
  forgive(/WebSocket/);
});

test("an address that leads nowhere is a page with a way on", async () => {
  const page = await (await shopper()).open(`${api}/salon`);
  await page.getByRole("heading", { name: "We cannot find this page" }).waitFor();
  await page.getByRole("link", { name: "See all sales" }).waitFor();
  await isAccessible(page);
  forgive(/404/);
});

test("in forced colours what is primary, what is available and where the door is can be told apart", async () => {
  const sale = await createSale({ startsInMs: 4_000, units: 4 });
  const page = await (await shopper({ forcedColors: "active" })).open(`${api}/sale/${sale}`);
  await button(page, "Join the line").click();
  await journey(page, "admitted");
  const colour = (selector: string) => page.locator(selector).first().evaluate((one) => getComputedStyle(one).backgroundColor);
  expect(await colour(".actions .primary")).not.toBe(await colour(".actions .quiet"));
  expect(await colour(".actions .primary"), "it does not look like the text around it").not.toBe(await colour(".panel"));
  expect(await colour(".bar .free")).not.toBe(await colour("flash-sale article"));
  await picture(page, "forced-colours");
});

test("a long address in a description and a long name clip nothing on a small phone", async () => {
  const long = `https://shop.example/${"a-very-long-path-".repeat(12)}`;
  const sale = await createSale({ product_name: "Lamp ".repeat(30).trim(), description: `First line\n${long}\nlast line` });
  const phone = await shopper({ viewport: { width: 360, height: 740 } });
  const page = await phone.open(`${api}/sale/${sale}`);
  await journey(page, "open");
  await said(page, "last line");
  const overflow = () => page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
  expect(await overflow()).toBeLessThanOrEqual(0);
  const action = await button(page, JOIN_OR_ADD).boundingBox();
  expect((action?.y ?? 1_000) + (action?.height ?? 0), "the action is in reach").toBeLessThanOrEqual(740);
  await picture(page, "long-name-phone");
});
