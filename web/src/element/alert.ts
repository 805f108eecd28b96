/** Defines the strip. */

import { TurnAlert } from "./turn-alert";

if (!customElements.get("flash-sale-alert")) customElements.define("flash-sale-alert", TurnAlert);
