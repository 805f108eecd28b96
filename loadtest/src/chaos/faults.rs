//! What goes wrong, and how. Every fault heals itself before it returns: what is broken at the end of a run is our fault.

use super::{
    history::History,
    proxy::Link,
    world::{Files, World, signal},
};
use anyhow::{Context, Result};
use rand::{RngExt, rngs::StdRng, seq::SliceRandom};
use serde_json::json;
use std::time::Duration;

macro_rules! faults {
    ($($variant:ident = $word:literal;)+) => {
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Fault { $($variant,)+ }

        impl Fault {
            pub const ALL: &[Fault] = &[$(Fault::$variant,)+];

            pub const fn word(self) -> &'static str {
                match self { $(Fault::$variant => $word,)+ }
            }
        }
    };
}

faults! {
    KillGateway = "kill_gateway";
    KillWorker = "kill_worker";
    StopGateway = "stop_gateway";
    StopWorker = "stop_worker";
    StopRedis = "stop_redis";
    StopPostgres = "stop_postgres";
    RedisRestart = "redis_restarted_with_its_file";
    RedisEmpty = "redis_restarted_empty";
    RedisOlder = "redis_restarted_with_an_older_file";
    RedisPromote = "replica_promoted_with_a_lost_tail";
    ScriptFlush = "script_flush";
    FlushAll = "redis_emptied";
    RedisFull = "redis_memory_full";
    PostgresKill = "postgres_killed";
    PostgresCut = "postgres_connections_cut";
    PostgresFull = "postgres_connections_exhausted";
    LinkNoRequests = "link_cut_towards_store";
    LinkNoAnswers = "link_cut_from_store";
    LinkDelay = "link_delayed";
    LinkHalfOpen = "link_half_open";
    DoorHalfOpen = "shoppers_link_half_open";
    ReconnectStorm = "reconnect_storm";
    ClockStep = "clock_step";
    SupplyChange = "supply_changed";
    PauseResume = "sale_paused";
}

impl Fault {
    /// Whether Redis is killed and started again by it.
    pub const fn kills_redis(self) -> bool {
        matches!(self, Fault::RedisRestart | Fault::RedisEmpty | Fault::RedisOlder)
    }

    /// Whether a lane is lost by it, so that it is rebuilt.
    pub const fn loses_lanes(self) -> bool {
        matches!(
            self,
            Fault::RedisRestart
                | Fault::RedisEmpty
                | Fault::RedisOlder
                | Fault::RedisPromote
                | Fault::FlushAll
        )
    }
}

/// Every kind once in a random order, then again: a long run has them all.
pub struct Bag {
    rest: Vec<Fault>,
}

impl Bag {
    pub fn new() -> Self {
        Self { rest: Vec::new() }
    }

    pub fn next(&mut self, rng: &mut StdRng) -> Fault {
        if self.rest.is_empty() {
            self.rest = Fault::ALL.to_vec();
            self.rest.shuffle(rng);
        }
        self.rest.pop().unwrap_or(Fault::ScriptFlush)
    }
}

/// What an operator needs to steer the sale.
pub struct Operator {
    pub token: String,
    pub sale: String,
    pub http: reqwest::Client,
}

fn ms(rng: &mut StdRng, from: u64, to: u64) -> Duration {
    Duration::from_millis(rng.random_range(from..to))
}

/// Injects a fault, waits, and heals it. What was done, for the history.
pub async fn inject(
    fault: Fault,
    world: &mut World,
    operator: &Operator,
    history: &History,
    rng: &mut StdRng,
) -> Result<String> {
    let gateway = rng.random_range(0..2usize);
    let server = rng.random_range(0..world.servers.len());
    let name = world.servers[server].name;
    Ok(match fault {
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
            // And those that are given back meanwhile are taken as well.
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
        Fault::LinkNoRequests | Fault::LinkNoAnswers | Fault::LinkDelay | Fault::LinkHalfOpen => {
            let away = ms(rng, 300, 4_000);
            let link = match fault {
                Fault::LinkNoRequests => Link::NoRequests,
                Fault::LinkNoAnswers => Link::NoAnswers,
                Fault::LinkDelay => Link::Delay(ms(rng, 5, 400)),
                _ => Link::HalfOpen,
            };
            let to_redis = rng.random_bool(0.5);
            let server = &world.servers[server];
            let proxy = if to_redis {
                &server.to_redis
            } else {
                &server.to_postgres
            };
            proxy.set(link);
            tokio::time::sleep(away).await;
            proxy.set(Link::Pass);
            // A link that was dead for so long is often not the same afterwards.
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
    })
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

async fn change_supply(world: &World, operator: &Operator, gateway: usize, change: i64) -> String {
    let url = format!("{}/admin/sales/{}", world.gateway(gateway), operator.sale);
    let sale = operator.http.get(url).bearer_auth(&operator.token).send().await;
    let sale: serde_json::Value = match sale {
        Ok(answer) => answer.json().await.unwrap_or_default(),
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
