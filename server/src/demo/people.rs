//! The demo's crowd: people who stand in line and, at their turn, mostly buy. Some think better of it, some look away for too long, and
//! now and then one leaves early. They use the same commands as everybody.

use crate::app::App;
use flashsale_engine::{
    caller::Caller,
    command::{self, Answer},
    error::Error,
};
use flashsale_protocol::{
    Done, EntryState, Nonce, Payment, Phase, Quantity, Role, SaleId, ShopCommand, ShopperId,
};
use futures_util::{StreamExt, stream};
use rand::RngExt;
use std::{collections::VecDeque, sync::Arc, time::Duration};
use tokio_util::sync::CancellationToken;

/// Commands of the crowd that are under way at once, while it comes or is looked for.
const AT_ONCE: usize = 200;
/// How often the front of the line is looked at.
const LOOK: Duration = Duration::from_millis(500);
/// Of so many looks, at one somebody leaves who is not called yet.
const LOOKS_PER_LEAVER: u32 = 20;
/// The test card that pays.
const CARD: &str = "sandbox_approve";

/// What somebody does at their turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Temper {
    Buys,
    /// Puts it into the cart, and back.
    Returns,
    /// Says that others may go first.
    Skips,
    /// Is not there.
    Misses,
}

/// Out of a hundred people: most buy.
fn temper(of_hundred: u32) -> Temper {
    match of_hundred {
        0..70 => Temper::Buys,
        70..80 => Temper::Returns,
        80..90 => Temper::Skips,
        _ => Temper::Misses,
    }
}

/// A crowd, the first in line first.
pub struct Crowd {
    sale: SaleId,
    size: usize,
    /// Milliseconds of a second: tests are in a hurry.
    pub second_ms: u64,
}

impl Crowd {
    pub fn new(sale: SaleId, size: usize) -> Self {
        Self {
            sale,
            size,
            second_ms: 1_000,
        }
    }

    fn caller(&self, number: usize) -> Result<Caller, Error> {
        let wrong = |_| Error::unexpected("a demo shopper");
        let account: ShopperId = format!("demo-{number:05}").parse().map_err(wrong)?;
        let mut caller = Caller::new(account, Role::Shopper, u64::MAX);
        caller.device = Some(format!("demo-device-{number:05}").parse().map_err(wrong)?);
        Ok(caller)
    }

    async fn give(&self, app: &App, number: usize, command: ShopCommand) -> Answer {
        let caller = self.caller(number)?;
        command::run(&app.shop, &caller, command::command_id_now(), command).await
    }

    /// All join, each from a device of their own.
    pub async fn join(&self, app: &App) -> Result<(), Error> {
        let joins = stream::iter(0..self.size).map(|number| {
            let join = ShopCommand::Join {
                sale: self.sale,
                quantity: Quantity::ONE,
                nonce: Some(Nonce(rand::random())),
            };
            self.give(app, number, join)
        });
        let joined: Vec<Answer> = joins.buffered(AT_ONCE).collect().await;
        for answer in joined {
            answer.map_err(|reject| Error::unexpected(reject.message))?;
        }
        Ok(())
    }

    /// Stays until nobody of it waits any more, or the sale or the server ends.
    pub async fn stay(self, app: Arc<App>, stopping: CancellationToken) {
        let _ = stopping.run_until_cancelled(self.live(app)).await;
    }

    async fn live(self, app: Arc<App>) {
        let (crowd, mut looks) = (Arc::new(self), 0_u32);
        let mut line = crowd.line(&app).await;
        while let Some(first) = line.front().copied() {
            match crowd.entry(&app, first).await {
                Look::Called => {
                    let (crowd, app) = (crowd.clone(), app.clone());
                    tokio::spawn(async move { crowd.act(&app, first).await });
                    line.pop_front();
                    continue;
                }
                Look::Gone => {
                    line.pop_front();
                    continue;
                }
                Look::Over => return,
                Look::Waits => {}
            }
            looks += 1;
            if looks.is_multiple_of(LOOKS_PER_LEAVER) {
                let one = rand::rng().random_range(0..line.len());
                if let Some(number) = line.remove(one) {
                    let _ = crowd
                        .give(&app, number, ShopCommand::Leave { sale: crowd.sale })
                        .await;
                }
            }
            tokio::time::sleep(LOOK * crowd.second_ms as u32 / 1_000).await;
        }
    }

    /// Those who wait or are called, by their place.
    async fn line(&self, app: &App) -> VecDeque<usize> {
        let places = stream::iter(0..self.size).map(async |number| {
            let state = self
                .give(app, number, ShopCommand::State { sale: self.sale })
                .await;
            match state {
                Ok(Done::State(state)) => state.entry.and_then(|entry| match entry.state {
                    EntryState::Admitted => Some((0, number)),
                    EntryState::Waiting => Some((entry.position, number)),
                    _ => None,
                }),
                _ => None,
            }
        });
        let mut found: Vec<(u64, usize)> = places
            .buffered(AT_ONCE)
            .filter_map(async |place| place)
            .collect()
            .await;
        found.sort_unstable();
        found.into_iter().map(|(_, number)| number).collect()
    }

    async fn entry(&self, app: &App, number: usize) -> Look {
        match self
            .give(app, number, ShopCommand::State { sale: self.sale })
            .await
        {
            Ok(Done::State(state)) => match (state.tick.phase, state.entry.map(|entry| entry.state)) {
                (Phase::Drawing | Phase::Ended | Phase::Cancelled, _) => Look::Over,
                (_, Some(EntryState::Admitted)) => Look::Called,
                (_, Some(EntryState::Waiting)) => Look::Waits,
                _ => Look::Gone,
            },
            // A store may be away for a moment.
            _ => Look::Waits,
        }
    }

    /// What somebody does at their turn. A refusal ends it, as it would for them.
    async fn act(&self, app: &App, number: usize) {
        let sale = self.sale;
        let (temper, pauses): (Temper, [f64; 3]) = {
            let mut rng = rand::rng();
            (
                temper(rng.random_range(0..100)),
                [(); 3].map(|()| rng.random_range(1.0..5.0)),
            )
        };
        let pause = |of: usize| {
            tokio::time::sleep(Duration::from_secs_f64(
                pauses[of] * self.second_ms as f64 / 1_000.0,
            ))
        };
        pause(0).await;
        match temper {
            Temper::Misses => return,
            Temper::Skips => {
                let _ = self.give(app, number, ShopCommand::Leave { sale }).await;
                return;
            }
            Temper::Buys | Temper::Returns => {}
        }
        let reserve = ShopCommand::Reserve {
            sale,
            quantity: Quantity::ONE,
            partial: false,
        };
        if self.give(app, number, reserve).await.is_err() {
            return;
        }
        pause(1).await;
        if temper == Temper::Returns {
            let _ = self.give(app, number, ShopCommand::Release { sale }).await;
            return;
        }
        let checkout = ShopCommand::Checkout { sale, payment: None };
        let Ok(Done::Order(order)) = self.give(app, number, checkout).await else {
            return;
        };
        pause(2).await;
        let pay = ShopCommand::Pay {
            order: order.order,
            payment: Payment { token: CARD.into() },
        };
        let _ = self.give(app, number, pay).await;
    }
}

enum Look {
    Waits,
    Called,
    Gone,
    Over,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn most_people_buy_and_some_of_each_other_kind_do_not() {
        let count = |of| (0..100).filter(|number| temper(*number) == of).count();
        assert!(count(Temper::Buys) > 60);
        for other in [Temper::Returns, Temper::Skips, Temper::Misses] {
            assert!(count(other) >= 10, "{other:?}");
        }
    }
}
