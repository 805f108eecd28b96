//! Gateways: which are alive, how they get on, where a shopper has been, and how many people look at a sale through them.

use super::{Stock, scripts::GatewayId};
use crate::{
    boxed,
    error::Result,
    load::{REPORTED_EVERY, Seen},
};
use flashsale_protocol::{SaleId, ShopperId};
use fred::prelude::*;
use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

/// What all gateways have seen of purchases together.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Measured {
    pub gateways: u32,
    /// People served in a second.
    pub served: f64,
    /// Mean time of the slowest step of a purchase.
    pub delay: Duration,
}

/// A gateway is dead after this much silence.
pub(crate) const GATEWAY_SILENCE: Duration = Duration::from_secs(5);

impl Stock {
    /// Reports that a gateway is alive.
    #[boxed]
    pub async fn beat(&self, gateway: GatewayId) -> Result<()> {
        let now = self.clock().await? as f64;
        let key = self.runner.keys.all_sales("gateways");
        let _: u64 = self
            .runner
            .client()
            .zadd(key, None, None, false, false, (now, gateway.0))
            .await?;
        Ok(())
    }

    /// Reports how the stores did for the purchases of a gateway since its last report.
    #[boxed]
    pub async fn report_load(&self, gateway: GatewayId, seen: Seen, within: Duration) -> Result<()> {
        let (now, key) = (self.clock().await?, self.runner.keys.all_sales("load"));
        let (within, delay) = (within.as_millis(), seen.delay.as_micros());
        let report = format!("{now} {} {within} {delay}", seen.reserves);
        let _: u64 = self
            .runner
            .client()
            .hset(key, (gateway.0.to_string(), report))
            .await?;
        Ok(())
    }

    /// How the stores do for the purchases of all gateways, by their last reports. Read once for all sales that this process leads.
    pub(crate) async fn load(&self) -> Result<Measured> {
        let mut last = self.load.lock().await;
        if let Some((at, measured)) = *last
            && at.elapsed() < REPORTED_EVERY / 2
        {
            return Ok(measured);
        }
        let measured = self.read_loads().await?;
        *last = Some((Instant::now(), measured));
        Ok(measured)
    }

    async fn read_loads(&self) -> Result<Measured> {
        let (now, key) = (self.clock().await?, self.runner.keys.all_sales("load"));
        let reports: HashMap<String, String> = self.runner.client().hgetall(&key).await?;
        let (mut all, mut dead) = (Measured::default(), Vec::new());
        let mut weighed = Duration::ZERO;
        let mut weights = 0;
        for (gateway, report) in reports {
            match read_load(&report) {
                Some((at, reserves, within, delay))
                    if now.saturating_sub(at) < GATEWAY_SILENCE.as_millis() as u64 =>
                {
                    all.gateways += 1;
                    all.served += f64::from(reserves) / within.as_secs_f64().max(1e-3);
                    // One slow gateway does not stand for all; one whose stores are silent has served nobody, and counts as well.
                    weights += reserves.max(1);
                    weighed += delay * reserves.max(1);
                }
                _ => dead.push(gateway),
            }
        }
        all.delay = weighed.checked_div(weights).unwrap_or_default();
        if !dead.is_empty() {
            let _: u64 = self.runner.client().hdel(&key, dead).await?;
        }
        Ok(all)
    }

    /// Reports that a gateway ends in an orderly way.
    #[boxed]
    pub async fn sign_off(&self, gateway: GatewayId) -> Result<()> {
        let (client, keys) = (self.runner.client(), &self.runner.keys);
        let _: u64 = client.zrem(keys.all_sales("gateways"), gateway.0).await?;
        let _: u64 = client.hdel(keys.all_sales("load"), gateway.0.to_string()).await?;
        Ok(())
    }

    /// Whether a gateway has lately reported that it is alive.
    pub(crate) async fn is_alive(&self, gateway: GatewayId) -> Result<bool> {
        let key = self.runner.keys.all_sales("gateways");
        let beat: Option<f64> = self.runner.client().zscore(key, gateway.0).await?;
        let since = self
            .clock()
            .await?
            .saturating_sub(GATEWAY_SILENCE.as_millis() as u64);
        Ok(beat.is_some_and(|beat| beat as u64 >= since))
    }

    /// The last sign of life (ms) of the gateway that died last, among those that are not yet forgotten.
    pub(crate) async fn last_death(&self, remembered: Duration) -> Result<Option<u64>> {
        let key = self.runner.keys.all_sales("gateways");
        let now = self.clock().await?;
        let before = |ago: Duration| now.saturating_sub(ago.as_millis() as u64) as f64;
        let client = self.runner.client();
        let _: u64 = client.zremrangebyscore(&key, 0.0, before(remembered)).await?;
        let last: Vec<(String, f64)> = client
            .zrevrangebyscore(&key, before(GATEWAY_SILENCE), 0.0, true, Some((0, 1)))
            .await?;
        Ok(last.first().map(|(_, beat)| *beat as u64))
    }

    /// Notes that a shopper is at a gateway. Returns the other gateways where they were within a day.
    #[boxed]
    pub async fn arrive(&self, shopper: &ShopperId, gateway: GatewayId) -> Result<Vec<GatewayId>> {
        const LIFE_S: i64 = 24 * 3600;
        let key = self.runner.keys.arrivals(shopper);
        let together = self.runner.client().pipeline();
        let _: () = together.sadd(&key, gateway.0).await?;
        let _: () = together.expire(&key, LIFE_S, None).await?;
        let _: () = together.smembers(&key).await?;
        let (_, _, all): (u64, u64, Vec<i64>) = together.all().await?;
        let others = all.into_iter().filter(|other| *other != gateway.0);
        Ok(others.map(GatewayId).collect())
    }

    /// Forgets a shopper's arrival at a gateway that is gone.
    pub(crate) async fn forget_arrival(&self, shopper: &ShopperId, gateway: GatewayId) -> Result<()> {
        let key = self.runner.keys.arrivals(shopper);
        let _: u64 = self.runner.client().srem(&key, gateway.0).await?;
        Ok(())
    }

    /// Notes how many people look at a sale in this minute through one part of a gateway. Only numbers are kept, no names, so a
    /// person at two gateways counts twice.
    pub async fn mark_active(&self, sale: SaleId, minute: u64, part: String, people: u64) -> Result<()> {
        const LIFE_S: i64 = 180;
        let (client, key) = (self.runner.client(), self.active_key(sale, minute));
        let _: () = client.hset(&key, (part, people)).await?;
        let _: () = client.expire(&key, LIFE_S, None).await?;
        Ok(())
    }

    /// Number of people who looked at a sale in this minute or the one before.
    #[boxed]
    pub async fn active_users(&self, sale: SaleId, minute: u64) -> Result<u64> {
        let client = self.runner.client();
        let (before, now) = (minute.saturating_sub(1), minute);
        let (before, now): (HashMap<String, u64>, HashMap<String, u64>) = tokio::try_join!(
            client.hgetall(self.active_key(sale, before)),
            client.hgetall(self.active_key(sale, now)),
        )?;
        let mut parts = before;
        for (part, people) in now {
            let most = parts.entry(part).or_default();
            *most = people.max(*most);
        }
        Ok(parts.values().sum())
    }

    fn active_key(&self, sale: SaleId, minute: u64) -> String {
        self.runner.keys.sale("active_users", sale) + &format!(":{minute}")
    }
}

/// When a report was made (ms), how many people were served, within which time, and how long the slowest step took.
fn read_load(report: &str) -> Option<(u64, u32, Duration, Duration)> {
    let mut words = report.split(' ');
    Some((
        words.next()?.parse().ok()?,
        words.next()?.parse().ok()?,
        Duration::from_millis(words.next()?.parse().ok()?),
        Duration::from_micros(words.next()?.parse().ok()?),
    ))
}
