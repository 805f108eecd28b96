import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { TurnNotice } from "../src/element/notice";
import { clocked, LINE, SALE } from "./views";

let given: string[];
let permission: string;

beforeEach(() => {
  given = [];
  permission = "default";
  const fake = function (title: string, { body }: { body: string }) {
    given.push(`${title}. ${body}`);
  };
  Object.defineProperty(fake, "permission", { get: () => permission });
  vi.stubGlobal("Notification", Object.assign(fake, { requestPermission: () => Promise.resolve(permission) }));
  vi.stubGlobal("isSecureContext", true);
  vi.stubGlobal("location", { origin: "https://shop.example" });
  vi.stubGlobal("navigator", {});
  vi.stubGlobal("document", { hidden: true });
  vi.stubGlobal("AudioContext", class { currentTime = 0; createOscillator = () => ({ frequency: {}, connect: (to: unknown) => to, start: () => undefined, stop: () => undefined }); createGain = () => ({ gain: {}, connect: () => undefined }); });
});

afterEach(() => vi.unstubAllGlobals());

const turn = { ...SALE, journey: "admitted" as const, turn: clocked(118_000) };
const waiting = { ...SALE, journey: "waiting" as const, line: LINE };

test("a turn is told once, to who has asked for it and looks elsewhere", async () => {
  const notice = new TurnNotice(() => undefined);
  expect(notice.offer(waiting)).toBe("ask");
  permission = "granted";
  await notice.ask();
  expect(notice.offer(waiting)).toBe("on");
  notice.follow(waiting);
  notice.follow(turn);
  notice.follow(turn);
  expect(given).toEqual(["Your turn: Aurora Runner. You have 1 minute 58 seconds to add it to your cart."]);
});

test("nobody is told who has not asked, has refused, or looks at the page", async () => {
  new TurnNotice(() => undefined).follow(turn);
  const refused = new TurnNotice(() => undefined);
  permission = "denied";
  await refused.ask();
  refused.follow(turn);
  expect(refused.offer(waiting)).toBeNull();
  permission = "granted";
  const here = new TurnNotice(() => undefined);
  await here.ask();
  vi.stubGlobal("document", { hidden: false });
  here.follow(turn);
  expect(given).toEqual([]);
});

test("nothing is offered where there is nothing to wait for, or no way to tell", () => {
  const notice = new TurnNotice(() => undefined);
  expect(notice.offer(SALE)).toBeNull();
  vi.stubGlobal("location", { origin: "null" });
  expect(notice.offer(waiting)).toBeNull();
});
