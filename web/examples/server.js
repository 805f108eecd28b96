/** A server that renders the page: it imports the packages where there is no window. */

import { createElement as h } from "react";
import { renderToString } from "react-dom/server";
import { FlashSaleError, connect } from "flashsale-client";
import { define } from "flashsale-widget";

if (typeof window !== "undefined" || typeof define !== "function" || typeof FlashSaleError !== "function") throw new Error("no server");
let refused = "";
try {
  connect({ api: "sale.example" });
} catch (error) {
  refused = error.code;
}
console.log(refused, renderToString(h("flash-sale", { api: "https://sale.example", sale: "01ARZ3NDEKTSV4RRFFQ69G5FAV" })));
