//! A client's messages. tokio-tungstenite's engine reads them, and exists only while there is something to read, so an idle
//! socket has no buffer. To make this safe, the passing bytes are followed: between two messages an engine has nothing to
//! remember.

use flashsale_protocol::MAX_FRAME_BYTES;
use std::io::{self, Read, Write};
use tokio_tungstenite::tungstenite::{
    Error as WsError, Message,
    protocol::{Role, WebSocketConfig, WebSocketContext},
};

/// Grows for a larger message.
const READ_BUFFER_BYTES: usize = 1024;
/// Bytes that one socket may read in its turn, before others have theirs.
const TURN_BYTES: usize = 32 * 1024;

/// The engine of a socket that is in the middle of a message.
#[derive(Default)]
pub struct Inbound(Option<Box<Engine>>);

struct Engine {
    context: WebSocketContext,
    passed: Passed,
}

/// The result of one turn of reading.
pub enum Heard {
    Message(Message),
    /// The client has sent nothing more yet.
    Nothing,
    /// There may be more, but it is the others' turn.
    Later,
    Failed(WsError),
}

impl Inbound {
    /// Begins with bytes that came together with the handshake.
    pub fn new(read: Vec<u8>) -> Self {
        if read.is_empty() {
            return Self(None);
        }
        let mut passed = Passed::default();
        passed.follow(&read);
        let context = WebSocketContext::from_partially_read(read, Role::Server, Some(config()));
        Self(Some(Box::new(Engine { context, passed })))
    }

    /// Whether a message was begun and is incomplete, or was not asked for yet.
    pub(crate) fn is_busy(&self) -> bool {
        self.0.is_some()
    }

    /// The next message. The engine's own answers (pongs, closes) are appended to `answers`.
    pub fn read(&mut self, socket: &mut impl Read, turn: &mut ReadingTurn, answers: &mut Vec<u8>) -> Heard {
        let engine = self.0.get_or_insert_with(|| {
            Box::new(Engine {
                context: WebSocketContext::new(Role::Server, Some(config())),
                passed: Passed::default(),
            })
        });
        let mut wire = Wire {
            socket,
            passed: &mut engine.passed,
            turn,
            answers,
        };
        let read = engine.context.read(&mut wire);
        let _ = engine.context.flush(&mut wire);
        match read {
            Ok(message) => Heard::Message(message),
            Err(WsError::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => {
                if engine.passed.between_messages() {
                    self.0 = None;
                }
                if turn.over() { Heard::Later } else { Heard::Nothing }
            }
            Err(error) => Heard::Failed(error),
        }
    }
}

fn config() -> WebSocketConfig {
    WebSocketConfig::default()
        .read_buffer_size(READ_BUFFER_BYTES)
        .write_buffer_size(0)
        .max_message_size(Some(MAX_FRAME_BYTES))
        .max_frame_size(Some(MAX_FRAME_BYTES))
}

/// A socket's turn of reading.
pub struct ReadingTurn(usize);

impl ReadingTurn {
    pub fn begin() -> Self {
        Self(TURN_BYTES)
    }

    fn over(&self) -> bool {
        self.0 == 0
    }
}

/// The engine's view of the socket: incoming bytes are counted and followed, answers are kept for the outbox.
struct Wire<'a, S> {
    socket: &'a mut S,
    passed: &'a mut Passed,
    turn: &'a mut ReadingTurn,
    answers: &'a mut Vec<u8>,
}

impl<S: Read> Read for Wire<'_, S> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = buffer.len().min(self.turn.0);
        if most == 0 {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let read = self.socket.read(&mut buffer[..most])?;
        self.turn.0 -= read;
        self.passed.follow(&buffer[..read]);
        Ok(read)
    }
}

impl<S> Write for Wire<'_, S> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.answers.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The position of the passed bytes in the stream of frames (RFC 6455, section 5.2). It judges nothing: the engine decides which
/// frames are allowed.
#[derive(Debug, Default)]
struct Passed {
    head: Vec<u8>,
    payload_left: u64,
    in_fragments: bool,
}

impl Passed {
    fn between_messages(&self) -> bool {
        self.head.is_empty() && self.payload_left == 0 && !self.in_fragments
    }

    fn follow(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            if self.payload_left > 0 {
                let passed = self.payload_left.min(bytes.len() as u64);
                self.payload_left -= passed;
                bytes = &bytes[passed as usize..];
                continue;
            }
            self.head.push(bytes[0]);
            bytes = &bytes[1..];
            if let Some(length) = payload_of(&self.head) {
                let (fin, opcode) = (self.head[0] & 0x80 != 0, self.head[0] & 0x0f);
                // Control frames may come between the fragments of a message.
                if opcode < 8 {
                    self.in_fragments = !fin;
                }
                self.payload_left = length;
                self.head.clear();
            }
        }
    }
}

/// The payload's length, from a frame's head; None while the head is incomplete.
fn payload_of(head: &[u8]) -> Option<u64> {
    let second = *head.get(1)?;
    let mask = if second & 0x80 != 0 { 4 } else { 0 };
    let (length_bytes, short) = match second & 0x7f {
        126 => (2, None),
        127 => (8, None),
        short => (0, Some(u64::from(short))),
    };
    if head.len() < 2 + length_bytes + mask {
        return None;
    }
    Some(short.unwrap_or_else(|| {
        head[2..2 + length_bytes]
            .iter()
            .fold(0, |sum, byte| sum << 8 | u64::from(*byte))
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use tokio_tungstenite::tungstenite::protocol::frame::{
        Frame,
        coding::{Data, OpCode},
    };

    /// Gives the pieces one by one, with "not now" after each.
    struct Pieces(Vec<Vec<u8>>);

    impl Read for Pieces {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let Some(piece) = self.0.first_mut() else {
                return Err(io::ErrorKind::WouldBlock.into());
            };
            if piece.is_empty() {
                self.0.remove(0);
                return Err(io::ErrorKind::WouldBlock.into());
            }
            let some = buffer.len().min(piece.len());
            buffer[..some].copy_from_slice(&piece[..some]);
            piece.drain(..some);
            Ok(some)
        }
    }

    fn masked(mut frame: Frame) -> Vec<u8> {
        frame.header_mut().mask = Some([7, 1, 200, 9]);
        let mut bytes = Vec::new();
        frame.format(&mut bytes).expect("memory takes everything");
        bytes
    }

    proptest! {
        /// Messages in fragments, with pings in between, cut anywhere: each arrives once and whole, and an idle socket has no
        /// engine.
        #[test]
        fn messages_survive_any_cut(
            texts in prop::collection::vec("[a-zé]{0,300}", 1..8),
            fragments in prop::collection::vec(1usize..4, 8),
            cuts in prop::collection::vec(1usize..200, 1..60),
        ) {
            let mut bytes = Vec::new();
            for (text, fragments) in texts.iter().zip(fragments) {
                let size = text.len().div_ceil(fragments).max(1);
                let parts: Vec<&[u8]> = if text.is_empty() { vec![b""] } else { text.as_bytes().chunks(size).collect() };
                for (i, part) in parts.iter().enumerate() {
                    let code = OpCode::Data(if i == 0 { Data::Text } else { Data::Continue });
                    bytes.extend(masked(Frame::message(part.to_vec(), code, i + 1 == parts.len())));
                    bytes.extend(masked(Frame::ping("x")));
                }
            }
            let mut pieces = Vec::new();
            let mut rest = bytes.as_slice();
            for cut in cuts.iter().cycle() {
                if rest.is_empty() { break }
                let (piece, later) = rest.split_at((*cut).min(rest.len()));
                pieces.push(piece.to_vec());
                rest = later;
            }
            let mut socket = Pieces(pieces);
            let mut inbound = Inbound::default();
            let (mut got, mut answers) = (Vec::new(), Vec::new());
            while !socket.0.is_empty() {
                match inbound.read(&mut socket, &mut ReadingTurn::begin(), &mut answers) {
                    Heard::Message(Message::Text(text)) => got.push(text.as_str().to_owned()),
                    Heard::Message(_) | Heard::Nothing | Heard::Later => {}
                    Heard::Failed(error) => prop_assert!(false, "{error}"),
                }
            }
            prop_assert!(!inbound.is_busy(), "nothing is kept for an idle socket");
            prop_assert_eq!(got, texts);
            prop_assert!(!answers.is_empty(), "pings were answered");
        }
    }

    #[test]
    fn a_turn_ends_and_goes_on() {
        let mut socket = Pieces(vec![
            masked(Frame::message(vec![b'a'; 4_000], OpCode::Data(Data::Text), true)).repeat(10),
        ]);
        let mut inbound = Inbound::default();
        let (mut messages, mut later) = (0, 0);
        let mut turn = ReadingTurn::begin();
        while !socket.0.is_empty() {
            match inbound.read(&mut socket, &mut turn, &mut Vec::new()) {
                Heard::Message(_) => messages += 1,
                Heard::Later => {
                    later += 1;
                    turn = ReadingTurn::begin();
                }
                Heard::Nothing => {}
                Heard::Failed(error) => panic!("{error}"),
            }
        }
        assert_eq!((messages, later), (10, 1));
    }
}
