use super::*;
use crate::{
    fixture::{entry, hold, info, order, order_id, sale, sold_out, state, tick},
    state::{Event, Moment},
};
use flashsale_protocol::{
    Code, Declined, Done, Hold, Outcome, Payment, SaleState, ServerMessage, ShopCommand,
};

const NOW: u64 = 1_000_000;

/// A connected shopper whose sale is in this state.
fn shopper(sale_state: SaleState) -> State {
    let mut machine = State::default();
    step(&mut machine, Event::Watch(sale()));
    step(&mut machine, Event::ConnectRequested);
    step(
        &mut machine,
        Event::TokenRefreshed {
            token: "t".into(),
            device: None,
        },
    );
    let hello = step(&mut machine, Event::SocketOpened);
    let id = hello.iter().find_map(|effect| match effect {
        crate::state::Effect::Send(text) => flashsale_protocol::Request::parse(text)
            .ok()
            .map(|request| request.id),
        _ => None,
    });
    let welcome = crate::fixture::welcome(NOW, vec![sale_state]);
    let reply = ServerMessage::Reply {
        id,
        outcome: Outcome::Ok(Done::Welcome(welcome)),
    };
    step(&mut machine, Event::text(&reply.to_json()));
    machine
}

fn step(machine: &mut State, event: Event) -> Vec<crate::state::Effect> {
    machine.step(
        Moment {
            at_ms: NOW,
            random: 1,
            nonce: None,
        },
        event,
    )
}

fn view(sale_state: SaleState) -> View {
    shopper(sale_state).view(sale(), NOW)
}

fn in_phase(phase: Phase) -> SaleState {
    state(Tick {
        phase,
        starts_at: NOW + 30_000,
        ends_at: NOW + 90_000,
        ..tick(1, NOW)
    })
}

fn with_entry(entry: Entry, sale_state: SaleState) -> SaleState {
    SaleState {
        entry: Some(entry),
        ..sale_state
    }
}

#[test]
fn each_state_of_sale_and_shopper_has_one_phase_of_the_journey() {
    let waiting = || entry(EntryState::Waiting, 5, NOW);
    let live = || state(tick(1, NOW));
    let gone = || state(sold_out(1, NOW));
    let holding = |hold_state| SaleState {
        hold: Some(hold(hold_state, NOW)),
        ..state(tick(1, NOW))
    };
    let ordered = |status| SaleState {
        orders: vec![order(status, NOW)],
        ..state(sold_out(1, NOW))
    };
    let paused = || SaleState {
        tick: Tick {
            phase: Phase::Paused,
            ..tick(1, NOW)
        },
        ..state(tick(1, NOW))
    };
    let cases = [
        (in_phase(Phase::Scheduled), Journey::Countdown),
        (in_phase(Phase::Waiting), Journey::Lobby),
        (with_entry(waiting(), in_phase(Phase::Waiting)), Journey::Lobby),
        (live(), Journey::Open),
        (with_entry(waiting(), live()), Journey::Waiting),
        (
            with_entry(entry(EntryState::Admitted, 0, NOW), live()),
            Journey::Admitted,
        ),
        (
            with_entry(entry(EntryState::Lapsed, 0, NOW), live()),
            Journey::Open,
        ),
        (holding(HoldState::Held), Journey::Holding),
        (holding(HoldState::Ordering), Journey::CheckingOut),
        (holding(HoldState::Expired), Journey::Open),
        (ordered(OrderStatus::Pending), Journey::Pay),
        (ordered(OrderStatus::Confirmed), Journey::Confirmed),
        (ordered(OrderStatus::Cancelled), Journey::SoldOut),
        (gone(), Journey::SoldOut),
        (with_entry(waiting(), gone()), Journey::SoldOut),
        (paused(), Journey::Paused),
        (with_entry(waiting(), paused()), Journey::Paused),
        (in_phase(Phase::Ended), Journey::Ended),
        (in_phase(Phase::Cancelled), Journey::Cancelled),
    ];
    for (sale_state, journey) in cases {
        assert_eq!(view(sale_state.clone()).journey, journey, "{sale_state:?}");
    }
    assert_eq!(State::default().view(sale(), NOW).journey, Journey::Loading);
}

#[test]
fn all_in_carts_is_not_sold_out() {
    let view = view(state(Tick {
        available: 0,
        held: 2,
        sold: 8,
        unpaid: 0,
        claimed: 0,
        ordering: 0,
        ..tick(1, NOW)
    }));
    assert_eq!(
        (view.journey, view.outlook),
        (Journey::Open, Some(Outlook::MayComeBack))
    );
}

#[test]
fn an_unpaid_order_is_not_sold_and_the_stock_bar_adds_up() {
    let stock = view(state(tick(1, NOW))).stock.expect("stock");
    assert_eq!((stock.free, stock.in_carts, stock.sold), (4, 4, 2));
    assert_eq!(stock.free + stock.in_carts + stock.sold, stock.supply);
}

#[test]
fn a_checkout_under_way_is_shown_before_its_answer() {
    let mut machine = shopper(SaleState {
        hold: Some(hold(HoldState::Held, NOW)),
        ..state(tick(1, NOW))
    });
    let command = ShopCommand::Checkout {
        sale: sale(),
        payment: None,
    };
    machine.command(
        Moment {
            at_ms: NOW,
            random: 3,
            nonce: None,
        },
        command,
    );
    let view = machine.view(sale(), NOW);
    assert_eq!(
        (view.journey, view.under_way),
        (Journey::CheckingOut, vec!["checkout"])
    );
}

#[test]
fn a_payment_under_way_belongs_to_its_sale() {
    let mut machine = shopper(SaleState {
        orders: vec![order(OrderStatus::Pending, NOW)],
        ..state(tick(1, NOW))
    });
    let command = ShopCommand::Pay {
        order: order_id(),
        payment: Payment {
            token: "sandbox_approve".into(),
        },
    };
    machine.command(
        Moment {
            at_ms: NOW,
            random: 3,
            nonce: None,
        },
        command,
    );
    assert_eq!(machine.view(sale(), NOW).under_way, vec!["pay"]);
}

#[test]
fn the_wait_is_the_place_by_the_pace_and_unknown_when_the_line_stands() {
    let waiting = entry(EntryState::Waiting, 20, NOW);
    let plenty = Tick {
        available: 30,
        ..tick(1, NOW)
    };
    let line = view(with_entry(waiting.clone(), state(plenty)))
        .line
        .expect("in line");
    assert_eq!(
        (line.position, line.soonest_ms, line.latest_ms),
        (20, Some(5_000), Some(20_000))
    );
    let still = Tick {
        pace: None,
        pace_low: 0.0,
        pace_high: 0.0,
        ..tick(1, NOW)
    };
    assert_eq!(
        view(with_entry(waiting.clone(), state(still)))
            .line
            .and_then(|line| line.soonest_ms),
        None
    );
    let not_started = view(with_entry(waiting, in_phase(Phase::Waiting)));
    assert_eq!(not_started.line.and_then(|line| line.soonest_ms), None);
}

#[test]
fn the_place_follows_the_shared_tick() {
    let mut machine = shopper(with_entry(
        entry(EntryState::Waiting, 20, NOW),
        state(tick(1, NOW)),
    ));
    step(
        &mut machine,
        Event::text(
            &ServerMessage::Tick(Tick {
                admitted: 12,
                ..tick(2, NOW)
            })
            .to_json(),
        ),
    );
    assert_eq!(machine.view(sale(), NOW).line.map(|line| line.position), Some(8));
}

#[test]
fn the_chance_is_what_the_stock_allows() {
    let chance = |position| {
        view(with_entry(
            entry(EntryState::Waiting, position, NOW),
            state(tick(1, NOW)),
        ))
        .line
        .and_then(|line| line.chance)
    };
    assert_eq!(chance(3), Some(Chance::Good));
    assert_eq!(chance(4), Some(Chance::Good), "four are free");
    assert_eq!(
        chance(5),
        Some(Chance::Possible),
        "one of the three in carts may come back"
    );
    assert_eq!(chance(7), Some(Chance::Slim));
}

#[test]
fn an_expired_hold_is_said_to_be_so_until_something_newer_happens() {
    let expired = SaleState {
        hold: Some(hold(HoldState::Expired, NOW)),
        ..state(tick(1, NOW))
    };
    assert_eq!(
        view(expired.clone()).note.map(|note| note.kind),
        Some("hold_expired")
    );
    let in_line_again = with_entry(entry(EntryState::Waiting, 3, NOW + 1), expired.clone());
    assert_eq!(view(in_line_again).note, None);
    let bought_since = SaleState {
        orders: vec![order(OrderStatus::Confirmed, NOW + 1)],
        ..expired
    };
    assert_eq!(view(bought_since).note, None);
}

#[test]
fn a_hold_whose_time_is_long_over_is_not_shown_as_held() {
    let machine = shopper(SaleState {
        hold: Some(hold(HoldState::Held, NOW)),
        ..state(tick(1, NOW))
    });
    let expires = NOW + 300_000;
    assert_eq!(
        machine.view(sale(), expires + OVERDUE_GRACE_MS).journey,
        Journey::Holding,
        "news may be on its way"
    );
    let later = machine.view(sale(), expires + OVERDUE_GRACE_MS + 1);
    assert_eq!(
        (later.journey, later.note.map(|note| note.kind)),
        (Journey::Open, Some("hold_expired"))
    );
}

#[test]
fn a_refusal_goes_when_the_journey_has_gone_on() {
    let refuse = |code: Code, sale_state: SaleState| {
        let mut machine = shopper(state(tick(1, NOW)));
        let command = ShopCommand::Reserve {
            sale: sale(),
            quantity: flashsale_protocol::Quantity::ONE,
            partial: false,
        };
        let (id, _) = machine.command(
            Moment {
                at_ms: NOW,
                random: 3,
                nonce: None,
            },
            command,
        );
        let reply = ServerMessage::Reply {
            id: Some(id),
            outcome: Outcome::Error(code.into()),
        };
        step(&mut machine, Event::text(&reply.to_json()));
        assert_eq!(
            machine
                .view(sale(), NOW)
                .refusal
                .map(|refusal| refusal.code)
                .as_deref(),
            Some(code.word())
        );
        step(
            &mut machine,
            Event::text(&ServerMessage::Tick(sale_state.tick).to_json()),
        );
        machine.view(sale(), NOW).refusal
    };
    assert_eq!(refuse(Code::NoneFree, state(sold_out(2, NOW))), None);
    assert_eq!(
        refuse(
            Code::SalePaused,
            state(Tick {
                phase: Phase::Paused,
                ..tick(2, NOW)
            })
        ),
        None
    );
    assert!(refuse(Code::NoneFree, state(tick(2, NOW))).is_some());
    assert!(refuse(Code::LimitReached, state(sold_out(2, NOW))).is_some());
}

#[test]
fn the_limit_counts_what_is_held_and_ordered_but_not_what_is_cancelled() {
    let live = || state(tick(1, NOW));
    assert_eq!(view(live()).may_take, 2);
    let held = SaleState {
        hold: Some(hold(HoldState::Held, NOW)),
        ..live()
    };
    assert_eq!(
        view(SaleState {
            orders: vec![order(OrderStatus::Confirmed, NOW)],
            ..held
        })
        .may_take,
        0
    );
    assert_eq!(
        view(SaleState {
            orders: vec![order(OrderStatus::Cancelled, NOW)],
            ..live()
        })
        .may_take,
        2
    );
}

#[test]
fn the_countdown_is_told_by_the_servers_clock() {
    let mut room = in_phase(Phase::Scheduled);
    room.sale = SaleInfo {
        room_opens_at: NOW + 10_000,
        ..info()
    };
    let next = view(room).countdown.expect("a countdown");
    assert_eq!((next.to, next.left_ms), ("room", 10_000));
    let next = view(in_phase(Phase::Waiting)).countdown.expect("a countdown");
    assert_eq!((next.to, next.left_ms), ("start", 30_000));
    assert_eq!(view(in_phase(Phase::Ended)).countdown, None);
}

#[test]
fn a_payment_under_way_is_shown_until_its_outcome_comes() {
    let in_order = |order| {
        let mut sale_state = state(tick(1, NOW));
        sale_state.orders = vec![order];
        view(sale_state).journey
    };
    let pending = order(OrderStatus::Pending, NOW);
    let paying = Order {
        paying: true,
        ..pending.clone()
    };
    assert_eq!(in_order(paying), Journey::Paying);
    assert_eq!(
        in_order(pending),
        Journey::Pay,
        "declined: another card may be tried"
    );
    assert_eq!(in_order(order(OrderStatus::Confirmed, NOW)), Journey::Confirmed);
}

#[test]
fn a_page_that_comes_back_says_why_the_last_payment_was_declined() {
    let mut sale_state = state(tick(1, NOW));
    let declined = Some(Declined {
        reason: "insufficient funds".into(),
        at: NOW,
    });
    sale_state.orders = vec![Order {
        declined,
        ..order(OrderStatus::Pending, NOW)
    }];
    let view = view(sale_state);
    assert_eq!(view.journey, Journey::Pay);
    let told = view.order.and_then(|order| order.declined);
    assert_eq!(told.as_deref(), Some("insufficient funds"));
}

#[test]
fn numbers_that_have_stopped_coming_are_marked_as_the_last_known_ones() {
    let mut machine = shopper(in_phase(Phase::Live));
    let stale = |machine: &State, after| machine.view(sale(), NOW + after).stale_ms;
    assert_eq!(stale(&machine, 3_000), None);
    assert_eq!(stale(&machine, 3_001), Some(3_001));
    // Under load ticks come less often, which is no failure.
    let next = ServerMessage::Tick(Tick {
        phase: Phase::Live,
        ..tick(2, NOW + 10_000)
    });
    let later = Moment {
        at_ms: NOW + 10_000,
        random: 1,
        nonce: None,
    };
    machine.step(later, Event::text(&next.to_json()));
    assert_eq!(stale(&machine, 33_000), None);
    assert_eq!(stale(&machine, 33_001), Some(23_001));
    assert_eq!(
        shopper(in_phase(Phase::Ended))
            .view(sale(), NOW + 60_000)
            .stale_ms,
        None
    );
}

#[test]
fn units_that_were_lost_and_had_again_are_said_to_be_while_they_are_held() {
    let restored = Hold {
        reason: Some(Reason::Restored),
        ..hold(HoldState::Held, NOW)
    };
    let holding = |hold| SaleState {
        hold: Some(hold),
        ..state(tick(1, NOW))
    };
    let note = view(holding(restored)).note.expect("a note");
    assert_eq!(
        (note.kind, note.reason),
        ("hold_restored", Some(Reason::Restored))
    );
    assert_eq!(view(holding(hold(HoldState::Held, NOW))).note, None);
}

#[test]
fn what_a_shopper_has_reserved_is_told_apart_from_what_others_have() {
    let mine = |sale_state: SaleState| view(sale_state).stock.map(|stock| (stock.in_carts, stock.mine));
    assert_eq!(mine(state(tick(1, NOW))), Some((4, 0)));
    let turn = with_entry(entry(EntryState::Admitted, 0, NOW), state(tick(1, NOW)));
    let quantity = u64::from(entry(EntryState::Admitted, 0, NOW).quantity);
    assert_eq!(mine(turn), Some((4, quantity)));
    let held = SaleState {
        hold: Some(hold(HoldState::Held, NOW)),
        ..state(tick(1, NOW))
    };
    let quantity = u64::from(hold(HoldState::Held, NOW).quantity);
    assert_eq!(mine(held), Some((4, quantity)));
    let unpaid = SaleState {
        orders: vec![order(OrderStatus::Pending, NOW)],
        ..state(tick(1, NOW))
    };
    let quantity = u64::from(order(OrderStatus::Pending, NOW).quantity);
    assert_eq!(mine(unpaid), Some((4, quantity)));
    let paid = SaleState {
        orders: vec![order(OrderStatus::Confirmed, NOW)],
        ..state(tick(1, NOW))
    };
    assert_eq!(mine(paid), Some((4, 0)), "what is paid for is not in a cart");
}

#[test]
fn people_behind_are_those_of_the_same_line() {
    let ticked = || Tick {
        waiting: 30,
        priority_waiting: 10,
        ..tick(1, NOW)
    };
    let behind = |priority| {
        let entry = Entry {
            priority,
            ..entry(EntryState::Waiting, 4, NOW)
        };
        view(with_entry(entry, state(ticked())))
            .line
            .map(|line| line.behind)
    };
    assert_eq!((behind(false), behind(true)), (Some(16), Some(6)));
}

#[test]
fn a_line_is_said_to_move_by_its_calls_and_not_by_its_pace() {
    let mut machine = shopper(with_entry(
        entry(EntryState::Waiting, 58, NOW),
        state(tick(1, NOW)),
    ));
    let standing = |seq: u64, admitted: u64| Tick {
        admitted,
        available: 0,
        pace_low: 0.0,
        pace_high: 0.0,
        slowed: Some(Reason::StockLow),
        ..tick(seq, NOW + 1_000 * seq)
    };
    for (seq, admitted) in [(2, 20), (3, 53)] {
        step(
            &mut machine,
            Event::text(&ServerMessage::Tick(standing(seq, admitted)).to_json()),
        );
    }
    // The ticks have set the clock.
    let line = machine.view(sale(), NOW).line.expect("in line");
    assert_eq!((line.position, line.soonest_ms), (5, None));
    let moves = line.moves.expect("seen");
    assert_eq!((moves.called, moves.last_ms), (53, Some(0)));
    assert!(moves.per_second > 8.0, "{moves:?}");
}

#[test]
fn a_chance_that_jumps_from_tick_to_tick_keeps_its_word() {
    let mut machine = shopper(with_entry(
        entry(EntryState::Waiting, 20, NOW),
        state(tick(1, NOW)),
    ));
    let with = |seq: u64, available: u64| Tick {
        available,
        ..tick(seq, NOW + 700 * seq)
    };
    let mut said = Vec::new();
    for (seq, available) in [(2, 0), (3, 100), (4, 0), (5, 100), (6, 0)] {
        step(
            &mut machine,
            Event::text(&ServerMessage::Tick(with(seq, available)).to_json()),
        );
        said.push(
            machine
                .view(sale(), NOW + 700 * seq)
                .line
                .and_then(|line| line.chance),
        );
    }
    assert_eq!(said, vec![Some(Chance::Slim); 5]);
}

#[test]
fn who_is_not_in_line_is_told_the_chance_of_joining_now() {
    let chance = |available, waiting| {
        let tick = Tick {
            available,
            waiting,
            ..tick(1, NOW)
        };
        view(state(tick)).stock.and_then(|stock| stock.newcomers_chance)
    };
    assert_eq!(chance(60, 2), Some(Chance::Good));
    assert_eq!(chance(0, 2_820), Some(Chance::Slim));
}

#[test]
fn more_time_is_offered_once_while_nobody_waits_and_the_sale_allows_it() {
    let quiet = || {
        let mut state = state(tick(1, NOW));
        state.tick.waiting = 0;
        state
    };
    let turn = || entry(EntryState::Admitted, 0, NOW);
    let may = |state: SaleState| {
        let view = view(state);
        view.turn.or(view.hold).expect("a time").may_extend
    };
    assert!(may(with_entry(turn(), quiet())));
    for (state, may_extend) in [(HoldState::Held, true), (HoldState::Ordering, false)] {
        let hold = Some(hold(state, NOW));
        assert_eq!(may(SaleState { hold, ..quiet() }), may_extend);
    }
    let mut crowd = quiet();
    crowd.tick.waiting = 1;
    assert!(!may(with_entry(turn(), crowd)));
    let mut strict = quiet();
    strict.sale.extend_once = false;
    assert!(!may(with_entry(turn(), strict)));
    let had = Entry {
        extended: true,
        ..turn()
    };
    assert!(!may(with_entry(had, quiet())));
}
