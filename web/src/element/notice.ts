/**
 * What tells of a turn that comes while its shopper looks at something else: the title of the tab, and for who has asked for it a notice of
 * the browser with a sound. Loaded with the first place in line.
 */

import type { View } from "../client/view";
import { spoken } from "../text/duration";
import { texts } from "../text/language";
import { tabTitle } from "../text/tab";

/** Two short tones, by their beginnings in seconds. */
const TONES_S = [0, 0.25];
const TONE_S = 0.18;
const TONE_HZ = 660;
const LOUDNESS = 0.2;
const BUZZ_MS = [200, 100, 200];
/** Where this browser keeps that notices are wanted. */
const WANTED = "flash-sale:notices";

export class TurnNotice {
  private isWanted = isStored();
  private audio: AudioContext | null = null;
  private told = "";

  constructor(private readonly changed: () => void) {}

  /** What may be offered now; null: this browser or page has no notices, or they were refused, or there is nothing to wait for. */
  offer(view: View): "ask" | "on" | null {
    const waits = view.line !== null || view.journey === "entered";
    if (!waits || !isPossible() || Notification.permission === "denied") return null;
    return this.isWanted && Notification.permission === "granted" ? "on" : "ask";
  }

  /** Must come from a click: browsers want one, for the question and for the sound. */
  async ask(): Promise<void> {
    try {
      this.audio ??= new AudioContext();
      this.isWanted = (await Notification.requestPermission()) === "granted";
      if (this.isWanted) remember();
    } catch {
      // A frame without the right to ask.
      this.isWanted = false;
    }
    this.changed();
  }

  /** Gives notice of a turn once, if nobody looks at the page. */
  follow(view: View): void {
    const key = view.journey === "admitted" && view.turn ? `${view.sale} ${String(view.turn.until)}` : "";
    if (key === "" || key === this.told) return;
    this.told = key;
    if (!this.isWanted || !document.hidden || !isPossible()) return;
    try {
      const { notice: t, tab } = texts();
      const body = t.text(spoken(view.turn?.left_ms ?? 0));
      const notice = new Notification(t.title(view.info?.product_name ?? tab.aSale), { body, tag: key, requireInteraction: true });
      notice.onclick = () => {
        focus();
        notice.close();
      };
    } catch {
      // Some phones allow notices to service workers only: the sound and the title are left.
    }
    this.sound();
  }

  private sound(): void {
    navigator.vibrate?.(BUZZ_MS);
    const { audio } = this;
    if (!audio) return;
    for (const start of TONES_S) {
      const [tone, volume] = [audio.createOscillator(), audio.createGain()];
      tone.frequency.value = TONE_HZ;
      volume.gain.value = LOUDNESS;
      tone.connect(volume).connect(audio.destination);
      tone.start(audio.currentTime + start);
      tone.stop(audio.currentTime + start + TONE_S);
    }
  }
}

/** What the page was called before a turn came, and the turns that are told in its place, by sale. */
let calm: string | null = null;
const turns = new Map<string, string>();

/** While nobody looks at the page, its tab says whose turn it is; afterwards it is called as before. */
export function followInTab(sale: string, view: View | null): void {
  const isTold = document.hidden && view?.journey === "admitted" && view.turn !== null && view.turn.left_ms > 0;
  if (isTold) turns.set(sale, tabTitle(view));
  else turns.delete(sale);
  const [title] = turns.values();
  if (title !== undefined) {
    calm ??= document.title;
    document.title = title;
  } else if (calm !== null) {
    document.title = calm;
    calm = null;
  }
}

function isPossible(): boolean {
  return typeof Notification === "function" && isSecureContext && location.origin !== "null";
}

// Storage can be forbidden, as in a sandboxed frame: then a reload asks again.
function isStored(): boolean {
  try {
    return localStorage.getItem(WANTED) === "yes";
  } catch {
    return false;
  }
}

function remember(): void {
  try {
    localStorage.setItem(WANTED, "yes");
  } catch {
    // Known to this page only.
  }
}
