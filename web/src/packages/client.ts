/** The package `flashsale-client`. */

export type { Shown } from "../client/by-rest";
export type { ClientEvents, WasmSource } from "../client/client";
export { connect, type ConnectOptions, type FlashSale } from "../client/connect";
export { FlashSaleError } from "../client/errors";
export { isSaleId } from "../client/sale-id";
export type * from "../client/view";
