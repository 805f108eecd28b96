/** A list of things that can be ended: what it is, its state, and the button. */

import { css } from "lit";

export const rowsStyle = css`
  ul[hidden],
  .done:empty {
    display: none;
  }
  li {
    display: flex;
    flex-wrap: wrap;
    align-items: center;
    gap: var(--fs-space-2) var(--fs-space-3);
    padding: var(--fs-space-3) var(--fs-space-4);
  }
  li + li {
    border-block-start: var(--fs-hair) solid var(--fs-line);
  }
  .what {
    display: grid;
    flex: 1 1 var(--fs-column-m);
    gap: var(--fs-ring);
    min-inline-size: 0;
  }
  .name {
    font-weight: var(--fs-weight-medium);
  }
`;
