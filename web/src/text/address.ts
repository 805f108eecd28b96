/** A part of an address as text; as it is, if it is not written as addresses are. */
export function decoded(part: string): string {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}
