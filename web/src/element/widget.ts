/** The script that a storefront includes: `<script type="module" src="https://…/widget.js"></script>`. */

import { FlashSaleElement } from "./flash-sale";

if (!customElements.get("flash-sale")) customElements.define("flash-sale", FlashSaleElement);

declare global {
  interface HTMLElementTagNameMap {
    "flash-sale": FlashSaleElement;
  }
}
