/** A line on every page of a server that takes no money, and nothing on the others. */

import { LitElement, html, nothing, type TemplateResult } from "lit";
import { getSales } from "../client/rest";
import { paymentsNotice, type Payments } from "../text/payments";
import { baseStyle } from "./base-style";

export function testMode(payments: Payments): TemplateResult | typeof nothing {
  const notice = paymentsNotice(payments);
  return notice ? html`<p class="notice" data-part="test-mode" role="note">${notice}</p>` : nothing;
}

/** The same, for a page that has no sale at hand: it asks the server once. */
export class TestMode extends LitElement {
  private payments: Payments;

  override connectedCallback(): void {
    super.connectedCallback();
    this.hidden = true;
    void this.ask();
  }

  private async ask(): Promise<void> {
    const page = await getSales("", { limit: 1 }).catch(() => null);
    this.payments = page?.payments;
    this.hidden = paymentsNotice(this.payments) === null;
    this.requestUpdate();
  }

  protected override render(): TemplateResult | typeof nothing {
    return testMode(this.payments);
  }

  static override styles = [...baseStyle];
}
