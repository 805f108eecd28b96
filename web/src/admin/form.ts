/** How the forms of this page look, and the parts that all of them have: a label, a control, and below it a hint or what is wrong. */

import { css, html, nothing, type LitElement, type TemplateResult } from "lit";

export interface Look {
  type?: string;
  hint?: string;
  /** Beside the label. */
  beside?: string;
  mode?: "numeric" | "decimal";
  wide?: boolean;
  /** The id of a list of suggestions. */
  list?: string;
}

export interface Part {
  name: string;
  label: string;
  value: string;
  error?: string | undefined;
}

export function textField(part: Part, look: Look = {}): TemplateResult {
  const { name, value } = part;
  return field(
    part,
    look,
    html`<input
      id=${name}
      name=${name}
      type=${look.type ?? "text"}
      inputmode=${look.mode ?? "text"}
      list=${look.list ?? nothing}
      step="1"
      autocomplete="off"
      spellcheck="false"
      class="numbers"
      .value=${value}
      aria-invalid=${part.error ? "true" : "false"}
      aria-describedby="${name}-below"
    />`,
  );
}

export function longField(part: Part, rows: number, look: Look = {}): TemplateResult {
  const { name, value } = part;
  return field(
    part,
    { wide: true, ...look },
    html`<textarea
      id=${name}
      name=${name}
      rows=${rows}
      autocomplete="off"
      spellcheck="false"
      .value=${value}
      aria-invalid=${part.error ? "true" : "false"}
      aria-describedby="${name}-below"
    ></textarea>`,
  );
}

export function choiceField(part: Part, options: readonly (readonly [value: string, name: string])[], look: Look = {}): TemplateResult {
  const { name, value } = part;
  return field(
    part,
    look,
    html`<select id=${name} name=${name} aria-invalid=${part.error ? "true" : "false"} aria-describedby="${name}-below">
      ${options.map(([option, text]) => html`<option value=${option} .selected=${option === value}>${text}</option>`)}
    </select>`,
  );
}

function field({ name, label, error }: Part, look: Look, control: TemplateResult): TemplateResult {
  return html`
    <div class="field" ?data-wide=${look.wide}>
      <label for=${name}>${label}${look.beside ? html` <span class="soft">${look.beside}</span>` : nothing}</label>
      ${control}
      <p id="${name}-below" class="small ${error ? "error" : "soft"}">${error ?? look.hint ?? ""}</p>
    </div>
  `;
}

/** Goes to a field, and opens the part of the form that it is in. */
export async function focusField(form: LitElement, name: string | undefined): Promise<void> {
  if (!name) return;
  await form.updateComplete;
  const input = form.renderRoot.querySelector<HTMLElement>(`[name="${name}"]`);
  input?.closest("details")?.setAttribute("open", "");
  input?.focus();
}

export const formStyle = css`
  form {
    display: grid;
    gap: var(--fs-space-5);
  }
  form.card {
    padding: var(--fs-space-5);
  }
  .fields {
    display: grid;
    grid-template-columns: repeat(auto-fill, minmax(min(100%, var(--fs-column-m)), 1fr));
    gap: var(--fs-space-4);
  }
  .field {
    display: grid;
    gap: var(--fs-space-1);
    align-content: start;
    min-inline-size: 0;
  }
  [data-wide] {
    grid-column: 1 / -1;
  }
  label,
  legend {
    font-size: var(--fs-text-s);
    font-weight: var(--fs-weight-medium);
  }
  legend {
    padding: 0;
  }
  label .soft {
    font-weight: var(--fs-weight);
  }
  textarea {
    resize: vertical;
    font-family: var(--fs-font-mono);
    font-size: var(--fs-text-s);
  }
  .field p {
    overflow-wrap: anywhere;
  }
  .field p:empty {
    display: none;
  }
  summary {
    inline-size: fit-content;
    cursor: pointer;
    font-weight: var(--fs-weight-medium);
  }
  details[open] summary {
    margin-block-end: var(--fs-space-3);
  }
  form > p:empty {
    display: none;
  }
`;
