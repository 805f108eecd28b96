/** The shop's pages, defined. */

import "../element/elements";
import { ShopPage } from "./shop-page";

customElements.define("shop-page", ShopPage);
