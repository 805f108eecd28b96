/** Starts the real server on a free port with a data folder of its own, for all browser tests. */

import { spawn, execFileSync, type ChildProcess } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { createServer, type AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import type { TestProject } from "vitest/node";

const WEB = resolve(import.meta.dirname, "..");
const BINARY = process.env.FLASHSALE_BIN ?? resolve(WEB, "../target/debug/flashsale");
const START_DEADLINE_MS = 60_000;
const STOP_DEADLINE_MS = 20_000;

/** An admin of the platform. */
export const OPERATOR = "operator@platform.example";

declare module "vitest" {
  interface ProvidedContext {
    /** The platform's origin. */
    api: string;
    /** The example storefront's origin: another one. */
    storefront: string;
    adminToken: string;
    /** Sets the password of the operator below. */
    operatorLink: string;
    /** Of a shopper whom a merchant has signed in. */
    shopperToken: string;
    /** It was good for a second. */
    expiredToken: string;
    browser: string;
    /** The server's own Redis, to fail. */
    redis: { pid: number; socket: string };
  }
}

export default async function setup({ provide }: TestProject): Promise<() => Promise<void>> {
  if (!existsSync(BINARY)) throw new Error(`${BINARY} is not there: cargo build -p flashsale, or set FLASHSALE_BIN`);
  if (!existsSync(join(WEB, "dist/index.html"))) throw new Error("web/dist is not there: npm run build");
  const browser = findBrowser();
  const dataDir = mkdtempSync(join(tmpdir(), "flashsale-e2e-"));
  const storefront = `127.0.0.1:${await freePort()}`;
  const server = spawn(
    BINARY,
    ["serve", "--listen", "127.0.0.1:0", "--data-dir", dataDir, "--web-dir", join(WEB, "dist"), "--dev", "--storefront-dir", join(WEB, "dist-storefront"), "--storefront-listen", storefront],
    { stdio: ["ignore", "pipe", "pipe"] },
  );
  const log: string[] = [];
  server.stderr.on("data", (data: Buffer) => log.push(data.toString()));
  try {
    const api = await ready(server);
    const token = (sub: string, role: string, lifeS = 3_600) =>
      execFileSync(BINARY, ["token", "--sub", sub, "--role", role, "--life-s", String(lifeS), "--data-dir", dataDir]).toString().trim();
    provide("api", api);
    provide("storefront", `http://${storefront}`);
    provide("adminToken", token("e2e-admin", "admin"));
    provide("operatorLink", execFileSync(BINARY, ["operator", "create", "--admin", "--email", OPERATOR, "--origin", api, "--data-dir", dataDir]).toString().trim());
    provide("shopperToken", token("e2e-shopper", "shopper"));
    provide("expiredToken", token("e2e-shopper", "shopper", 1));
    provide("browser", browser);
    provide("redis", redisOf(dataDir));
  } catch (error) {
    server.kill("SIGTERM");
    throw new Error(`${String(error)}\n${log.join("").slice(-4_000)}`, { cause: error });
  }
  return async () => {
    await stop(server);
    rmSync(dataDir, { recursive: true, force: true });
  };
}

function redisOf(dataDir: string): { pid: number; socket: string } {
  const pid = Number(readFileSync(join(dataDir, "redis/redis.pid"), "utf8"));
  const args = readFileSync(`/proc/${pid}/cmdline`, "utf8").split("\0");
  // A running Redis has made its command line one text, with its socket in it.
  const socket = /unixsocket:(\S+)/.exec(args.join(" "))?.[1] ?? args[args.indexOf("--unixsocket") + 1];
  if (!socket) throw new Error(`Redis has no socket: ${args.join(" ")}`);
  return { pid, socket };
}

/** Another server, with these settings, and tokens of it. */
export async function another(settings: string[]): Promise<{ api: string; token: (sub: string, role: string) => string; end: () => Promise<void> }> {
  const dataDir = mkdtempSync(join(tmpdir(), "flashsale-e2e-"));
  const storefront = `127.0.0.1:${await freePort()}`;
  const server = spawn(
    BINARY,
    ["serve", "--listen", "127.0.0.1:0", "--data-dir", dataDir, "--web-dir", join(WEB, "dist"), "--dev", "--storefront-listen", storefront, ...settings],
    { stdio: ["ignore", "pipe", "ignore"] },
  );
  const api = await ready(server);
  return {
    api,
    token: (sub, role) => execFileSync(BINARY, ["token", "--sub", sub, "--role", role, "--data-dir", dataDir]).toString().trim(),
    end: async () => {
      await stop(server);
      rmSync(dataDir, { recursive: true, force: true });
    },
  };
}

/** A server whose stores outlive it, so that it alone can be started anew at its address. */
export async function restartable(): Promise<{ api: string; adminToken: string; stop: () => Promise<void>; start: () => Promise<void>; end: () => Promise<void> }> {
  const dataDir = mkdtempSync(join(tmpdir(), "flashsale-e2e-"));
  const say = "console.log(JSON.stringify([process.env.TEST_DATABASE_URL, process.env.TEST_REDIS_URL])); setInterval(() => undefined, 1_000)";
  const stores = spawn(BINARY, ["services", "--data-dir", join(dataDir, "stores"), "--", process.execPath, "-e", say], { stdio: ["ignore", "pipe", "ignore"] });
  const [database, redis] = await new Promise<string[]>((resolve, reject) => {
    let said = "";
    stores.stdout.on("data", (data: Buffer) => {
      said += data.toString();
      const line = /^\[.*\]$/m.exec(said)?.[0];
      if (line) resolve(JSON.parse(line) as string[]);
    });
    stores.once("exit", (code) => reject(new Error(`the stores ended with ${code}`)));
  });
  const listen = `127.0.0.1:${await freePort()}`;
  const own = join(dataDir, "server");
  let server: ChildProcess | null = null;
  const start = async () => {
    server = spawn(BINARY, ["serve", "--listen", listen, "--data-dir", own, "--web-dir", join(WEB, "dist"), "--dev", "--storefront-listen", "127.0.0.1:0"], {
      stdio: ["ignore", "pipe", "ignore"],
      env: { ...process.env, DATABASE_URL: database, REDIS_URL: redis },
    });
    await ready(server);
  };
  const halt = async () => {
    if (server) await stop(server);
    server = null;
  };
  await start();
  return {
    api: `http://${listen}`,
    adminToken: execFileSync(BINARY, ["token", "--sub", "e2e-admin", "--role", "admin", "--data-dir", own]).toString().trim(),
    start,
    stop: halt,
    end: async () => {
      await halt();
      await stop(stores);
      rmSync(dataDir, { recursive: true, force: true });
    },
  };
}

function ready(server: ChildProcess): Promise<string> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error("the server was not ready in time")), START_DEADLINE_MS);
    let said = "";
    server.stdout?.on("data", (data: Buffer) => {
      said += data.toString();
      const url = /^ready (http:\S+)$/m.exec(said)?.[1];
      if (!url) return;
      clearTimeout(timer);
      resolve(url);
    });
    server.once("exit", (code) => {
      clearTimeout(timer);
      reject(new Error(`the server ended with ${code} before it was ready`));
    });
  });
}

async function stop(server: ChildProcess): Promise<void> {
  if (server.exitCode !== null) return;
  const ended = new Promise<void>((resolve) => server.once("exit", () => resolve()));
  server.kill("SIGTERM");
  const timer = setTimeout(() => server.kill("SIGKILL"), STOP_DEADLINE_MS);
  await ended;
  clearTimeout(timer);
}

function findBrowser(): string {
  const names = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"];
  const candidates = [process.env.CHROMIUM, ...names.map((name) => `/usr/bin/${name}`)];
  const found = candidates.find((path) => path && existsSync(path));
  if (!found) throw new Error("no Chromium: install it, or set CHROMIUM");
  return found;
}

function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const probe = createServer();
    probe.once("error", reject);
    probe.listen(0, "127.0.0.1", () => {
      const { port } = probe.address() as AddressInfo;
      probe.close(() => resolve(port));
    });
  });
}
