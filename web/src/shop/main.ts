/** The shop: the sales of all shops at `/`, those of one at `/m/{slug}`, one sale at `/sale/{id}`. */

import "../element/elements";
import { ShopPage } from "./shop-page";

customElements.define("shop-page", ShopPage);
