//! What may happen to a sale, drawn at random. Shoppers, devices, commands and orders are small numbers, so that they meet;
//! a shopper's number beyond the last one aims at those to whom the step can happen.

use flashsale_engine::stock::{How, TurnVerdict, What};
use flashsale_protocol::Phase;
use proptest::{
    collection::vec,
    prelude::{Just, Strategy, any, prop_oneof},
};
use std::collections::BTreeMap;

pub const SHOPPERS: u8 = 5;
pub const DEVICES: u8 = 3;
/// Of one shopper.
const COMMANDS: u8 = 24;
const ORDERS: u8 = 9;
const MOST_UNITS: u32 = 8;
/// Ids of moves.
const MOVES: u8 = 24;
const MOST_ITEMS: usize = 4;

/// What stays the same in one case.
#[derive(Debug, Clone)]
pub struct Terms {
    pub supply: u32,
    pub shopper_limit: u32,
    pub device_limit: u32,
    pub lanes: u16,
    pub short_holds: bool,
    pub short_claims: bool,
    pub gate_open: bool,
    /// Places before the start are the seed's.
    pub shuffles: bool,
}

#[derive(Debug, Clone)]
pub struct Turn {
    pub step: Step,
    /// Further calls with the same contents: the reply to the one before was lost.
    pub repeats: u8,
    /// By a gateway that does not know of the lane's last epoch yet.
    pub old_epoch: bool,
}

#[derive(Debug, Clone)]
pub enum Step {
    // Shoppers, several at once.
    Reserve(Vec<ReserveItem>),
    Release(Vec<(u8, What, u8)>),
    /// True: others wait for units.
    Extend(Vec<(u8, bool, u8)>),
    Begin(Vec<(u8, u8)>),
    /// How it ends is for Postgres to say; true: the command was no checkout, unless Postgres has the order.
    Finish(Vec<(u8, u8, bool)>),
    Person(Vec<u8>),
    Join {
        items: Vec<JoinItem>,
        /// False: the gateway has died before it closed the gate, and has promised nothing.
        close: bool,
    },
    Place(Vec<u8>),
    Leave(u8, u8),
    // Postgres. A number picks one of those that there are.
    Commit(u8),
    Cancel(u8),
    // Workers.
    Claim(Vec<(u8, u32)>),
    Expire,
    Return(Vec<u8>),
    // The lane's supply: a move takes units away in three steps, any of which may be lost, late or repeated.
    Take(u8, u32),
    /// Postgres commits one of the moves that have taken units.
    CommitMove(u8),
    /// Units come to the lane, in Postgres.
    MoreSupply(u32),
    /// Redis hears of one version of the supply.
    Follow(u8),
    /// The reconciler tells it of all that it has missed.
    CatchUp,
    /// … and ends a move that was left half-way.
    EndMove(u8),
    /// Money has come for a cancelled order. True: the worker dies once it has the units.
    Revive(u8, bool),
    /// So many, and so many percent of them of the priority line.
    Admit(usize, u32),
    /// The worker's whole step: called, claimed for, settled.
    Admission(usize, u32),
    /// Their last socket has closed.
    GoAway(Vec<u8>),
    /// Everybody has been away for too long.
    ExpireAbsent,
    Settle(Vec<(u8, TurnVerdict)>),
    /// By what was seen of the line at one of the last looks.
    OpenGate(u8),
    Lead {
        token: u8,
        lease_ms: u64,
    },
    Tick(u8),
    Settings(NewSettings),
    // Time.
    Pass {
        shopper: u8,
        lease: bool,
        hold: bool,
    },
    // Loss and rebuild.
    Save,
    Lose(Loss),
    /// The worker stops after so many of lock, refill, open.
    Rebuild(u8),
    /// A worker that had stopped goes on.
    Resume(u8),
}

#[derive(Debug, Clone)]
pub struct ReserveItem {
    pub shopper: u8,
    pub quantity: u32,
    pub how: How,
    pub command: u8,
    pub device: u8,
}

#[derive(Debug, Clone)]
pub struct JoinItem {
    pub shopper: u8,
    pub device: u8,
    pub quantity: u32,
    pub priority: bool,
    pub command: u8,
}

#[derive(Debug, Clone)]
pub struct NewSettings {
    pub short_holds: bool,
    pub short_claims: bool,
    pub status: Phase,
    /// Hours from now.
    pub starts: i64,
    pub ends: i64,
    pub room_opens: i64,
    /// They were read before the last change.
    pub are_old: bool,
}

#[derive(Debug, Clone, Copy)]
pub enum Loss {
    /// Redis was started anew, and has its data.
    Restart,
    /// … and has the data of the last `Save`.
    OlderFile,
    Everything,
    Records,
    Deadlines,
}

pub fn terms() -> impl Strategy<Value = Terms> {
    (
        prop_oneof![1 => Just(0), 9 => 1..=MOST_UNITS],
        1u32..=3,
        1u32..=4,
        prop_oneof![3 => Just(1u16), 1 => Just(2)],
        rarely(),
        rarely(),
        proptest::bool::weighted(0.7),
        rarely(),
    )
        .prop_map(
            |(supply, shopper_limit, device_limit, lanes, short_holds, short_claims, gate_open, shuffles)| {
                Terms {
                    supply,
                    shopper_limit,
                    device_limit,
                    lanes,
                    short_holds,
                    short_claims,
                    gate_open,
                    shuffles,
                }
            },
        )
}

pub fn turns(most: usize) -> impl Strategy<Value = Vec<Turn>> {
    let turn = (
        step(),
        prop_oneof![6 => Just(0u8), 2 => Just(1), 1 => Just(2)],
        proptest::bool::weighted(0.05),
    )
        .prop_map(|(step, repeats, old_epoch)| Turn {
            step,
            repeats,
            old_epoch,
        });
    vec(turn, 1..=most)
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        18 => several(reserve_item()).prop_map(Step::Reserve),
        5 => several((aimed(), what(), command())).prop_map(Step::Release),
        4 => several((aimed(), rarely(), command())).prop_map(Step::Extend),
        14 => several((aimed(), 0..ORDERS)).prop_map(Step::Begin),
        12 => several((aimed(), 0..ORDERS, proptest::bool::weighted(0.3))).prop_map(Step::Finish),
        2 => several(shopper()).prop_map(Step::Person),
        8 => (several(join_item()), proptest::bool::weighted(0.9)).prop_map(|(items, close)| Step::Join { items, close }),
        2 => several(shopper()).prop_map(Step::Place),
        4 => (aimed(), command()).prop_map(|(shopper, command)| Step::Leave(shopper, command)),
        20 => any::<u8>().prop_map(Step::Commit),
        6 => any::<u8>().prop_map(Step::Cancel),
        7 => several((shopper(), 1u32..=3)).prop_map(Step::Claim),
        6 => Just(Step::Expire),
        5 => several(any::<u8>()).prop_map(Step::Return),
        5 => (any::<u8>(), rarely()).prop_map(|(order, dies)| Step::Revive(order, dies)),
        5 => (0..MOVES, 1..=MOST_UNITS).prop_map(|(id, units)| Step::Take(id, units)),
        4 => any::<u8>().prop_map(Step::CommitMove),
        3 => (1..=MOST_UNITS).prop_map(Step::MoreSupply),
        5 => any::<u8>().prop_map(Step::Follow),
        2 => Just(Step::CatchUp),
        3 => (0..MOVES).prop_map(Step::EndMove),
        5 => (0usize..=4, share()).prop_map(|(most, share)| Step::Admit(most, share)),
        4 => (0usize..=4, share()).prop_map(|(most, share)| Step::Admission(most, share)),
        5 => several(shopper()).prop_map(Step::GoAway),
        1 => Just(Step::ExpireAbsent),
        7 => several((aimed(), prop_oneof![Just(TurnVerdict::Served), Just(TurnVerdict::Back)])).prop_map(Step::Settle),
        10 => any::<u8>().prop_map(Step::OpenGate),
        3 => (0..3u8, prop_oneof![Just(0u64), Just(1), Just(3_600_000)])
            .prop_map(|(token, lease_ms)| Step::Lead { token, lease_ms }),
        2 => (0..3u8).prop_map(Step::Tick),
        3 => settings().prop_map(Step::Settings),
        5 => (shopper(), any::<bool>(), any::<bool>())
            .prop_map(|(shopper, lease, hold)| Step::Pass { shopper, lease, hold }),
        2 => Just(Step::Save),
        3 => prop_oneof![
            Just(Loss::Restart), Just(Loss::OlderFile), Just(Loss::Everything), Just(Loss::Records), Just(Loss::Deadlines),
        ].prop_map(Step::Lose),
        7 => prop_oneof![1 => 0..=2u8, 4 => Just(3)].prop_map(Step::Rebuild),
        2 => any::<u8>().prop_map(Step::Resume),
    ]
}

/// Percent of the turns for the priority line.
fn share() -> impl Strategy<Value = u32> {
    prop_oneof![1 => Just(0u32), 3 => Just(50), 1 => Just(100)]
}

fn rarely() -> proptest::bool::Weighted {
    proptest::bool::weighted(0.2)
}

fn shopper() -> std::ops::Range<u8> {
    0..SHOPPERS
}

/// Any shopper, or (more often) one of those to whom the step can happen.
fn aimed() -> std::ops::Range<u8> {
    0..3 * SHOPPERS
}

fn several<T: std::fmt::Debug>(item: impl Strategy<Value = T>) -> impl Strategy<Value = Vec<T>> {
    vec(item, 1..=MOST_ITEMS)
}

fn reserve_item() -> impl Strategy<Value = ReserveItem> {
    let how = prop_oneof![4 => Just(How::All), 2 => Just(How::Partial), 1 => Just(How::Regain)];
    (aimed(), 1u32..=3, how, command(), 0..DEVICES).prop_map(|(shopper, quantity, how, command, device)| {
        ReserveItem {
            shopper,
            quantity,
            how,
            command,
            device,
        }
    })
}

fn join_item() -> impl Strategy<Value = JoinItem> {
    (shopper(), 0..DEVICES, 1u32..=2, rarely(), command()).prop_map(
        |(shopper, device, quantity, priority, command)| JoinItem {
            shopper,
            device,
            quantity,
            priority,
            command,
        },
    )
}

fn what() -> impl Strategy<Value = What> {
    prop_oneof![4 => Just(What::Held), 4 => Just(What::Claim), 1 => Just(What::Nothing)]
}

/// A few come again and again.
fn command() -> impl Strategy<Value = u8> {
    prop_oneof![1 => 0..3u8, 2 => 0..COMMANDS]
}

fn settings() -> impl Strategy<Value = NewSettings> {
    let status = prop_oneof![
        20 => Just(Phase::Live), 1 => Just(Phase::Paused), 1 => Just(Phase::Ended), 1 => Just(Phase::Cancelled),
    ];
    (
        rarely(),
        rarely(),
        status,
        prop_oneof![12 => Just(-1i64), 1 => Just(1)],
        prop_oneof![30 => Just(2i64), 1 => Just(-1)],
        prop_oneof![30 => Just(-2i64), 1 => Just(1)],
        rarely(),
    )
        .prop_map(
            |(short_holds, short_claims, status, starts, ends, room_opens, are_old)| NewSettings {
                short_holds,
                short_claims,
                status,
                starts,
                ends,
                room_opens,
                are_old,
            },
        )
}

/// Items in the order in which they are carried out: of one shopper's items a batch has one.
pub fn in_batches<I: Clone, K: Ord>(items: &[I], shopper: impl Fn(&I) -> K) -> Vec<I> {
    let mut batches: BTreeMap<K, usize> = BTreeMap::new();
    let mut sorted: Vec<(usize, &I)> = items
        .iter()
        .map(|item| {
            let batch = batches.entry(shopper(item)).or_default();
            *batch += 1;
            (*batch, item)
        })
        .collect();
    sorted.sort_by_key(|(batch, _)| *batch);
    sorted.into_iter().map(|(_, item)| item.clone()).collect()
}
