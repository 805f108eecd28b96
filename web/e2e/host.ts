/** Pages of others that embed the widget: a server of their own, on another origin than the platform's. */

import { readFileSync, statSync } from "node:fs";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { extname, join, normalize } from "node:path";

export interface Hosted {
  html: string;
  headers?: Record<string, string>;
}

export interface Host {
  origin: string;
  /** Puts a page at an address, and returns it. */
  page(path: string, page: Hosted): string;
  /** Serves this folder's files as well. */
  folder(root: string): void;
  end(): void;
}

const TYPES: Readonly<Record<string, string>> = { ".html": "text/html; charset=utf-8", ".js": "text/javascript", ".css": "text/css", ".wasm": "application/wasm" };

export async function host(): Promise<Host> {
  const pages = new Map<string, Hosted>();
  let root: string | null = null;
  const server: Server = createServer((request, response) => {
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
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const origin = `http://127.0.0.1:${String((server.address() as AddressInfo).port)}`;
  return {
    origin,
    page: (path, page) => {
      pages.set(path, page);
      return origin + path;
    },
    folder: (folder) => {
      root = folder;
    },
    end: () => server.close(),
  };
}

/** A whole page of a shop around this. */
export function around(body: string, head = ""): string {
  return `<!doctype html><html lang="en"><head><meta charset="utf-8"><title>A shop</title><link rel="icon" href="data:,">${head}</head><body><main><h1>A shop</h1>${body}</main></body></html>`;
}

export function embed(api: string, sale: string, attributes = ""): string {
  return `<script type="module" src="${api}/widget.js"></script><flash-sale sale="${sale}" ${attributes}></flash-sale>`;
}
