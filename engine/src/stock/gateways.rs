//! Gateways: which are alive, where a shopper has been, and how many people look at a sale through them.

use super::{Stock, scripts::GatewayId};
use crate::error::Result;
use flashsale_protocol::{SaleId, ShopperId};
use fred::prelude::*;
use std::{collections::HashMap, time::Duration};

/// A gateway is dead after this much silence.
pub(crate) const GATEWAY_SILENCE: Duration = Duration::from_secs(5);

impl Stock {
    /// Reports that a gateway is alive.
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

    /// Reports that a gateway ends in an orderly way.
    pub async fn sign_off(&self, gateway: GatewayId) -> Result<()> {
        let key = self.runner.keys.all_sales("gateways");
        let _: u64 = self.runner.client().zrem(key, gateway.0).await?;
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
