/** The shop: the list of sales at `/`, one sale at `/sale/{id}`. */

import "../element/widget";
import { ShopPage } from "./shop-page";

customElements.define("shop-page", ShopPage);
