//! Which processes run, and whose formats each of them knows.

use super::{Stock, gateways::GATEWAY_SILENCE, scripts::GatewayId};
use crate::error::Result;
use fred::prelude::*;

/// The formats of identities, devices, names and audit rows that this release knows: raised by a release that begins new ones. A
/// sale keeps those it was created with to its end; new ones begin with sales that are created once every process knows them.
pub const FORMATS: u32 = 1;

/// A process that is alive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Process {
    pub id: GatewayId,
    /// 0: of a release that does not say.
    pub formats: u32,
    /// The release, for people.
    pub release: String,
}

impl Stock {
    /// A process is alive, and knows these formats.
    pub async fn report(&self, id: GatewayId) -> Result<()> {
        let now = self.clock().await? as f64;
        let key = self.keys().all_sales("versions");
        let _: u64 = self
            .client()
            .zadd(key, None, None, false, false, (now, member(id)))
            .await?;
        Ok(())
    }

    /// A process ends as it should.
    pub async fn end_report(&self, id: GatewayId) -> Result<()> {
        let key = self.keys().all_sales("versions");
        let _: u64 = self.client().zrem(key, member(id)).await?;
        Ok(())
    }

    /// The processes that have said lately that they are alive.
    pub async fn processes(&self) -> Result<Vec<Process>> {
        let (client, keys) = (self.client(), self.keys());
        let (now, silence) = (self.clock().await?, GATEWAY_SILENCE.as_millis() as u64);
        // A clock that was set back may have written later ones.
        let (since, always) = (now.saturating_sub(silence) as f64, u64::MAX as f64);
        let key = keys.all_sales("versions");
        let _: u64 = client.zremrangebyscore(&key, 0.0, since).await?;
        let reports: Vec<String> = client.zrangebyscore(&key, since, always, false, None).await?;
        let mut processes: Vec<Process> = reports.iter().filter_map(|member| parse(member)).collect();
        // Gateways of a release that only beats.
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
    pub async fn common_formats(&self) -> Result<u32> {
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
