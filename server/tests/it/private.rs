//! The private services of a data folder: only what no address was given for is started.

use clap::Parser;
use flashsale::{config::Serve, embedded, server::Server};

#[derive(Parser)]
struct Cli {
    #[command(flatten)]
    serve: Serve,
}

/// A server on a data folder, with the address of one store; which files of the other are there.
async fn start(data: &std::path::Path, store: &[&str; 2]) -> Server {
    let data_dir = data.display().to_string();
    let flags = ["it", "--listen", "127.0.0.1:0", "--data-dir", &data_dir];
    let serve = Cli::parse_from(flags.iter().chain(store)).serve;
    Server::start(serve).await.expect("the server starts")
}

#[tokio::test]
async fn a_server_with_one_store_given_starts_the_other_and_uses_what_was_given() {
    let (theirs, data) = (
        tempfile::tempdir().expect("a folder"),
        tempfile::tempdir().expect("a folder"),
    );
    let (mut redis, redis_url) = embedded::start_redis_alone(theirs.path()).await.expect("Redis");
    let server = start(data.path(), &["--redis-url", &redis_url]).await;
    assert!(
        data.path().join("log/postgres.log").exists(),
        "a private Postgres"
    );
    assert!(!data.path().join("redis").exists(), "no private Redis");
    server
        .app
        .shop
        .stock
        .ping()
        .await
        .expect("the given Redis answers");
    server.stop().await;

    // The other way round: the same Postgres, as one that is given.
    let postgres = embedded::Private {
        postgres: true,
        redis: false,
    };
    let services = embedded::Services::start_only(data.path(), postgres)
        .await
        .expect("Postgres");
    let other = tempfile::tempdir().expect("a folder");
    let server = start(other.path(), &["--database-url", &services.database_url]).await;
    assert!(other.path().join("redis").exists(), "a private Redis");
    assert!(
        !other.path().join("log/postgres.log").exists(),
        "no private Postgres"
    );
    server.stop().await;
    services.stop().await;
    redis.kill().expect("ours");
    redis.wait().expect("ends");
}
