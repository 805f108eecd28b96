/** Where the platform is, if an element does not say: where this script came from. */

let home: string | null = new URL(import.meta.url).origin;

/** What the first paint has put up: the element removes it. */
export const FIRST = "data-first";

/** Null: the script's own address says nothing, as in a bundle of the shop's. */
export function useHome(origin: string | null): void {
  home = origin;
}

export function homeOr(api: string): string {
  return (api || (home ?? "")).replace(/\/$/, "");
}
