mod nonces;

use super::{link::back_off_ceiling_ms, *};
use crate::fixture::{self, entry, hold, order, order_id, sale, tick, welcome};
use flashsale_protocol::{
    Done, EntryState, HoldState, Nonce, OrderStatus, Outcome, Payment, Phase, Quantity, Reject, Request,
    SaleState, ServerMessage, Tick, Welcome,
};
use proptest::prelude::*;
use serde_json::Value;

/// A page with its own clock, and the last effects of its state machine.
struct Page {
    state: State,
    at_ms: u64,
    random: u128,
    effects: Vec<Effect>,
}

impl Page {
    fn new() -> Self {
        Self {
            state: State::default(),
            at_ms: 1_000_000,
            random: 7,
            effects: Vec::new(),
        }
    }

    /// Connected, greeted, watching the sale.
    fn ready() -> Self {
        let mut page = Self::new();
        page.step(Event::Watch(sale()));
        page.step(Event::ConnectRequested);
        page.token("t1");
        page.step(Event::SocketOpened);
        page.welcome(vec![fixture::state(tick(1, page.at_ms))]);
        page.answer_ping();
        page
    }

    fn answer_ping(&mut self) {
        let id = self.sent_id("ping");
        self.reply(
            id,
            Outcome::Ok(Done::Pong {
                t: 0,
                now: self.at_ms,
            }),
        );
    }

    fn moment(&mut self) -> Moment {
        self.random = self
            .random
            .wrapping_mul(0x2360_ED05_1FC6_5DA4_4385_DF64_9FCC_F645)
            .wrapping_add(1);
        Moment {
            at_ms: self.at_ms,
            random: self.random,
            nonce: Some(Nonce(self.random.rotate_left(64).to_le_bytes())),
        }
    }

    fn step(&mut self, event: Event) -> &[Effect] {
        let moment = self.moment();
        self.effects = self.state.step(moment, event);
        &self.effects
    }

    fn command(&mut self, command: ShopCommand) -> CommandId {
        let moment = self.moment();
        let (id, effects) = self.state.command(moment, command);
        self.effects = effects;
        id
    }

    fn token(&mut self, token: &str) {
        self.step(Event::TokenRefreshed {
            token: token.into(),
            device: "d1".parse().ok(),
        });
    }

    fn receive(&mut self, message: &ServerMessage) {
        self.step(Event::text(&message.to_json()));
    }

    fn welcome(&mut self, states: Vec<SaleState>) {
        let id = self.sent_id("hello");
        let outcome = Outcome::Ok(Done::Welcome(welcome(self.at_ms, states)));
        self.receive(&ServerMessage::Reply {
            id: Some(id),
            outcome,
        });
    }

    fn reply(&mut self, id: CommandId, outcome: Outcome) {
        self.receive(&ServerMessage::Reply {
            id: Some(id),
            outcome,
        });
    }

    fn refuse(&mut self, id: CommandId, reject: Reject) {
        self.reply(id, Outcome::Error(reject));
    }

    /// Lets the clock run to the timer, each time it is set before `until`.
    fn run_until(&mut self, until: u64) -> Vec<Effect> {
        let mut all = Vec::new();
        while let Some(wake_at) = self.state.wake_at.filter(|wake_at| *wake_at <= until) {
            self.at_ms = self.at_ms.max(wake_at);
            all.extend(self.step(Event::TimerFired).iter().cloned());
        }
        self.at_ms = until;
        self.effects.clone_from(&all);
        all
    }

    fn sent(&self) -> Vec<Value> {
        let texts = self.effects.iter().filter_map(|effect| match effect {
            Effect::Send(text) => Some(text),
            _ => None,
        });
        texts
            .map(|text| serde_json::from_str(text).expect("JSON"))
            .collect()
    }

    fn sent_id(&self, verb: &str) -> CommandId {
        let sent = self
            .sent()
            .into_iter()
            .find(|sent| sent["type"] == verb)
            .unwrap_or_else(|| panic!("no {verb} sent"));
        sent["id"].as_str().and_then(|id| id.parse().ok()).expect("an id")
    }

    fn settled(&self) -> Option<&Settled> {
        self.effects.iter().find_map(|effect| match effect {
            Effect::Settled(settled) => Some(settled),
            _ => None,
        })
    }

    fn opens(&self) -> bool {
        self.effects.contains(&Effect::OpenSocket)
    }

    fn link(&self) -> &'static str {
        self.state.connection(self.at_ms).state
    }

    /// Drops the socket and returns with a new one, up to the hello.
    fn reconnect(&mut self, code: u16) {
        self.step(Event::SocketClosed { code });
        let wake_at = self.state.wake_at.expect("a back-off");
        self.run_until(wake_at);
        assert!(self.opens());
        self.step(Event::SocketOpened);
    }
}

fn join() -> ShopCommand {
    ShopCommand::Join {
        sale: sale(),
        quantity: Quantity::ONE,
        nonce: None,
    }
}

fn checkout() -> ShopCommand {
    ShopCommand::Checkout {
        sale: sale(),
        payment: None,
    }
}

fn held() -> Outcome {
    Outcome::Ok(Done::Hold(hold(HoldState::Held, 1)))
}

#[test]
fn the_first_word_is_hello_with_token_device_and_the_watched_sales() {
    let mut page = Page::new();
    page.step(Event::Watch(sale()));
    page.step(Event::ConnectRequested);
    assert!(page.effects.contains(&Effect::FetchToken { stale: None }));
    page.token("t1");
    assert!(page.opens());
    page.step(Event::SocketOpened);
    let hello = &page.sent()[0];
    assert_eq!(
        (
            hello["type"].as_str(),
            hello["token"].as_str(),
            hello["device"].as_str(),
            hello["resume"][0].as_str()
        ),
        (Some("hello"), Some("t1"), Some("d1"), Some(fixture::SALE))
    );
    assert!(Request::parse(&hello.to_string()).is_ok(), "the server reads it");
}

#[test]
fn a_command_is_stored_before_it_is_sent() {
    let mut page = Page::ready();
    let id = page.command(join());
    let place = |found: fn(&Effect) -> bool| page.effects.iter().position(found);
    let store = place(|effect| matches!(effect, Effect::Store(_))).expect("stored");
    let send = place(|effect| matches!(effect, Effect::Send(_))).expect("sent");
    assert!(store < send);
    let Effect::Store(text) = &page.effects[store] else {
        panic!("a store")
    };
    assert!(text.contains(&id.to_string()), "with the id that it is sent with");
}

#[test]
fn a_command_survives_a_reconnect_with_its_id() {
    let mut page = Page::ready();
    let id = page.command(checkout());
    page.reconnect(1006);
    page.welcome(vec![fixture::state(tick(2, page.at_ms))]);
    assert_eq!(page.sent_id("checkout"), id);
    page.reply(id, Outcome::Ok(Done::Order(order(OrderStatus::Pending, 5))));
    assert_eq!(page.settled().map(|settled| settled.id), Some(id));
}

#[test]
fn a_command_survives_a_reload_with_its_id() {
    let mut page = Page::ready();
    let id = page.command(checkout());
    let stored = page.effects.iter().find_map(|effect| match effect {
        Effect::Store(text) => Some(text.clone()),
        _ => None,
    });
    let mut reloaded = Page::new();
    reloaded.step(Event::StoredLoaded(read_text(&stored.expect("stored"))));
    reloaded.step(Event::Watch(sale()));
    reloaded.step(Event::ConnectRequested);
    reloaded.token("t1");
    reloaded.step(Event::SocketOpened);
    reloaded.welcome(vec![fixture::state(tick(2, 1))]);
    assert_eq!(reloaded.sent_id("checkout"), id);
}

/// A page that sends commands before it has read the stored ones.
#[test]
fn a_ping_goes_in_time_in_a_hidden_page_whose_timers_are_held_back() {
    let mut page = Page::ready();
    // No timer fires; ticks come.
    let mut pinged_at = vec![page.at_ms];
    for second in 1..=900 {
        page.at_ms += 1_000;
        let at_ms = page.at_ms;
        page.receive(&ServerMessage::Tick(tick(2 + second, at_ms)));
        if page.sent().iter().any(|sent| sent["type"] == "ping") {
            pinged_at.push(at_ms);
            page.answer_ping();
        }
    }
    let silent_ms = pinged_at.windows(2).map(|two| two[1] - two[0]).max();
    assert!(silent_ms < Some(17_000), "{silent_ms:?}");
    assert!(pinged_at.last() > Some(&(page.at_ms - 17_000)));
    assert!(matches!(page.state.link, Link::Ready(_)));
}

#[test]
fn commands_that_go_another_way_are_given_away_once_and_not_sent_again() {
    let mut page = Page::ready();
    let orders = page.command(ShopCommand::Orders {});
    page.step(Event::SocketClosed { code: 1006 });
    let id = page.command(ShopCommand::Leave { sale: sale() });
    let moment = page.moment();
    let (given, effects) = page.state.hand_over(moment);
    let given: Value = serde_json::from_str(&given).expect("JSON");
    let frame: Value = serde_json::from_str(given[0]["frame"].as_str().expect("a frame")).expect("JSON");
    assert_eq!(
        (&given[0]["id"], &frame["type"]),
        (&id.to_string().into(), &"leave".into())
    );
    assert_eq!(given[0]["sale"], sale().to_string());
    assert_eq!(given[1], Value::Null, "orders are about no sale");
    assert!(effects.contains(&Effect::Changed(Change::Sale(sale()))));
    let stored = effects.iter().find_map(|effect| match effect {
        Effect::Store(text) => Some(text),
        _ => None,
    });
    assert!(!stored.expect("stored").contains(&id.to_string()));
    let moment = page.moment();
    assert_eq!(page.state.hand_over(moment).0, "[]");
    let kept: Vec<CommandId> = page.state.pending.iter().map(|pending| pending.id).collect();
    assert_eq!(kept, [orders]);
    assert_eq!(page.state.verbs_under_way(sale()).count(), 0);
}

#[test]
fn what_is_stored_comes_beside_newer_wishes_once_each_and_within_the_limit() {
    let joins = |page: &mut Page, units: std::ops::RangeInclusive<u32>| {
        for quantity in units.filter_map(Quantity::new) {
            page.command(ShopCommand::Join {
                sale: sale(),
                quantity,
                nonce: None,
            });
        }
    };
    let most = u32::try_from(MAX_PENDING).expect("small");
    let mut before = Page::ready();
    joins(&mut before, 1..=most);
    let stored = before.effects.iter().find_map(|effect| match effect {
        Effect::Store(text) => Some(text.clone()),
        _ => None,
    });
    let mut reloaded = Page::new();
    joins(&mut reloaded, most - 1..=most + 2);
    let newer: Vec<CommandId> = reloaded.state.pending.iter().map(|pending| pending.id).collect();
    reloaded.step(Event::StoredLoaded(read_text(&stored.expect("stored"))));
    let pending = &reloaded.state.pending;
    assert_eq!(pending.len(), MAX_PENDING);
    let wishes: std::collections::BTreeSet<&str> =
        pending.iter().map(|pending| pending.wish.as_str()).collect();
    assert_eq!(wishes.len(), MAX_PENDING, "no wish twice");
    assert!(
        newer
            .iter()
            .all(|id| pending.iter().any(|pending| pending.id == *id))
    );
}

#[test]
fn what_is_stored_is_not_trusted() {
    for text in ["", "null", "[{}]", "[1,2]", "not json", "{\"id\":1}"] {
        let mut page = Page::new();
        page.step(Event::StoredLoaded(read_text(text)));
        assert!(page.state.pending.is_empty(), "{text}");
    }
}

#[test]
fn an_answered_command_is_forgotten_and_not_sent_again() {
    let mut page = Page::ready();
    let id = page.command(ShopCommand::Reserve {
        sale: sale(),
        quantity: Quantity::ONE,
        partial: false,
    });
    page.reply(id, held());
    assert!(page.effects.contains(&Effect::Store("[]".into())));
    page.reconnect(1006);
    page.welcome(vec![fixture::state(tick(2, page.at_ms))]);
    assert!(
        page.sent().iter().all(|sent| sent["type"] == "ping"),
        "{:?}",
        page.sent()
    );
}

#[test]
fn a_command_given_while_offline_is_sent_after_the_welcome() {
    let mut page = Page::ready();
    page.step(Event::SocketClosed { code: 1006 });
    let id = page.command(join());
    assert!(page.sent().is_empty());
    page.run_until(page.at_ms + BACK_OFF_BASE_MS + 1);
    page.step(Event::SocketOpened);
    assert_eq!(page.sent().len(), 1, "only the hello before the welcome");
    page.welcome(vec![fixture::state(tick(2, page.at_ms))]);
    assert_eq!(page.sent_id("join"), id);
}

#[test]
fn what_has_not_left_this_device_is_told_apart_from_what_may_have_arrived() {
    let mut page = Page::ready();
    page.step(Event::SocketClosed { code: 1006 });
    page.command(checkout());
    let unsent = |page: &Page| page.state.view(sale(), page.at_ms).unsent;
    assert_eq!(unsent(&page), vec!["checkout"]);
    page.run_until(page.at_ms + COMMAND_DEADLINE_MS);
    let refused = |page: &Page| page.settled().and_then(|settled| settled.outcome.clone().err());
    assert_eq!(
        refused(&page).map(|refusal| refusal.code).as_deref(),
        Some("not_sent")
    );

    let mut page = Page::ready();
    page.command(checkout());
    page.step(Event::SocketClosed { code: 1006 });
    let view = page.state.view(sale(), page.at_ms);
    assert_eq!((view.under_way, view.unsent), (vec!["checkout"], vec![]));
    page.run_until(page.at_ms + COMMAND_DEADLINE_MS);
    assert_eq!(
        refused(&page).map(|refusal| refusal.code).as_deref(),
        Some("no_answer")
    );
}

#[test]
fn the_connection_tells_how_long_the_server_has_been_silent() {
    let mut page = Page::ready();
    let silent = |page: &Page| page.state.connection(page.at_ms).silent_ms;
    assert_eq!(silent(&page), Some(0));
    page.at_ms += 1_234;
    assert_eq!(silent(&page), Some(1_234));
    assert_eq!(State::default().connection(5).silent_ms, None);
}

#[test]
fn the_same_wish_twice_is_one_command() {
    let mut page = Page::ready();
    let first = page.command(join());
    let second = page.command(join());
    assert_eq!(first, second);
    assert!(page.sent().is_empty(), "the second click sends nothing");
}

#[test]
fn no_answer_in_time_is_told_and_the_truth_is_asked_for() {
    let mut page = Page::ready();
    let id = page.command(checkout());
    // The server is alive, but does not answer this command.
    let mut told = None;
    let end = page.at_ms + COMMAND_DEADLINE_MS;
    while told.is_none() && page.at_ms < end {
        page.run_until(page.at_ms + 1_000);
        told = page.settled().cloned();
        if let Some(ping) = page.sent().iter().find(|sent| sent["type"] == "ping") {
            let id = ping["id"].as_str().and_then(|id| id.parse().ok()).expect("an id");
            page.reply(
                id,
                Outcome::Ok(Done::Pong {
                    t: 0,
                    now: page.at_ms,
                }),
            );
        }
    }
    let told = told.expect("told before the deadline was over by more than a step");
    assert_eq!(told.id, id);
    assert_eq!(
        told.outcome.map_err(|refusal| refusal.code),
        Err("no_answer".into())
    );
    assert_eq!(
        page.state
            .asked
            .iter()
            .filter(|(_, asked)| *asked == Asked::State(sale()))
            .count(),
        1
    );
    assert!(
        page.state
            .known(sale())
            .is_some_and(|known| known.refusal.is_some())
    );
}

#[test]
fn a_busy_server_is_asked_again_with_the_same_id_until_the_deadline() {
    let mut page = Page::ready();
    let id = page.command(join());
    let deadline = page.at_ms + COMMAND_DEADLINE_MS;
    let mut repeats = 0;
    while page.settled().is_none() {
        page.refuse(id, Reject::new(Code::Busy).after_ms(300));
        if page.settled().is_some() {
            break;
        }
        let effects = page.run_until(page.state.pending[0].repeat_at.expect("to be repeated"));
        let again = effects
            .iter()
            .filter(|effect| matches!(effect, Effect::Send(text) if text.contains(&id.to_string())));
        repeats += again.count();
    }
    assert!(repeats >= 2, "{repeats}");
    assert!(page.at_ms <= deadline);
    assert_eq!(
        page.settled()
            .and_then(|s| s.outcome.as_ref().err())
            .map(|r| r.code.as_str()),
        Some("busy")
    );
}

#[test]
fn commands_under_way_are_bounded() {
    let mut page = Page::new();
    for units in 1..=u32::try_from(MAX_PENDING).expect("small") {
        page.command(ShopCommand::Join {
            sale: sale(),
            quantity: Quantity::new(units).expect("valid"),
            nonce: None,
        });
        assert!(page.settled().is_none());
    }
    page.command(checkout());
    let refused = page.settled().and_then(|settled| settled.outcome.as_ref().err());
    assert_eq!(
        refused.map(|refusal| refusal.code.as_str()),
        Some("too_many_pending")
    );
    assert_eq!(page.state.pending.len(), MAX_PENDING);
}

#[test]
fn a_refusal_that_contradicts_us_asks_for_the_state() {
    let mut page = Page::ready();
    let id = page.command(checkout());
    page.refuse(id, Code::HoldExpired.into());
    assert_eq!(page.sent()[0]["type"], "state");
    let id = page.command(join());
    page.refuse(id, Code::SoldOut.into());
    assert!(
        page.sent().is_empty(),
        "a plain sold out costs the server nothing more"
    );
}

#[test]
fn a_declined_payment_leads_to_its_order() {
    let mut page = Page::ready();
    let id = page.command(ShopCommand::Checkout {
        sale: sale(),
        payment: Some(Payment {
            token: "sandbox_decline".into(),
        }),
    });
    page.refuse(id, Reject::new(Code::PaymentDeclined).about(order_id()));
    assert_eq!(page.sent()[0]["type"], "state", "the order is not known yet");
    page.receive(&ServerMessage::Order(order(OrderStatus::Pending, 9)));
    assert_eq!(
        page.state.view(sale(), page.at_ms).journey,
        crate::view::Journey::Pay
    );
}

#[test]
fn a_place_that_was_not_drawn_is_looked_at_soon_after_the_start_and_then_rarely() {
    let mut page = Page::ready();
    let at = page.at_ms;
    let mut undrawn = fixture::state(Tick {
        phase: Phase::Waiting,
        starts_at: at + 1_000,
        waiting: 20_000,
        ..fixture::tick(2, at)
    });
    undrawn.entry = Some(fixture::entry(EntryState::Waiting, 0, at));
    let id = page.command(ShopCommand::State { sale: sale() });
    page.reply(id, Outcome::Ok(Done::State(Box::new(undrawn))));
    let tick = |seq, now, starts_at| {
        ServerMessage::Tick(Tick {
            starts_at,
            waiting: 20_000,
            ..fixture::tick(seq, now)
        })
    };
    let starts_at = at + 1_000;
    page.receive(&tick(3, page.at_ms, starts_at));
    assert_eq!(
        page.state.known(fixture::sale()).and_then(|known| known.look_at),
        None,
        "not before the start"
    );
    page.at_ms = starts_at;
    page.receive(&tick(4, starts_at, starts_at));
    let look_at = page.state.known(fixture::sale()).and_then(|known| known.look_at);
    let look_at = look_at.expect("planned");
    assert!(
        (starts_at..=starts_at + 1_000).contains(&look_at),
        "spread, so that not all ask at once"
    );
    let asked = page.run_until(look_at);
    let asks = |effects: &[Effect]| {
        effects
            .iter()
            .filter(|effect| matches!(effect, Effect::Send(text) if text.contains("\"state\"")))
            .count()
    };
    assert_eq!(asks(&asked), 1);
    let id = sent_ids(&asked, "state")[0];
    let mut drawn = fixture::state(fixture::tick(5, look_at));
    drawn.entry = Some(fixture::entry(EntryState::Waiting, 5_000, look_at));
    page.reply(id, Outcome::Ok(Done::State(Box::new(drawn))));
    page.receive(&tick(6, look_at + 1, starts_at));
    let next = page.state.known(fixture::sale()).and_then(|known| known.look_at);
    assert!(
        next.is_some_and(|next| next >= look_at + 120_000),
        "rarely, so far back: {next:?}"
    );
}

fn sent_ids(effects: &[Effect], verb: &str) -> Vec<CommandId> {
    let sent = effects.iter().filter_map(|effect| match effect {
        Effect::Send(text) => serde_json::from_str::<Value>(text).ok(),
        _ => None,
    });
    sent.filter(|frame| frame["type"] == verb)
        .map(|frame| frame["id"].as_str().expect("an id").parse().expect("a ULID"))
        .collect()
}

#[test]
fn bye_moves_within_its_window_and_without_a_back_off() {
    let mut page = Page::ready();
    let bye = ServerMessage::Bye {
        code: 4000,
        text: "Moving.".into(),
        after_ms: 2_000,
        window_ms: 5_000,
    };
    let said_at = page.at_ms;
    page.receive(&bye);
    assert_eq!(page.link(), "online", "commands go on until then");
    let effects = page.run_until(said_at + 1_999);
    assert!(!effects.contains(&Effect::OpenSocket));
    let effects = page.run_until(said_at + 7_000);
    let close = effects.iter().position(|effect| *effect == Effect::CloseSocket);
    let open = effects.iter().position(|effect| *effect == Effect::OpenSocket);
    assert!(
        close.is_some() && close < open,
        "the old socket goes first: {effects:?}"
    );
}

#[test]
fn a_gateway_that_goes_before_its_time_is_left_within_the_window_too() {
    let mut page = Page::ready();
    let said_at = page.at_ms;
    page.receive(&ServerMessage::Bye {
        code: 4000,
        text: String::new(),
        after_ms: 2_000,
        window_ms: 5_000,
    });
    page.step(Event::SocketClosed { code: 4000 });
    let until = page.state.wake_at.expect("to come back");
    assert!((said_at + 2_000..=said_at + 7_000).contains(&until));
}

#[test]
fn a_refused_token_is_replaced_at_once_but_only_once() {
    let mut page = Page::ready();
    page.step(Event::SocketClosed { code: 4100 });
    assert!(page.effects.contains(&Effect::FetchToken {
        stale: Some("t1".into())
    }));
    page.token("t2");
    page.step(Event::SocketOpened);
    page.step(Event::SocketClosed { code: 4101 });
    assert!(
        !page
            .effects
            .iter()
            .any(|effect| matches!(effect, Effect::FetchToken { .. })),
        "no hot loop"
    );
    assert_eq!(page.link(), "waiting");
}

#[test]
fn a_hello_with_an_expired_token_fetches_a_fresh_one() {
    let mut page = Page::new();
    page.step(Event::ConnectRequested);
    page.token("old");
    page.step(Event::SocketOpened);
    let hello = page.sent_id("hello");
    page.refuse(hello, Code::TokenExpired.into());
    assert!(page.effects.contains(&Effect::CloseSocket));
    assert!(page.effects.contains(&Effect::FetchToken {
        stale: Some("old".into())
    }));
}

#[test]
fn a_ticket_opens_one_socket_and_the_next_one_gets_another() {
    let mut page = Page::new();
    page.step(Event::ConnectRequested);
    page.token("fst_one");
    page.step(Event::SocketOpened);
    page.welcome(vec![]);
    page.step(Event::SocketClosed { code: 1006 });
    let effects = page.run_until(page.at_ms + 60_000);
    assert!(
        effects.contains(&Effect::FetchToken { stale: None }),
        "{effects:?}"
    );
    page.token("fst_two");
    assert!(page.opens());
}

#[test]
fn a_merchants_token_that_cannot_be_replaced_ends_in_a_plain_word() {
    let mut page = Page::ready();
    page.step(Event::SocketClosed { code: 4100 });
    page.step(Event::TokenFailed { is_final: true });
    assert_eq!(
        page.state.connection(page.at_ms).code.as_deref(),
        Some("token_expired")
    );
    page.token("fresh");
    assert!(page.opens(), "a new token from the page connects again");
}

#[test]
fn a_close_that_says_stay_is_obeyed_until_the_page_asks() {
    let mut page = Page::ready();
    page.step(Event::SocketClosed { code: 4500 });
    assert_eq!(page.link(), "stopped");
    let effects = page.run_until(page.at_ms + 3_600_000);
    assert!(!effects.contains(&Effect::OpenSocket));
    page.step(Event::ConnectRequested);
    assert!(page.opens());
}

#[test]
fn a_silent_connection_is_given_up() {
    let mut page = Page::ready();
    page.run_until(page.at_ms + 15_000);
    assert_eq!(page.sent()[0]["type"], "ping");
    let effects = page.run_until(page.at_ms + PONG_DEADLINE_MS);
    assert!(effects.contains(&Effect::CloseSocket));
    assert_eq!(page.link(), "waiting");
}

#[test]
fn a_connection_that_does_not_open_is_given_up() {
    let mut page = Page::new();
    page.step(Event::ConnectRequested);
    page.token("t1");
    let effects = page.run_until(page.at_ms + CONNECT_DEADLINE_MS);
    assert!(effects.contains(&Effect::CloseSocket));
    assert_eq!(page.link(), "waiting");
}

#[test]
fn a_sale_that_is_not_there_is_said_to_be_so() {
    let mut page = Page::new();
    page.step(Event::Watch(sale()));
    page.step(Event::ConnectRequested);
    page.token("t1");
    page.step(Event::SocketOpened);
    page.welcome(Vec::new());
    let view = page.state.view(sale(), page.at_ms);
    assert_eq!(view.journey, crate::view::Journey::Unknown);
    assert_eq!(
        view.trouble.map(|trouble| trouble.code).as_deref(),
        Some("sale_unknown")
    );
}

#[test]
fn a_sale_that_this_page_may_not_show_is_said_to_be_so_and_the_others_are_shown() {
    let mut page = Page::new();
    page.step(Event::Watch(sale()));
    page.step(Event::ConnectRequested);
    page.token("t1");
    page.step(Event::SocketOpened);
    let refused = flashsale_protocol::RefusedSale {
        sale: sale(),
        code: Code::OriginRefused,
    };
    let welcome = Welcome {
        refused: vec![refused],
        ..welcome(page.at_ms, Vec::new())
    };
    let hello = page.sent_id("hello");
    page.reply(hello, Outcome::Ok(Done::Welcome(welcome)));
    let view = page.state.view(sale(), page.at_ms);
    assert_eq!(
        view.trouble.map(|trouble| trouble.code).as_deref(),
        Some("origin_refused")
    );
    assert_eq!(page.link(), "online");
}

#[test]
fn a_sale_watched_later_is_asked_for_and_resumed_from_then_on() {
    let mut page = Page::ready();
    let other: SaleId = "01ARZ3NDEKTSV4RRFFQ69G5FAX".parse().expect("valid");
    page.step(Event::Watch(other));
    assert_eq!(page.sent()[0]["type"], "watch");
    page.reconnect(1006);
    assert_eq!(page.sent()[0]["resume"].as_array().map(Vec::len), Some(2));
}

#[test]
fn another_shopper_on_this_page_sees_and_sends_nothing_of_the_first() {
    let mut page = Page::ready();
    page.receive(&ServerMessage::Entry(entry(EntryState::Waiting, 3, 5)));
    page.receive(&ServerMessage::Order(order(OrderStatus::Confirmed, 5)));
    page.command(checkout());
    page.token("t2");
    page.step(Event::SocketOpened);
    let hello = page.sent_id("hello");
    let other = Welcome {
        shopper: "al".parse().expect("valid"),
        ..welcome(page.at_ms, Vec::new())
    };
    page.reply(hello, Outcome::Ok(Done::Welcome(other)));
    assert!(page.sent().iter().all(|sent| sent["type"] != "checkout"));
    assert_eq!(page.state.orders().count(), 0);
    assert!(
        page.state
            .known(sale())
            .is_some_and(|known| known.entry.is_none())
    );
}

#[test]
fn a_late_answer_is_still_true() {
    let mut page = Page::ready();
    let id = page.command(checkout());
    page.state.pending.clear();
    page.reply(id, Outcome::Ok(Done::Order(order(OrderStatus::Pending, 9))));
    assert_eq!(page.state.orders().count(), 1);
}

#[test]
fn news_of_an_unknown_kind_harms_nobody() {
    let mut page = Page::ready();
    for text in [
        "",
        "{}",
        "[]",
        r#"{"type":"fireworks"}"#,
        r#"{"type":"tick"}"#,
        r#"{"type":"reply","id":null}"#,
    ] {
        page.step(Event::text(text));
        assert_eq!(page.link(), "online", "{text}");
    }
}

#[test]
fn a_nudge_ends_a_long_wait() {
    let mut page = Page::ready();
    page.state.attempt = 10;
    page.step(Event::SocketClosed { code: 1006 });
    page.step(Event::Nudge);
    assert!(
        page.state
            .wake_at
            .is_some_and(|wake_at| wake_at <= page.at_ms + BACK_OFF_BASE_MS)
    );
}

#[test]
fn a_short_lived_connection_does_not_reset_the_back_off() {
    let mut page = Page::ready();
    page.state.attempt = 4;
    page.step(Event::SocketClosed { code: 1006 });
    assert_eq!(page.state.attempt, 5);
    let mut page = Page::ready();
    page.state.attempt = 4;
    page.at_ms += STABLE_MS;
    page.step(Event::SocketClosed { code: 1006 });
    assert_eq!(page.state.attempt, 1);
}

proptest! {
    #[test]
    fn back_off_stays_in_bounds(attempts in 0u32..200, random in any::<u128>()) {
        let mut page = Page::ready();
        page.state.attempt = attempts;
        let at_ms = page.at_ms;
        page.effects = page.state.step(Moment { at_ms, random, nonce: None }, Event::SocketClosed { code: 1006 });
        let wait_ms = page.state.connection(at_ms).retry_in_ms.expect("a wait");
        prop_assert!(wait_ms <= back_off_ceiling_ms(attempts));
        prop_assert!(back_off_ceiling_ms(attempts) <= BACK_OFF_CAP_MS);
    }

    #[test]
    fn jitter_is_full(randoms in prop::collection::vec(any::<u128>(), 400..=400)) {
        let waits: Vec<u64> = randoms
            .iter()
            .map(|random| Turn::new(Moment { at_ms: 0, random: *random, nonce: None }).up_to(999))
            .collect();
        for tenth in 0..10 {
            prop_assert!(waits.iter().any(|wait| wait / 100 == tenth), "nobody in tenth {tenth}");
        }
    }

    /// Whatever happens to the connection, a command goes out under one id only, and is settled at most once.
    #[test]
    fn a_command_has_one_id_and_one_end(happenings in prop::collection::vec(0u8..8, 1..60)) {
        let mut page = Page::ready();
        let id = page.command(checkout());
        let mut ends = 0;
        let mut all = page.effects.clone();
        for happening in happenings {
            match happening {
                0 => { page.step(Event::SocketClosed { code: 1006 }); }
                1 => { page.step(Event::SocketOpened); }
                2 => { page.step(Event::SocketClosed { code: 4100 }); }
                3 => { page.token("t2"); }
                4 => {
                    if let Link::Greeting { hello, .. } = page.state.link {
                        let states = vec![fixture::state(tick(3, page.at_ms))];
                        page.reply(hello, Outcome::Ok(Done::Welcome(welcome(page.at_ms, states))));
                    } else {
                        page.effects.clear();
                    }
                }
                5 => { page.refuse(id, Code::Unavailable.into()); }
                6 => { let until = page.at_ms + 700; page.effects = page.run_until(until); }
                _ => { page.reply(id, Outcome::Ok(Done::Order(order(OrderStatus::Pending, 3)))); }
            }
            all.extend(page.effects.iter().cloned());
        }
        for effect in &all {
            match effect {
                Effect::Send(text) if text.contains("\"checkout\"") => prop_assert!(text.contains(&id.to_string())),
                Effect::Settled(settled) => {
                    prop_assert_eq!(settled.id, id);
                    ends += 1;
                }
                _ => {}
            }
        }
        prop_assert!(ends <= 1);
    }

    /// Every wait ends: unless the page or the server has said stop, the timer is set.
    #[test]
    fn the_client_never_falls_asleep(happenings in prop::collection::vec((0u8..6, any::<u128>()), 1..80)) {
        let mut page = Page::ready();
        for (happening, random) in happenings {
            let event = match happening {
                0 => Event::SocketClosed { code: 1006 },
                1 => Event::SocketOpened,
                2 => Event::SocketClosed { code: 4101 },
                3 => Event::TokenFailed { is_final: false },
                4 => Event::TokenRefreshed { token: format!("t{random}"), device: None },
                _ => {
                    page.at_ms = page.state.wake_at.unwrap_or(page.at_ms).max(page.at_ms);
                    Event::TimerFired
                }
            };
            let at_ms = page.at_ms;
            page.effects = page.state.step(Moment { at_ms, random, nonce: None }, event);
            prop_assert!(page.state.wake_at.is_some());
            prop_assert!(page.state.wake_at <= Some(at_ms + 60_000));
        }
    }
}

#[test]
fn a_change_is_applied_to_the_tick_it_was_made_for_and_else_the_state_is_asked_for() {
    let mut page = Page::ready();
    let at = page.at_ms;
    let shown = |page: &Page| {
        let known = page.state.known(sale()).and_then(|known| known.tick.as_ref());
        known.map(|tick| (tick.seq, tick.available))
    };
    let before = tick(1, at);
    let after = fixture::sold_out(at + 9, at + 9);
    page.receive(&ServerMessage::Change(flashsale_protocol::Change::between(
        &before, &after,
    )));
    assert_eq!(shown(&page), Some((at + 9, 0)));

    let (missed, newest) = (tick(at + 10, at + 10), tick(at + 11, at + 11));
    page.receive(&ServerMessage::Change(flashsale_protocol::Change::between(
        &missed, &newest,
    )));
    assert_eq!(
        shown(&page),
        Some((at + 9, 0)),
        "what does not fit changes nothing"
    );
    let asked = page.run_until(at + 2_000);
    assert_eq!(sent_ids(&asked, "state").len(), 1);
}
