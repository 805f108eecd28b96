/** What is shown while nothing is known. */

import type { Shown } from "../client/by-rest";

export const LOADING: Shown = {
  sale: "",
  journey: "loading",
  now: 0,
  connection: { state: "connecting" },
  info: null,
  phase: null,
  outlook: null,
  countdown: null,
  stock: null,
  stale_ms: null,
  line: null,
  draw: null,
  turn: null,
  hold: null,
  order: null,
  may_take: 0,
  note: null,
  refusal: null,
  trouble: null,
  under_way: [],
  unsent: [],
};
