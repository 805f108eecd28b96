/** What a sale's id looks like: a ULID. */

export function isSaleId(text: string): boolean {
  return /^[0-7][0-9A-HJKMNP-TV-Z]{25}$/i.test(text);
}
