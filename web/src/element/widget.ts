/** The script that a storefront includes: `<script type="module" src="https://…/widget.js"></script>`. Small, so that it paints soon. */

import "./widget-first";

import("./elements").catch((error: unknown) => reportError(error));
