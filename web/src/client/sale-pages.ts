/** A list of sales that is read page by page, and read again while somebody looks at it. */

import type { Group, Sale, SalePage } from "./listed";
import type { PaymentsBy } from "./view";

export class SalePages {
  private pages: SalePage[] = [];
  private last: Promise<void> = Promise.resolve();

  constructor(private readonly ask: (after: string | null) => Promise<SalePage>) {}

  /** Pages that are loaded: a refresh asks for each of them. */
  get count(): number {
    return this.pages.length;
  }

  get hasMore(): boolean {
    return (this.pages.at(-1)?.next ?? null) !== null;
  }

  /** How the server takes money, if it says so. */
  get payments(): PaymentsBy | undefined {
    return this.pages[0]?.payments;
  }

  /** In the server's order, each sale once: one that has moved while pages were read can be in two of them. */
  get sales(): Sale[] {
    const seen = new Set<string>();
    const isNew = ({ sale_id }: Sale) => !seen.has(sale_id) && seen.add(sale_id);
    return this.pages.flatMap((page) => page.sales).filter(isNew);
  }

  /** Reads anew what is loaded, at first the first page. If it fails, what was there stays. */
  refresh(): Promise<void> {
    return this.inTurn(async () => {
      const fresh: SalePage[] = [];
      let after: string | null = null;
      do {
        const page: SalePage = await this.ask(after);
        fresh.push(page);
        after = page.next;
      } while (after !== null && fresh.length < this.pages.length);
      this.pages = fresh;
    });
  }

  /** Loads the page behind what is loaded. */
  more(): Promise<void> {
    return this.inTurn(async () => {
      const after = this.pages.at(-1)?.next ?? null;
      if (after !== null) this.pages = [...this.pages, await this.ask(after)];
    });
  }

  /** A refresh under way would throw away the page that is loaded meanwhile. */
  private inTurn(run: () => Promise<void>): Promise<void> {
    const done = this.last.then(run);
    this.last = done.catch(() => undefined);
    return done;
  }
}

/** The part of the list in which people look for a sale. */
export function groupOf(sale: Sale, now: number): Group {
  switch (sale.status) {
    case "ended":
    case "cancelled":
      return "over";
    case "scheduled":
    case "waiting":
      return "coming";
    case "paused":
      return Date.parse(sale.start_time) <= now ? "live" : "coming";
    default:
      return "live";
  }
}
