/** What the page around a widget is told when something of its own keeps the widget from working: once, with the cure. */

const said = new Set<string>();

/** The only thing that a widget ever writes to the console of somebody else's page. */
export function complain(text: string): void {
  if (said.has(text)) return;
  said.add(text);
  // eslint-disable-next-line no-console -- whoever builds the page reads it there, and nowhere else
  console.warn(`<flash-sale>: ${text}`);
}
