/** The widget in somebody else's page: whatever that page forbids, wraps, or takes away and puts back. */

import type { Page } from "playwright-core";
import { afterAll, beforeAll, expect, test } from "vitest";
import { ADD, api, button, complaintsSoFar, createSale, crowd, forgive, journey, metrics, picture, said, shopper, takeUnit } from "./harness";
import { around, embed, host, type Host } from "./host";
import { another } from "./server";

let shop: Host;

beforeAll(async () => {
  shop = await host();
});

afterAll(() => shop.end());

const WS = api.replace(/^http/, "ws");

async function buys(page: Page, sale: string): Promise<void> {
  await takeUnit(page);
  await button(page, "Check out").click();
  await button(page, "Pay €99.00").click();
  await journey(page, "confirmed");
  expect((await metrics(sale)).orders_confirmed).toBe(1);
}

/** Notes the widget's events of this kind on the page. */
async function events(page: Page, name: string): Promise<() => Promise<{ code: string; message: string }[]>> {
  await page.addInitScript((name) => {
    const heard: unknown[] = [];
    Object.assign(window, { heard });
    document.addEventListener(name, (event) => heard.push((event as CustomEvent).detail));
  }, name);
  return () => page.evaluate(() => (window as unknown as { heard: { code: string; message: string }[] }).heard);
}

test("in a sandboxed frame, whose origin is nobody's, it sells with a session in memory", async () => {
  const sale = await createSale();
  const inner = around(embed(api, sale)).replaceAll('"', "&quot;");
  const address = shop.page("/sandbox", { html: around(`<iframe title="Sale" width="420" height="900" sandbox="allow-scripts allow-forms" srcdoc="${inner}"></iframe>`) });
  const page = await (await shopper()).open(address);
  const frame = page.frameLocator("iframe");
  await frame.locator('article[data-journey="open"]').waitFor();
  await frame.getByRole("button", { name: ADD }).or(frame.getByRole("button", { name: "Join the line" })).click();
  await frame.locator('article:is([data-journey="admitted"],[data-journey="holding"])').waitFor();
  if (await frame.locator('article[data-journey="admitted"]').isVisible()) await frame.getByRole("button", { name: ADD }).click();
  await frame.locator('article[data-journey="holding"]').waitFor();
  await picture(page, "embed-sandbox");
});

test("under a strict policy with Trusted Types it sells, and its bars have their width", async () => {
  const sale = await createSale();
  const policy = `default-src 'none'; script-src ${api} 'wasm-unsafe-eval'; style-src 'self'; img-src data:; connect-src ${api} ${WS}; require-trusted-types-for 'script'; trusted-types lit-html`;
  const address = shop.page("/strict", { html: around(embed(api, sale)), headers: { "Content-Security-Policy": policy } });
  const page = await (await shopper()).open(address);
  await journey(page, "open");
  /** How much of a bar is filled. */
  const share = (selector: string) =>
    page.locator(selector).evaluate((filled) => {
      const [part, whole] = [filled.getBoundingClientRect(), filled.parentElement?.getBoundingClientRect() ?? new DOMRect()];
      return (Math.min(part.right, whole.right) - Math.max(part.left, whole.left)) / whole.width;
    });
  await expect.poll(() => share(".bar .free")).toBeGreaterThan(0.9);
  await takeUnit(page);
  await expect.poll(() => share(".bar .free")).toBeLessThan(0.9);
  expect(await share(".left span")).toBeGreaterThan(0.5);
  expect(await share(".left span")).toBeLessThan(1);
  await picture(page, "embed-strict");
});

test("where WebAssembly is forbidden it says so in one sentence, and shows the sale by REST", async () => {
  const sale = await createSale({ product_name: "The Harbour Lamp", units: 7 });
  const policy = `default-src 'none'; script-src ${api}; style-src 'self'; img-src data:; connect-src ${api} ${WS}`;
  const address = shop.page("/no-wasm", { html: around(embed(api, sale)), headers: { "Content-Security-Policy": policy } });
  const context = await shopper();
  const page = await context.blank();
  const errors = await events(page, "flash-sale-error");
  await page.goto(address);
  await said(page, "The Harbour Lamp");
  await said(page, "€99.00");
  await said(page, "7 units available.");
  await said(page, /Nothing comes live here/);
  expect(await page.getByText(/Loading|could not load/).count()).toBe(0);
  await said(page, /a little slower/);
  expect((await errors()).map(({ code }) => code)).toEqual(["unsupported"]);
  const ours = complaintsSoFar().filter((text) => text.includes("<flash-sale>"));
  expect(ours, "one warning").toHaveLength(1);
  expect(ours[0]).toContain("'wasm-unsafe-eval'");
  await picture(page, "embed-no-wasm");
  forgive(/<flash-sale>|WebAssembly|wasm-unsafe-eval/);
});

test("behind a proxy that blocks WebSocket it shows the sale by REST, and goes live when the way is free", async () => {
  const sale = await createSale({ units: 7 });
  const page = await (await shopper()).blank();
  let isBlocked = true;
  await page.routeWebSocket(/\/ws$/, (socket) => {
    if (isBlocked) void socket.close({ code: 1006 }).catch(() => socket.close());
    else socket.connectToServer();
  });
  await page.goto(shop.page("/blocked", { html: around(embed(api, sale)) }));
  await said(page, /There is no live connection: your network may block it/);
  await said(page, "7 units available.");
  await picture(page, "embed-blocked");
  isBlocked = false;
  await page.getByText("no live connection").waitFor({ state: "detached", timeout: 40_000 });
  await journey(page, "open");
  forgive(/WebSocket/);
});

test("an address with too many sockets is told so with the sale, and when it is tried again", async () => {
  const platform = await another(["--sockets-per-address", "1"]);
  try {
    const now = Date.now();
    const made = await fetch(`${platform.api}/admin/sales`, {
      method: "POST",
      headers: { Authorization: `Bearer ${platform.token("boss", "admin")}` },
      body: JSON.stringify({
        ...{ product_name: "Lamp", currency: "EUR", original_price: 9_900, sale_price: 9_900, total_stock: 3 },
        ...{ start_time: new Date(now - 1_000).toISOString(), end_time: new Date(now + 3_600_000).toISOString() },
      }),
    });
    const { sale_id } = (await made.json()) as { sale_id: string };
    const first = await (await shopper()).open(`${platform.api}/sale/${sale_id}`);
    await journey(first, "open");
    // A load balancer's path with a slash at its end is the same page.
    const second = await (await shopper()).open(`${platform.api}/sale/${sale_id}/`);
    await said(second, /many people share its address at the moment/);
    await said(second, "3 units available.");
    await picture(second, "embed-too-many");
    // Before the server goes: a page without it would complain.
    await Promise.all([first.close(), second.close()]);
    forgive(/WebSocket|429/);
  } finally {
    await platform.end();
  }
});

test("a tracing library that wraps fetch and adds headers takes nothing away", async () => {
  const sale = await createSale();
  const wrap = `<script>
    const original = window.fetch;
    window.traced = 0;
    window.fetch = (input, init = {}) => {
      window.traced += 1;
      const headers = new Headers(init.headers);
      for (const name of ["sentry-trace", "baggage", "traceparent", "x-datadog-trace-id"]) headers.set(name, "00-1-2-01");
      return original(input, { ...init, headers });
    };
  </script>`;
  const page = await (await shopper()).open(shop.page("/traced", { html: around(embed(api, sale), wrap) }));
  await journey(page, "open");
  await buys(page, sale);
  expect(await page.evaluate(() => (window as unknown as { traced: number }).traced)).toBeGreaterThan(0);
});

/** How many sockets the page has open, and how many it has opened. */
function sockets(page: Page): { open: () => number; ever: () => number } {
  let [open, ever] = [0, 0];
  page.on("websocket", (socket) => {
    open += 1;
    ever += 1;
    socket.on("close", () => (open -= 1));
  });
  return { open: () => open, ever: () => ever };
}

test("a single-page shop that takes the last element away closes the socket, and the turn waits until it is back", async () => {
  const sale = await createSale({ startsInMs: 6_000, claim_ms: 3_000, units: 2 });
  const page = await (await shopper()).blank();
  const seen = sockets(page);
  await page.goto(shop.page("/spa", { html: around(`<div id="route"></div><script type="module" src="${api}/widget.js"></script>`) }));
  const route = page.locator("#route");
  const mount = () => route.evaluate((place, sale) => (place.innerHTML = `<flash-sale sale="${sale}"></flash-sale>`), sale);
  const unmount = () => route.evaluate((place) => place.replaceChildren());
  await mount();
  await button(page, "Join the line").click();
  await said(page, "You are in the waiting room");
  // A router that puts the same element back at once is no reason to leave.
  await unmount();
  await mount();
  await said(page, "You are in the waiting room");
  expect(seen.ever()).toBe(1);
  await unmount();
  await expect.poll(seen.open, { timeout: 8_000 }).toBe(0);
  // Long enough for a turn to have come and lapsed.
  await expect.poll(async () => (await metrics(sale)).parked, { timeout: 10_000 }).toBe(1);
  await mount();
  await journey(page, "admitted");
  expect(seen.ever()).toBe(2);
  await button(page, ADD).click();
  await journey(page, "holding");
});

test("several widgets on one page share one socket", async () => {
  const [first, second] = [await createSale(), await createSale({ units: 4 })];
  const page = await (await shopper()).blank();
  const seen = sockets(page);
  const three = `${embed(api, first)}<flash-sale sale="${second}"></flash-sale><flash-sale sale="${first.toLowerCase()}" api="${api}/"></flash-sale>`;
  await page.goto(shop.page("/three", { html: around(three) }));
  await expect.poll(() => page.locator('flash-sale article[data-journey="open"]').count(), { timeout: 15_000 }).toBe(3);
  expect([seen.open(), seen.ever()]).toEqual([1, 1]);
});

test("text is readable whatever the page makes of its root font, and follows the reader's own size", async () => {
  const sale = await createSale();
  const page = await (await shopper()).open(shop.page("/root", { html: around(embed(api, sale), "<style>html { font-size: 62.5% } span { font-size: 5px }</style>") }));
  await journey(page, "open");
  const sizes = await page.locator("flash-sale").evaluate((element) => {
    const all = [...(element.shadowRoot?.querySelectorAll("article *") ?? [])].filter((one) => one.textContent?.trim());
    return all.map((one) => Number.parseFloat(getComputedStyle(one).fontSize));
  });
  expect(Math.min(...sizes)).toBeGreaterThanOrEqual(13);
});

test.each([
  ["sale_missing", "", "the attribute sale is missing"],
  ["sale_invalid", 'sale="summer"', "is no sale's id"],
  ["api_invalid", 'sale="01ARZ3NDEKTSV4RRFFQ69G5FAV" api="sale.example"', "is no address"],
])("attributes that are wrong (%s) give one sentence, a typed event and one warning with the cure", async (code, attributes, cure) => {
  const page = await (await shopper()).blank();
  const errors = await events(page, "flash-sale-error");
  const twice = `<flash-sale ${attributes}></flash-sale>`.repeat(2);
  await page.goto(shop.page(`/${code}`, { html: around(`${twice}<script type="module" src="${api}/widget.js"></script>`) }));
  await page.locator("flash-sale").first().getByText("This sale cannot be shown here at the moment.").waitFor();
  expect((await errors()).map((detail) => detail.code)).toEqual([code, code]);
  // The words of the cure come with a file of their own.
  await expect.poll(complaintsSoFar, { message: "a warning" }).not.toHaveLength(0);
  const ours = complaintsSoFar();
  expect(ours, "one warning for both").toHaveLength(1);
  expect(ours[0]).toContain(cure);
  forgive(/<flash-sale>/);
});

test("a sale that is not there gives a sentence, a typed event and the cure, and no dead link into the shop", async () => {
  const page = await (await shopper()).blank();
  const errors = await events(page, "flash-sale-error");
  await page.goto(shop.page("/unknown", { html: around(embed(api, "01ARZ3NDEKTSV4RRFFQ69G5FAV")) }));
  await said(page, "We cannot find this sale");
  await expect.poll(async () => (await errors()).map(({ code }) => code)).toEqual(["sale_unknown"]);
  expect(await page.getByRole("link", { name: "See all sales" }).count()).toBe(0);
  await expect.poll(() => complaintsSoFar().filter((text) => text.includes("<flash-sale>"))).toHaveLength(1);
  // The browser itself notes each answer that says no.
  forgive(/<flash-sale>.*does not know the sale|404/);
});

test("on the shop's other pages a strip says that it is the shopper's turn, and leads there", async () => {
  const sale = await createSale({ product_name: "Aurora Runner", startsInMs: 5_000 });
  const who = await shopper();
  const page = await who.open(shop.page("/product", { html: around(embed(api, sale)) }));
  await button(page, "Join the line").click();
  await said(page, "You are in the waiting room");
  const other = shop.page("/other", { html: around(`<flash-sale-alert href="/product?sale={sale}"></flash-sale-alert><script type="module" src="${api}/widget.js"></script>`) });
  await page.goto(other);
  const strip = page.getByRole("link", { name: /^Your turn: Aurora Runner/ });
  await strip.waitFor({ timeout: 20_000 });
  expect(await strip.innerText()).toMatch(/[12]:\d\d$/);
  expect(await strip.getAttribute("href")).toBe(`/product?sale=${sale}`);
  await picture(page, "strip");
});

test("the crowd of a full line is told to a newcomer, who is offered no next place", async () => {
  const sale = await createSale({ units: 2, startsInMs: 3_000, inflow: 1, claim_ms: 60_000 });
  await crowd(sale, 12);
  const page = await (await shopper()).open(shop.page("/newcomer", { html: around(embed(api, sale)) }));
  await said(page, /1\d people are in line for what comes back\. If you join now, you will probably not get one\./);
});

test("below a path of another host the widget works: its scripts, the WebAssembly, the socket and REST", async () => {
  const sale = await createSale({ startsInMs: 4_000 });
  shop.below("/flash", api);
  const page = await (await shopper()).open(shop.page("/has-it-below", { html: around(embed(`${shop.origin}/flash`, sale)) }));
  await button(page, "Join the line").click();
  await journey(page, "admitted");
  await button(page, ADD).click();
  await journey(page, "holding");
  // The same guest after a reload, though the page and the platform are of one origin now.
  await page.reload();
  await journey(page, "holding");
  expect(await page.locator('flash-sale [data-part="connection"]').count(), "it is live").toBe(0);
  await button(page, "Check out").click();
  await button(page, "Pay €99.00").click();
  await journey(page, "confirmed");
});

test.each([
  ["before the room opens", { startsInMs: 900_000, roomBeforeMs: 60_000 }],
  ["in the waiting room", { startsInMs: 900_000, roomBeforeMs: 1_000_000 }],
  ["while it is live", {}],
  ["while the answer is late", {}],
] as const)("nothing moves while the widget comes in on a slow network, %s", async (when, wish) => {
  const sale = await createSale(wish);
  const address = shop.page(`/still-${when.replaceAll(" ", "-")}`, { html: around(embed(api, sale)) });
  const page = await (await shopper({ viewport: { width: 360, height: 740 } })).blank();
  const session = await page.context().newCDPSession(page);
  await session.send("Network.enable");
  await session.send("Network.emulateNetworkConditions", { offline: false, latency: 150, downloadThroughput: 200_000, uploadThroughput: 100_000 });
  await page.addInitScript(() => {
    Object.assign(window, { moved: [] });
    new PerformanceObserver((list) => {
      type Shift = PerformanceEntry & { value: number; sources: { node: Element | null; previousRect: DOMRect; currentRect: DOMRect }[] };
      for (const { value, startTime, sources } of list.getEntries() as Shift[]) {
        const what = sources.map(({ node, previousRect, currentRect }) => `${node?.nodeName ?? ""}.${node?.className ?? ""} ${previousRect.y} → ${currentRect.y}, ${previousRect.height} → ${currentRect.height}`);
        (window as unknown as { moved: unknown[] }).moved.push([value, Math.round(startTime), ...what]);
      }
    }).observe({ type: "layout-shift", buffered: true });
  });
  // The element is drawn before anything is known of the sale, also that it is sold in test mode.
  if (when === "while the answer is late") {
    await page.route(`${api}/flash-sales/${sale}`, async (route) => {
      await new Promise((resume) => setTimeout(resume, 1_500));
      await route.continue();
    });
  }
  await page.goto(address);
  await page.locator('flash-sale article:not([data-journey="loading"])').waitFor();
  // Live: the numbers of carts and of what is sold are there.
  await page.locator("flash-sale .stock:not([data-empty])").waitFor();
  await page.waitForFunction(() => new Promise((resume) => setTimeout(() => resume(true), 500)));
  const moved = await page.evaluate(() => (window as unknown as { moved: [number, ...string[]][] }).moved);
  expect(moved.reduce((sum, [value]) => sum + value, 0), JSON.stringify(moved)).toBeLessThan(0.02);
});
