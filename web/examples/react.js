/** React 19: attributes, events, and a payment form of the shop's own in the slot. Without JSX, so that it runs as it is. */

import { createElement as h, useState } from "react";
import { createRoot } from "react-dom/client";
import "flashsale-widget";

function Shop({ api, sale }) {
  const [journey, setJourney] = useState("loading");
  const [number, setNumber] = useState("");
  // A payment provider's form would make the token.
  const pay = (event) => {
    event.preventDefault();
    void event.detail.pay(number === "4242" ? "sandbox_approve" : "sandbox_decline");
  };
  return h(
    "div",
    null,
    h("output", null, journey),
    h(
      "flash-sale",
      { api, sale, "onflash-sale-journey": (event) => setJourney(event.detail.journey), "onflash-sale-pay": pay },
      h("h2", { slot: "title" }, "The lamp of the year"),
      h("p", { slot: "terms" }, h("a", { href: "#terms" }, "Our terms")),
      h("label", { slot: "pay" }, "Card number ", h("input", { value: number, onChange: (event) => setNumber(event.target.value) })),
    ),
  );
}

createRoot(document.querySelector("#app")).render(h(Shop, Object.fromEntries(new URLSearchParams(location.search))));
