//! Lists the running processes, and the formats that each of them knows.

use super::{Stock, gateways::GATEWAY_SILENCE, scripts::GatewayId};
use crate::{boxed, error::Result, sale::FORMATS};
use fred::prelude::*;

/// A process that is alive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Process {
    pub id: GatewayId,
    /// 0: from a release that does not report it.
    pub formats: u16,
    /// The release, for people to read.
    pub release: String,
}

impl Stock {
    /// Reports that a process is alive and which formats it knows.
    #[boxed]
    pub async fn report(&self, id: GatewayId) -> Result<()> {
        let now = self.clock().await? as f64;
        let key = self.keys().all_sales("versions");
        let _: u64 = self
            .client()
            .zadd(key, None, None, false, false, (now, member(id)))
            .await?;
        Ok(())
    }

    /// Reports that a process ends in an orderly way.
    #[boxed]
    pub async fn end_report(&self, id: GatewayId) -> Result<()> {
        let key = self.keys().all_sales("versions");
        let _: u64 = self.client().zrem(key, member(id)).await?;
        Ok(())
    }

    /// The processes that have lately reported that they are alive.
    pub async fn processes(&self) -> Result<Vec<Process>> {
        let (client, keys) = (self.client(), self.keys());
        let (now, silence) = (self.clock().await?, GATEWAY_SILENCE.as_millis() as u64);
        // Later times are possible: a clock may have been set back.
        let (since, always) = (now.saturating_sub(silence) as f64, u64::MAX as f64);
        let key = keys.all_sales("versions");
        let _: u64 = client.zremrangebyscore(&key, 0.0, since).await?;
        let reports: Vec<String> = client.zrangebyscore(&key, since, always, false, None).await?;
        let mut processes: Vec<Process> = reports.iter().filter_map(|member| parse(member)).collect();
        // Gateways of an older release, which only sends beats.
        let gateways: Vec<i64> = client
            .zrangebyscore(keys.all_sales("gateways"), since, always, false, None)
            .await?;
        for id in gateways.into_iter().map(GatewayId) {
            if processes.iter().all(|process| process.id != id) {
                processes.push(Process {
                    id,
                    formats: 0,
                    release: String::new(),
                });
            }
        }
        Ok(processes)
    }

    /// The formats that every process knows.
    pub async fn common_formats(&self) -> Result<u16> {
        let processes = self.processes().await?;
        let known = processes.iter().map(|process| process.formats).min();
        Ok(known.map_or(FORMATS, |known| known.min(FORMATS)))
    }
}

fn member(id: GatewayId) -> String {
    format!("{:x} {FORMATS} {}", id.0, env!("CARGO_PKG_VERSION"))
}

fn parse(member: &str) -> Option<Process> {
    let mut words = member.split(' ');
    Some(Process {
        id: GatewayId(i64::from_str_radix(words.next()?, 16).ok()?),
        formats: words.next()?.parse().ok()?,
        release: words.next()?.to_owned(),
    })
}
