/** Pages of others that embed the widget: a server of their own, on another origin than the platform's. */

import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";

export interface Hosted {
  html: string;
  headers?: Record<string, string>;
}

export interface Host {
  origin: string;
  /** Puts a page at an address, and returns it. */
  page(path: string, page: Hosted): string;
  end(): void;
}

export async function host(): Promise<Host> {
  const pages = new Map<string, Hosted>();
  const server: Server = createServer((request, response) => {
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
