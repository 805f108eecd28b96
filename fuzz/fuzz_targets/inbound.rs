//! Whatever a client sends, cut anywhere: an engine that is dropped between two messages hears the same as one that is
//! there all the time, and nothing is kept for a socket that stands between messages.
#![no_main]

#[path = "../../server/src/gateway/shard/inbound.rs"]
#[allow(dead_code, reason = "the gateway uses more of it")]
mod inbound;

use arbitrary::Arbitrary;
use flashsale_protocol::MAX_FRAME_BYTES;
use inbound::{Heard, Inbound, Turn};
use libfuzzer_sys::fuzz_target;
use std::io::{self, Read, Write};
use tokio_tungstenite::tungstenite::{
    Error, Message,
    protocol::{Role, WebSocketConfig, WebSocketContext},
};

/// Messages and errors after which a run has shown what it can.
const MOST_READS: usize = 4_096;

#[derive(Debug, Arbitrary)]
struct Plan {
    /// Raw bytes, or frames that are nearly right: both get beyond the first check.
    sent: Vec<Sent>,
    cuts: Vec<u16>,
    with_handshake: u8,
}

#[derive(Debug, Arbitrary)]
enum Sent {
    Bytes(Vec<u8>),
    Frame {
        first: u8,
        mask: Option<[u8; 4]>,
        payload: Vec<u8>,
        /// Says another length than it has.
        lie: Option<u32>,
    },
}

impl Sent {
    fn write(&self, bytes: &mut Vec<u8>) {
        let (first, mask, payload, lie) = match self {
            Self::Bytes(raw) => return bytes.extend_from_slice(raw),
            Self::Frame { first, mask, payload, lie } => (first, mask, payload, lie),
        };
        let length = lie.map_or(payload.len() as u64, u64::from);
        let masked = if mask.is_some() { 0x80 } else { 0 };
        bytes.push(*first);
        match length {
            0..126 => bytes.push(masked | length as u8),
            126..0x1_0000 => {
                bytes.push(masked | 126);
                bytes.extend((length as u16).to_be_bytes());
            }
            _ => {
                bytes.push(masked | 127);
                bytes.extend(length.to_be_bytes());
            }
        }
        let mask = mask.inspect(|mask| bytes.extend(mask)).unwrap_or_default();
        bytes.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    }
}

/// Gives the bytes piece by piece, and "not now" after each.
struct Pieces<'a> {
    bytes: &'a [u8],
    cuts: std::iter::Cycle<std::slice::Iter<'a, u16>>,
    left: usize,
}

impl Read for Pieces<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.left == 0 || self.bytes.is_empty() {
            self.left = self.cuts.next().map_or(usize::MAX, |cut| usize::from(*cut).max(1));
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let some = buffer.len().min(self.left).min(self.bytes.len());
        buffer[..some].copy_from_slice(&self.bytes[..some]);
        self.bytes = &self.bytes[some..];
        self.left -= some;
        Ok(some)
    }
}

/// For the engine that stays: all bytes at once, its answers kept.
struct Whole<'a>(&'a [u8], Vec<u8>);

impl Read for Whole<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.0.read(buffer)? {
            0 => Err(io::ErrorKind::WouldBlock.into()),
            some => Ok(some),
        }
    }
}

impl Write for Whole<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.1.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[derive(Debug, PartialEq)]
enum Got {
    Message(Message),
    /// By its kind: the words name lengths that depend on how much was there.
    Failed(std::mem::Discriminant<Error>),
}

fn reference(bytes: &[u8]) -> (Vec<Got>, Vec<u8>) {
    let config = WebSocketConfig::default()
        .write_buffer_size(0)
        .max_message_size(Some(MAX_FRAME_BYTES))
        .max_frame_size(Some(MAX_FRAME_BYTES));
    let mut context = WebSocketContext::new(Role::Server, Some(config));
    let (mut socket, mut got) = (Whole(bytes, Vec::new()), Vec::new());
    while got.len() < MOST_READS {
        let read = context.read(&mut socket);
        let _ = context.flush(&mut socket);
        match read {
            Ok(message) => got.push(Got::Message(message)),
            Err(Error::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => break,
            Err(error) => {
                got.push(Got::Failed(std::mem::discriminant(&error)));
                break;
            }
        }
    }
    (got, socket.1)
}

fuzz_target!(|plan: Plan| {
    let mut bytes = Vec::new();
    plan.sent.iter().for_each(|sent| sent.write(&mut bytes));
    let expected = reference(&bytes);

    let (early, rest) = bytes.split_at(usize::from(plan.with_handshake).min(bytes.len()));
    let mut inbound = Inbound::new(early.to_vec());
    let mut socket = Pieces { bytes: rest, cuts: plan.cuts.iter().cycle(), left: 0 };
    let (mut got, mut answers) = (Vec::new(), Vec::new());
    while got.len() < MOST_READS {
        match inbound.read(&mut socket, &mut Turn::begin(), &mut answers) {
            Heard::Message(message) => {
                let is_last = matches!(message, Message::Close(_));
                got.push(Got::Message(message));
                // The gateway reads no further; nor does the engine that stays.
                if is_last {
                    break;
                }
            }
            Heard::Nothing | Heard::Later if socket.bytes.is_empty() => break,
            Heard::Nothing | Heard::Later => {}
            Heard::Failed(error) => {
                got.push(Got::Failed(std::mem::discriminant(&error)));
                break;
            }
        }
    }
    let is_over = matches!(got.last(), Some(Got::Failed(_) | Got::Message(Message::Close(_))));
    let until_then = &expected.0[..expected.0.len().min(got.len())];
    assert_eq!(got, until_then);
    assert!(is_over || got.len() == expected.0.len(), "nothing is heard too little");
    if !is_over {
        assert_eq!(answers, expected.1, "the same is answered");
    }
});
