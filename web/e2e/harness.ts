/** What every browser test needs: shoppers in browsers of their own, sales, and an eye on the console. */

import { mkdirSync, readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { resolve } from "node:path";
import { chromium, type Browser, type BrowserContextOptions, type Locator, type Page } from "playwright-core";
import { afterAll, afterEach, beforeAll, expect, inject } from "vitest";

export const api = inject("api");
export const storefront = inject("storefront");

const AXE = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
const PICTURES = resolve(import.meta.dirname, "../test-results");
const FLAGS = [
  "--disable-gpu",
  "--disable-quic",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
];

let browser: Browser;
let complaints: string[] = [];

beforeAll(async () => {
  mkdirSync(PICTURES, { recursive: true });
  browser = await chromium.launch({ executablePath: inject("browser"), args: FLAGS, chromiumSandbox: false });
});

afterEach(async ({ task }) => {
  const pages = browser.contexts().flatMap((context) => context.pages());
  if (task.result?.state === "fail") {
    const name = task.name.replace(/\W+/g, "-").slice(0, 40);
    for (const [index, page] of pages.entries()) await picture(page, `failed-${name}-${index}`);
  }
  for (const context of browser.contexts()) await context.close();
  const said = complaints;
  complaints = [];
  expect(said, "nothing on any page's console").toEqual([]);
});

afterAll(async () => {
  await browser.close();
});

/** A shopper: a browser with its own storage, whose complaints fail the test. */
export async function shopper(options: BrowserContextOptions = {}): Promise<Shopper> {
  const context = await browser.newContext({ viewport: { width: 1000, height: 900 }, locale: "en-GB", ...options });
  context.setDefaultTimeout(15_000);
  return {
    open: async (url) => {
      const page = await context.newPage();
      listen(page);
      await page.goto(url);
      return page;
    },
    blank: async () => {
      const page = await context.newPage();
      listen(page);
      return page;
    },
    offline: (isOffline) => context.setOffline(isOffline),
  };
}

export interface Shopper {
  open(url: string): Promise<Page>;
  /** A page that has not gone anywhere yet. */
  blank(): Promise<Page>;
  offline(isOffline: boolean): Promise<void>;
}

/** Whoever works on the admin page. */
export const OPERATOR = { email: "operator@platform.example", password: "correct horse battery" };

/** The operator's password, set by their link, which works once. */
export async function setPassword(): Promise<void> {
  const invite = new URL(inject("operatorLink")).hash.replace("#invite=", "");
  const response = await fetch(`${api}/admin/password`, {
    method: "POST",
    headers: { "Content-Type": "application/json", "Flash-Sale-Operator": "1" },
    body: JSON.stringify({ invite, password: OPERATOR.password }),
  });
  // Another file of tests has set it.
  if (!response.ok && response.status !== 404) throw new Error(`no password: ${response.status} ${await response.text()}`);
}

/** An operator's browser, which signs in through the form at this address. */
export async function operator(address = `${api}/admin`, options: BrowserContextOptions = {}): Promise<Page> {
  await setPassword();
  const page = await (await shopper(options)).open(address);
  await signIn(page);
  return page;
}

export async function signIn(page: Page): Promise<void> {
  await page.getByLabel("E-mail").fill(OPERATOR.email);
  await page.getByLabel("Password").fill(OPERATOR.password);
  await page.getByRole("button", { name: "Sign in" }).click();
  await page.getByRole("button", { name: "Sign out", exact: true }).waitFor();
}

function listen(page: Page): void {
  page.on("pageerror", (error) => complaints.push(`${page.url()}: ${String(error)}`));
  page.on("console", (message) => {
    if (message.type() === "error" || message.type() === "warning") complaints.push(`${page.url()}: ${message.text()}`);
  });
  page.on("requestfailed", (request) => {
    // A page that goes away drops what it was loading.
    const why = request.failure()?.errorText ?? "";
    if (why !== "net::ERR_ABORTED") complaints.push(`${request.url()}: ${why}`);
  });
}

/** What stands on the consoles until now. */
export function complaintsSoFar(): string[] {
  return [...complaints];
}

/** Some failures are meant, as when a test cuts the network: those are taken off the list. */
export function forgive(pattern: RegExp): void {
  complaints = complaints.filter((complaint) => !pattern.test(complaint));
}

export interface SaleWish {
  /** The shop, by its name in addresses; otherwise the operator's own. */
  merchant?: string;
  product_name?: string;
  description?: string;
  units?: number;
  startsInMs?: number;
  /** After its start. */
  endsAfterMs?: number;
  roomBeforeMs?: number;
  limit?: number;
  hold_ms?: number;
  claim_ms?: number;
  payment_ms?: number;
  allocation?: "queue" | "draw";
  inflow?: number;
  opening?: "fifo" | "shuffle";
  draw_weight?: "equal" | "waiting_time";
}

/** Creates a sale through the REST door; live at once unless the wish says otherwise. */
export async function createSale(wish: SaleWish = {}): Promise<string> {
  const start = Date.now() + (wish.startsInMs ?? -1_000);
  const sale = {
    ...(wish.merchant ? { merchant: wish.merchant } : {}),
    product_name: wish.product_name ?? "Meridian desk lamp",
    description: wish.description ?? "Solid brass, one batch.",
    currency: "EUR",
    original_price: 24_900,
    sale_price: 9_900,
    total_stock: wish.units ?? 10,
    start_time: new Date(start).toISOString(),
    end_time: new Date(start + (wish.endsAfterMs ?? 3_600_000)).toISOString(),
    room_opens_at: new Date(start - (wish.roomBeforeMs ?? 60_000)).toISOString(),
    per_shopper_limit: wish.limit ?? 1,
    hold_ms: wish.hold_ms ?? 300_000,
    claim_ms: wish.claim_ms ?? 120_000,
    payment_ms: wish.payment_ms ?? 300_000,
    allocation: wish.allocation ?? "queue",
    inflow: wish.inflow ?? 1_000,
    opening: wish.opening ?? "fifo",
    draw_weight: wish.draw_weight ?? "equal",
  };
  return (await made<{ sale_id: string }>("/admin/sales", sale)).sale_id;
}

/** Makes a shop, and returns its name in addresses. Names are taken once, so each test has its own. */
export async function createShop(name: string, wish: { slug?: string; time_zone?: string; currency?: string } = {}): Promise<string> {
  return (await made<{ slug: string }>("/admin/merchants", { name, ...wish })).slug;
}

async function made<T>(path: string, body: object): Promise<T> {
  const response = await fetch(`${api}${path}`, {
    method: "POST",
    headers: { Authorization: `Bearer ${inject("adminToken")}`, "Content-Type": "application/json" },
    body: JSON.stringify(body),
  });
  if (response.status !== 201) throw new Error(`not made: ${response.status} ${await response.text()}`);
  return (await response.json()) as T;
}

export const endSale = (sale: string): Promise<void> => act(sale, "end");
export const pauseSale = (sale: string): Promise<void> => act(sale, "pause");

/** What an operator does with a sale. */
async function act(sale: string, verb: "pause" | "end"): Promise<void> {
  const response = await fetch(`${api}/admin/sales/${sale}/${verb}`, {
    method: "POST",
    headers: { Authorization: `Bearer ${inject("adminToken")}` },
  });
  if (!response.ok) throw new Error(`${verb}: ${response.status} ${await response.text()}`);
}

/** Guests without a page: they join the line over REST, in this order. */
export async function crowd(sale: string, people: number): Promise<void> {
  for (let n = 0; n < people; n++) {
    const json = { "Content-Type": "application/json" };
    const session = await fetch(`${api}/session`, { method: "POST", headers: json, body: "{}" });
    const { token, shopper } = (await session.json()) as { token: string; shopper: string };
    const joined = await fetch(`${api}/flash-sales/${sale}/join-queue`, {
      method: "POST",
      headers: { ...json, Authorization: `Bearer ${token}` },
      body: JSON.stringify({ user_id: shopper, nonce: crypto.randomUUID().replaceAll("-", "") }),
    });
    if (joined.status !== 200) throw new Error(`not in line: ${joined.status} ${await joined.text()}`);
  }
}

/** A sale's numbers as the operator sees them. */
export async function metrics(sale: string): Promise<Record<string, number>> {
  const response = await fetch(`${api}/admin/sales/${sale}/metrics`, {
    headers: { Authorization: `Bearer ${inject("adminToken")}` },
  });
  return (await response.json()) as Record<string, number>;
}

/** Waits until the element shows this phase of the journey. */
export async function journey(page: Page, phase: string, timeout = 15_000): Promise<void> {
  await page.locator(`flash-sale article[data-journey="${phase}"]`).waitFor({ timeout });
}

/** Waits until this text is to be seen on the page (not only heard). */
export async function said(page: Page, text: string | RegExp, timeout = 15_000): Promise<void> {
  await page.locator("flash-sale article").getByText(text).first().waitFor({ timeout });
}

export function button(page: Page, name: string | RegExp): Locator {
  return page.getByRole("button", { name });
}

export async function stock(page: Page, part: "free" | "carts" | "sold"): Promise<number> {
  return Number((await page.locator(`[data-stock="${part}"] dd`).first().innerText()).replace(/\D/g, ""));
}

/** Checks the page against the accessibility rules that a machine can check. */
export async function isAccessible(page: Page): Promise<void> {
  await page.evaluate(AXE);
  const violations = await page.evaluate(async () => {
    const { axe } = window as unknown as { axe: { run(): Promise<{ violations: { id: string; nodes: { html: string }[] }[] }> } };
    return (await axe.run()).violations.map(({ id, nodes }) => `${id}: ${nodes.map((node) => node.html).join(" ")}`);
  });
  expect(violations).toEqual([]);
}

export async function picture(page: Page, name: string): Promise<void> {
  await page.screenshot({ path: resolve(PICTURES, `${name}.png`), fullPage: true });
}

/** What puts a unit into the cart, with its price. */
export const ADD = /^Add .*to cart/;
export const JOIN_OR_ADD = /^(Join the line|Add .*to cart)/;

/** Says yes to the question that is asked before something that cannot be taken back. */
export async function sure(page: Page, yes: string): Promise<void> {
  await page.locator("dialog").getByRole("button", { name: yes, exact: true }).click();
}

/** Joins the line or takes a free unit, whatever the page offers, until units are in the cart. */
export async function takeUnit(page: Page): Promise<void> {
  await button(page, JOIN_OR_ADD).click();
  await page.locator('flash-sale article:is([data-journey="admitted"],[data-journey="holding"])').waitFor();
  if (await page.locator('flash-sale article[data-journey="admitted"]').isVisible()) {
    await button(page, ADD).click();
  }
  await journey(page, "holding");
}
