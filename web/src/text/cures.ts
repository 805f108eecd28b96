/** What is wrong with the element's own attributes, for whoever builds the page: loaded where something is. */

import type { SetupCode } from "./setup";

export function cureOf(code: SetupCode, sale: string, api: string): string {
  switch (code) {
    case "api_invalid":
      return `api="${short(api)}" is no address. Write the platform's, as in api="https://sale.example", or leave it out.`;
    case "sale_missing":
      return 'the attribute sale is missing. Write the sale\'s id, as in <flash-sale sale="01ARZ3NDEKTSV4RRFFQ69G5FAV">.';
    case "sale_invalid":
      return `sale="${short(sale)}" is no sale's id. An id has 26 letters and digits, as in sale="01ARZ3NDEKTSV4RRFFQ69G5FAV".`;
    case "api_missing":
      return 'the attribute api is missing. Write the platform\'s address, as in api="https://sale.example".';
  }
}

function short(text: string): string {
  return text.length > 60 ? `${text.slice(0, 60)}…` : text;
}
