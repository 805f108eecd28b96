/** Defines the elements. */

import type {} from "./events";
import { FlashSaleElement } from "./flash-sale";

const ALERT = "flash-sale-alert";

if (!customElements.get("flash-sale")) customElements.define("flash-sale", FlashSaleElement);
// Nobody needs the strip to buy, so it comes after the rest.
if (!customElements.get(ALERT)) {
  import("./turn-alert").then(({ TurnAlert }) => {
    if (!customElements.get(ALERT)) customElements.define(ALERT, TurnAlert);
  }, reportError);
}
