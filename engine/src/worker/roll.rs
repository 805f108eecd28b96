//! After a gateway has died without a word: asks who of the front of the line is still here, before their turn comes. A gateway that
//! lives marks its shoppers as away when their last socket closes; those of a dead one would be called, and nobody would come.
//!
//! The roll is called by marking the front as away and telling the gateways: whoever has a socket is back within a moment
//! ([`crate::live::LiveMessage::Parked`]); the others are parked at their turn as everybody who is away, with their place.

use super::Led;
use crate::{error::Result, sale::LineName, stock::GATEWAY_SILENCE};
use std::time::{Duration, Instant};

/// A gateway that has died is remembered for so long.
const REMEMBERED: Duration = Duration::from_secs(3600);
const LOOK: Duration = Duration::from_secs(1);
/// The roll is called for so many people ahead of the turns: some steps' time to answer.
const AHEAD: usize = 1_000;
/// Nobody is called meanwhile, when it begins.
const GRACE: Duration = Duration::from_millis(700);

/// What a leader knows of the roll.
#[derive(Default)]
pub struct Roll {
    looked: Option<Instant>,
    /// Those who joined before are asked; µs since 1970. 0: no gateway has died.
    until_us: u64,
    /// Up to which place of each line it was called, while it is not at its end.
    queue: Option<u64>,
    priority: Option<u64>,
    grace: Option<Instant>,
}

/// Goes on with the roll. True: those asked have not had the time to answer.
pub async fn call(led: &Led, roll: &mut Roll) -> Result<bool> {
    let stock = &led.shop.stock;
    if roll.looked.is_none_or(|at| at.elapsed() >= LOOK) {
        // It may have let people in after its last beat.
        let died = stock.last_death(REMEMBERED).await?;
        let until_us = died.map_or(0, |beat| beat + GATEWAY_SILENCE.as_millis() as u64) * 1000;
        let is_wanted = led.line.is_roll_to_call();
        let until_us = if is_wanted {
            stock.now().await? * 1000
        } else {
            until_us
        };
        roll.looked = Some(Instant::now());
        if until_us > roll.until_us {
            *roll = Roll {
                until_us,
                queue: Some(0),
                priority: Some(0),
                grace: Some(Instant::now() + GRACE),
                ..*roll
            };
            tracing::info!(sale = %led.id, is_wanted, "a gateway has died, or it is not known who is away: the roll of the line is called");
        }
    }
    roll.queue = ask(led, LineName::Queue, roll.queue, roll.until_us).await?;
    roll.priority = ask(led, LineName::Priority, roll.priority, roll.until_us).await?;
    Ok(roll.grace.is_some_and(|until| Instant::now() < until))
}

/// Asks the next ones of a line, until enough are asked. The place up to which it was asked by now; None: to its end.
async fn ask(led: &Led, line: LineName, asked: Option<u64>, until_us: u64) -> Result<Option<u64>> {
    let Some(asked) = asked else { return Ok(None) };
    let shop = &led.shop;
    let ahead = shop.stock.standing_up_to(led.id, line, asked).await? as usize;
    if ahead >= AHEAD {
        return Ok(Some(asked));
    }
    let next = shop
        .stock
        .behind(led.id, line, asked, until_us, AHEAD - ahead)
        .await?;
    let Some((_, last)) = next.last() else {
        return Ok(None);
    };
    let last = *last;
    let people: Vec<_> = next.into_iter().map(|(shopper, _)| shopper).collect();
    shop.stock.mark_away(led.id, &people).await?;
    shop.live.parked(led.id, &people).await?;
    Ok(Some(last))
}
