/** What a screen reader hears: every change of what the page says, and the last moments of a time. Not numbers that run. */

import type { View } from "../client/view";
import { spoken } from "../text/duration";
import { sentences, texts } from "../text/language";
import { noteWords } from "../text/notes";
import type { Words } from "../text/words";

/** At these times before its end, a turn, a cart or an order's time is announced. */
const WARN_AT_S = [60, 20, 10];
/** Not right after its beginning has been told: a time must be this much longer than the warning. */
const LONGER_BY_S = 10;

export class Announcer {
  private said = "";
  private key = "";
  private warned = "";
  private wasExtended = true;

  /** The text of the live region now. `offline`: what is said of the connection, or nothing. */
  say(view: View, words: Words, offline: string): string {
    const note = view.note ? noteWords(view.note, view) : null;
    const key = [view.journey, words.title, view.note?.kind ?? "", offline === "" ? "" : "offline"].join("\n");
    if (key !== this.key) {
      const clocked = clockOf(view);
      const { announce, whole } = texts();
      const time = clocked && clocked.left_ms > 0 ? announce.youHave(spoken(clocked.left_ms)) : "";
      this.said = sentences(offline, ...(note ? [whole(note.title), note.text] : []), whole(words.title), words.text, time);
      this.key = key;
    }
    const news = this.extension(view) ?? this.warning(view);
    if (news) this.said = news;
    return this.said;
  }

  /** The end of a time has moved. */
  private extension(view: View): string | null {
    const clocked = clockOf(view);
    const isNews = clocked?.extended === true && !this.wasExtended;
    // Without a time there is nothing that was told before.
    this.wasExtended = clocked?.extended ?? true;
    return isNews ? texts().announce.extended(spoken(clocked.left_ms)) : null;
  }

  private warning(view: View): string | null {
    const clocked = clockOf(view);
    if (!clocked || clocked.left_ms <= 0) {
      this.warned = "";
      return null;
    }
    const due = WARN_AT_S.filter((seconds) => clocked.left_ms <= seconds * 1_000 && clocked.total_ms >= (seconds + LONGER_BY_S) * 1_000).at(-1);
    if (due === undefined) return null;
    const key = `${view.journey} ${String(clocked.until)} ${String(due)}`;
    if (key === this.warned) return null;
    this.warned = key;
    const { toAdd, toCheckOut, toPay, mayExtend } = texts().announce;
    const warn = view.journey === "admitted" ? toAdd : view.journey === "holding" ? toCheckOut : toPay;
    return sentences(warn(spoken(due * 1_000)), clocked.may_extend ? mayExtend : "");
  }
}

/** The time that runs out for this shopper now. */
export function clockOf(view: View): { left_ms: number; total_ms: number; until: number; may_extend?: boolean; extended?: boolean } | null {
  switch (view.journey) {
    case "admitted":
      return view.turn;
    case "holding":
      return view.hold;
    case "pay":
      return view.order;
    default:
      return null;
  }
}
