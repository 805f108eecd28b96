//! Faults in a Redis Cluster: they hit the master of a lane or of the line. Nodes come back only after selling was measured
//! ([`Cluster::heal`]), because a cluster without one node must sell.

use super::fault::{Done, Fault, Operator, ms};
use crate::cluster::Cluster;
use anyhow::{Context, Result};
use rand::{RngExt, rngs::StdRng};
use std::time::{Duration, Instant};

/// A master that is away this long is not replaced: it comes back as master.
const NOT_MISSED_MS: u64 = 900;

pub async fn inject(
    fault: Fault,
    cluster: &mut Cluster,
    operator: &Operator,
    rng: &mut StdRng,
) -> Result<Done> {
    let hits_lane = fault == Fault::LaneMoved || fault != Fault::LineMoved && rng.random_bool(0.7);
    let lane = rng.random_range(0..operator.lanes) as u16;
    let (key, name) = if hits_lane {
        (format!("{{{}.{lane}}}", operator.sale), format!("lane {lane}"))
    } else {
        (format!("{{{}}}", operator.sale), "the line".to_owned())
    };
    let holders = cluster.holders(&key).await?;
    let master = holders.master;
    let began = Instant::now();
    let mut election = None;
    let mut what = match fault {
        Fault::MasterKilled => {
            cluster.kill(master).await?;
            cluster.elected(&key, master).await?;
            election = Some(began.elapsed());
            String::new()
        }
        Fault::MasterFrozen => {
            cluster.freeze(master).await;
            cluster.elected(&key, master).await?;
            election = Some(began.elapsed());
            String::new()
        }
        Fault::NodeCutOff => {
            cluster.cut_off(master);
            cluster.elected(&key, master).await?;
            election = Some(began.elapsed());
            String::new()
        }
        Fault::MasterRestarted | Fault::MasterEmpty => {
            let away = ms(rng, 0, NOT_MISSED_MS);
            cluster.kill(master).await?;
            tokio::time::sleep(away).await;
            cluster.start_again(master, fault == Fault::MasterEmpty).await?;
            format!("after {away:?}")
        }
        Fault::Failover => {
            let replica = holders.replica.context("no replica")?;
            cluster.fail_over(&key, master, replica).await?;
            format!("took {:?}", began.elapsed())
        }
        Fault::TailLost => {
            let replica = holders.replica.context("no replica")?;
            let tail = ms(rng, 50, 1_500);
            cluster.cut_replica(holders);
            tokio::time::sleep(tail).await;
            cluster
                .node(replica)
                .ask(&["CLUSTER", "FAILOVER", "TAKEOVER"])
                .await?;
            cluster.elected(&key, master).await?;
            format!("tail of {tail:?}")
        }
        // LaneMoved, LineMoved
        _ => {
            let to = cluster.other_master(master).await?;
            let pause = Duration::from_millis(rng.random_range(0..60));
            let moved = cluster.move_slot(&key, master, to, pause).await?;
            format!("{moved} keys in {:?}", began.elapsed())
        }
    };
    if let Some(election) = election {
        what += &format!("elected after {:.1} s", election.as_secs_f64());
    }
    Ok(Done {
        what: format!("{name}, node {master}: {what}"),
        election,
        lane: hits_lane.then_some(lane),
    })
}
