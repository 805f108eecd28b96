//! Calls the roll after a gateway died without a word: asks who at the front of the line is still here before their turn comes. A
//! living gateway marks its shoppers as away when their last socket closes; a dead one cannot, so absent people would be called.
//!
//! The roll marks the front of the line as away and tells the gateways. A connected shopper is back within a moment
//! ([`crate::live::LiveMessage::Parked`]); the others are parked at their turn and keep their place.

use super::Led;
use crate::{error::Result, sale::LineName, stock::GATEWAY_SILENCE};
use std::time::{Duration, Instant};

/// How long a dead gateway is remembered.
const REMEMBERED: Duration = Duration::from_secs(3600);
const LOOK: Duration = Duration::from_secs(1);
/// How far ahead of the turns the roll is called, in people: that leaves some steps' time to answer.
const AHEAD: usize = 1_000;
/// Pause in calling when the roll begins.
const GRACE: Duration = Duration::from_millis(700);

/// A leader's memory of the roll.
#[derive(Default)]
pub struct Roll {
    looked: Option<Instant>,
    /// Everybody who joined before this moment is asked; µs since 1970. 0: no gateway has died.
    until_us: u64,
    /// The place in each line up to which the roll was called; None: it has reached the end of the line.
    queue: Option<u64>,
    priority: Option<u64>,
    grace: Option<Instant>,
}

/// Continues the roll. True: those asked have not yet had time to answer.
pub async fn call(led: &Led, roll: &mut Roll) -> Result<bool> {
    let stock = &led.shop.stock;
    if roll.looked.is_none_or(|at| at.elapsed() >= LOOK) {
        // A gateway may have let people in after its last beat.
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

/// Asks the next people in a line, until enough are asked. Returns the last place asked; None: the line's end.
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
