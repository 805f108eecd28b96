/** What an operator should know before ending a sale: how many units are left, and who may still get them. Pure. */

import type { View } from "../client/view";
import { formatCount, plural } from "../text/duration";

export function endQuestion(view: Pick<View, "stock" | "info"> | null): string {
  const rest = "What is in carts and orders can still be bought.";
  const { stock, info } = view ?? {};
  if (!stock) return `End this sale now? ${rest} What is left is drawn among those who wait.`;
  if (stock.waiting === 0) return `End this sale now? ${plural(stock.free, "unit")} ${stock.free === 1 ? "stays" : "stay"} unsold: nobody waits. ${rest}`;
  const people = stock.waiting === 1 ? "1 person" : `${formatCount(stock.waiting)} people`;
  const where = info?.allocation === "draw" ? "who entered" : "in line";
  const back = stock.in_carts > 0 ? ", and so does what comes back from carts" : "";
  return `End this sale now? ${plural(stock.free, "unit")} ${stock.free === 1 ? "goes" : "go"} by lot to ${people} ${where}${back}. ${rest}`;
}
