/** Which language an element should speak: its own `lang`, else that of the page around it, else the reader's. */

import { complain } from "../client/complain";
import { isThere, LANGUAGES } from "../text/language";

export function languagesFor(element: Element): string[] {
  const own = element.getAttribute("lang") ?? "";
  if (own !== "" && !isThere(own)) {
    complain(`lang="${own.slice(0, 60)}" is no language that there is: write one of ${LANGUAGES.join(", ")}. Until then the page's language counts, then the reader's, then English.`);
  }
  const around = [...ancestors(element)].map((one) => one.getAttribute("lang") ?? "");
  return [...around, ...navigator.languages].filter((tag) => tag !== "");
}

/** The element and what it stands in, also outside of the shadow roots around it. */
function* ancestors(element: Element): Generator<Element> {
  for (let at: Element | null = element; at; at = parentOf(at)) yield at;
}

function parentOf(element: Element): Element | null {
  if (element.parentElement) return element.parentElement;
  const root = element.getRootNode();
  return root instanceof ShadowRoot ? root.host : null;
}

/** Calls back when the element's own `lang` changes, or that of the page: a shop may let its visitors choose. */
export function followLang(element: Element, changed: () => void): () => void {
  const observer = new MutationObserver(changed);
  for (const one of [element, document.documentElement]) observer.observe(one, { attributeFilter: ["lang"] });
  return () => observer.disconnect();
}
