/** What a shopper sees while a store fails, and after it has lost what it had. */

import { createConnection } from "node:net";
import { expect, inject, test } from "vitest";
import { api, button, createSale, crowd, journey, picture, said, shopper, stock, takeUnit } from "./harness";

const redis = inject("redis");

test("while the store does not answer, the last known numbers are shown as such", async () => {
  const sale = await createSale({ units: 7 });
  const page = await (await shopper()).open(`${api}/sale/${sale}`);
  await journey(page, "open");
  // The page asks whose sale it is: with the store gone, that would be a refusal on the console.
  await page.getByText("Sold by").waitFor();
  const stale = page.locator("flash-sale").getByText(/^No news for \d+ s: these numbers are the last known ones/);
  expect(await stale.count()).toBe(0);
  process.kill(redis.pid, "SIGSTOP");
  try {
    await stale.waitFor();
    await page.locator("header .presence").getByText(/^No news for/).waitFor();
    expect(await stock(page, "free")).toBe(7);
    await picture(page, "stale");
  } finally {
    process.kill(redis.pid, "SIGCONT");
  }
  await stale.waitFor({ state: "hidden" });
  await takeUnit(page);
});

test("a hold that was lost with the store is said to be, and had again", async () => {
  const sale = await createSale();
  const page = await (await shopper()).open(`${api}/sale/${sale}`);
  await journey(page, "open");
  await takeUnit(page);
  await forgetEverything();
  await said(page, "you have again what you had");
  await journey(page, "holding");
  await picture(page, "hold-restored");
  await button(page, "Check out").click();
  await button(page, "Pay €99.00").click();
  await journey(page, "confirmed");
});

test("a place that was lost with the store is there again", async () => {
  const sale = await createSale({ startsInMs: 900_000, roomBeforeMs: 1_000_000 });
  await crowd(sale, 2);
  const page = await (await shopper()).open(`${api}/sale/${sale}`);
  await button(page, "Join the line").click();
  const place = () => page.locator("flash-sale .place .big").innerText();
  await expect.poll(place).toBe("3");
  // A place is written down a moment after it is given. What is lost within that moment is a test of the harness of faults.
  await expect.poll(() => writtenDown(sale)).toBe(3);
  await forgetEverything();
  // Whoever joins now stands behind them all.
  const next = await (await shopper()).open(`${api}/sale/${sale}`);
  await expect.poll(async () => {
    await button(next, "Join the line").click({ timeout: 1_000 }).catch(() => undefined);
    return next.locator("flash-sale .place .big").innerText({ timeout: 1_000 }).catch(() => "");
  }, { timeout: 30_000 }).toBe("4");
  await page.reload();
  await expect.poll(() => place().catch(() => "")).toBe("3");
});

/** Entries of the line that Postgres has. */
async function writtenDown(sale: string): Promise<number> {
  const answer = await fetch(`${api}/admin/sales/${sale}/entries.csv`, { headers: { Authorization: `Bearer ${inject("adminToken")}` } });
  return (await answer.text()).split("\n").filter((line) => /^\d/.test(line)).length;
}

function forgetEverything(): Promise<void> {
  return new Promise((resolve, reject) => {
    const socket = createConnection(redis.socket, () => socket.write("FLUSHALL\r\n"));
    socket.once("data", (answer) => {
      socket.end();
      if (String(answer).startsWith("+OK")) resolve();
      else reject(new Error(String(answer)));
    });
    socket.once("error", reject);
  });
}
