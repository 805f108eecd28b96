/**
 * The package `flashsale-widget`. Importing it defines the elements where there is a page; on a server it does nothing, so that a
 * page that is rendered there may import it.
 */

export type { FlashSaleAlertElement, FlashSaleElement, FlashSaleEvents } from "../element/events";

/** Defines the elements. Importing the package does it; this says when it is done. */
export async function define(): Promise<void> {
  const { useHome } = await import("../element/home");
  // This script comes from the shop itself, so it cannot know where the platform is.
  useHome(null);
  await import("../element/elements");
}

if (typeof customElements !== "undefined") {
  define().catch((error: unknown) => reportError(error));
}
