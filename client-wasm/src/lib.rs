//! The browser client of the flash-sale platform: this file is only its surface for JavaScript. `state` decides, `view` says what
//! a page shows, `socket` does the I/O.

mod clock;
#[cfg(test)]
mod fixture;
mod frame;
mod js;
mod moves;
mod refusal;
mod sale;
mod socket;
mod state;
mod steady;
mod table;
#[cfg(test)]
mod types;
mod view;

use flashsale_protocol::{MAX_QUANTITY, OrderId, Payment, Quantity, SaleId, ShopCommand, lean};
use js_sys::{Function, Promise};
use socket::{Driver, Listeners};
use state::Event;
use std::{fmt::Display, rc::Rc, str::FromStr};
use wasm_bindgen::prelude::*;

/// One connection to one platform for one shopper; it serves any number of sales on a page.
#[wasm_bindgen]
pub struct FlashSaleClient {
    driver: Rc<Driver>,
}

#[wasm_bindgen]
impl FlashSaleClient {
    /// `url`: the WebSocket's address. `fetch_token(stale | null)`: a promise of `{token, device?}`, or of null when there will
    /// be none. `change(kind, sale | null)`: show it again. `settled(outcome)`: a command has ended. `notice(code, text)`: a text
    /// to read.
    #[wasm_bindgen(constructor)]
    pub fn new(
        url: String,
        fetch_token: Function,
        change: Function,
        settled: Function,
        notice: Function,
    ) -> Self {
        Self {
            driver: Driver::new(
                url,
                Listeners {
                    fetch_token,
                    change,
                    settled,
                    notice,
                },
            ),
        }
    }

    pub fn connect(&self) {
        self.driver.dispatch(Event::ConnectRequested);
    }

    pub fn close(&self) {
        self.driver.dispatch(Event::StopRequested);
    }

    /// The page is visible again, or the network is back: check at once.
    pub fn nudge(&self) {
        self.driver.dispatch(Event::Nudge);
    }

    pub fn watch(&self, sale: &str) -> Result<(), JsError> {
        self.driver.dispatch(Event::Watch(id(sale)?));
        Ok(())
    }

    pub fn unwatch(&self, sale: &str) -> Result<(), JsError> {
        self.driver.dispatch(Event::Unwatch(id(sale)?));
        Ok(())
    }

    pub fn dismiss(&self, sale: &str) -> Result<(), JsError> {
        self.driver.dispatch(Event::Dismiss(id(sale)?));
        Ok(())
    }

    pub fn join(&self, sale: &str, quantity: u32) -> Result<Promise, JsError> {
        Ok(self.driver.command(ShopCommand::Join {
            sale: id(sale)?,
            quantity: units(quantity)?,
            nonce: None,
        }))
    }

    pub fn leave(&self, sale: &str) -> Result<Promise, JsError> {
        Ok(self.driver.command(ShopCommand::Leave { sale: id(sale)? }))
    }

    pub fn reserve(&self, sale: &str, quantity: u32, partial: bool) -> Result<Promise, JsError> {
        Ok(self.driver.command(ShopCommand::Reserve {
            sale: id(sale)?,
            quantity: units(quantity)?,
            partial,
        }))
    }

    pub fn release(&self, sale: &str) -> Result<Promise, JsError> {
        Ok(self.driver.command(ShopCommand::Release { sale: id(sale)? }))
    }

    /// Gives a turn or a cart its time once more; see `may_extend` in the view.
    pub fn extend(&self, sale: &str) -> Result<Promise, JsError> {
        Ok(self.driver.command(ShopCommand::Extend { sale: id(sale)? }))
    }

    /// With a payment token the order is paid at once.
    pub fn checkout(&self, sale: &str, payment: Option<String>) -> Result<Promise, JsError> {
        let payment = payment.map(|token| Payment { token });
        Ok(self.driver.command(ShopCommand::Checkout {
            sale: id(sale)?,
            payment,
        }))
    }

    pub fn pay(&self, order: &str, payment: String) -> Result<Promise, JsError> {
        let order: OrderId = id(order)?;
        Ok(self.driver.command(ShopCommand::Pay {
            order,
            payment: Payment { token: payment },
        }))
    }

    pub fn cancel(&self, order: &str) -> Result<Promise, JsError> {
        Ok(self.driver.command(ShopCommand::Cancel { order: id(order)? }))
    }

    /// Asks for this shopper's orders; [`Self::known_orders`] has them afterwards.
    pub fn orders(&self) -> Promise {
        self.driver.command(ShopCommand::Orders {})
    }

    /// Takes the commands about sales that have no answer away, as JSON: they go another way, under the same ids.
    pub fn hand_over(&self) -> String {
        self.driver.hand_over()
    }

    /// How a command that went another way has ended, for whoever waits for it.
    pub fn settle(&self, command: &str, outcome: &JsValue) -> Result<(), JsError> {
        self.driver.resolve(&id(command)?, outcome);
        Ok(())
    }

    /// One sale as a page should show it now.
    pub fn view(&self, sale: &str) -> Result<JsValue, JsError> {
        let sale: SaleId = id(sale)?;
        Ok(self
            .driver
            .read(|state, at_ms| js::write(&state.view(sale, at_ms))))
    }

    /// What this page has heard of the sale's draw, as JSON for the module that checks a proof.
    pub fn heard_of_draw(&self, sale: &str) -> Result<String, JsError> {
        let sale: SaleId = id(sale)?;
        Ok(self
            .driver
            .read(|state, _| lean::to_text(&state.heard_of_draw(sale))))
    }

    pub fn known_orders(&self) -> JsValue {
        self.driver
            .read(|state, at_ms| js::write(&state.order_views(at_ms)))
    }

    pub fn connection(&self) -> JsValue {
        self.driver
            .read(|state, at_ms| js::write(&state.connection(at_ms)))
    }

    /// The server's time now, in ms since 1970.
    pub fn now(&self) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "a time is below 2^53")]
        self.driver.read(|state, at_ms| state.server_ms(at_ms) as f64)
    }
}

fn id<T: FromStr<Err: Display>>(text: &str) -> Result<T, JsError> {
    text.parse()
        .map_err(|error: T::Err| JsError::new(&error.to_string()))
}

fn units(quantity: u32) -> Result<Quantity, JsError> {
    Quantity::new(quantity).ok_or_else(|| JsError::new(&format!("a quantity is 1 to {MAX_QUANTITY}")))
}
