//! The command line: `flashsale serve`, `flashsale migrate`, `flashsale operator`, `flashsale token`, `flashsale audit`,
//! `flashsale verify`, `flashsale services`.

use anyhow::{Context, bail};
use clap::{CommandFactory, FromArgMatches, Parser, Subcommand, ValueEnum};
use flashsale::{
    auth::{ISSUED_LIFE, Signer},
    config::{
        self, CreateOperator, DataDir, Identity, MigrateSchema, RemoveOperator, Serve, VerifyAudit,
        VerifyDraw, or_cores,
    },
    draw_file::{self, Checked, Noted},
    embedded::{self, Services},
    operator_cli,
    server::Server,
    telemetry,
};
use flashsale_engine::store::{audit, schema};
use flashsale_protocol::{Role, ShopperId, draw::Verdict};
use std::{
    io::Write,
    process::{ExitCode, Stdio},
    time::Duration,
};
use tokio::signal::unix::{SignalKind, signal};

/// A flash-sale platform on one WebSocket: countdown, live stock, a fair line, reservations and checkout.
///
/// Every flag has an environment variable; see --help of each command.
#[derive(Parser)]
#[command(version, propagate_version = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run the server. Without DATABASE_URL and REDIS_URL it brings its own Postgres and Redis, in the data folder.
    Serve(Box<Serve>),
    /// Bring the schema of Postgres up to date, and exit.
    ///
    /// Run it before servers of a new release start with --migrate never. Servers of the release before keep running meanwhile.
    Migrate(MigrateSchema),
    /// Manage who signs in at the admin page.
    #[command(subcommand)]
    Operator(OperatorCommand),
    /// Print a token that this data folder's server accepts at the API.
    Token {
        /// The token's owner: a shopper's or operator's id.
        #[arg(long)]
        sub: String,
        #[arg(long, value_enum, default_value = "shopper")]
        role: TokenRole,
        /// How long it is valid, in seconds.
        #[arg(long, default_value_t = ISSUED_LIFE.as_secs())]
        life_s: u64,
        #[command(flatten)]
        data: DataDir,
        #[command(flatten)]
        identity: Box<Identity>,
    },
    /// Check the audit log.
    #[command(subcommand)]
    Audit(AuditCommand),
    /// Check a draw from its published data: a draw's file, or one shopper's proof.
    ///
    /// If a part is wrong, names it and exits with code 1.
    Verify(VerifyDraw),
    /// Run a command with a private Postgres and Redis (TEST_DATABASE_URL, TEST_REDIS_URL); for tests.
    Services {
        #[command(flatten)]
        data: DataDir,
        /// The command and its arguments.
        #[arg(last = true, required = true)]
        command: Vec<String>,
    },
}

#[derive(Subcommand)]
enum OperatorCommand {
    /// Print a link with which somebody sets their password, once, within three days.
    Create(CreateOperator),
    /// Remove somebody. Their sessions end within a second.
    Remove(RemoveOperator),
}

#[derive(Subcommand)]
enum AuditCommand {
    /// Check each sale's chain of audit rows, and compare its totals with the orders and the stock.
    ///
    /// Prints one line per sale. If a row is wrong, names the first one and exits with code 1.
    Verify(VerifyAudit),
}

#[derive(Clone, Copy, ValueEnum)]
enum TokenRole {
    Shopper,
    Merchant,
    Admin,
}

fn main() -> ExitCode {
    flashsale::tls::provide();
    let cli = parse();
    let threads = match &cli.command {
        Command::Serve(config) => config.threads,
        _ => 0,
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(or_cores(threads))
        .enable_all()
        .build();
    match runtime
        .map_err(Into::into)
        .and_then(|runtime| runtime.block_on(run(cli)))
    {
        Ok(code) => code,
        Err(error) => {
            // One line for a person; the chain of causes says what to do.
            #[expect(clippy::print_stderr, reason = "the command line's own error")]
            {
                eprintln!("error: {error:#}");
            }
            ExitCode::FAILURE
        }
    }
}

/// The command line. A setting that is empty in the environment is absent: deployments write out every name.
fn parse() -> Cli {
    let mut matches = config::without_empty_settings(Cli::command()).get_matches();
    Cli::from_arg_matches_mut(&mut matches).unwrap_or_else(|error| error.exit())
}

async fn run(cli: Cli) -> anyhow::Result<ExitCode> {
    match cli.command {
        Command::Serve(config) => serve(*config).await,
        Command::Token {
            sub,
            role,
            life_s,
            data,
            identity,
        } => {
            let sub: ShopperId = sub.parse().map_err(|error| anyhow::anyhow!("--sub: {error}"))?;
            let role = match role {
                TokenRole::Shopper => Role::Shopper,
                TokenRole::Merchant => Role::Merchant,
                TokenRole::Admin => Role::Admin,
            };
            let signer = Signer::open(&identity, &data.data_dir)?;
            println!("{}", signer.issue(sub, role, None, Duration::from_secs(life_s))?);
            Ok(ExitCode::SUCCESS)
        }
        Command::Operator(OperatorCommand::Create(config)) => {
            println!("{}", operator_cli::create(config).await?);
            Ok(ExitCode::SUCCESS)
        }
        Command::Operator(OperatorCommand::Remove(config)) => {
            println!("removed {}", operator_cli::remove(config).await?);
            Ok(ExitCode::SUCCESS)
        }
        Command::Migrate(config) => migrate(config).await,
        Command::Audit(AuditCommand::Verify(config)) => verify_audit(config).await,
        Command::Verify(config) => verify_draw(&config),
        Command::Services { data, command } => services(data, command).await,
    }
}

async fn serve(config: Serve) -> anyhow::Result<ExitCode> {
    telemetry::start_logging(&config.logging);
    raise_file_limit();
    // The signals are watched before anything starts, so that everything started is also stopped in order.
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    // A closed terminal counts as an ordinary stop.
    let mut hangup = signal(SignalKind::hangup())?;
    let demo = config.demo;
    let server = Server::start(config).await?;
    // In one piece: whoever started this may read the first line and no more.
    let ready = format!(
        "ready {}\noperations http://{}\n",
        server.origin, server.operations
    );
    std::io::stdout().write_all(ready.as_bytes())?;
    if demo {
        print_links(&server).await?;
    }
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
        _ = hangup.recv() => {}
    }
    tracing::info!("stopping");
    server.stop().await;
    Ok(ExitCode::SUCCESS)
}

/// Raises the limit of open files: every socket is a file, and the soft limit is often far below the hard one.
fn raise_file_limit() {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    if let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE)
        && soft < hard
        && let Err(error) = setrlimit(Resource::RLIMIT_NOFILE, hard, hard)
    {
        tracing::warn!(%error, soft, hard, "cannot raise the limit of open files");
    }
}

async fn print_links(server: &Server) -> anyhow::Result<()> {
    use std::fmt::Write;
    let base = &server.origin;
    let mut text = format!("\n  Shop         {base}/\n");
    for sale in flashsale::rest::sales::current(&server.app).await? {
        writeln!(text, "    {:<30} {base}/sale/{}", sale.product_name, sale.sale_id)?;
    }
    if let Some(storefront) = server.storefront {
        writeln!(
            text,
            "  Storefront   http://{storefront}/   (another origin, with the widget)"
        )?;
    }
    let admin = match &server.app.admin_origin {
        Some(origin) => origin.to_string(),
        None => base.clone(),
    };
    match server.app.dev {
        true => {
            let (link, who) = (
                operator_cli::development_link(&server.app).await?,
                operator_cli::DEVELOPER,
            );
            writeln!(text, "  Admin        {admin}{link}")?;
            writeln!(
                text,
                "               as {who}: choose a password; later sign in at {admin}/admin"
            )?;
        }
        false => writeln!(
            text,
            "  Admin        {admin}/admin   (flashsale operator create makes a sign-in)"
        )?,
    }
    text.push_str("\n  Ctrl-C stops everything; the data stays.\n");
    // Whoever started this may have read the first line and closed the pipe.
    let _ = std::io::stdout().write_all(text.as_bytes());
    Ok(())
}

async fn migrate(config: MigrateSchema) -> anyhow::Result<ExitCode> {
    let (url, services) = match config.database_url {
        Some(url) => (url, None),
        None => embedded::database(&config.data.data_dir).await?,
    };
    let migrated = async {
        let migrated = schema::migrate(&url).await.context("cannot migrate")?;
        if let Some(role) = &config.grant_to {
            schema::grant(&url, role).await?;
        }
        anyhow::Ok(migrated)
    };
    let migrated = migrated.await;
    if let Some(services) = services {
        services.stop().await;
    }
    let migrated = migrated?;
    println!("ok version={} applied={}", migrated.version, migrated.applied);
    Ok(ExitCode::SUCCESS)
}

async fn verify_audit(config: VerifyAudit) -> anyhow::Result<ExitCode> {
    let (url, services) = match config.database_url {
        Some(url) => (url, None),
        None => embedded::database(&config.data.data_dir).await?,
    };
    let mut sound = true;
    let verified = audit::verify(&url, config.sale, |sale, found| match found {
        Ok(audit::Verified {
            rows,
            head,
            untied: 0,
        }) => println!("ok sale={sale} rows={rows} head={head}"),
        Ok(audit::Verified { rows, head, untied }) => {
            println!("ok sale={sale} rows={rows} head={head} untied={untied}")
        }
        Err(audit::Bad { at, what }) => {
            sound = false;
            println!("bad sale={sale} {at}: {what}");
        }
    })
    .await;
    if let Some(services) = services {
        services.stop().await;
    }
    verified.context("cannot verify the audit log")?;
    Ok(if sound {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn verify_draw(config: &VerifyDraw) -> anyhow::Result<ExitCode> {
    let noted = Noted {
        commitment: config.commitment,
        root: config.root,
        shopper: config.shopper.clone(),
    };
    let (what, found) = match draw_file::check(&config.file, &noted)? {
        Checked::Draw(draw, found) => (format!("sale={}", draw.sale), found.map(Some)),
        Checked::Proof(proof, found) => {
            let outcome = match (proof.won, proof.called) {
                (true, _) => "won",
                (false, true) => "not-won called",
                (false, false) => "not-won",
            };
            let what = format!("sale={} entry={} {outcome}", proof.draw.sale, proof.entry.name);
            (what, found.map(|_| None))
        }
        Checked::NotNoted {
            part,
            noted,
            published,
        } => {
            let published = published.map_or("nothing".into(), |hash| hash.to_string());
            println!("bad {part}: {published} was published, but you noted {noted}");
            return Ok(ExitCode::FAILURE);
        }
    };
    match found {
        Ok(None) => println!("ok {what}"),
        Ok(Some(Verdict {
            count,
            units,
            winners,
            called,
        })) => {
            let called = called.map_or(String::new(), |called| format!(" called={called}"));
            println!(
                "ok {what} entries={count} units={units} winners={}{called}",
                winners.len()
            );
            for winner in winners.iter().filter(|_| config.winners) {
                println!("{} {} {}", winner.rank.entry, winner.units, winner.rank.key);
            }
        }
        Err(wrong) => {
            println!("bad {what} {wrong}");
            return Ok(ExitCode::FAILURE);
        }
    }
    Ok(ExitCode::SUCCESS)
}

async fn services(data: DataDir, command: Vec<String>) -> anyhow::Result<ExitCode> {
    let [program, arguments @ ..] = command.as_slice() else {
        bail!("no command was given")
    };
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let services = Services::start(&data.data_dir).await?;
    let mut child = tokio::process::Command::new(program)
        .args(arguments)
        .env("TEST_DATABASE_URL", &services.database_url)
        .env("TEST_REDIS_URL", &services.redis_url)
        .stdin(Stdio::null())
        .spawn()
        .with_context(|| format!("cannot run {program}"))?;
    let status = loop {
        tokio::select! {
            status = child.wait() => break status?,
            // A terminal's Ctrl-C reaches the child too: wait for its end.
            _ = interrupt.recv() => {}
            _ = terminate.recv() => child.start_kill()?,
        }
    };
    services.stop().await;
    Ok(ExitCode::from(
        status
            .code()
            .and_then(|code| u8::try_from(code).ok())
            .unwrap_or(1),
    ))
}
