/**
 * The admin page: sign in, create sales, watch one live, set up shops. Addresses: `#/`, `#/new`,
 * `#/sale/{id}`, `#/shops`, `#/shops/new`, `#/shop/{slug}`.
 */

import { AdminPage } from "./admin-page";

customElements.define("admin-page", AdminPage);
