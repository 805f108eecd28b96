/** The way to what tells of a turn while nobody looks: most visitors never have a place, so it is loaded with the first one. */

import { hasStake } from "../client/mine";
import type { View } from "../client/view";
import type * as Loaded from "./notice";

export class Notices {
  private loaded: typeof Loaded | null = null;
  private notice: Loaded.TurnNotice | null = null;
  private isAsked = false;

  constructor(private readonly changed: () => void) {}

  offer(view: View): "ask" | "on" | null {
    return this.notice?.offer(view) ?? null;
  }

  ask(): void {
    void this.notice?.ask();
  }

  /** `inTab`: the page around does not say itself in its title what is going on. */
  follow(view: View, inTab: boolean): void {
    if (!this.isAsked && hasStake(view)) void this.load();
    this.notice?.follow(view);
    if (inTab) this.loaded?.followInTab(view.sale, view);
  }

  /** The element is gone: nothing is told of this sale any more. */
  end(sale: string): void {
    this.loaded?.followInTab(sale.toUpperCase(), null);
  }

  private async load(): Promise<void> {
    this.isAsked = true;
    try {
      this.loaded = await import("./notice");
      this.notice = new this.loaded.TurnNotice(this.changed);
      this.changed();
    } catch {
      // Without a network now: the next news tries again.
      this.isAsked = false;
    }
  }
}
