/** Defines the elements. */

import type {} from "./events";
import { FlashSaleElement } from "./flash-sale";
import { TurnAlert } from "./turn-alert";

if (!customElements.get("flash-sale")) customElements.define("flash-sale", FlashSaleElement);
if (!customElements.get("flash-sale-alert")) customElements.define("flash-sale-alert", TurnAlert);
