/** The words of a checked draw. Pure: what the check has found in, sentences out. */

import type { Checked } from "../client/view";
import { formatCount } from "./duration";

export interface Said {
  ok: boolean;
  text: string;
}

/** What was checked, one sentence each; of a draw that is wrong, which part. */
export function checkWords(checked: Checked): Said[] {
  if (!checked.ok) return [{ ok: false, text: `The check failed. ${PARTS[checked.part ?? ""] ?? ""} (${checked.wrong ?? ""})` }];
  const { count, winners, turns } = checked;
  const passed = `${checked.over ? "Units that others did not take went" : "So far, units that others did not take have gone"} on to the first ${formatCount(turns)}`;
  const said = [
    `The secret number is the one that was promised before the entries closed.${checked.knew_commitment ? " This page had seen the promise." : ""}`,
    `Your entry is one of the ${formatCount(count)} that were counted at the close.${checked.knew_root ? " This page had seen their fingerprint before the draw." : ""}`,
    `Your number was computed again on this device, and it is the one that the shop used.${checked.made_here ? " It comes from a random number of this page, which the shop could not choose." : ""}`,
    checked.won
      ? `${winners === 1 ? "It is the smallest, which wins" : `It is among the ${formatCount(winners)} smallest, which win`}: you were drawn.`
      : winners === 1
        ? "The smallest number wins, and yours is not the smallest."
        : `The ${formatCount(winners)} smallest numbers win, and yours is not among them.`,
    ...(checked.won || turns <= winners
      ? []
      : [
          checked.called
            ? `${passed}, and your number is among those: your turn came.`
            : `${passed}, and your number is behind those.`,
        ]),
  ];
  return said.map((text) => ({ ok: true, text }));
}

/** What it means when a part of a proof is wrong. */
const PARTS: Readonly<Record<string, string>> = {
  commitment: "What the shop promised before is not what it says now.",
  seed: "The secret number is not the one that was promised.",
  root: "The entries are not the ones that were counted at the close.",
  path: "Your entry is not among those that were counted at the close.",
  entry: "This is not your entry.",
  nonce: "The random number in your entry is not the one that this page was told. If you did not leave and enter again elsewhere, the shop has changed it.",
  key: "Your number is not what the secret number makes of your entry.",
  weight: "The weight of your entry was changed.",
  quantity: "The units of your entry were changed.",
  won: "By its number, the outcome is another one.",
  called: "By its number, whether its turn came is another answer.",
  beacon: "The value that was to be mixed in is missing, or was not announced.",
};
