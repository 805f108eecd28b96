/**
 * The shop: the sales of all shops at `/`, those of one at `/m/{slug}`, one sale at `/sale/{id}`. Small, so that a sale's name, price and
 * time are painted before the rest is there.
 */

import { paint } from "../element/first-paint";

const sale = /^\/sale\/([^/]+)/.exec(location.pathname)?.[1];
const page = document.querySelector("shop-page");
if (sale && page && !location.search) {
  // The page takes its place as soon as it is defined.
  const first = document.createElement("div");
  first.setAttribute("sale", sale);
  page.append(first);
  void paint(first);
}
import("./pages").catch((error: unknown) => reportError(error));
