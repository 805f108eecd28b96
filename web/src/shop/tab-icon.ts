/** The tab's icon, which has a dot while a time of the shopper's runs. */

let calm: string | null = null;

export function markTab(isUrgent: boolean): void {
  const icon = document.querySelector<HTMLLinkElement>('link[rel="icon"][data-urgent]');
  if (!icon) return;
  calm ??= icon.href;
  const wanted = isUrgent ? (icon.dataset.urgent ?? calm) : calm;
  if (icon.href !== wanted) icon.href = wanted;
}
