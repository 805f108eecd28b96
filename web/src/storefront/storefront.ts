/**
 * Puts the two lines of HTML into the example storefront. On a real site they stand in the page as they are; here the
 * platform's address and the sale come from `?api=…&sale=…`, by default port 8080 of this host and its next sale.
 */

interface Listed {
  sale_id: string;
  status: string;
  start_time: string;
}

const query = new URLSearchParams(location.search);
const api = (query.get("api") ?? `${location.protocol}//${location.hostname}:8080`).replace(/\/$/, "");
const place = document.querySelector("#buy");
const code = document.querySelector("#code");

async function nextSale(): Promise<string | null> {
  const answer = await fetch(`${api}/flash-sales`);
  const { sales } = (await answer.json()) as { sales: Listed[] };
  const rank = ["live", "waiting", "scheduled", "paused"];
  const open = sales.filter((sale) => rank.includes(sale.status));
  open.sort((a, b) => rank.indexOf(a.status) - rank.indexOf(b.status) || a.start_time.localeCompare(b.start_time));
  return open[0]?.sale_id ?? null;
}

async function embed(): Promise<void> {
  const sale = query.get("sale") ?? (await nextSale().catch(() => null));
  if (!sale || !place || !code) {
    if (place) place.textContent = "There is no sale at the moment.";
    return;
  }
  code.textContent = `<script type="module" src="${api}/widget.js"></script>\n<flash-sale sale="${sale}"></flash-sale>`;
  const script = document.createElement("script");
  script.type = "module";
  script.src = `${api}/widget.js`;
  const element = document.createElement("flash-sale");
  element.setAttribute("sale", sale);
  place.replaceChildren(script, element);
}

void embed();

export {};
