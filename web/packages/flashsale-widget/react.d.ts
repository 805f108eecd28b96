/** `import type {} from "flashsale-widget/react"`: the elements in JSX, for React 19. */

import type { DetailedHTMLProps, HTMLAttributes } from "react";
import type { FlashSaleAlertElement, FlashSaleElement } from "./types/packages/widget.js";

declare module "react" {
  namespace JSX {
    interface IntrinsicElements {
      "flash-sale": DetailedHTMLProps<HTMLAttributes<FlashSaleElement>, FlashSaleElement> & { sale: string; api: string; token?: string | null; wide?: boolean };
      "flash-sale-alert": DetailedHTMLProps<HTMLAttributes<FlashSaleAlertElement>, FlashSaleAlertElement> & { api: string; token?: string | null; href?: string };
    }
  }
}
