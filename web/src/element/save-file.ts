/** Hands the reader a file. */

export function saveJson(name: string, data: unknown): void {
  saveFile(name, "application/json", `${JSON.stringify(data, null, 2)}\n`);
}

export function saveFile(name: string, type: string, text: string): void {
  const url = URL.createObjectURL(new Blob([text], { type }));
  const link = document.createElement("a");
  link.href = url;
  link.download = name;
  link.click();
  // The browser has taken the contents by then.
  setTimeout(() => URL.revokeObjectURL(url), 1_000);
}
