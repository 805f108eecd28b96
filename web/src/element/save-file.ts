/** Hands the reader a file. */

export function saveJson(name: string, data: unknown): void {
  const url = URL.createObjectURL(new Blob([`${JSON.stringify(data, null, 2)}\n`], { type: "application/json" }));
  const link = document.createElement("a");
  link.href = url;
  link.download = name;
  link.click();
  // The browser has taken the contents by then.
  setTimeout(() => URL.revokeObjectURL(url), 1_000);
}
