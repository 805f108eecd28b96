/**
 * Puts the two lines of HTML into the example storefront. On a real site they stand in the page as they are; here the sale comes
 * from `?sale=…`, by default that of this shop's lamp. The platform is always the one that this page comes with: whose script runs here must
 * not come from a link.
 */

interface Listed {
  sale_id: string;
  product_id: string;
  status: string;
  start_time: string;
}

/** What this shop sells (server/src/demo.rs). */
const PRODUCT = "demo-harbour-lamp";

const query = new URLSearchParams(location.search);
const place = document.querySelector("#buy");
const code = document.querySelector("#code");

async function platform(): Promise<string> {
  return (await fetch("/platform")).text();
}

async function nextSale(api: string): Promise<string | null> {
  const answer = await fetch(`${api}/flash-sales`);
  const { sales } = (await answer.json()) as { sales: Listed[] };
  const rank = ["live", "waiting", "scheduled", "paused"];
  const open = sales.filter((sale) => sale.product_id === PRODUCT && rank.includes(sale.status));
  open.sort((a, b) => rank.indexOf(a.status) - rank.indexOf(b.status) || a.start_time.localeCompare(b.start_time));
  return open[0]?.sale_id ?? null;
}

/** What the page says instead of the widget; null: the widget is there. */
async function embed(): Promise<string | null> {
  const api = await platform();
  const sale = query.get("sale") ?? (await nextSale(api));
  if (!sale) return "This lamp is not for sale at the moment.";
  if (!place || !code) return null;
  code.textContent = `<script type="module" src="${api}/widget.js"></script>\n<flash-sale sale="${sale}"></flash-sale>`;
  const script = document.createElement("script");
  script.type = "module";
  script.src = `${api}/widget.js`;
  const element = document.createElement("flash-sale");
  element.setAttribute("sale", sale);
  place.replaceChildren(script, element);
  return null;
}

const excuse = await embed().catch(() => "The sale cannot be reached at the moment. Please reload the page.");
if (excuse && place) place.textContent = excuse;

export {};
