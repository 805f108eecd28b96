/** The words of a checked draw. Pure: what the check has found in, sentences out. */

import type { Checked } from "../client/view";
import { drawTexts } from "./draws";

export interface Said {
  ok: boolean;
  text: string;
}

/** What was checked, one sentence each; of a draw that is wrong, which part. */
export function checkWords(checked: Checked): Said[] {
  const t = drawTexts();
  if (!checked.ok) return [{ ok: false, text: t.failed(t.parts[checked.part ?? ""] ?? "", checked.wrong ?? "") }];
  const { count, winners, turns, won, called, over } = checked;
  const passed = over ? (called ? t.passedCalled : t.passed) : called ? t.soFarCalled : t.soFar;
  const said = [
    checked.knew_commitment ? t.seedSeen : t.seed,
    (checked.knew_root ? t.entrySeen : t.entry)(count),
    checked.made_here ? t.keyMade : t.key,
    won ? (winners === 1 ? t.wonOne : t.won(winners)) : winners === 1 ? t.lostOne : t.lost(winners),
    ...(won || turns <= winners ? [] : [passed(turns)]),
  ];
  return said.map((text) => ({ ok: true, text }));
}
