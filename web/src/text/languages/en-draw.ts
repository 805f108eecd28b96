/** English of a draw's check: loaded with the check. */

import { grammar } from "./grammar";

const { number } = grammar("en");

export const drawEnglish = {
  check: "Check the draw",
  checking: "Checking…",
  again: "Check again",
  file: "All entries, to check yourself",
  anyone: "Anyone can check this draw",
  cannot: "This page’s or this browser’s rules do not allow the check here. Download all entries: with them, anybody can check the draw elsewhere.",
  failed: (part: string, wrong: string) => `The check failed. ${part} (${wrong})`,
  seed: "The secret number is the one that was promised before the entries closed.",
  seedSeen: "The secret number is the one that was promised before the entries closed. This page had seen the promise.",
  entry: (count: number) => `Your entry is one of the ${number(count)} that were counted at the close.`,
  entrySeen: (count: number) => `Your entry is one of the ${number(count)} that were counted at the close. This page had seen their fingerprint before the draw.`,
  key: "Your number was computed again on this device, and it is the one that the shop used.",
  keyMade: "Your number was computed again on this device, and it is the one that the shop used. It comes from a random number of this page, which the shop could not choose.",
  wonOne: "It is the smallest, which wins: you were drawn.",
  won: (winners: number) => `It is among the ${number(winners)} smallest, which win: you were drawn.`,
  lostOne: "The smallest number wins, and yours is not the smallest.",
  lost: (winners: number) => `The ${number(winners)} smallest numbers win, and yours is not among them.`,
  passedCalled: (turns: number) => `Units that others did not take went on to the first ${number(turns)}, and your number is among those: your turn came.`,
  passed: (turns: number) => `Units that others did not take went on to the first ${number(turns)}, and your number is behind those.`,
  soFarCalled: (turns: number) => `So far, units that others did not take have gone on to the first ${number(turns)}, and your number is among those: your turn came.`,
  soFar: (turns: number) => `So far, units that others did not take have gone on to the first ${number(turns)}, and your number is behind those.`,
  /** What it means when a part of a proof is wrong. */
  parts: {
    commitment: "What the shop promised before is not what it says now.",
    seed: "The secret number is not the one that was promised.",
    root: "The entries are not the ones that were counted at the close.",
    path: "Your entry is not among those that were counted at the close.",
    entry: "This is not your entry.",
    nonce: "The random number in your entry is not the one that this page was told. If you did not leave and enter again elsewhere, the shop has changed it.",
    key: "Your number is not what the secret number makes of your entry.",
    weight: "The weight of your entry was changed.",
    quantity: "The units of your entry were changed.",
    won: "By its number, the outcome is another one.",
    called: "By its number, whether its turn came is another answer.",
    beacon: "The value that was to be mixed in is missing, or was not announced.",
  } as Readonly<Record<string, string>>,
  promise: "The secret number that decides is fixed already. This is its fingerprint: after the draw, anybody can see that it was not changed.",
};

export type DrawTexts = typeof drawEnglish;
