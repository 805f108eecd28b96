/** Where the platform is, if an element does not say: where this script came from, which may be below another host's address. */

let home: string | null = folderOf(new URL(import.meta.url));

function folderOf({ origin, pathname }: URL): string {
  return origin + pathname.replace(/\/(?:assets\/[^/]*|src\/element\/[^/]*|[^/]*)$/, "");
}

/** What the first paint has put up: the element removes it. */
export const FIRST = "data-first";

/** Null: the script's own address says nothing, as in a bundle of the shop's. */
export function useHome(origin: string | null): void {
  home = origin;
}

export function homeOr(api: string): string {
  return (api || (home ?? "")).replace(/\/$/, "");
}
