import { expect, test } from "vitest";
import { digits } from "../src/shop/first";

test("the time that the server has written runs on in the same digits", () => {
  expect([0, 1, 59_000, 59_001, 60_000, 3_600_000, 176_523_000].map(digits)).toEqual(["0:00", "0:01", "0:59", "1:00", "1:00", "1:00:00", "49:02:03"]);
  expect(digits(-5_000)).toBe("0:00");
});
