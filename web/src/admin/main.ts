/**
 * The admin page: sign in, create sales, watch one live, set up shops. Addresses: `#/`, `#/new`,
 * `#/sale/{id}`, `#/shops`, `#/shops/new`, `#/shop/{slug}`.
 */

import { prepareRefusals, speakToOperators } from "../text/refusal";
import { REJECTS_OF_OPERATORS } from "../text/rejects-operators";
import { AdminPage } from "./admin-page";

speakToOperators(REJECTS_OF_OPERATORS);
void prepareRefusals();

customElements.define("admin-page", AdminPage);
