/** English of the platform's own pages: no widget loads it. */

import { grammar } from "./grammar";

const { counted } = grammar("en");

export const shopEnglish = {
  sales: "Sales",
  site: "Flash sales",
  groups: { live: "Now", coming: "Coming", over: "Over" },
  noSales: "There are no sales yet.",
  unreached: "The shop cannot be reached just now. Trying again.",
  more: "More",
  loading: "Loading…",
  moreLoaded: counted({ one: "more sale loaded.", other: "more sales loaded." }),
  shop: "Shop",
  noShop: { title: "We cannot find this shop", text: "It may have another address now, or a letter of this one is wrong.", tab: "No such shop" },
  allShops: "Sales of all shops",
  noPage: { title: "We cannot find this page", text: "A letter of its address may be wrong." },
  soldBy: "Sold by",
  presence: { idle: "Not connected", connecting: "Connecting", online: "Live", waiting: "No connection", stopped: "Disconnected" },
  youAre: (name: string) => `You are ${name}`,
  orders: {
    title: "My orders",
    pending: "To pay",
    confirmed: "Confirmed",
    cancelled: "Cancelled",
    paying: "Payment under way",
    refunded: (amount: string) => `Refunded ${amount}`,
    left: (time: string) => `${time} left`,
    one: "Your order",
    waits: (until: string) => `It is not paid yet, and waits for you until ${until}.`,
    isPaying: "Its payment is being checked. The outcome comes by itself.",
    isOver: "It was not paid in time. If money still arrives, you get the unit or your money back.",
    isConfirmed: "Paid and confirmed. Thank you.",
    isPartlyBack: (amount: string) => `Paid and confirmed. ${amount} of it went back to you.`,
    isFree: "Confirmed. There is nothing to pay.",
    isCancelled: "It was cancelled.",
    pay: "Go on to pay",
    sale: "To the sale",
    looking: "Looking for your order",
    unknown: {
      title: "We cannot find this order",
      text: "Orders are shown in the browser in which they were placed. Open this page there.",
    },
  },
  along: {
    title: "Go on in another browser",
    text: "Scan the code with your phone, or open the link in the other browser. Your places in line, your cart and your orders come along, and this browser goes on as well. The link is good once, for five minutes. Whoever opens it is you: give it to nobody.",
    make: "Make a link",
    again: "Make a new link",
    picture: "QR code of the link",
    copy: "Copy the link",
    copied: "Copied.",
    until: (time: string) => `Good until ${time}`,
    over: "This link is too old. It was not used.",
    taken: (time: string) => `Taken along at ${time}. Both browsers show the same now.`,
    here: {
      title: "Go on here?",
      text: "The places, the cart and the orders of your other browser come along. What this browser had of its own is left behind. If somebody sent you this link, close this page: you would go on as them.",
      yes: "Go on here",
      no: "Stay as I am",
      busy: "One moment…",
    },
  },
  data: {
    title: "What is stored of me",
    text: "You have no account here: this browser has a number instead, and another one at each shop. Under it we store your orders, your places in line and your entries in draws. Names, addresses and card numbers are not stored here.",
    download: "Download",
    saved: (file: string) => `Saved as ${file}.`,
    forget: "Forget me",
    sure: {
      title: "Forget you for good?",
      text: "You will not see your orders here any more, at no shop. This cannot be undone. If you need your order numbers, download your data first.",
      yes: "Forget me",
      no: "Keep my data",
    },
    forgotten: "You are forgotten. To us you are somebody new now.",
  },
};

export type ShopTexts = typeof shopEnglish;
