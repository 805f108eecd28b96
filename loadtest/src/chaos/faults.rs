//! Injects faults. Every fault heals itself before it returns: anything broken at the end of a run is our own fault.

use super::{
    fault::{Done, Fault, Operator, ms},
    history::History,
    nodes,
    world::{Files, World, signal},
};
use crate::{cluster::NODES, proxy::Link};
use anyhow::{Context, Result, bail};
use rand::{RngExt, rngs::StdRng};
use serde_json::json;
use std::time::{Duration, Instant};

/// Time until a disaster is noticed, and until it is settled; and the interval of the operator's looks.
const NOTICE_DEADLINE: Duration = Duration::from_secs(10);
const RECOVER_DEADLINE: Duration = Duration::from_secs(60);
const LOOK: Duration = Duration::from_millis(50);

/// Below this many units more are put up for sale, and how many.
const LITTLE_STOCK: i64 = 400;
const MORE_STOCK: i64 = 600;

const LANE_KEYS: [&str; 6] = ["stock", "holds", "deadlines", "device_units", "returned", "drawn"];
const LINE_KEYS: [&str; 11] = [
    "sale",
    "queue",
    "admitting",
    "priority",
    "parked",
    "absent",
    "wants",
    "devices",
    "journal",
    "leader",
    "last_tick",
];

/// Injects a fault, waits, and heals it. Returns what was done, for the history.
pub async fn inject(
    fault: Fault,
    world: &mut World,
    operator: &Operator,
    history: &History,
    rng: &mut StdRng,
) -> Result<Done> {
    if fault.is_of_cluster() {
        let cluster = world.cluster.as_mut().context("there is no cluster")?;
        return nodes::inject(fault, cluster, operator, rng).await;
    }
    let gateway = rng.random_range(0..2usize);
    let server = rng.random_range(0..world.servers.len());
    let name = world.servers[server].name;
    let what = match fault {
        Fault::KillGateway | Fault::KillWorker => {
            let (i, away) = (
                if fault == Fault::KillGateway { gateway } else { 2 },
                ms(rng, 0, 2_000),
            );
            history.killed(i);
            world.kill_server(i).await?;
            tokio::time::sleep(away).await;
            world.start_server(i).await?;
            format!("{} for {away:?}", world.servers[i].name)
        }
        Fault::StopGateway | Fault::StopWorker => {
            let (i, away) = (
                if fault == Fault::StopGateway { gateway } else { 2 },
                ms(rng, 300, 5_000),
            );
            freeze(&[world.server_pid(i).context("not running")?], away).await;
            format!("{} for {away:?}", world.servers[i].name)
        }
        Fault::StopRedis => {
            let away = ms(rng, 200, 3_000);
            freeze(&[world.redis_pid().context("not running")?], away).await;
            format!("for {away:?}")
        }
        Fault::StopPostgres => {
            let away = ms(rng, 200, 3_000);
            freeze(&world.postgres_pids(), away).await;
            format!("for {away:?}")
        }
        Fault::RedisRestart | Fault::RedisEmpty => {
            let (files, away) = (
                if fault == Fault::RedisEmpty {
                    Files::None
                } else {
                    Files::Own
                },
                ms(rng, 0, 1_500),
            );
            world.kill_redis().await?;
            tokio::time::sleep(away).await;
            world.start_redis(files).await?;
            format!("after {away:?}")
        }
        Fault::RedisOlder => {
            let age = ms(rng, 500, 5_000);
            world.save_redis_files()?;
            tokio::time::sleep(age).await;
            world.kill_redis().await?;
            world.start_redis(Files::Older).await?;
            format!("older by {age:?}")
        }
        Fault::RedisPromote => {
            let tail = ms(rng, 50, 1_500);
            world.promote(tail).await?;
            format!("tail of {tail:?}")
        }
        Fault::ScriptFlush => world.primary_command("SCRIPT FLUSH").await?,
        Fault::FlushAll => world.primary_command("FLUSHALL").await?,
        Fault::RedisFull => {
            let away = ms(rng, 500, 2_500);
            world.primary_command("CONFIG SET maxmemory 1mb").await?;
            tokio::time::sleep(away).await;
            world.primary_command("CONFIG SET maxmemory 0").await?;
            format!("for {away:?}")
        }
        Fault::PostgresKill => {
            let away = ms(rng, 0, 1_500);
            world.restart_postgres(away).await?;
            format!("after {away:?}")
        }
        Fault::PostgresRestored => {
            let tail = ms(rng, 300, 3_000);
            world.restore_postgres(tail).await?;
            format!("without its last {tail:?}: {}", recover(world, operator).await?)
        }
        Fault::PostgresCut => {
            let pool = sqlx_pool(world, 1).await?;
            sqlx::query(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'flashsale'",
            )
            .execute(&pool)
            .await?;
            pool.close().await;
            "all of them".into()
        }
        Fault::PostgresFull => {
            let away = ms(rng, 500, 2_500);
            let mut taken = Vec::new();
            // Connections given back meanwhile are taken too.
            world.servers.iter().for_each(|server| server.to_postgres.cut());
            while let Ok(pool) = sqlx_pool(world, 1).await {
                taken.push(pool);
                if taken.len() > 120 {
                    break;
                }
            }
            tokio::time::sleep(away).await;
            let count = taken.len();
            for pool in taken {
                pool.close().await;
            }
            format!("{count} taken for {away:?}")
        }
        Fault::PostgresReadOnly => {
            let away = ms(rng, 300, 3_000);
            // Like a pool whose connections all lead to a standby: new sessions take no changes, and there are no other sessions.
            let pool = sqlx_pool(world, 1).await?;
            for statement in [
                "ALTER DATABASE flashsale SET default_transaction_read_only = on",
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'flashsale'",
            ] {
                sqlx::query(statement).execute(&pool).await?;
            }
            tokio::time::sleep(away).await;
            sqlx::query("ALTER DATABASE flashsale RESET default_transaction_read_only")
                .execute(&pool)
                .await?;
            pool.close().await;
            format!("for {away:?}")
        }
        Fault::LaneKeyLost => {
            let key = LANE_KEYS[rng.random_range(0..LANE_KEYS.len())];
            let unlink = format!("UNLINK {key}:{{{}.0}}", operator.sale);
            format!("{key}: {}", world.primary_command(&unlink).await?.trim())
        }
        Fault::LineKeyLost => {
            let key = LINE_KEYS[rng.random_range(0..LINE_KEYS.len())];
            let unlink = format!("UNLINK {key}:{{{}}}", operator.sale);
            format!("{key}: {}", world.primary_command(&unlink).await?.trim())
        }
        Fault::LinkNoRequests | Fault::LinkNoAnswers | Fault::LinkDelay | Fault::LinkHalfOpen => {
            let away = ms(rng, 300, 4_000);
            let link = match fault {
                Fault::LinkNoRequests => Link::NoRequests,
                Fault::LinkNoAnswers => Link::NoAnswers,
                Fault::LinkDelay => Link::Delay(ms(rng, 5, 400)),
                _ => Link::HalfOpen,
            };
            let to_redis = rng.random_bool(0.5);
            if to_redis && let Some(cluster) = &world.cluster {
                let node = rng.random_range(0..NODES);
                cluster.link(node, link);
                tokio::time::sleep(away).await;
                cluster.link(node, Link::Pass);
                if rng.random_bool(0.5) {
                    cluster.drop_connections(node);
                }
                return Ok(format!("{link:?} to node {node} for {away:?}").into());
            }
            let server = &world.servers[server];
            let proxy = if to_redis {
                &server.to_redis
            } else {
                &server.to_postgres
            };
            proxy.set(link);
            tokio::time::sleep(away).await;
            proxy.set(Link::Pass);
            // A link that was dead for long is often not the same afterwards.
            if rng.random_bool(0.5) {
                proxy.cut();
            }
            format!(
                "{link:?} from {name} to {} for {away:?}",
                if to_redis { "redis" } else { "postgres" }
            )
        }
        Fault::DoorHalfOpen => {
            let away = ms(rng, 300, 4_000);
            world.doors[gateway].set(Link::HalfOpen);
            tokio::time::sleep(away).await;
            world.doors[gateway].set(Link::Pass);
            format!("gateway {} for {away:?}", gateway + 1)
        }
        Fault::ReconnectStorm => {
            world.doors.iter().for_each(|door| door.cut());
            "everybody at once".into()
        }
        Fault::ClockStep => {
            let step = rng.random_range(-600_000..600_000);
            world.servers[server].clock_offset_ms = step;
            history.killed(server);
            world.kill_server(server).await?;
            world.start_server(server).await?;
            format!("{name} by {step} ms")
        }
        Fault::SupplyChange => {
            let change = rng.random_range(-60..90);
            let answer = change_supply(world, operator, gateway, change).await;
            format!("by {change}: {answer}")
        }
        Fault::PauseResume => {
            let away = ms(rng, 300, 2_000);
            let paused = post(world, operator, gateway, "pause", json!({})).await;
            tokio::time::sleep(away).await;
            let mut resumed = post(world, operator, gateway, "resume", json!({})).await;
            for _ in 0..20 {
                if resumed.starts_with("200") || resumed.starts_with("409") {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(250)).await;
                resumed = post(world, operator, gateway, "resume", json!({})).await;
            }
            format!("for {away:?}: {paused}, {resumed}")
        }
        Fault::MasterKilled
        | Fault::MasterFrozen
        | Fault::MasterRestarted
        | Fault::MasterEmpty
        | Fault::Failover
        | Fault::LaneMoved
        | Fault::LineMoved
        | Fault::NodeCutOff
        | Fault::TailLost => String::new(),
    };
    Ok(what.into())
}

/// The operator's part after selling has stopped: looks, confirms, and waits until all is accounted for.
async fn recover(world: &World, operator: &Operator) -> Result<String> {
    let restored = Instant::now();
    let mut steps: [Option<Duration>; 3] = [None; 3];
    while restored.elapsed() < RECOVER_DEADLINE {
        tokio::time::sleep(LOOK).await;
        let Ok(disaster) = disaster(world, operator).await else {
            continue;
        };
        let mut is_there = |step: usize, field: &str| {
            let is_there = !disaster[field].is_null();
            if is_there && steps[step].is_none() {
                steps[step] = Some(restored.elapsed());
            }
            is_there
        };
        if !is_there(0, "noticed_at") {
            // The lost moments may have been empty.
            if restored.elapsed() > NOTICE_DEADLINE {
                return Ok("nothing was lost".into());
            }
        } else if !is_there(1, "opened_at") {
            post(world, operator, 0, "recover", json!({})).await;
        } else if is_there(2, "settled_at") {
            let [noticed, opened, settled] = steps.map(Option::unwrap_or_default);
            return Ok(format!(
                "{} orders, {} payments; noticed {noticed:.2?}, open {opened:.2?}, settled {settled:.2?}",
                disaster["orders_lost"], disaster["payments_found"]
            ));
        }
    }
    bail!(
        "the sale does not recover within {} s",
        RECOVER_DEADLINE.as_secs()
    )
}

/// The sale's latest disaster in the present database; older ones, from before the copy, are in it and settled.
async fn disaster(world: &World, operator: &Operator) -> Result<serde_json::Value> {
    let url = format!("{}/admin/sales/{}/metrics", world.gateway(0), operator.sale);
    let metrics = operator.http.get(url).bearer_auth(&operator.token).send().await?;
    let metrics: serde_json::Value = metrics.error_for_status()?.json().await?;
    let mut last = metrics["disaster"].clone();
    let seen = operator
        .disasters
        .lock()
        .map(|seen| seen.clone())
        .unwrap_or_default();
    if last["disaster"]
        .as_str()
        .is_some_and(|id| seen.iter().any(|known| known == id))
    {
        return Ok(serde_json::Value::Null);
    }
    if !last["settled_at"].is_null()
        && let (Some(id), Ok(mut seen)) = (last["disaster"].as_str(), operator.disasters.lock())
    {
        seen.push(id.to_owned());
    }
    Ok(last.take())
}

async fn freeze(pids: &[u32], away: Duration) {
    for pid in pids {
        signal(*pid, "STOP").await;
    }
    tokio::time::sleep(away).await;
    for pid in pids {
        signal(*pid, "CONT").await;
    }
}

async fn sqlx_pool(world: &World, connections: u32) -> Result<sqlx::PgPool> {
    Ok(sqlx::postgres::PgPoolOptions::new()
        .max_connections(connections)
        .acquire_timeout(Duration::from_secs(2))
        .connect(&world.database_url)
        .await?)
}

/// Adds units when few are left: without units to sell, no recovery could be seen.
pub async fn restock(world: &World, operator: &Operator) -> Option<String> {
    let sale = sale(world, operator, 0).await.ok()?;
    if sale["stock"].as_i64()? >= LITTLE_STOCK {
        return None;
    }
    Some(change_supply(world, operator, 0, MORE_STOCK).await)
}

async fn sale(world: &World, operator: &Operator, gateway: usize) -> reqwest::Result<serde_json::Value> {
    let url = format!("{}/admin/sales/{}", world.gateway(gateway), operator.sale);
    let sale = operator.http.get(url).bearer_auth(&operator.token).send();
    sale.await?.json().await
}

async fn change_supply(world: &World, operator: &Operator, gateway: usize, change: i64) -> String {
    let sale = match sale(world, operator, gateway).await {
        Ok(sale) => sale,
        Err(error) => return error.to_string(),
    };
    let Some(total) = sale["total_stock"].as_i64() else {
        return format!("no sale: {sale}");
    };
    post(
        world,
        operator,
        gateway,
        "supply",
        json!({ "total_stock": (total + change).max(1) }),
    )
    .await
}

async fn post(
    world: &World,
    operator: &Operator,
    gateway: usize,
    what: &str,
    body: serde_json::Value,
) -> String {
    let url = format!("{}/admin/sales/{}/{what}", world.gateway(gateway), operator.sale);
    let sent = operator
        .http
        .post(url)
        .bearer_auth(&operator.token)
        .json(&body)
        .send()
        .await;
    match sent {
        Ok(answer) => answer.status().to_string(),
        Err(error) => error.to_string(),
    }
}
