/** What keeps the element from its work, for whoever builds the page: loaded where something does. */

/** The cure of what `flash-sale-error` names; null: it is nothing of the page's. */
export function cureOf(code: string, sale: string, api: string): string | null {
  switch (code) {
    case "api_invalid":
      return `api="${short(api)}" is no address. Write the platform's, as in api="https://sale.example", or leave it out.`;
    case "sale_missing":
      return 'the attribute sale is missing. Write the sale\'s id, as in <flash-sale sale="01ARZ3NDEKTSV4RRFFQ69G5FAV">.';
    case "sale_invalid":
      return `sale="${short(sale)}" is no sale's id. An id has 26 letters and digits, as in sale="01ARZ3NDEKTSV4RRFFQ69G5FAV".`;
    case "api_missing":
      return 'the attribute api is missing. Write the platform\'s address, as in api="https://sale.example".';
    case "sale_unknown":
      return `${short(api)} does not know the sale ${short(sale)}: look at the attributes sale and api.`;
    case "unreadable":
      return `what is at ${short(api)} does not answer as a platform of this release does: look at the attribute api, and load widget.js from the platform itself.`;
    case "origin_refused":
      return `the shop does not allow this page to show its sales: add ${location.origin} to its pages, in the admin page.`;
    case "pay_form_missing":
      return "the order cannot be paid: put your payment form into the slot pay, and cancel the event flash-sale-pay.";
    case "token_invalid":
      return `${short(api)} does not accept the attribute token. The shop needs the key that has signed it (docs/sign-in.md). Without the attribute the shopper is a guest.`;
    case "token_expired":
      return "the token has run out: set a fresh one when flash-sale-token-needed comes.";
    case "wrong_merchant":
      return "the token is of another shop than the sale: look at the attributes sale and token.";
    default:
      return null;
  }
}

function short(text: string): string {
  return text.length > 60 ? `${text.slice(0, 60)}…` : text;
}
