/** What the lists of sales and shops hold. */

import type { Sale } from "./bodies";
import type { PaymentsBy } from "./view";

export type { Sale } from "./bodies";

/** Which sales are listed. */
export interface Wanted {
  merchant?: string | undefined;
  group?: Group | undefined;
  /** Where the page before ended: its `next`. */
  after?: string | null | undefined;
  limit?: number | undefined;
}

export type Group = "live" | "coming" | "over";

export interface SalePage {
  sales: Sale[];
  /** The `after` of the next page; null on the last one. */
  next: string | null;
  /** Absent: the server is older. */
  payments?: PaymentsBy;
}

export interface Shop {
  /** Its name in addresses. */
  merchant: string;
  name: string;
  time_zone: string;
  currency: string;
}
