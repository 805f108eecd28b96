/**
 * One text size of the reader: what their browser makes of `font-size: medium`. It does not depend on the page around, whose root
 * font may be 62.5 % or anything else, and it follows readers who want larger text. The tokens are multiples of it.
 */

/** What tokens.css stands for without this. */
const USUAL_PX = 16;

/** A rule for every shadow root of ours, or nothing where the usual size is right. */
export function textSize(): CSSStyleSheet[] {
  if (typeof document === "undefined" || !("adoptedStyleSheets" in Document.prototype)) return [];
  const probe = document.createElement("span");
  // `all` first: the page's own rules for every span must not count.
  probe.style.all = "initial";
  probe.style.fontSize = "medium";
  document.documentElement.append(probe);
  const size = Number.parseFloat(getComputedStyle(probe).fontSize);
  probe.remove();
  if (!(size > 0) || size === USUAL_PX) return [];
  const sheet = new CSSStyleSheet();
  sheet.replaceSync(`:host { --fs-unit: ${String(size)}${"px"} }`);
  return [sheet];
}
