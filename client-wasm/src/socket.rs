//! The browser's side of the state machine: WebSocket, timer, session storage, clock and randomness. Decides nothing; it brings
//! events in and carries effects out.
//!
//! Commands under way are kept in `sessionStorage`: a reload finds them again, another tab does not see them. Two tabs share the
//! token and the device (the page keeps those), and each has its own commands. A duplicated tab gets a copy of them and repeats
//! them under the same ids, which is harmless. The nonces of this page's joins are kept beside them.

use crate::{
    js,
    refusal::Outcome,
    state::{Change, Effect, Event, Moment, Settled, State},
};
use flashsale_protocol::{CommandId, DeviceId, Nonce, SUBPROTOCOL, ShopCommand};
use js_sys::{Function, Promise, Reflect};
use std::{
    cell::{Cell, RefCell},
    collections::VecDeque,
    rc::{Rc, Weak},
};
use wasm_bindgen::{JsCast, prelude::*};
use web_sys::{CloseEvent, Crypto, MessageEvent, Performance, Storage, WebSocket};

/// A longer timer is set again on the way, because browsers keep the delay in 32 bits.
const MAX_TIMER_MS: u64 = 60_000;

/// The page's callbacks.
pub struct Listeners {
    /// `fetchToken(stale | null)` → a promise of `{token, device?}`; null when there will be none.
    pub fetch_token: Function,
    /// `change(kind, sale | null)`
    pub change: Function,
    /// `settled(outcome)`
    pub settled: Function,
    /// `notice(code, text)`
    pub notice: Function,
}

pub struct Driver {
    url: String,
    storage_key: String,
    nonces_key: String,
    state: RefCell<State>,
    listeners: Listeners,
    socket: RefCell<Option<WebSocket>>,
    timer: Cell<JsValue>,
    wake_at: Cell<u64>,
    effects: RefCell<VecDeque<Effect>>,
    is_draining: Cell<bool>,
    promised: RefCell<Vec<(CommandId, Function)>>,
    handlers: Handlers,
}

/// Made once, so that no handler is dropped while it runs. A released socket has its handlers removed.
struct Handlers {
    opened: Closure<dyn FnMut()>,
    text: Closure<dyn FnMut(MessageEvent)>,
    closed: Closure<dyn FnMut(CloseEvent)>,
    timer: Closure<dyn FnMut()>,
    token: Closure<dyn FnMut(JsValue)>,
    no_token: Closure<dyn FnMut(JsValue)>,
}

impl Driver {
    pub fn new(url: String, listeners: Listeners) -> Rc<Self> {
        let driver = Rc::new_cyclic(|driver| Self {
            storage_key: format!("flash-sale:{url}:commands"),
            nonces_key: format!("flash-sale:{url}:nonces"),
            url,
            state: RefCell::default(),
            listeners,
            socket: RefCell::default(),
            timer: Cell::default(),
            wake_at: Cell::default(),
            effects: RefCell::default(),
            is_draining: Cell::default(),
            promised: RefCell::default(),
            handlers: Handlers::new(driver),
        });
        let stored = |key: &str| session_storage().and_then(|storage| storage.get_item(key).ok().flatten());
        if let Some(nonces) = stored(&driver.nonces_key) {
            driver.dispatch(Event::NoncesLoaded(js::parse(&nonces)));
        }
        if let Some(commands) = stored(&driver.storage_key) {
            driver.dispatch(Event::StoredLoaded(js::parse(&commands)));
        }
        driver
    }

    pub fn dispatch(&self, event: Event) {
        let effects = self.state.borrow_mut().step(moment(), event);
        self.run(effects);
    }

    /// Sends a command. The promise tells its outcome and never rejects.
    pub fn command(&self, command: ShopCommand) -> Promise {
        Promise::new(&mut |resolve, _| {
            let (id, effects) = self.state.borrow_mut().command(moment(), command.clone());
            self.promised.borrow_mut().push((id, resolve));
            self.run(effects);
        })
    }

    /// The commands that go another way, as JSON.
    pub fn hand_over(&self) -> String {
        let (commands, effects) = self.state.borrow_mut().hand_over(moment());
        self.run(effects);
        commands
    }

    /// Tells a command's outcome to whoever waits for it.
    pub fn resolve(&self, id: &CommandId, outcome: &JsValue) {
        let all = self.promised.take();
        let (promised, others): (Vec<_>, Vec<_>) = all.into_iter().partition(|(known, _)| known == id);
        self.promised.replace(others);
        for (_, resolve) in promised {
            let _ = resolve.call1(&JsValue::NULL, outcome);
        }
    }

    pub fn read<T>(&self, read: impl FnOnce(&State, u64) -> T) -> T {
        read(&self.state.borrow(), moment().at_ms)
    }

    /// Effects run in order, even those of events that a listener causes while it handles an earlier one.
    fn run(&self, effects: Vec<Effect>) {
        self.effects.borrow_mut().extend(effects);
        if self.is_draining.replace(true) {
            return;
        }
        loop {
            let next = self.effects.borrow_mut().pop_front();
            let Some(effect) = next else { break };
            self.perform(effect);
        }
        self.is_draining.set(false);
    }

    fn perform(&self, effect: Effect) {
        match effect {
            Effect::OpenSocket => self.open_socket(),
            Effect::CloseSocket => self.close_socket(),
            Effect::Send(text) => {
                if let Some(socket) = &*self.socket.borrow() {
                    // If the socket is closing at this moment, it reports that itself; the command is then sent again.
                    let _ = socket.send_with_str(&text);
                }
            }
            Effect::Store(text) => store(&self.storage_key, &text),
            Effect::StoreNonces(text) => store(&self.nonces_key, &text),
            Effect::FetchToken { stale } => self.fetch_token(stale),
            Effect::WakeAt(at_ms) => self.set_timer(at_ms),
            Effect::Changed(change) => {
                let (kind, sale) = match change {
                    Change::Connection => ("connection", JsValue::NULL),
                    Change::Orders => ("orders", JsValue::NULL),
                    Change::Sale(sale) => ("sale", sale.to_string().into()),
                };
                let _ = self.listeners.change.call2(&JsValue::NULL, &kind.into(), &sale);
            }
            Effect::Settled(settled) => self.tell(&settled),
            Effect::Notice { code, text } => {
                let _ = self
                    .listeners
                    .notice
                    .call2(&JsValue::NULL, &code.word().into(), &text.into());
            }
        }
    }

    fn tell(&self, settled: &Settled) {
        let outcome = js::write(&Outcome::new(settled.verb, settled.sale, settled.outcome.clone()));
        self.resolve(&settled.id, &outcome);
        let _ = self.listeners.settled.call1(&JsValue::NULL, &outcome);
    }

    fn open_socket(&self) {
        self.close_socket();
        match WebSocket::new_with_str(&self.url, SUBPROTOCOL) {
            Ok(socket) => {
                socket.set_onopen(Some(self.handlers.opened.as_ref().unchecked_ref()));
                socket.set_onmessage(Some(self.handlers.text.as_ref().unchecked_ref()));
                socket.set_onclose(Some(self.handlers.closed.as_ref().unchecked_ref()));
                *self.socket.borrow_mut() = Some(socket);
            }
            // A page whose security policy forbids sockets is treated as offline.
            Err(_) => self.dispatch(Event::SocketClosed { code: 1006 }),
        }
    }

    fn close_socket(&self) {
        if let Some(socket) = self.socket.borrow_mut().take() {
            socket.set_onopen(None);
            socket.set_onmessage(None);
            socket.set_onclose(None);
            let _ = socket.close();
        }
    }

    fn fetch_token(&self, stale: Option<String>) {
        let stale = stale.map_or(JsValue::NULL, JsValue::from);
        match self.listeners.fetch_token.call1(&JsValue::NULL, &stale) {
            Ok(answer) => {
                let promise = Promise::resolve(&answer);
                let _ = promise.then2(&self.handlers.token, &self.handlers.no_token);
            }
            Err(_) => self.dispatch(Event::TokenFailed { is_final: false }),
        }
    }

    fn token_fetched(&self, answer: &JsValue) {
        let field = |name: &str| {
            Reflect::get(answer, &name.into())
                .ok()
                .and_then(|value| value.as_string())
        };
        match field("token") {
            Some(token) => {
                let device = field("device").and_then(|device| device.parse::<DeviceId>().ok());
                self.dispatch(Event::TokenRefreshed { token, device });
            }
            None => self.dispatch(Event::TokenFailed { is_final: true }),
        }
    }

    fn set_timer(&self, at_ms: u64) {
        self.wake_at.set(at_ms);
        clear_timeout(&self.timer.take());
        // Rounded up, because a timer that fires too early must be set again.
        let delay_ms = (at_ms.saturating_sub(moment().at_ms) + 1).min(MAX_TIMER_MS);
        let timer = self.handlers.timer.as_ref().unchecked_ref();
        self.timer
            .set(set_timeout(timer, i32::try_from(delay_ms).unwrap_or(i32::MAX)));
    }

    fn timer_fired(&self) {
        self.timer.set(JsValue::UNDEFINED);
        if moment().at_ms < self.wake_at.get() {
            self.set_timer(self.wake_at.get());
        } else {
            self.dispatch(Event::TimerFired);
        }
    }
}

impl Handlers {
    fn new(driver: &Weak<Driver>) -> Self {
        let opened = with(driver, |driver| driver.dispatch(Event::SocketOpened));
        let text = with1(driver, |driver, event: MessageEvent| {
            if let Some(text) = event.data().as_string() {
                driver.dispatch(Event::Received(js::parse(&text)));
            }
        });
        let closed = with1(driver, |driver, event: CloseEvent| {
            driver.socket.borrow_mut().take();
            driver.dispatch(Event::SocketClosed { code: event.code() });
        });
        let timer = with(driver, Driver::timer_fired);
        let token = with1(driver, |driver, answer: JsValue| driver.token_fetched(&answer));
        let no_token = with1(driver, |driver, _| {
            driver.dispatch(Event::TokenFailed { is_final: false })
        });
        Self {
            opened,
            text,
            closed,
            timer,
            token,
            no_token,
        }
    }
}

fn with(driver: &Weak<Driver>, run: impl Fn(&Driver) + 'static) -> Closure<dyn FnMut()> {
    let driver = driver.clone();
    Closure::new(move || {
        if let Some(driver) = driver.upgrade() {
            run(&driver);
        }
    })
}

fn with1<E: wasm_bindgen::convert::FromWasmAbi + 'static>(
    driver: &Weak<Driver>,
    run: impl Fn(&Driver, E) + 'static,
) -> Closure<dyn FnMut(E)> {
    let driver = driver.clone();
    Closure::new(move |event| {
        if let Some(driver) = driver.upgrade() {
            run(&driver, event);
        }
    })
}

// Not the window's: a worker and a server have these too.
#[wasm_bindgen]
extern "C" {
    #[wasm_bindgen(js_name = setTimeout)]
    fn set_timeout(handler: &Function, ms: i32) -> JsValue;
    #[wasm_bindgen(js_name = clearTimeout)]
    fn clear_timeout(timer: &JsValue);
}

fn global<T: JsCast>(name: &str) -> Option<T> {
    Reflect::get(&js_sys::global(), &name.into())
        .ok()?
        .dyn_into()
        .ok()
}

fn session_storage() -> Option<Storage> {
    global("sessionStorage")
}

/// Storage may be full or forbidden. Then a reload forgets this; nothing else is lost.
fn store(key: &str, text: &str) {
    if let Some(storage) = session_storage() {
        let _ = storage.set_item(key, text);
    }
}

fn moment() -> Moment {
    let at_ms = global::<Performance>("performance").map_or_else(js_sys::Date::now, |performance| {
        // Not the wall clock, which jumps when somebody sets it.
        performance.time_origin() + performance.now()
    });
    let (mut random, mut nonce) = ([0; 16], [0; 16]);
    let is_random = global::<Crypto>("crypto").is_some_and(|crypto| {
        crypto.get_random_values_with_u8_array(&mut random).is_ok()
            && crypto.get_random_values_with_u8_array(&mut nonce).is_ok()
    });
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a time is positive and below 2^53"
    )]
    Moment {
        at_ms: at_ms as u64,
        random: u128::from_le_bytes(random),
        nonce: is_random.then_some(Nonce(nonce)),
    }
}
