/** Pages of others that embed the widget: a server of their own, on another origin than the platform's. */

import { readFileSync, statSync } from "node:fs";
import { createServer, request as ask, type IncomingMessage, type Server } from "node:http";
import { connect, type AddressInfo } from "node:net";
import type { Duplex } from "node:stream";
import { extname, join, normalize } from "node:path";

export interface Hosted {
  html: string;
  headers?: Record<string, string>;
}

export interface Host {
  origin: string;
  /** Puts a page at an address, and returns it. */
  page(path: string, page: Hosted): string;
  /** Passes all below this path on to another server, which does not know of it. */
  below(prefix: string, target: string): void;
  /** Serves this folder's files as well. */
  folder(root: string): void;
  end(): void;
}

const TYPES: Readonly<Record<string, string>> = { ".html": "text/html; charset=utf-8", ".js": "text/javascript", ".css": "text/css", ".wasm": "application/wasm" };

export async function host(): Promise<Host> {
  const pages = new Map<string, Hosted>();
  let root: string | null = null;
  let behind: { prefix: string; target: URL } | null = null;
  /** What the server behind is asked for; null: it is this host's own. */
  const passed = (address: string | undefined) => (behind && address?.startsWith(`${behind.prefix}/`) ? { target: behind.target, path: address.slice(behind.prefix.length) } : null);
  const server: Server = createServer((request, response) => {
    const on = passed(request.url);
    if (on) {
      const onward = ask({ host: on.target.hostname, port: on.target.port, path: on.path, method: request.method, headers: request.headers }, (answer) => {
        response.writeHead(answer.statusCode ?? 502, answer.headers);
        answer.pipe(response);
      });
      onward.on("error", () => response.destroy());
      request.pipe(onward);
      return;
    }
    const { pathname } = new URL(request.url ?? "/", "http://host");
    const file = root === null ? "" : join(root, normalize(pathname));
    if (!pages.has(request.url ?? "") && root !== null && statSync(file, { throwIfNoEntry: false })?.isFile()) {
      response.writeHead(200, { "Content-Type": TYPES[extname(file)] ?? "application/octet-stream" });
      response.end(readFileSync(file));
      return;
    }
    const page = pages.get(request.url ?? "");
    response.writeHead(page ? 200 : 404, { "Content-Type": "text/html; charset=utf-8", ...page?.headers });
    response.end(page?.html ?? "");
  });
  server.on("upgrade", (request: IncomingMessage, socket: Duplex, head: Buffer) => {
    const on = passed(request.url);
    if (!on) {
      socket.destroy();
      return;
    }
    const onward = connect(Number(on.target.port), on.target.hostname, () => {
      const names = request.rawHeaders.filter((_, index) => index % 2 === 0);
      const headers = names.map((name, index) => `${name}: ${request.rawHeaders[2 * index + 1] ?? ""}\r\n`).join("");
      onward.write(`GET ${on.path} HTTP/1.1\r\n${headers}\r\n`);
      onward.write(head);
      socket.pipe(onward).pipe(socket);
    });
    for (const [one, other] of [[socket, onward], [onward, socket]] as const) {
      one.on("error", () => other.destroy());
      one.on("close", () => other.destroy());
    }
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const origin = `http://127.0.0.1:${String((server.address() as AddressInfo).port)}`;
  return {
    origin,
    page: (path, page) => {
      pages.set(path, page);
      return origin + path;
    },
    below: (prefix, target) => {
      behind = { prefix, target: new URL(target) };
    },
    folder: (folder) => {
      root = folder;
    },
    end: () => {
      server.close();
      server.closeAllConnections();
    },
  };
}

/** A whole page of a shop around this. */
export function around(body: string, head = ""): string {
  return `<!doctype html><html lang="en"><head><meta charset="utf-8"><title>A shop</title><link rel="icon" href="data:,">${head}</head><body><main><h1>A shop</h1>${body}</main></body></html>`;
}

export function embed(api: string, sale: string, attributes = ""): string {
  return `<script type="module" src="${api}/widget.js"></script><flash-sale sale="${sale}" ${attributes}></flash-sale>`;
}
