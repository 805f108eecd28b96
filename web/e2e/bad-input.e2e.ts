/** What a page or a server may get wrong: one clear sentence in the shopper's language, an event with a code, and one warning that names the cure. */

import { createHmac } from "node:crypto";
import type { Page, WebSocketRoute } from "playwright-core";
import { afterAll, beforeAll, expect, inject, test } from "vitest";
import { api, button, complaintsSoFar, createSale, forgive, journey, said, shopper, takeUnit } from "./harness";
import { around, embed, host, type Host } from "./host";

let shop: Host;

beforeAll(async () => {
  shop = await host();
});

afterAll(() => shop.end());

interface Heard {
  code: string;
  message: string;
}

/** A page with this in it, and the errors that it hears of. */
async function opened(path: string, body: string, before?: (page: Page) => Promise<void>): Promise<{ page: Page; heard: () => Promise<Heard[]> }> {
  const page = await (await shopper()).blank();
  await page.addInitScript(() => {
    const heard: unknown[] = [];
    Object.assign(window, { heard });
    document.addEventListener("flash-sale-error", (event) => heard.push((event as CustomEvent).detail));
  });
  await before?.(page);
  await page.goto(shop.page(path, { html: around(body) }));
  return { page, heard: () => page.evaluate(() => (window as unknown as { heard: Heard[] }).heard) };
}

/** The one warning of a test, which comes after its event; nothing else stands on its console. */
async function warned(cure: RegExp): Promise<void> {
  await expect.poll(complaintsSoFar).not.toHaveLength(0);
  const [only, ...others] = complaintsSoFar();
  expect(only).toMatch(cure);
  expect(others).toEqual([]);
  forgive(/<flash-sale>/);
}

test.each([
  ["missing", "", "sale_missing", /<flash-sale>: the attribute sale is missing/],
  ["wrong", 'sale="<b>1"', "sale_invalid", /<flash-sale>: sale="<b>1" is no sale's id/],
  ["of-nowhere", 'sale="01ARZ3NDEKTSV4RRFFQ69G5FAV" api="ftp://x"', "api_invalid", /<flash-sale>: api="ftp:\/\/x" is no address/],
])("attributes that are %s: a sentence in the shopper's language, an event, one warning", async (name, attributes, code, cure) => {
  const { page, heard } = await opened(`/attributes-${name}`, `<script type="module" src="${api}/widget.js"></script><flash-sale lang="de" ${attributes}></flash-sale>`);
  await said(page, "Dieser Verkauf kann hier im Moment nicht gezeigt werden.");
  await expect.poll(heard).toEqual([{ code, message: expect.any(String) as string }]);
  await warned(cure);
});

test("a sale that nobody knows, in Japanese", async () => {
  const { page, heard } = await opened("/unknown-sale", embed(api, "01ARZ3NDEKTSV4RRFFQ69G5FAV", 'lang="ja"'));
  await page.locator("flash-sale h3").getByText(/見つかりません/).waitFor();
  await expect.poll(async () => (await heard()).map(({ code }) => code)).toEqual(["sale_unknown"]);
  // The browser itself notes an answer of 404.
  await expect.poll(() => complaintsSoFar().filter((one) => !one.includes("404")).length).toBe(1);
  forgive(/404/);
  await warned(/does not know the sale 01ARZ3NDEKTSV4RRFFQ69G5FAV/);
});

const part = (of: object) => Buffer.from(JSON.stringify(of)).toString("base64url");

function forged(): string {
  const text = `${part({ alg: "HS256", typ: "JWT" })}.${part({ sub: "e2e-shopper", role: "admin", exp: Math.floor(Date.now() / 1_000) + 3_600 })}`;
  return `${text}.${createHmac("sha256", "a guess").update(text).digest("base64url")}`;
}

/** One that was good: with its time changed it is forged as well. */
function outdated(): string {
  const [head, claims] = inject("shopperToken").split(".");
  const before = JSON.parse(Buffer.from(claims ?? "", "base64url").toString()) as object;
  return `${head ?? ""}.${part({ ...before, exp: 1_000_000_000 })}.${inject("shopperToken").split(".")[2] ?? ""}`;
}

test.each([
  ["forged", forged, "token_invalid", /does not accept the attribute token/],
  ["changed", outdated, "token_invalid", /does not accept the attribute token/],
  ["no-token", () => "not a token", "token_invalid", /does not accept the attribute token/],
  ["expired", () => inject("expiredToken"), "token_expired", /the token has run out: set a fresh one/],
])("a token that is %s: the shopper is asked to sign in, the page hears why, and nothing is asked in its name again and again", async (name, make, code, cure) => {
  const sale = await createSale();
  const asked: string[] = [];
  const { page, heard } = await opened(`/token-${name}`, embed(api, sale, `token="${make()}" lang="fr"`), async (page) => {
    page.on("request", (request) => {
      if (new URL(request.url()).pathname === "/me") asked.push(request.url());
    });
    await page.addInitScript(() => {
      Object.assign(window, { needed: 0 });
      document.addEventListener("flash-sale-token-needed", () => ((window as unknown as { needed: number }).needed += 1));
    });
  });
  await page.locator("flash-sale [data-part=connection], flash-sale .panel").getByText(/votre connexion|reconnecter|identifi/i).first().waitFor();
  await expect.poll(async () => (await heard()).map(({ code }) => code)).toEqual([code]);
  expect(await page.evaluate(() => (window as unknown as { needed: number }).needed)).toBeGreaterThan(0);
  // Longer than it takes until REST is tried.
  await page.waitForFunction(() => performance.now() > 8_000);
  expect(asked).toEqual([]);
  await warned(cure);
  expect(await page.locator("flash-sale").evaluate((element) => element.shadowRoot?.textContent)).not.toContain("undefined");
});

/** Lets the page talk to the real server, and puts frames in between. */
async function between(page: Page, put: (socket: WebSocketRoute) => void): Promise<void> {
  await page.routeWebSocket(/\/ws$/, (socket) => {
    const server = socket.connectToServer();
    let isPut = false;
    server.onMessage((message) => {
      socket.send(message);
      if (isPut) return;
      isPut = true;
      put(socket);
    });
  });
}

test("garbage, unknown events and a newer server's words between the frames do no harm", async () => {
  const sale = await createSale();
  const { page, heard } = await opened("/garbage", embed(api, sale), (page) =>
    between(page, (socket) => {
      const frames = [
        "",
        "null",
        "[]",
        "{",
        "\u0000",
        '{"type":7}',
        '{"type":"fireworks","sale":"x"}',
        `{"type":"tick","sale":"${sale}"}`,
        `{"type":"tick","sale":"${sale}","seq":"many"}`,
        '{"type":"entry","state":"floating","at":1}',
        '{"type":"reply","id":"01ARZ3NDEKTSV4RRFFQ69G5FAV","error":{"code":"of_tomorrow","message":"?","retry":false}}',
        `{"type":"hold","sale":"${sale}","state":"held","quantity":-1,"expires_at":"soon","at":1e400}`,
        JSON.stringify({ type: "notice", code: "of_tomorrow", text: "x".repeat(60_000) }),
      ];
      for (const frame of frames) socket.send(frame);
      socket.send(Buffer.from([0xff, 0xfe, 0x00]));
    }),
  );
  await takeUnit(page);
  await button(page, "Check out").click();
  await button(page, "Pay €99.00").click();
  await journey(page, "confirmed");
  expect(await heard()).toEqual([]);
});

test("what answers like no platform of ours is said to be so, once", async () => {
  const elsewhere = await host();
  const json = { "Content-Type": "application/json", "Access-Control-Allow-Origin": "*" };
  const id = "01ARZ3NDEKTSV4RRFFQ69G5FAV";
  elsewhere.page(`/flash-sales/${id}`, { html: JSON.stringify({ sale_id: id, product_name: "?", status: "of_tomorrow" }), headers: json });
  const { page, heard } = await opened("/of-tomorrow", `<script type="module" src="${api}/widget.js"></script><flash-sale sale="${id}" api="${elsewhere.origin}"></flash-sale>`);
  await said(page, "This sale cannot be shown here at the moment.", 20_000);
  await expect.poll(async () => (await heard()).map(({ code }) => code)).toEqual(["unreadable"]);
  await expect.poll(() => complaintsSoFar().filter((one) => one.includes("<flash-sale>"))).toHaveLength(1);
  // Attempts at a socket and a session that is not there are the browser's to note; of a page that is closed none is still to come.
  await page.close();
  forgive(/WebSocket|404|CORS|ERR_FAILED/);
  await warned(/does not answer as a platform of this release does/);
  elsewhere.end();
});

test("a quantity typed by hand into the page is never sent", async () => {
  const sale = await createSale({ limit: 3 });
  const { page } = await opened("/by-hand", embed(api, sale));
  await journey(page, "open");
  for (const value of ["abc", "-1", "2.5", "999"]) {
    await page.locator("flash-sale select").evaluate((select: HTMLSelectElement, value) => {
      const option = new Option(value, value);
      select.append(option);
      select.value = value;
      select.dispatchEvent(new Event("change"));
      option.remove();
    }, value);
  }
  await takeUnit(page);
  const { items } = await page.evaluate(async (api) => {
    const kept = JSON.parse(localStorage.getItem(`flash-sale:${api}:session`) ?? "{}") as { token: string; device: string };
    const headers = { Authorization: `Bearer ${kept.token}`, "X-Device-Id": kept.device };
    const me = (await (await fetch(`${api}/me`, { headers })).json()) as { session: string };
    return (await (await fetch(`${api}/carts/${me.session}`, { headers })).json()) as { items: { quantity: number }[] };
  }, api);
  expect(items.map(({ quantity }) => quantity)).toEqual([3]);
});
