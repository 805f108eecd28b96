/** The words of a sale that is only asked for by REST: what everybody may see, and why there is no more. Pure. */

import type { View } from "../client/view";
import { plural } from "./duration";
import type { Words } from "./words";

export const REST_WORDS = {
  forbidden: "Nothing comes live here, because this page’s or this browser’s rules do not allow it. The numbers are asked for every ten seconds. To take part, open this sale on the shop’s own page or in another browser.",
  blocked:
    "There is no live connection: your network may block it, or many people share its address at the moment. The numbers are asked for every ten seconds; you can take part when it is there.",
  stopped: { title: "This sale cannot be shown live", text: "", tone: "warn" },
} as const;

/** Of the shopper's own things nothing is known here, so nothing is said of them. */
export function restWords(view: View): Words {
  const calm = (title: string, text: string): Words => ({ title, text, tone: "calm" });
  const { stock } = view;
  const people = stock && stock.waiting > 0 ? ` ${plural(stock.waiting, "person")} in line.` : "";
  switch (view.phase) {
    case "scheduled":
      return calm("The sale has not started yet", "");
    case "waiting":
      return calm("The waiting room is open", people.trim());
    case "live":
      return stock && stock.free > 0 ? calm("The sale is on", `${plural(stock.free, "unit")} available.${people}`) : calm("The sale is on", `None is available at the moment.${people}`);
    case "paused":
      return calm("The sale is paused", "It may go on.");
    case "drawing":
      return calm("The draw is being held", "");
    case "ended":
      return calm("The sale is over", "");
    case "cancelled":
      return calm("The sale was cancelled", "No units are sold any more.");
    case null:
      return calm("Loading the sale", "One moment, please.");
  }
}
