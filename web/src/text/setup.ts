/** What is wrong with the element's own attributes: a sentence for the page's visitors, and the cure for whoever builds the page. */

export interface Setup {
  code: "api_missing" | "sale_missing" | "sale_invalid" | "api_invalid";
  /** For whoever looks at the page. */
  message: string;
  /** For whoever builds it. */
  cure: string;
}

/** Null: the attributes can be worked with. */
export function setupProblem(sale: string, api: string, isSale: (text: string) => boolean): Setup | null {
  const message = "This sale cannot be shown here at the moment.";
  if (api !== "" && !isOrigin(api)) {
    return { code: "api_invalid", message, cure: `api="${short(api)}" is no address. Write the platform's, as in api="https://sale.example", or leave it out.` };
  }
  if (sale === "") {
    return { code: "sale_missing", message, cure: 'the attribute sale is missing. Write the sale\'s id, as in <flash-sale sale="01ARZ3NDEKTSV4RRFFQ69G5FAV">.' };
  }
  if (!isSale(sale)) {
    return { code: "sale_invalid", message, cure: `sale="${short(sale)}" is no sale's id. An id has 26 letters and digits, as in sale="01ARZ3NDEKTSV4RRFFQ69G5FAV".` };
  }
  if (api === "") {
    return { code: "api_missing", message, cure: 'the attribute api is missing. Write the platform\'s address, as in api="https://sale.example".' };
  }
  return null;
}

function isOrigin(api: string): boolean {
  try {
    const url = new URL(api);
    return /^https?:$/.test(url.protocol) && url.search === "" && url.hash === "";
  } catch {
    return false;
  }
}

function short(text: string): string {
  return text.length > 60 ? `${text.slice(0, 60)}…` : text;
}
