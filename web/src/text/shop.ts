/** The words of the platform's own pages, in the language that they speak. */

import { texts } from "./language";
import { shopEnglish, type ShopTexts } from "./languages/en-shop";

export function shopTexts(): ShopTexts {
  return texts().shop ?? shopEnglish;
}
