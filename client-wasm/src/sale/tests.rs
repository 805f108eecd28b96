use super::*;
use crate::fixture::{entry, hold, sale, state, tick};
use flashsale_protocol::{
    Reason,
    draw::{Format, Hash, Seed},
};
use proptest::prelude::*;

#[test]
fn an_entry_never_goes_back_in_time() {
    let mut known = Known::default();
    known.apply_entry(entry(EntryState::Admitted, 0, 20));
    known.apply_entry(entry(EntryState::Waiting, 5, 10));
    assert_eq!(known.entry.map(|entry| entry.state), Some(EntryState::Admitted));
}

#[test]
fn of_two_holds_from_one_millisecond_the_one_further_on_is_true() {
    for order in [
        [HoldState::Held, HoldState::Ordered],
        [HoldState::Ordered, HoldState::Held],
    ] {
        let mut known = Known::default();
        for state in order {
            known.apply_hold(hold(state, 7));
        }
        assert_eq!(known.hold.map(|hold| hold.state), Some(HoldState::Ordered));
    }
}

#[test]
fn a_worse_place_is_shown_only_when_the_server_says_why() {
    let mut known = Known::default();
    known.apply_entry(entry(EntryState::Waiting, 10, 1));
    known.apply_entry(entry(EntryState::Waiting, 15, 2));
    assert_eq!(known.position(), Some(10));
    known.apply_entry(Entry {
        reason: Some(Reason::LimitReached),
        ..entry(EntryState::Waiting, 15, 3)
    });
    assert_eq!(known.position(), Some(15));
}

#[test]
fn a_new_stay_in_line_starts_at_its_own_place() {
    let mut known = Known::default();
    known.apply_entry(entry(EntryState::Waiting, 3, 1));
    known.left();
    assert_eq!(known.position(), None);
    known.apply_entry(entry(EntryState::Waiting, 90, 2));
    assert_eq!(known.position(), Some(90));
}

#[test]
fn a_turn_is_used_up_by_its_hold_and_does_not_come_back_with_the_holds_end() {
    for order in [[true, false], [false, true]] {
        let mut known = Known::default();
        for is_entry in order {
            if is_entry {
                known.apply_entry(entry(EntryState::Admitted, 0, 5));
            } else {
                known.apply_hold(hold(HoldState::Held, 6));
            }
        }
        known.apply_hold(hold(HoldState::Expired, 9));
        assert_eq!(
            known.entry.as_ref().map(|entry| entry.state),
            Some(EntryState::Served)
        );
        known.apply_entry(entry(EntryState::Admitted, 0, 10));
        assert_eq!(
            known.entry.map(|entry| entry.state),
            Some(EntryState::Admitted),
            "the next turn counts"
        );
    }
}

#[test]
fn what_a_fresh_state_does_not_mention_is_gone() {
    let mut known = Known::default();
    known.apply_entry(entry(EntryState::Waiting, 3, 900));
    known.apply_hold(hold(HoldState::Held, 900));
    known.apply_state(state(tick(1, 500)), true);
    assert!(known.entry.is_none() && known.hold.is_none() && known.position().is_none());
}

#[test]
fn the_nonce_is_the_last_one_told_and_the_shopper_the_first_until_another_signs_in() {
    let nonces = [1, 2].map(|byte| Some(Nonce([byte; 16])));
    let with = |nonce, state, at| Entry {
        nonce,
        ..entry(state, 3, at)
    };
    let mut known = Known::default();
    known.apply_entry(with(nonces[0], EntryState::Waiting, 1));
    known.apply_entry(with(None, EntryState::Admitted, 2));
    assert_eq!(known.nonce, nonces[0], "news of a turn has none");
    known.left();
    assert_eq!(known.nonce, None);
    known.apply_entry(with(nonces[1], EntryState::Waiting, 3));
    known.apply_entry(with(nonces[0], EntryState::Waiting, 1));
    assert_eq!(known.nonce, nonces[1], "old news");
    for who in ["jo", "al"] {
        let state = SaleState {
            shopper: who.parse().ok(),
            ..state(tick(1, 1))
        };
        known.apply_state(state, false);
    }
    assert_eq!(known.shopper.as_ref().map(ShopperId::as_str), Some("jo"));
    known.forget_shopper();
    assert_eq!((known.shopper, known.nonce), (None, None));
}

#[test]
fn a_state_that_was_read_before_the_news_does_not_undo_it() {
    let mut known = Known::default();
    known.apply_hold(hold(HoldState::Held, 900));
    known.apply_state(state(tick(1, 500)), false);
    assert!(known.hold.is_some());
}

#[test]
fn what_was_heard_of_a_draw_before_it_was_held_is_kept_and_the_draw_does_not_go_back() {
    let draw = |root: Option<u8>, seed: Option<u8>| Draw {
        root: root.map(|byte| Hash([byte; 32])),
        seed: seed.map(|byte| Seed([byte; 32])),
        ..Draw::committed(Format::One, sale(), Hash([1; 32]))
    };
    let mut known = Known::default();
    known.apply_entry(entry(EntryState::Entered, 0, 5));
    known.apply_draw(draw(None, None));
    known.apply_draw(draw(Some(2), None));
    known.apply_draw(draw(None, None));
    let noted = known.noted.expect("heard");
    assert_eq!(noted.root, Some(Hash([2; 32])));
    assert_eq!(
        known.entry.as_ref().map(|entry| entry.state),
        Some(EntryState::Entered)
    );
    known.apply_draw(draw(Some(3), Some(4)));
    assert_eq!(known.noted.and_then(|noted| noted.root), Some(Hash([2; 32])));
    assert_eq!(known.draw.as_ref().map(stage), Some(Stage::Drawn));
    assert_eq!(known.entry.map(|entry| entry.state), Some(EntryState::NotDrawn));

    let mut late = Known::default();
    late.apply_draw(draw(Some(3), Some(4)));
    assert_eq!(
        late.noted.and_then(|noted| noted.root),
        None,
        "heard too late to count"
    );
}

#[test]
fn whoever_is_in_line_when_the_rest_is_drawn_is_in_the_draw_without_news_of_their_own() {
    let draw = |seed: Option<u8>| Draw {
        root: Some(Hash([2; 32])),
        seed: seed.map(|byte| Seed([byte; 32])),
        ..Draw::committed(Format::One, sale(), Hash([1; 32]))
    };
    let mut known = Known::default();
    known.apply_entry(entry(EntryState::Waiting, 7, 5));
    known.apply_draw(draw(None));
    assert_eq!(
        (known.entry.as_ref().map(|entry| entry.state), known.position()),
        (Some(EntryState::Entered), None)
    );
    known.apply_draw(draw(Some(4)));
    assert_eq!(known.entry.map(|entry| entry.state), Some(EntryState::NotDrawn));
}

#[test]
fn a_winner_is_not_told_that_they_were_not_drawn() {
    let won = entry(EntryState::Admitted, 0, 9);
    let drawn = Draw {
        seed: Some(Seed([4; 32])),
        ..Draw::committed(Format::One, sale(), Hash([1; 32]))
    };
    for order in [[true, false], [false, true]] {
        let mut known = Known::default();
        known.apply_entry(entry(EntryState::Entered, 0, 5));
        for is_entry in order {
            if is_entry {
                known.apply_entry(won.clone());
            } else {
                known.apply_draw(drawn.clone());
            }
        }
        assert_eq!(known.entry.map(|entry| entry.state), Some(EntryState::Admitted));
    }
}

proptest! {
    #[test]
    fn a_tick_never_goes_back(seqs in prop::collection::vec(0u64..50, 1..40)) {
        let mut known = Known::default();
        let mut shown = None;
        for seq in seqs {
            known.apply_tick(tick(seq, seq));
            let now = known.tick.as_ref().map(|tick| tick.seq);
            prop_assert!(now >= shown);
            shown = now;
        }
    }

    #[test]
    fn the_position_never_gets_worse_within_one_stay(
        news in prop::collection::vec((any::<bool>(), 1u64..1_000, 0u64..1_000), 1..60)
    ) {
        let mut known = Known::default();
        let mut shown = u64::MAX;
        for (at, (is_tick, position, admitted)) in (1u64..).zip(news) {
            if is_tick {
                known.apply_tick(Tick { admitted, ..tick(at, at) });
            } else {
                known.apply_entry(Entry { admitted, ..entry(EntryState::Waiting, position, at) });
            }
            if let Some(position) = known.position() {
                prop_assert!(position <= shown && position >= 1);
                shown = position;
            }
        }
    }

    #[test]
    fn news_may_arrive_in_any_order(order in Just((0..6u64).collect::<Vec<_>>()).prop_shuffle()) {
        let states = [HoldState::Held, HoldState::Released, HoldState::Held, HoldState::Ordering, HoldState::Held, HoldState::Ordered];
        let mut known = Known::default();
        for at in order {
            known.apply_hold(hold(states[usize::try_from(at).unwrap_or(0)], at));
        }
        prop_assert_eq!(known.hold.map(|hold| hold.state), Some(HoldState::Ordered));
    }
}
