/** What a shop's compiler sees of the packages. */

import { FlashSaleError, connect, type FlashSale, type Journey } from "flashsale-client";
import { define, type FlashSaleEvents } from "flashsale-widget";

export async function buy(shop: FlashSale, sale: string): Promise<string | null> {
  try {
    await shop.reserve(sale, 2);
    return shop.view(sale)?.hold?.quantity.toFixed() ?? null;
  } catch (error) {
    return error instanceof FlashSaleError ? `${error.code} ${String(error.retryAfterMs)}` : null;
  }
}

export function follow(page: Document): () => void {
  const shop = connect({ api: "https://sale.example", token: null });
  const element = page.createElement("flash-sale");
  element.sale = "01ARZ3NDEKTSV4RRFFQ69G5FAV";
  const confirmed = (event: FlashSaleEvents["flash-sale-confirmed"]): string => event.detail.order.order;
  element.addEventListener("flash-sale-confirmed", (event) => confirmed(event));
  element.addEventListener("flash-sale-pay", (event) => void event.detail.pay("token"));
  element.addEventListener("flash-sale-journey", (event) => {
    const journey: Journey = event.detail.journey;
    return journey;
  });
  void define();
  return shop.on("settled", ({ ok, error }) => void (ok ? "" : error?.code));
}
