/** The server names a field at the start of its refusal: "sale_price: must not be above original_price." */

/**
 * The field of a form that a refusal is about, and its text; null where it names none of them. `called`: fields that are called
 * something else here.
 */
export function fieldError<F extends string>(
  detail: string,
  fields: readonly F[],
  called: Readonly<Record<string, F>> = {},
): { field: F; text: string } | null {
  const match = /^([a-z_]+): *(.+)$/s.exec(detail);
  const name = match?.[1] ?? "";
  const field = called[name] ?? fields.find((known) => known === name);
  if (!field || !match?.[2]) return null;
  const text = match[2];
  return { field, text: text.charAt(0).toUpperCase() + text.slice(1) };
}
