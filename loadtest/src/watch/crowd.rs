//! The processes of a run: servers, and clients full of shoppers. Both are measured at the same moments.

use super::{
    client,
    reading::{cpu_of, on_core, rss_of},
};
use crate::report::HIGHEST_US;
use anyhow::{Context, Result};
use flashsale_protocol::SaleId;
use hdrhistogram::Histogram;
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use std::{
    collections::VecDeque,
    net::SocketAddrV4,
    path::Path,
    process::{ExitStatus, Stdio},
    time::{Duration, Instant},
};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines},
    process::{Child, ChildStdout, Command},
};

/// Sockets of one process, which may open 20,000 files and needs some for itself.
pub const SOCKETS_A_PROCESS: usize = 19_000;
/// Client processes whose shoppers connect at the same time.
const PROCESSES_AT_ONCE: usize = 4;
const ANSWER_DEADLINE: Duration = Duration::from_secs(900);
/// A server process.
pub struct RemoteEnd {
    child: Child,
    pub address: SocketAddrV4,
    lines: Lines<BufReader<ChildStdout>>,
}

impl RemoteEnd {
    /// Starts it, and returns when it reports that it is ready.
    pub async fn start(mut command: Command, core: Option<usize>) -> Result<Self> {
        command.stdout(Stdio::piped()).kill_on_drop(true);
        let mut child = match core {
            Some(core) => on_core(core, || command.spawn())??,
            None => command.spawn()?,
        };
        let mut lines = BufReader::new(child.stdout.take().context("no output")?).lines();
        let address = loop {
            let line = tokio::time::timeout(ANSWER_DEADLINE, lines.next_line()).await??;
            let line = line.context("a server ended before it was ready")?;
            if let Some((_, address)) = line.strip_prefix("ready ").and_then(|url| url.split_once("://")) {
                break address.parse()?;
            }
        };
        Ok(Self {
            child,
            address,
            lines,
        })
    }

    /// Where operators ask this server; it says so once, after it is ready.
    pub async fn operations(&mut self) -> Result<String> {
        let line = tokio::time::timeout(ANSWER_DEADLINE, self.lines.next_line()).await??;
        let line = line.context("a server has ended")?;
        let url = line.strip_prefix("operations ");
        Ok(url.with_context(|| format!("no address: {line}"))?.to_owned())
    }

    pub fn pid(&self) -> Result<u32> {
        self.child.id().context("a server has ended")
    }

    pub fn rss(&self) -> Result<u64> {
        rss_of(self.pid()?)
    }

    /// Asks it to stop (SIGTERM), and waits for its end.
    pub async fn terminate(&mut self) -> Result<ExitStatus> {
        kill(Pid::from_raw(self.pid()? as i32), Signal::SIGTERM)?;
        Ok(self.child.wait().await?)
    }
}

pub async fn end(servers: Vec<RemoteEnd>) -> Result<()> {
    for mut server in servers {
        server.child.kill().await?;
    }
    Ok(())
}

pub fn cpu_of_all(servers: &[RemoteEnd]) -> Result<Duration> {
    servers.iter().map(|server| cpu_of(server.pid()?)).sum()
}

pub fn rss_of_all(servers: &[RemoteEnd]) -> Result<u64> {
    servers.iter().map(RemoteEnd::rss).sum()
}

/// What shoppers do after they have connected.
#[derive(Clone, Copy)]
pub struct Entering<'a> {
    /// They say hello and watch this sale; without it they only do the handshake.
    pub sale: Option<SaleId>,
    /// They also join the line.
    pub join: bool,
    pub data_dir: &'a Path,
    /// Their core, or any core.
    pub core: Option<usize>,
    /// Handshakes under way at the same time, of each client process.
    pub at_once: usize,
    /// Over TLS, trusting this certificate alone.
    pub tls_cert: Option<&'a Path>,
}

/// All client processes.
#[derive(Default)]
pub struct Crowd {
    clients: Vec<(Child, Lines<BufReader<ChildStdout>>)>,
    sockets: usize,
}

/// The result of letting shoppers in.
pub struct Entered {
    pub open: usize,
    pub connect_s: f64,
    /// CPU of the servers per shopper.
    pub cpu_us: f64,
}

/// All clients' and servers' numbers over the same time.
pub struct Window {
    pub took: Duration,
    pub server_cpu: Duration,
    pub reports: Vec<client::Report>,
}

impl Window {
    pub fn sum<T: std::iter::Sum>(&self, of: impl Fn(&client::Report) -> T) -> T {
        self.reports.iter().map(of).sum()
    }

    /// One histogram of all of them, in µs.
    pub fn times(&self, of: impl Fn(&client::Report) -> &[(u64, u64)]) -> Result<Histogram<u64>> {
        let mut times = Histogram::new_with_bounds(1, HIGHEST_US, 3)?;
        for (value, count) in self.reports.iter().flat_map(of) {
            times.record_n(*value, *count)?;
        }
        Ok(times)
    }
}

impl Crowd {
    /// Lets this many more in, spread over the servers; returns when all are there. If there are many processes, only some
    /// connect at a time: all at once would do a little each, and batch nothing.
    pub async fn enter(
        &mut self,
        sockets: usize,
        servers: &[RemoteEnd],
        entering: Entering<'_>,
    ) -> Result<Entered> {
        let (cpu, began) = (cpu_of_all(servers)?, Instant::now());
        let processes = sockets.div_ceil(SOCKETS_A_PROCESS);
        let (mut reports, mut under_way) = (Vec::new(), VecDeque::new());
        for index in 0..processes {
            // The first processes have one more if the number does not divide evenly.
            let share = sockets / processes + usize::from(index < sockets % processes);
            let server = &servers[index % servers.len()];
            let known = self.clients.len();
            self.start_client(share, server.address, entering)?;
            self.sockets += share;
            under_way.push_back(known);
            if under_way.len() == PROCESSES_AT_ONCE
                && let Some(first) = under_way.pop_front()
            {
                reports.push(self.answer_of(first).await?);
            }
        }
        for client in under_way {
            reports.push(self.answer_of(client).await?);
        }
        Ok(Entered {
            open: reports.iter().map(|report| report.open).sum(),
            connect_s: began.elapsed().as_secs_f64(),
            cpu_us: (cpu_of_all(servers)? - cpu).as_micros() as f64 / sockets as f64,
        })
    }

    fn start_client(&mut self, sockets: usize, address: SocketAddrV4, entering: Entering<'_>) -> Result<()> {
        let mut command = Command::new(std::env::current_exe()?);
        command
            .args(["watch-client", "--address", &address.to_string()])
            .args([
                "--sockets",
                &sockets.to_string(),
                "--at-once",
                &entering.at_once.to_string(),
            ])
            .args(["--first", &self.sockets.to_string(), "--data-dir"])
            .arg(entering.data_dir);
        if let Some(sale) = entering.sale {
            command.args(["--sale", &sale.to_string()]);
        }
        if let Some(cert) = entering.tls_cert {
            command.arg("--tls-cert").arg(cert);
        }
        if entering.join {
            command.arg("--join");
        }
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true);
        let mut child = match entering.core {
            Some(core) => on_core(core, || command.spawn())??,
            None => command.spawn()?,
        };
        let lines = BufReader::new(child.stdout.take().context("no output")?).lines();
        self.clients.push((child, lines));
        Ok(())
    }

    /// The next answers of all clients.
    async fn answers(&mut self) -> Result<Vec<client::Report>> {
        let mut reports = Vec::new();
        for index in 0..self.clients.len() {
            reports.push(self.answer_of(index).await?);
        }
        Ok(reports)
    }

    async fn answer_of(&mut self, client: usize) -> Result<client::Report> {
        let (_, lines) = &mut self.clients[client];
        loop {
            let line = tokio::time::timeout(ANSWER_DEADLINE, lines.next_line()).await??;
            let line = line.context("a client process has ended")?;
            match serde_json::from_str(&line) {
                Ok(report) => return Ok(report),
                Err(_) => println!("{line}"),
            }
        }
    }

    async fn say(&mut self, word: &str) -> Result<()> {
        for (child, _) in &mut self.clients {
            let stdin = child.stdin.as_mut().context("no input")?;
            stdin.write_all(format!("{word}\n").as_bytes()).await?;
        }
        Ok(())
    }

    /// Counts frames and CPU from now until `meanwhile` ends: both over the same time.
    pub async fn during<T>(
        &mut self,
        servers: &[RemoteEnd],
        meanwhile: impl Future<Output = Result<T>>,
    ) -> Result<(Window, T)> {
        self.say("begin").await?;
        let (cpu, began) = (cpu_of_all(servers)?, Instant::now());
        let done = meanwhile.await?;
        self.say("end").await?;
        let window = Window {
            took: began.elapsed(),
            server_cpu: cpu_of_all(servers)? - cpu,
            reports: self.answers().await?,
        };
        Ok((window, done))
    }

    /// User memory of all client processes.
    pub fn rss(&self) -> Result<u64> {
        let pids = self.clients.iter().filter_map(|(child, _)| child.id());
        pids.map(rss_of).sum()
    }

    pub async fn leave(mut self) -> Result<()> {
        for (child, _) in &mut self.clients {
            child.kill().await?;
        }
        Ok(())
    }
}
