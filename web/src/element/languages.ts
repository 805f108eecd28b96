/** Which language an element should speak: its own `lang`, else that of the page around it, else the reader's. */

export function languagesFor(element: Element): string[] {
  const own = element.closest("[lang]")?.getAttribute("lang") || document.documentElement.lang;
  return [own, ...navigator.languages].filter((tag) => tag !== "");
}
