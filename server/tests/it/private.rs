//! The private services of a data folder: only what no address was given for is started.

use clap::Parser;
use flashsale::{config::Serve, embedded, server::Server};
use flashsale_engine::payment::Standing;
use flashsale_protocol::PaymentId;
use sqlx::PgPool;

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

/// Writes a payment into the sandbox's books, as it would itself.
async fn note(url: &str, payment: PaymentId) {
    let pool = PgPool::connect(url).await.expect("a database of books");
    sqlx::query(
        "INSERT INTO sandbox_payments (payment_id, order_id, amount, currency, card, status, known_at, silent_until)
         VALUES ($1, 'o', 1, 'EUR', 'sandbox_approve', 'captured', now(), now())",
    )
    .bind(payment.to_string())
    .execute(&pool)
    .await
    .expect("a table of payments");
    pool.close().await;
}

#[tokio::test]
async fn a_private_postgres_has_a_database_for_the_sandboxs_books_unless_they_were_begun_elsewhere() {
    let data = tempfile::tempdir().expect("a folder");
    let (ours, _) = embedded::urls(data.path()).expect("a folder");
    let theirs = ours.replacen("/flashsale?", &format!("/{}?", embedded::SANDBOX_DATABASE), 1);
    let (first, older) = (PaymentId::from_parts(0, 1), PaymentId::from_parts(0, 2));
    let knows = async |server: &Server, payment| {
        let standing = server.app.shop.payments.standing(payment).await;
        standing.expect("an answer") != Standing::Unknown
    };

    let server = start(data.path(), &["--payments", "none"]).await;
    PgPool::connect(&theirs)
        .await
        .expect_err("no books without test money");
    server.stop().await;

    let server = start(data.path(), &["--payments", "sandbox"]).await;
    note(&theirs, first).await;
    assert!(knows(&server, first).await, "they are in their own database");
    // As an earlier release has left it.
    note(&ours, older).await;
    server.stop().await;

    let server = start(data.path(), &["--payments", "sandbox"]).await;
    assert!(
        knows(&server, older).await,
        "books of an earlier release stay in use"
    );
    assert!(!knows(&server, first).await);
    server.stop().await;
}
