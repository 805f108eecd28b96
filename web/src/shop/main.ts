/**
 * The shop: the sales of all shops at `/`, those of one at `/m/{slug}`, one sale at `/sale/{id}`. Small: the server has written a sale's
 * name, price and time into the page, and this lets the time run until the rest is there.
 */

import { giveFirst, readFirst } from "../client/first-read";
import wasm from "../wasm/flashsale_client_bg.wasm?url";
import { runFirst, saleHere } from "./first";

const sale = /^\/sale\/([^/]+)/.exec(location.pathname)?.[1];
if (sale && !location.search) {
  const here = saleHere(sale);
  if (here) giveFirst(location.origin, sale, here);
  // Asked for meanwhile.
  else void readFirst(location.origin, sale);
  runFirst(here);
}
// The largest part is asked for behind the others, and not by who has no scripts.
const live = document.createElement("link");
Object.assign(live, { rel: "preload", as: "fetch", crossOrigin: "anonymous", fetchPriority: "low", href: wasm });
document.head.append(live);

/** What stands in the page is to be seen before it is drawn anew. Browsers paint nothing in a tab that is hidden. */
const PAINT_MOST_MS = 200;
const painted = new Promise((resume) => {
  setTimeout(resume, document.hidden ? 0 : PAINT_MOST_MS);
  requestAnimationFrame(() => requestAnimationFrame(() => setTimeout(resume)));
});

const pause = () => new Promise((resume) => setTimeout(resume));

// One after the other, with a pause for whoever scrolls or types meanwhile: a slow phone takes a tenth of a second for each. A browser's
// first format of a number is one of them; here it is made while the scripts are on their way.
painted
  .then(() => Intl.NumberFormat.supportedLocalesOf("en"))
  .then(pause)
  .then(() => import("../element/elements"))
  .then(pause)
  .then(() => import("./pages"))
  .catch((error: unknown) => reportError(error));
