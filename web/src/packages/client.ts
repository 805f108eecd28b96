/** The package `flashsale-client`. */

export type { Shown } from "../client/by-rest";
export { isSaleId, type ClientEvents, type WasmSource } from "../client/client";
export { connect, type ConnectOptions, type FlashSale } from "../client/connect";
export { FlashSaleError } from "../client/errors";
export type * from "../client/view";
