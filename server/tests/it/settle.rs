//! A checkout may be cut off between any two of its steps, its commit may come late or twice, and its hold may expire or be
//! lost meanwhile. Whatever the order of these, on a real Redis and Postgres: no order is lost that was acknowledged, none
//! appears that was settled as never made, and at the end every unit is sold or for sale.
//!
//! There is no worker: the test says when time is up. `PROPTEST_CASES` says how many cases, beyond the few that every test run
//! has time for.

use crate::harness::{World, command_id};
use flashsale_engine::{
    caller::Caller,
    command,
    error::{Error, Result},
    sale::{LaneRef, Sale},
    settle::{
        checkout::{Checkout, return_units, settle_checkout},
        lanes,
    },
    shop::Shop,
    stock::{CheckoutBegun, Finish, How, Overdue, Reserve, Reserved},
    store::{Cancel, Cancelling, NewOrder, OrderRow, Placed},
};
use flashsale_protocol::{
    CommandId, DeviceId, Done, OrderId, OrderStatus, Role, SaleId, ShopCommand, ShopperId,
};
use fred::interfaces::{HashesInterface, SortedSetsInterface};
use proptest::{
    collection::vec,
    prelude::{Just, Strategy, TestCaseError, any, prop_assert, prop_assert_eq, prop_oneof},
    test_runner::{Config, TestRunner},
};
use serde_json::json;
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Display,
};

const CASES: u32 = 60;
const STEPS: usize = 40;
const SHRINKING_MS: u32 = 60_000;
const SHOPPERS: u8 = 3;
const SUPPLY: u32 = 3;
/// Rounds after which nothing may be under way any more.
const ROUNDS: usize = 10;

type Checked<T = ()> = std::result::Result<T, TestCaseError>;

/// Which of a shopper's checkouts is meant: counted back from the latest.
type Which = u8;

#[derive(Debug, Clone)]
enum Step {
    Reserve(u8),
    /// A gateway begins a checkout, of a new hold if there is none, and no more is heard of it for now.
    Begin(u8),
    /// Its commit arrives in Postgres, perhaps again. Then the gateway finishes the checkout, or is dead.
    Commit {
        who: u8,
        which: Which,
        gateway_lives: bool,
    },
    /// The whole command comes again, at a gateway that lives.
    Again(u8, Which),
    /// A gateway repeats its last step.
    Finish(u8, Which),
    /// The hold's time, or the checkout's lease, is up.
    TimeIsUp(u8),
    Cancel(u8, Which),
    /// Redis begins another life, and the lane with it.
    Lose,
}

fn step() -> impl Strategy<Value = Step> {
    let who = || 0..SHOPPERS;
    let which = || 0..3_u8;
    prop_oneof![
        4 => who().prop_map(Step::Reserve),
        4 => who().prop_map(Step::Begin),
        5 => (who(), which(), any::<bool>())
            .prop_map(|(who, which, gateway_lives)| Step::Commit { who, which, gateway_lives }),
        2 => (who(), which()).prop_map(|(who, which)| Step::Again(who, which)),
        1 => (who(), which()).prop_map(|(who, which)| Step::Finish(who, which)),
        3 => who().prop_map(Step::TimeIsUp),
        4 => (who(), which()).prop_map(|(who, which)| Step::Cancel(who, which)),
        1 => Just(Step::Lose),
    ]
}

/// A checkout as the gateway that began it knows it.
#[derive(Debug, Clone)]
struct Attempt {
    new: NewOrder,
}

struct Run<'a> {
    world: &'a World,
    id: SaleId,
    attempts: BTreeMap<u8, Vec<Attempt>>,
    /// Orders that somebody was told of, with their units.
    acknowledged: BTreeMap<OrderId, u32>,
    /// Checkouts that were settled as never made.
    never: BTreeSet<OrderId>,
    /// What has happened, for the sum at the end.
    seen: BTreeMap<&'static str, u32>,
}

fn failed(error: impl Display) -> TestCaseError {
    TestCaseError::fail(error.to_string())
}

/// A lane that has begun another life refuses those who do not know of it.
fn unless_refused<T>(result: Result<T>) -> Checked<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(Error::LaneFenced(_) | Error::LaneLost | Error::LaneMissing) => Ok(None),
        Err(error) => Err(failed(error)),
    }
}

fn shopper(who: u8) -> ShopperId {
    format!("s{who}").parse().expect("an id")
}

fn device(who: u8) -> DeviceId {
    format!("d{who}").parse().expect("an id")
}

impl<'a> Run<'a> {
    async fn start(world: &'a World) -> Self {
        let fields =
            json!({ "total_stock": SUPPLY, "per_shopper_limit": SUPPLY, "per_device_limit": SUPPLY });
        Self {
            world,
            id: world.sale(fields).await,
            attempts: BTreeMap::new(),
            acknowledged: BTreeMap::new(),
            never: BTreeSet::new(),
            seen: BTreeMap::new(),
        }
    }

    fn shop(&self) -> &'a Shop {
        &self.world.server.app.shop
    }

    async fn sale(&self) -> Checked<(Sale, LaneRef)> {
        let sale = self.shop().store.sale(self.id).await.map_err(failed)?;
        let sale = sale.ok_or_else(|| failed("no sale"))?;
        let at = sale.lane_refs().next().ok_or_else(|| failed("no lane"))?;
        Ok((sale, at))
    }

    fn key(&self, kind: &str) -> String {
        let key = self.shop().stock.keys().live(self.id);
        key.replace("live:{", &format!("{kind}:{{")).replace('}', ".0}")
    }

    fn attempt(&self, who: u8, which: Which) -> Option<Attempt> {
        let attempts = self.attempts.get(&who)?;
        attempts
            .iter()
            .rev()
            .nth(usize::from(which) % attempts.len())
            .cloned()
    }

    fn saw(&mut self, what: &'static str) {
        *self.seen.entry(what).or_default() += 1;
    }

    async fn step(&mut self, step: &Step) -> Checked {
        match *step {
            Step::Reserve(who) => self.reserve(who).await?,
            Step::Begin(who) => self.begin(who).await?,
            Step::Commit {
                who,
                which,
                gateway_lives,
            } => {
                if let Some(attempt) = self.attempt(who, which) {
                    self.commit(&attempt, gateway_lives).await?;
                }
            }
            Step::Again(who, which) => {
                if let Some(attempt) = self.attempt(who, which) {
                    self.again(who, &attempt).await?;
                }
            }
            Step::Finish(who, which) => {
                if let Some(Attempt { new }) = self.attempt(who, which)
                    && self.acknowledged.contains_key(&new.order)
                {
                    let committed = Finish::Committed {
                        hold: new.hold_command.clone(),
                    };
                    self.finish(&new, committed).await?;
                }
            }
            Step::TimeIsUp(who) => {
                self.overdue(vec![shopper(who).to_string()]).await?;
                self.expire().await?;
            }
            Step::Cancel(who, which) => {
                if let Some(attempt) = self.attempt(who, which) {
                    self.cancel(&attempt.new).await?;
                }
            }
            Step::Lose => {
                let client = self.shop().stock.client();
                let _: i64 = client
                    .hset(self.key("stock"), ("run", "another"))
                    .await
                    .map_err(failed)?;
                let (sale, _) = self.sale().await?;
                prop_assert!(lanes::open(self.shop(), &sale).await.map_err(failed)?);
                self.saw("a lane lost");
            }
        }
        self.check().await
    }

    async fn reserve(&mut self, who: u8) -> Checked {
        let (_, at) = self.sale().await?;
        let item = Reserve {
            shopper: shopper(who),
            quantity: 1,
            how: How::Regain,
            command: command_id(),
            device: device(who),
        };
        let answer = self.shop().stock.reserve(at, item).await.map_err(failed)?;
        if matches!(answer.value, Reserved::Ok { .. }) {
            self.saw("a hold");
        }
        Ok(())
    }

    async fn begin(&mut self, who: u8) -> Checked {
        let (sale, at) = self.sale().await?;
        let command = command_id();
        let digest = command::digest("checkout", &[&sale.id.to_string(), ""]);
        let order = self.order_id(&sale, who, command, &digest);
        let stock = &self.shop().stock;
        let begin = || stock.begin_checkout(at, shopper(who), order);
        let mut begun = begin().await.map_err(failed)?.value;
        if !matches!(begun, CheckoutBegun::Ok { .. } | CheckoutBegun::CheckoutRunning) {
            self.reserve(who).await?;
            begun = begin().await.map_err(failed)?.value;
        }
        let CheckoutBegun::Ok {
            quantity,
            device,
            hold,
        } = begun
        else {
            return Ok(());
        };
        self.saw("a checkout begun");
        let new = NewOrder {
            at,
            order,
            shopper: shopper(who),
            operator: None,
            device,
            command,
            hold_command: hold,
            hold_name: "h".into(),
            digest,
            quantity,
            unit_price: sale.sale_price,
            amount: sale.sale_price,
            currency: sale.currency,
            payment_ms: sale.payment_ms,
            cancel_limit: 1_000_000,
            terms: None,
            person: None,
        };
        self.attempts.entry(who).or_default().push(Attempt { new });
        Ok(())
    }

    /// As `command/names.rs` makes it, so that the whole command names the same order.
    fn order_id(&self, sale: &Sale, who: u8, command: CommandId, digest: &[u8]) -> OrderId {
        let (shopper, text) = (shopper(who), command.to_string());
        let parts = [shopper.as_str().as_bytes(), text.as_bytes(), digest];
        let merchant = self.shop().merchants.by_id(&sale.merchant).expect("its merchant");
        OrderId::from_parts(sale.id.0.timestamp_ms(), merchant.bits(&parts))
    }

    async fn commit(&mut self, Attempt { new }: &Attempt, gateway_lives: bool) -> Checked {
        let placed = self.shop().store.place(new.clone()).await.map_err(failed)?;
        if !gateway_lives {
            self.saw("a commit whose answer was lost");
            return Ok(());
        }
        let outcome = match &placed {
            Placed::Ok(row) => {
                self.acknowledge(row)?;
                if row.hold_command == new.hold_command {
                    Finish::Committed {
                        hold: new.hold_command.clone(),
                    }
                } else {
                    Finish::Undone
                }
            }
            Placed::Refused => {
                self.saw("a commit refused");
                Finish::Refused
            }
            Placed::Told(_) => {
                return Err(failed("a command of its own was refused"));
            }
        };
        self.finish(new, outcome).await
    }

    async fn finish(&mut self, new: &NewOrder, outcome: Finish) -> Checked {
        let finished = self
            .shop()
            .stock
            .finish_checkout(new.at, new.shopper.clone(), new.order, outcome);
        unless_refused(finished.await).map(drop)
    }

    fn acknowledge(&mut self, row: &OrderRow) -> Checked {
        prop_assert!(
            !self.never.contains(&row.order),
            "I5: {} was never made",
            row.order
        );
        self.saw("an order");
        self.acknowledged.insert(row.order, row.quantity);
        Ok(())
    }

    async fn again(&mut self, who: u8, Attempt { new }: &Attempt) -> Checked {
        let mut caller = Caller::new(shopper(who), Role::Shopper, u64::MAX).in_sale(self.id);
        (caller.device, caller.device_is_proven) = (Some(device(who)), true);
        let again = ShopCommand::Checkout {
            sale: self.id,
            payment: None,
        };
        self.shop().forget_sale(self.id).await;
        if let Ok(Done::Order(order)) = command::run(self.shop(), &caller, new.command, again).await {
            prop_assert_eq!(order.order, new.order, "I4");
            let row = self.shop().store.order(new.order).await.map_err(failed)?;
            let row = row.ok_or_else(|| failed("I5: an order was acknowledged that is not there"))?;
            self.acknowledge(&row)?;
            self.saw("a command repeated");
        }
        Ok(())
    }

    /// The deadlines of those who have one are over.
    async fn overdue(&self, who: Vec<String>) -> Checked {
        let client = self.shop().stock.client();
        for who in who {
            let record: Option<String> = client.hget(self.key("holds"), &who).await.map_err(failed)?;
            let Some(record) = record else { continue };
            let mut words: Vec<&str> = record.split(' ').collect();
            words[2] = "1";
            let _: () = client
                .hset(self.key("holds"), (who.clone(), words.join(" ")))
                .await
                .map_err(failed)?;
            let bucket = (1.0, who);
            let _: () = client
                .zadd(self.key("deadlines"), None, None, false, false, bucket)
                .await
                .map_err(failed)?;
        }
        Ok(())
    }

    /// What the worker does about overdue holds and checkouts.
    async fn expire(&mut self) -> Checked {
        let (sale, at) = self.sale().await?;
        for item in self.shop().stock.expire(at).await.map_err(failed)?.value.0 {
            let Overdue::Checkout {
                shopper,
                quantity,
                device,
                order,
            } = item
            else {
                self.saw("a hold expired");
                continue;
            };
            let checkout = Checkout {
                at,
                shopper,
                quantity,
                device,
                order,
            };
            settle_checkout(self.shop(), &sale, checkout)
                .await
                .map_err(failed)?;
            self.saw("a checkout settled");
        }
        Ok(())
    }

    async fn cancel(&mut self, new: &NewOrder) -> Checked {
        let digest = command::digest("cancel", &[&new.order.to_string()]);
        let cancelled = self
            .shop()
            .store
            .cancel(Cancel {
                order: new.order,
                shopper: new.shopper.clone(),
                operator: None,
                command: command_id(),
                digest,
            })
            .await
            .map_err(failed)?;
        if let Cancelling::Now(cancelled) = cancelled {
            self.saw("an order cancelled");
            return_units(self.shop(), &[*cancelled]).await.map_err(failed)?;
        }
        Ok(())
    }

    /// What must hold after every step.
    async fn check(&mut self) -> Checked {
        let (sale, at) = self.sale().await?;
        let store = &self.shop().store;
        let counters = self.shop().stock.counters(at).await.map_err(failed)?;
        prop_assert!(counters.balanced(), "I1: {:?}", counters);
        let mut allocated = 0;
        let orders = store.orders_of_sale(self.id).await.map_err(failed)?;
        for row in orders.iter().filter(|row| row.status != OrderStatus::Cancelled) {
            allocated += row.quantity;
        }
        prop_assert_eq!(sale.lanes[0].allocated, allocated);
        prop_assert!(allocated <= SUPPLY, "I2: {} sold of {}", allocated, SUPPLY);
        prop_assert_eq!(
            store.holds_ordered_twice(self.id).await.map_err(failed)?,
            vec![],
            "I3"
        );
        for (order, units) in &self.acknowledged {
            let row = orders.iter().find(|row| row.order == *order);
            prop_assert_eq!(row.map(|row| row.quantity), Some(*units), "I5: {}", order);
        }
        let attempts: Vec<OrderId> = self
            .attempts
            .values()
            .flatten()
            .map(|attempt| attempt.new.order)
            .collect();
        for order in attempts {
            let row = store.order(order).await.map_err(failed)?;
            if row.as_ref().is_some_and(|row| row.quantity == 0) {
                self.never.insert(order);
            } else {
                prop_assert!(
                    !self.never.contains(&order),
                    "{} was settled as never made",
                    order
                );
            }
        }
        Ok(())
    }

    /// The world heals: everything that is under way comes to its end.
    async fn end(&mut self) -> Checked {
        let deadlines = self.key("deadlines");
        for _ in 0..ROUNDS {
            let client = self.shop().stock.client();
            let running: Vec<String> = client
                .zrange(&deadlines, 0, -1, None, false, None, false)
                .await
                .map_err(failed)?;
            if running.is_empty() {
                break;
            }
            self.overdue(running).await?;
            self.expire().await?;
        }
        let (sale, at) = self.sale().await?;
        let waiting = self.shop().store.units_to_return(self.id).await.map_err(failed)?;
        return_units(self.shop(), &waiting).await.map_err(failed)?;
        self.check().await?;
        let counters = self.shop().stock.counters(at).await.map_err(failed)?;
        let allocated = u64::from(sale.lanes[0].allocated);
        prop_assert_eq!(
            [
                counters.available,
                counters.claimed,
                counters.held,
                counters.ordering,
                counters.sold
            ],
            [u64::from(SUPPLY) - allocated, 0, 0, 0, allocated],
            "I12: a unit is neither sold nor for sale"
        );
        crate::audit::verify(self.world, self.id)
            .await
            .map(drop)
            .map_err(|bad| failed(format!("the audit log: {bad:?}")))
    }
}

#[test]
fn a_checkout_cut_off_anywhere_is_settled_as_one_order_or_none() {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let world = runtime.block_on(World::with(&["--roles", "gateway"]));
    let mut config = Config {
        failure_persistence: None,
        max_shrink_iters: u32::MAX,
        max_shrink_time: SHRINKING_MS,
        ..Config::default()
    };
    if std::env::var("PROPTEST_CASES").is_err() {
        config.cases = CASES;
    }
    let seen = std::sync::Mutex::new(BTreeMap::<&'static str, u32>::new());
    let result = TestRunner::new(config).run(&vec(step(), STEPS / 4..STEPS), |steps| {
        runtime.block_on(async {
            let mut run = Run::start(&world).await;
            for step in &steps {
                run.step(step).await?;
            }
            run.end().await?;
            if let Ok(mut seen) = seen.lock() {
                for (what, times) in run.seen {
                    *seen.entry(what).or_default() += times;
                }
            }
            Ok(())
        })
    });
    let seen = seen.into_inner().expect("not poisoned");
    println!("{seen:#?}");
    runtime.block_on(world.server.stop());
    if let Err(failure) = result {
        panic!("{failure}");
    }
    for what in [
        "a hold expired",
        "a checkout settled",
        "a commit whose answer was lost",
        "a commit refused",
        "a command repeated",
        "an order cancelled",
        "a lane lost",
    ] {
        assert!(seen.contains_key(what), "{what}: never seen");
    }
}
