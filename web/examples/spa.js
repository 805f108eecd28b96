/** A single-page shop: its routes mount and unmount the element, and its header follows the sale by the client alone. */

import { connect } from "flashsale-client";
import "flashsale-widget";

const { api, sale } = Object.fromEntries(new URLSearchParams(location.search));
const app = document.querySelector("#app");
app.innerHTML = `<nav><a href="#sale">Sale</a> <a href="#about">About</a></nav><output></output><div></div>`;
const [header, route] = [app.querySelector("output"), app.querySelector("div")];

const shop = connect({ api });
shop.watch(sale);
shop.on("sale", () => {
  const view = shop.view(sale);
  header.textContent = view ? `${view.journey} ${view.line?.position ?? ""}` : "";
});

function go() {
  if (location.hash !== "#about") {
    const element = document.createElement("flash-sale");
    Object.assign(element, { api, sale });
    route.replaceChildren(element);
  } else {
    route.textContent = "About us";
  }
}
addEventListener("hashchange", go);
go();
