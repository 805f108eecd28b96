/** The admin page: sign in, create sales, watch one live. Addresses: `#/`, `#/new`, `#/sale/{id}`. */

import { AdminPage } from "./admin-page";

customElements.define("admin-page", AdminPage);
