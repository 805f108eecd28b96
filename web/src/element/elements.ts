/** Defines the elements. The strip has nothing to say before the first turn, so it comes after the element that sells. */

import type {} from "./events";
import { FlashSaleElement } from "./flash-sale";

if (!customElements.get("flash-sale")) customElements.define("flash-sale", FlashSaleElement);
import("./alert").catch((error: unknown) => reportError(error));
