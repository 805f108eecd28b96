//! A process full of watching shoppers: one thread, one epoll instance, and for each frame only the work to find its number. It
//! measures between two lines on its standard input, and answers each with a line of JSON.

use super::{
    FIRST_TIME_US,
    link::{Link, trusting},
    now_us,
    reading::cpu_of,
};
use crate::report::HIGHEST_US;
use anyhow::{Context, Result, bail};
use clap::Args;
use flashsale::auth::Signer;
use flashsale_protocol::{
    Command, ConnectionCommand, Nonce, Outlook, Request, Role, SaleId, ServerMessage, ShopCommand,
};
use hdrhistogram::Histogram;
use nix::{
    errno::Errno,
    sys::{
        epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout},
        socket::{AddressFamily, SockFlag, SockType, SockaddrIn, bind, connect, setsockopt, socket, sockopt},
    },
};
use rustls::ClientConfig;
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeMap,
    io::{self, BufRead, Read, Write},
    net::{SocketAddrV4, TcpStream},
    path::PathBuf,
    sync::{Arc, mpsc},
    time::{Duration, Instant},
};
use tokio_tungstenite::tungstenite::protocol::frame::{
    Frame,
    coding::{Data, OpCode},
};

const CONNECT_DEADLINE: Duration = Duration::from_secs(900);
/// Source addresses, so that no limit per address applies that real shoppers would not meet.
const SOURCES: usize = 199;
const TOKEN_LIFE: Duration = Duration::from_secs(2 * 3600);
const SCRATCH_BYTES: usize = 64 * 1024;

#[derive(Args)]
pub struct Options {
    #[arg(long)]
    address: SocketAddrV4,
    #[arg(long)]
    sockets: usize,
    /// The number of the first shopper here.
    #[arg(long)]
    first: usize,
    /// Says hello and watches this sale; without it, only the handshake is done.
    #[arg(long)]
    sale: Option<SaleId>,
    /// Also joins the line.
    #[arg(long)]
    join: bool,
    /// Handshakes that are under way at the same time.
    #[arg(long)]
    at_once: usize,
    #[arg(long)]
    data_dir: PathBuf,
    /// Over TLS, with this certificate alone.
    #[arg(long)]
    tls_cert: Option<PathBuf>,
}

/// The answer of a client process.
#[derive(Debug, Serialize, Deserialize, Default)]
pub struct Report {
    pub open: usize,
    pub lost: usize,
    /// The causes of lost sockets.
    pub lost_by: BTreeMap<String, usize>,
    pub connect_s: f64,
    pub cpu_s: f64,
    pub frames: u64,
    pub bytes: u64,
    /// Ticks whose number was not above the socket's last one: I10 is broken.
    pub went_back: u64,
    /// Frames other than ticks.
    pub personal: u64,
    /// Delivery times in µs, as [value, count] pairs.
    pub delays: Vec<(u64, u64)>,
    /// Age of what shoppers saw when the next tick came, in the same form.
    pub ages: Vec<(u64, u64)>,
    /// How long shoppers had no tick, up to the end, in the same form.
    pub gaps: Vec<(u64, u64)>,
    /// When counting began, in µs since 1970.
    pub began_us: u64,
    /// Time from then until shoppers were told that everything is sold, each once, in the same form.
    pub told: Vec<(u64, u64)>,
}

enum Stage {
    Upgrading,
    Greeting,
    Joining,
    Open,
}

/// Small, because a machine must hold a million of them.
struct Socket {
    link: Link,
    number: u32,
    stage: Stage,
    was_told: bool,
    /// When the last tick came, in ms since the start.
    last_tick: u32,
    /// An incomplete frame (or answer to the handshake).
    part: Vec<u8>,
    seen: u64,
}

/// Whether a tick says that everything is sold. Everybody gets the same bytes, so they are parsed once.
#[derive(Default)]
struct Verdict {
    payload: Vec<u8>,
    sold_out: bool,
}

impl Verdict {
    fn sold_out(&mut self, payload: &[u8]) -> bool {
        if self.payload != payload {
            self.payload = payload.to_vec();
            self.sold_out = match serde_json::from_slice(payload) {
                Ok(ServerMessage::Tick(tick)) => tick.outlook() == Outlook::SoldOut,
                _ => false,
            };
        }
        self.sold_out
    }
}

struct Client {
    started: Instant,
    /// When counting began, in ms since the start.
    began: u32,
    verdict: Verdict,
    /// The buffer for reading, used for one socket after the other.
    scratch: Vec<u8>,
    options: Options,
    tls: Option<Arc<ClientConfig>>,
    signer: Option<Signer>,
    epoll: Epoll,
    sockets: Vec<Option<Socket>>,
    open: usize,
    pending: usize,
    lost: usize,
    lost_by: BTreeMap<String, usize>,
    report: Report,
    delays: Histogram<u64>,
    ages: Histogram<u64>,
    gaps: Histogram<u64>,
    told: Histogram<u64>,
}

pub fn run(options: Options) -> Result<bool> {
    let signer = options
        .sale
        .map(|_| Signer::open(&crate::target::identity(), &options.data_dir))
        .transpose()?;
    let mut client = Client {
        signer,
        tls: options.tls_cert.as_deref().map(trusting).transpose()?,
        epoll: Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?,
        sockets: Vec::with_capacity(options.sockets),
        open: 0,
        pending: 0,
        lost: 0,
        lost_by: BTreeMap::new(),
        report: Report::default(),
        delays: Histogram::new_with_bounds(1, HIGHEST_US, 3)?,
        ages: Histogram::new_with_bounds(1, HIGHEST_US, 3)?,
        gaps: Histogram::new_with_bounds(1, HIGHEST_US, 3)?,
        told: Histogram::new_with_bounds(1, HIGHEST_US, 3)?,
        started: Instant::now(),
        began: 0,
        verdict: Verdict::default(),
        scratch: vec![0; SCRATCH_BYTES],
        options,
    };
    client.connect()?;
    let entered = client.taken();
    client.answer(&entered)?;
    let (lines, line) = mpsc::channel();
    std::thread::spawn(move || {
        for line in io::stdin().lock().lines().map_while(Result::ok) {
            if lines.send(line).is_err() {
                return;
            }
        }
    });
    loop {
        client.turn(10)?;
        match line.try_recv() {
            Ok(word) if word == "begin" => client.begin(),
            Ok(word) if word == "end" => {
                let report = client.taken();
                client.answer(&report)?;
            }
            Ok(_) | Err(mpsc::TryRecvError::Disconnected) => return Ok(true),
            Err(mpsc::TryRecvError::Empty) => {}
        }
    }
}

impl Client {
    fn begin(&mut self) {
        self.report = Report {
            connect_s: self.report.connect_s,
            began_us: now_us(),
            ..Report::default()
        };
        self.began = self.ms();
        for times in [&mut self.delays, &mut self.ages, &mut self.gaps, &mut self.told] {
            times.reset();
        }
    }

    fn ms(&self) -> u32 {
        self.started.elapsed().as_millis() as u32
    }

    fn note_gap(&mut self, last_tick: u32, now: u32) {
        let gap_ms = now.saturating_sub(last_tick.max(self.began));
        self.gaps.saturating_record(u64::from(gap_ms) * 1_000);
    }

    fn taken(&mut self) -> Report {
        let now = self.ms();
        for index in 0..self.sockets.len() {
            if let Some(last_tick) = self.sockets[index].as_ref().map(|socket| socket.last_tick) {
                self.note_gap(last_tick, now);
            }
        }
        Report {
            open: self.open,
            lost: self.lost,
            lost_by: self.lost_by.clone(),
            connect_s: self.report.connect_s,
            cpu_s: cpu_of(std::process::id()).unwrap_or_default().as_secs_f64(),
            frames: self.report.frames,
            bytes: self.report.bytes,
            went_back: self.report.went_back,
            personal: self.report.personal,
            delays: pairs(&self.delays),
            ages: pairs(&self.ages),
            gaps: pairs(&self.gaps),
            began_us: self.report.began_us,
            told: pairs(&self.told),
        }
    }

    fn answer(&self, report: &Report) -> Result<()> {
        println!("{}", serde_json::to_string(report)?);
        io::stdout().flush()?;
        Ok(())
    }

    fn connect(&mut self) -> Result<()> {
        let began = Instant::now();
        while self.open + self.lost < self.options.sockets {
            while self.pending < self.options.at_once && self.sockets.len() < self.options.sockets {
                self.dial(self.sockets.len())?;
            }
            self.turn(50)?;
            if began.elapsed() > CONNECT_DEADLINE {
                bail!(
                    "{} of {} sockets were open in time",
                    self.open,
                    self.options.sockets
                );
            }
        }
        self.report.connect_s = began.elapsed().as_secs_f64();
        Ok(())
    }

    fn dial(&mut self, index: usize) -> Result<()> {
        let number = self.options.first + index;
        let fd = socket(
            AddressFamily::Inet,
            SockType::Stream,
            SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC,
            None,
        )?;
        setsockopt(&fd, sockopt::TcpNoDelay, &true)?;
        let from = SockaddrIn::new(
            127,
            0,
            (number / SOURCES / 100 % 250) as u8,
            2 + (number % SOURCES) as u8,
            0,
        );
        bind(std::os::fd::AsRawFd::as_raw_fd(&fd), &from)?;
        match connect(
            std::os::fd::AsRawFd::as_raw_fd(&fd),
            &SockaddrIn::from(self.options.address),
        ) {
            Ok(()) | Err(Errno::EINPROGRESS) => {}
            Err(error) => return Err(error).context("cannot connect"),
        }
        let stream = TcpStream::from(fd);
        let edges = EpollFlags::EPOLLIN | EpollFlags::EPOLLOUT | EpollFlags::EPOLLRDHUP | EpollFlags::EPOLLET;
        self.epoll.add(&stream, EpollEvent::new(edges, index as u64))?;
        self.sockets.push(Some(Socket {
            link: Link::new(stream, self.tls.as_ref())?,
            stage: Stage::Upgrading,
            number: number as u32,
            was_told: false,
            last_tick: 0,
            part: Vec::new(),
            seen: 0,
        }));
        self.pending += 1;
        Ok(())
    }

    fn turn(&mut self, timeout_ms: u16) -> Result<()> {
        let mut events = [EpollEvent::empty(); 512];
        let ready = match self.epoll.wait(&mut events, EpollTimeout::from(timeout_ms)) {
            Ok(ready) => ready,
            Err(Errno::EINTR) => 0,
            Err(error) => return Err(error.into()),
        };
        let mut scratch = std::mem::take(&mut self.scratch);
        for event in &events[..ready] {
            self.ready(event.data() as usize, event.events(), &mut scratch)?;
        }
        self.scratch = scratch;
        Ok(())
    }

    fn ready(&mut self, index: usize, events: EpollFlags, scratch: &mut [u8]) -> Result<()> {
        let Some(mut socket) = self.sockets[index].take() else {
            return Ok(());
        };
        let opened = matches!(socket.stage, Stage::Open);
        if matches!(socket.stage, Stage::Upgrading)
            && events.contains(EpollFlags::EPOLLOUT)
            && socket.seen == 0
        {
            let request = format!(
                "GET /ws HTTP/1.1\r\nHost: {}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                 Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
                self.options.address
            );
            // A new socket accepts this much; one that failed to connect reports it here.
            if socket.link.write_all(request.as_bytes()).is_err() {
                return self.lose(opened, "it could not connect");
            }
            socket.seen = 1;
        }
        loop {
            match socket.link.read(scratch) {
                Ok(0) => return self.lose(opened, "it ended without a word"),
                Ok(read) => {
                    if let Some(why) = self.take(&mut socket, &scratch[..read])? {
                        return self.lose(opened, &why);
                    }
                    // Less than the buffer's size: that was all.
                    if read < scratch.len() && socket.link.says_all_at_once() {
                        break;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return self.lose(opened, &error.to_string()),
            }
        }
        if !opened && matches!(socket.stage, Stage::Open) {
            self.open += 1;
            self.pending -= 1;
        }
        self.sockets[index] = Some(socket);
        Ok(())
    }

    fn lose(&mut self, opened: bool, why: &str) -> Result<()> {
        if opened {
            self.open -= 1;
        } else {
            self.pending -= 1;
        }
        self.lost += 1;
        *self.lost_by.entry(why.to_owned()).or_default() += 1;
        Ok(())
    }

    /// The cause of its end, if it has ended.
    fn take(&mut self, socket: &mut Socket, bytes: &[u8]) -> Result<Option<String>> {
        let whole;
        let mut bytes = if socket.part.is_empty() {
            bytes
        } else {
            socket.part.extend_from_slice(bytes);
            whole = std::mem::take(&mut socket.part);
            &whole
        };
        if matches!(socket.stage, Stage::Upgrading) {
            let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else {
                socket.part = bytes.to_vec();
                return Ok(None);
            };
            if !bytes.starts_with(b"HTTP/1.1 101") {
                let line = bytes.split(|byte| *byte == b'\r').next().unwrap_or_default();
                return Ok(Some(String::from_utf8_lossy(line).into_owned()));
            }
            socket.seen = 0;
            bytes = &bytes[end + 4..];
            if !self.greet(socket)? {
                return Ok(Some("it took no hello".into()));
            }
        }
        while let Some((code, payload, size)) = frame(bytes) {
            bytes = &bytes[size..];
            match code {
                1 if !self.text(socket, payload, size)? => return Ok(Some("it was refused".into())),
                8 => {
                    let code = payload.first_chunk().map(|code| u16::from_be_bytes(*code));
                    return Ok(Some(format!("closed with {}", code.unwrap_or_default())));
                }
                _ => {}
            }
        }
        socket.part = bytes.to_vec();
        Ok(None)
    }

    fn greet(&self, socket: &mut Socket) -> Result<bool> {
        let (Some(signer), Some(sale)) = (&self.signer, self.options.sale) else {
            socket.stage = Stage::Open;
            return Ok(true);
        };
        let wrong = |error| anyhow::anyhow!("{error}");
        let who = format!("watch-{:07}", socket.number).parse().map_err(wrong)?;
        let device = format!("device-{:07}", socket.number).parse().map_err(wrong)?;
        let hello = ConnectionCommand::Hello {
            token: signer.issue(who, Role::Shopper, None, TOKEN_LIFE)?,
            device: Some(device),
            resume: vec![sale],
            changes: false,
        };
        socket.stage = Stage::Greeting;
        say(socket, hello)
    }

    fn text(&mut self, socket: &mut Socket, payload: &[u8], size: usize) -> Result<bool> {
        const TICK: &[u8] = br#"{"type":"tick""#;
        if payload.starts_with(TICK) {
            if let Some(seq) = number_after(payload, br#""seq":"#) {
                self.report.frames += 1;
                self.report.bytes += size as u64;
                if seq <= socket.seen {
                    self.report.went_back += 1;
                }
                // The numbers of the bench's own ticks are times.
                if seq > FIRST_TIME_US {
                    let now = now_us();
                    self.delays.saturating_record(now.saturating_sub(seq).max(1));
                    if socket.seen > FIRST_TIME_US {
                        self.ages
                            .saturating_record(now.saturating_sub(socket.seen).max(1));
                    }
                }
                socket.seen = seq;
                let now = self.ms();
                self.note_gap(socket.last_tick, now);
                socket.last_tick = now;
                if !socket.was_told && self.verdict.sold_out(payload) {
                    socket.was_told = true;
                    let after = now_us().saturating_sub(self.report.began_us);
                    self.told.saturating_record(after.max(1));
                }
            }
            return Ok(true);
        }
        let refused = payload.windows(8).any(|eight| eight == br#""error":"#);
        match socket.stage {
            Stage::Greeting | Stage::Joining if refused => {
                // Printed only once; the reason is what matters.
                if self.lost == 0 {
                    println!("refused: {}", String::from_utf8_lossy(payload));
                }
                return Ok(false);
            }
            Stage::Greeting if self.options.join => {
                let sale = self.options.sale.context("--join needs --sale")?;
                socket.stage = Stage::Joining;
                return say(
                    socket,
                    ShopCommand::Join {
                        sale,
                        quantity: Default::default(),
                        nonce: Some(Nonce(rand::random())),
                    },
                );
            }
            Stage::Greeting | Stage::Joining => socket.stage = Stage::Open,
            _ => {
                self.report.personal += 1;
                self.report.bytes += size as u64;
            }
        }
        Ok(true)
    }
}

fn pairs(times: &Histogram<u64>) -> Vec<(u64, u64)> {
    let recorded = times.iter_recorded();
    recorded
        .map(|value| (value.value_iterated_to(), value.count_at_value()))
        .collect()
}

fn say(socket: &mut Socket, command: impl Into<Command>) -> Result<bool> {
    let request = Request::new(crate::shopper::command_id(), command);
    let mut frame = Frame::message(request.to_json(), OpCode::Data(Data::Text), true);
    frame.header_mut().mask = Some(rand::random());
    let mut bytes = Vec::new();
    frame.format(&mut bytes)?;
    Ok(socket.link.write_all(&bytes).is_ok())
}

/// A server's frame at the start of the bytes: its opcode, payload and whole size.
fn frame(bytes: &[u8]) -> Option<(u8, &[u8], usize)> {
    let short = *bytes.get(1)? as usize & 0x7f;
    let (head, length) = match short {
        126 => (4, u16::from_be_bytes(bytes.get(2..4)?.try_into().ok()?) as usize),
        127 => (
            10,
            u64::from_be_bytes(bytes.get(2..10)?.try_into().ok()?) as usize,
        ),
        short => (2, short),
    };
    Some((bytes[0] & 0x0f, bytes.get(head..head + length)?, head + length))
}

fn number_after(text: &[u8], name: &[u8]) -> Option<u64> {
    let at = text.windows(name.len()).position(|window| window == name)? + name.len();
    let digits = text[at..].iter().take_while(|byte| byte.is_ascii_digit());
    Some(digits.fold(0, |number, digit| number * 10 + u64::from(digit - b'0')))
}
