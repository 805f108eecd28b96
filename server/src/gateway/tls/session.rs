//! TLS on one connection, without its socket: what came is opened, what leaves is sealed. A connection that is idle has no buffer
//! here: only its keys, and where it stands.

use rustls::{
    ServerConfig,
    server::UnbufferedServerConnection,
    unbuffered::{ConnectionState, EncodeError, EncryptError, InsufficientSizeError, UnbufferedStatus},
};
use std::{
    io::{self, Read, Write},
    sync::Arc,
};

/// Bytes that are read from the socket at once.
const READ_BYTES: usize = 4 * 1024;
/// Reads for one look at what a client has sent, before others have their turn: a client may send records with nothing in them.
const READS_AT_ONCE: usize = 16;
/// A record's largest contents, and what is sealed at once for a stream.
const RECORD_BYTES: usize = 16 * 1024;
/// Room for a record's head, its tag, and a message of TLS' own; more is made where it does not suffice.
const SEAL_BYTES: usize = 128;
/// Bytes of records that are not whole: one record, or a message of the handshake in several.
const MAX_PART_BYTES: usize = 80 * 1024;

pub struct Session {
    tls: UnbufferedServerConnection,
    /// Bytes of a record that has not come whole.
    part: Vec<u8>,
    /// What was opened, and how much of it has been taken.
    opened: Vec<u8>,
    taken: usize,
    /// Sealed bytes that leave before all others.
    leaving: Vec<u8>,
    /// The client has said that it sends no more.
    ended: bool,
    /// The last look ended before what the client has sent did.
    has_more: bool,
    /// It must not go on: rustls panics if it does.
    has_failed: bool,
}

/// What comes in on a socket, opened.
pub struct Opened<'a, S> {
    session: &'a mut Session,
    socket: &'a mut S,
}

impl<S: Read> Read for Opened<'_, S> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.session.read(self.socket, buffer)
    }
}

/// What to do once nothing else is to be done.
#[derive(Clone, Copy)]
enum Then<'a> {
    Wait,
    Seal(&'a [u8]),
    SayGoodbye,
}

impl Session {
    pub fn new(config: Arc<ServerConfig>) -> Result<Self, rustls::Error> {
        Ok(Self {
            tls: UnbufferedServerConnection::new(config)?,
            part: Vec::new(),
            opened: Vec::new(),
            taken: 0,
            leaving: Vec::new(),
            ended: false,
            has_more: false,
            has_failed: false,
        })
    }

    pub fn is_handshaking(&self) -> bool {
        self.tls.is_handshaking()
    }

    /// Whether the last read ended before what the client has sent did. The socket does not report that again.
    pub fn has_more(&self) -> bool {
        self.has_more
    }

    // ------------------------------------------------------------------------------------------------------- coming in

    /// The socket, as if it were not encrypted.
    pub fn opened<'a, S>(&'a mut self, socket: &'a mut S) -> Opened<'a, S> {
        Opened {
            session: self,
            socket,
        }
    }

    /// Reads what the client has sent, opened.
    pub fn read(&mut self, socket: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
        self.has_more = false;
        for _ in 0..READS_AT_ONCE {
            let there = &self.opened[self.taken..];
            if !there.is_empty() {
                let now = there.len().min(buffer.len());
                buffer[..now].copy_from_slice(&there[..now]);
                self.taken += now;
                if self.taken == self.opened.len() {
                    (self.opened, self.taken) = (Vec::new(), 0);
                }
                return Ok(now);
            }
            if self.ended || self.take_in(socket)? == 0 {
                return Ok(0);
            }
        }
        self.has_more = true;
        Err(io::ErrorKind::WouldBlock.into())
    }

    /// One read from the socket, opened as far as it goes; 0 at the socket's end.
    pub fn take_in(&mut self, socket: &mut impl Read) -> io::Result<usize> {
        let mut bytes = [0; READ_BYTES];
        let read = socket.read(&mut bytes)?;
        self.part.extend_from_slice(&bytes[..read]);
        self.go_on(Then::Wait).map_err(wrong)?;
        if self.part.is_empty() {
            self.part = Vec::new();
        }
        Ok(read)
    }

    // ------------------------------------------------------------------------------------------------------- going out

    /// The bytes that carry these frames, after all that must leave before them.
    pub fn seal(&mut self, frames: &[&[u8]]) -> Result<Vec<u8>, rustls::Error> {
        let joined;
        let plain = match frames {
            [] => &[],
            [frame] => *frame,
            frames => {
                joined = frames.concat();
                &joined[..]
            }
        };
        if !plain.is_empty() {
            self.go_on(Then::Seal(plain))?;
        }
        Ok(std::mem::take(&mut self.leaving))
    }

    /// Whether TLS itself has something to say, which leaves before all others.
    pub fn has_answers(&self) -> bool {
        !self.leaving.is_empty()
    }

    /// Ends our side of the connection: the client is told so before it ends.
    pub fn end(&mut self) {
        // A session that has failed has said it already.
        let _ = self.go_on(Then::SayGoodbye);
    }

    /// Seals and sends as much as fits one record. Nothing is taken before what was sealed earlier has left.
    pub fn write(&mut self, socket: &mut impl Write, bytes: &[u8]) -> io::Result<usize> {
        self.flush(socket)?;
        let now = &bytes[..bytes.len().min(RECORD_BYTES)];
        self.go_on(Then::Seal(now)).map_err(wrong)?;
        match self.flush(socket) {
            Err(error) if error.kind() != io::ErrorKind::WouldBlock => Err(error),
            _ => Ok(now.len()),
        }
    }

    /// Sends what waits to leave; "would block" while some is left.
    pub fn flush(&mut self, socket: &mut impl Write) -> io::Result<()> {
        while !self.leaving.is_empty() {
            match socket.write(&self.leaving) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(taken) => drop(self.leaving.drain(..taken)),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        self.leaving = Vec::new();
        Ok(())
    }

    // ------------------------------------------------------------------------------------------------------------- TLS

    /// Lets TLS handle what has come, until it waits for more, and does the one thing then.
    fn go_on(&mut self, then: Then) -> Result<(), rustls::Error> {
        if self.has_failed {
            return Err(rustls::Error::General("it has failed before".into()));
        }
        let mut gone = self.go_through(then);
        if self.part.len() > MAX_PART_BYTES {
            gone = Err(rustls::Error::General("a record has no end".into()));
        }
        if gone.is_err() {
            self.has_failed = true;
            self.take_alert();
        }
        gone
    }

    fn go_through(&mut self, then: Then) -> Result<(), rustls::Error> {
        loop {
            let UnbufferedStatus { mut discard, state } = self.tls.process_tls_records(&mut self.part);
            let mut is_done = false;
            match state? {
                ConnectionState::ReadTraffic(mut records) => {
                    while let Some(record) = records.next_record() {
                        let record = record?;
                        discard += record.discard;
                        self.opened.extend_from_slice(record.payload);
                    }
                }
                ConnectionState::EncodeTlsData(mut message) => {
                    append(&mut self.leaving, 0, |room| message.encode(room).map_err(short))?;
                }
                // It leaves before all others.
                ConnectionState::TransmitTlsData(message) => message.done(),
                ConnectionState::PeerClosed => self.ended = true,
                ConnectionState::WriteTraffic(mut traffic) => {
                    match then {
                        Then::Wait => {}
                        Then::Seal(plain) => {
                            let records = 1 + plain.len() / RECORD_BYTES;
                            let room = plain.len() + records * SEAL_BYTES;
                            append(&mut self.leaving, room, |room| {
                                traffic.encrypt(plain, room).map_err(too_small)
                            })?;
                        }
                        Then::SayGoodbye => append(&mut self.leaving, SEAL_BYTES, |room| {
                            traffic.queue_close_notify(room).map_err(too_small)
                        })?,
                    }
                    is_done = true;
                }
                ConnectionState::BlockedHandshake | ConnectionState::Closed => match then {
                    Then::Seal(_) => return Err(rustls::Error::HandshakeNotComplete),
                    Then::Wait | Then::SayGoodbye => is_done = true,
                },
                // Data before the handshake's end is not offered.
                _ => return Err(rustls::Error::General("an unknown state".into())),
            }
            self.part.drain(..discard);
            if is_done {
                return Ok(());
            }
        }
    }

    /// After a failure: what the client is told of it.
    fn take_alert(&mut self) {
        while self.tls.wants_write() {
            let status = self.tls.process_tls_records(&mut []);
            let Ok(ConnectionState::EncodeTlsData(mut message)) = status.state else {
                return;
            };
            let appended = append(&mut self.leaving, 0, |room| message.encode(room).map_err(short));
            if appended.is_err() {
                return;
            }
        }
    }
}

fn wrong(error: rustls::Error) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

/// The room that is needed; None: room is not what is missing.
type Needed = Option<usize>;

fn short(error: EncodeError) -> Needed {
    match error {
        EncodeError::InsufficientSize(InsufficientSizeError { required_size }) => Some(required_size),
        EncodeError::AlreadyEncoded => None,
    }
}

fn too_small(error: EncryptError) -> Needed {
    match error {
        EncryptError::InsufficientSize(InsufficientSizeError { required_size }) => Some(required_size),
        EncryptError::EncryptExhausted => None,
    }
}

/// Appends what is written into the room that it needs.
fn append(
    bytes: &mut Vec<u8>,
    mut room: usize,
    mut write: impl FnMut(&mut [u8]) -> Result<usize, Needed>,
) -> Result<(), rustls::Error> {
    let begin = bytes.len();
    loop {
        bytes.resize(begin + room, 0);
        let written = write(&mut bytes[begin..]);
        bytes.truncate(begin + written.unwrap_or(0));
        match written {
            Ok(_) => return Ok(()),
            Err(Some(needed)) if needed > room => room = needed,
            Err(_) => return Err(rustls::Error::EncryptError),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::{
            certificate::Certificate,
            samples::{Sample, sample},
        },
        *,
    };
    use proptest::prelude::*;
    use rustls::ClientConnection;
    use std::{collections::VecDeque, sync::LazyLock};

    /// A way in both directions that takes and gives as many bytes at once as its plan says; 0 is "not now".
    #[derive(Default)]
    struct Way {
        to_server: VecDeque<u8>,
        to_client: VecDeque<u8>,
        plan: VecDeque<usize>,
    }

    impl Way {
        fn most(&mut self) -> io::Result<usize> {
            let Some(most) = self.plan.pop_front() else {
                return Ok(usize::MAX);
            };
            self.plan.push_back(most);
            match most {
                0 => Err(io::ErrorKind::WouldBlock.into()),
                most => Ok(most),
            }
        }
    }

    impl Read for Way {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let most = self.most()?.min(buffer.len());
            if self.to_server.is_empty() {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            let most = most.min(self.to_server.len());
            self.to_server.read(&mut buffer[..most])
        }
    }

    impl Write for Way {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let most = self.most()?.min(bytes.len());
            self.to_client.write(&bytes[..most])
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    struct Pair {
        client: ClientConnection,
        /// What the client has got.
        heard: Vec<u8>,
        session: Session,
        way: Way,
    }

    /// What everybody here shows and trusts.
    static KNOWN: LazyLock<(Sample, Arc<ServerConfig>)> = LazyLock::new(|| {
        let folder = tempfile::tempdir().expect("a folder");
        let sample = sample();
        let certificate = Certificate::open(&sample.write(folder.path()));
        let config = certificate.expect("good").expect("there").config();
        (sample, config)
    });

    impl Pair {
        fn new(plan: &[usize]) -> Self {
            Self {
                client: KNOWN.0.client(),
                heard: Vec::new(),
                session: Session::new(KNOWN.1.clone()).expect("a session"),
                way: Way {
                    plan: plan.iter().copied().collect(),
                    ..Way::default()
                },
            }
        }

        /// Moves what the client says onto the way, and takes what has come for it.
        fn client_turn(&mut self) {
            while self.client.wants_write() {
                self.client
                    .write_tls(&mut self.way.to_server)
                    .expect("a queue takes everything");
            }
            while !self.way.to_client.is_empty() {
                self.client.read_tls(&mut self.way.to_client).expect("all of it");
                self.client.process_new_packets().expect("it is TLS");
                pass(self.client.reader().read_to_end(&mut self.heard));
            }
        }

        fn greeted(plan: &[usize]) -> Self {
            let mut pair = Self::new(plan);
            while pair.client.is_handshaking() || pair.session.is_handshaking() {
                pair.client_turn();
                pass(pair.session.take_in(&mut pair.way));
                pass(pair.session.flush(&mut pair.way));
            }
            while pair.session.has_answers() {
                pass(pair.session.flush(&mut pair.way));
            }
            pair.client_turn();
            pair
        }

        fn heard_by_client(&mut self) -> Vec<u8> {
            self.client_turn();
            std::mem::take(&mut self.heard)
        }

        /// All that has come, in small pieces.
        fn heard_by_server(&mut self) -> Vec<u8> {
            let (mut bytes, mut piece) = (Vec::new(), [0; 700]);
            while !self.way.to_server.is_empty() || self.session.taken < self.session.opened.len() {
                match self.session.read(&mut self.way, &mut piece) {
                    Ok(0) => break,
                    Ok(read) => bytes.extend_from_slice(&piece[..read]),
                    Err(error) => assert_eq!(error.kind(), io::ErrorKind::WouldBlock),
                }
            }
            bytes
        }

        fn is_idle(&self) -> bool {
            let session = &self.session;
            [&session.part, &session.opened, &session.leaving]
                .iter()
                .all(|buffer| buffer.capacity() == 0)
        }
    }

    /// "Not now" is no failure.
    fn pass<T>(result: io::Result<T>) {
        if let Err(error) = result {
            assert_eq!(error.kind(), io::ErrorKind::WouldBlock, "{error}");
        }
    }

    fn plan() -> impl Strategy<Value = Vec<usize>> {
        // It ends with something, so that everything comes through.
        prop::collection::vec(0usize..3_000, 0..20).prop_map(|mut plan| {
            plan.push(1_111);
            plan
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// Whatever the socket takes and gives at once: bytes arrive whole and in order, and afterwards nothing is kept.
        #[test]
        fn bytes_survive_any_cut(
            plan in plan(),
            said in prop::collection::vec((any::<bool>(), 1usize..40_000), 1..8),
        ) {
            let mut pair = Pair::greeted(&plan);
            for (number, (by_client, length)) in said.into_iter().enumerate() {
                let bytes = vec![number as u8; length];
                if by_client {
                    pair.client.writer().write_all(&bytes).expect("it fits");
                    pair.client_turn();
                    prop_assert_eq!(pair.heard_by_server(), bytes);
                } else {
                    let mut rest = &bytes[..];
                    while !rest.is_empty() {
                        match pair.session.write(&mut pair.way, rest) {
                            Ok(taken) => rest = &rest[taken..],
                            Err(error) => prop_assert_eq!(error.kind(), io::ErrorKind::WouldBlock),
                        }
                    }
                    while pair.session.has_answers() {
                        pass(pair.session.flush(&mut pair.way));
                    }
                    prop_assert_eq!(pair.heard_by_client(), bytes);
                }
                prop_assert!(pair.is_idle());
            }
        }
    }

    #[test]
    fn frames_of_a_hundred_kilobytes_are_sealed_together_and_an_idle_session_is_small() {
        let mut pair = Pair::greeted(&[]);
        let large = vec![7; 100_000];
        let sealed = pair.session.seal(&[b"one", &large, b"two"]).expect("sealed");
        assert!(sealed.len() < 101_000);
        pair.way.to_client.extend(sealed);
        assert_eq!(pair.heard_by_client(), [&b"one"[..], &large, b"two"].concat());
        assert_eq!(pair.session.seal(&[]).expect("nothing"), b"");
        assert!(pair.is_idle());
        let bytes = size_of::<Session>();
        assert!(bytes < 1_400, "{bytes}");
    }

    #[test]
    fn each_side_says_that_it_ends() {
        let mut pair = Pair::greeted(&[]);
        pair.session.end();
        let last = pair.session.seal(&[]).expect("what ends it");
        assert!(!last.is_empty());
        pair.way.to_client.extend(last);
        pair.client_turn();
        let mut nothing = [0];
        assert_eq!(pair.client.reader().read(&mut nothing).expect("a clean end"), 0);
        pair.client.writer().write_all(b"last words").expect("it fits");
        pair.client.send_close_notify();
        pair.client_turn();
        assert_eq!(pair.heard_by_server(), b"last words");
        assert_eq!(
            pair.session
                .read(&mut pair.way, &mut nothing)
                .expect("a clean end"),
            0
        );
    }

    #[test]
    fn keys_are_renewed_in_the_middle_of_everything() {
        let mut pair = Pair::greeted(&[]);
        for _ in 0..3 {
            pair.client.refresh_traffic_keys().expect("TLS 1.3");
            pair.client.writer().write_all(b"new keys").expect("it fits");
            pair.client_turn();
            assert_eq!(pair.heard_by_server(), b"new keys");
            let sealed = pair.session.seal(&[b"mine too"]).expect("sealed");
            pair.way.to_client.extend(sealed);
            assert_eq!(pair.heard_by_client(), b"mine too");
        }
    }

    #[test]
    fn what_is_not_tls_fails_and_is_told_so() {
        for garbage in [
            &b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"[..],
            &[0x16, 3, 1, 0xff, 0xff, 1],
            &[0; 50],
        ] {
            let mut pair = Pair::new(&[]);
            pair.way.to_server.extend(garbage);
            let error = pair.session.take_in(&mut pair.way).expect_err("no TLS");
            assert_eq!(error.kind(), io::ErrorKind::InvalidData);
            assert_eq!(pair.session.leaving.first(), Some(&0x15), "an alert");
            assert!(pair.session.seal(&[b"x"]).is_err());
        }
        let mut pair = Pair::greeted(&[]);
        pair.way.to_server.extend([0x17, 3, 3, 0, 20]);
        pair.way.to_server.extend([0; 20]);
        let error = pair
            .session
            .read(&mut pair.way, &mut [0; 10])
            .expect_err("forged");
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
        assert!(pair.session.has_answers(), "an alert");
        assert!(pair.session.seal(&[b"x"]).is_err());
        pair.session.end();
    }

    #[test]
    fn records_with_nothing_in_them_leave_others_their_turn() {
        let mut pair = Pair::greeted(&[]);
        pair.client.writer().write_all(b"x").expect("it fits");
        pair.client_turn();
        assert_eq!(pair.heard_by_server(), b"x");
        // Each byte is a part of a record that is never whole.
        pair.way.to_server.extend([0x17, 3, 3, 0x40, 0]);
        pair.way.plan = [1].into();
        pair.way.to_server.extend([0; 100]);
        let blocked = pair
            .session
            .read(&mut pair.way, &mut [0; 10])
            .expect_err("not yet");
        assert_eq!(blocked.kind(), io::ErrorKind::WouldBlock);
        assert!(pair.session.has_more());
    }
}
