//! Answers every message with itself, over the gateway's own frame path and tungstenite's handshake: the other side of a
//! conformance suite. One thread per socket; it serves until it is ended.
//!
//!     echo 127.0.0.1:9001

#[path = "../server/src/gateway/shard/inbound.rs"]
#[allow(dead_code, reason = "the gateway uses more of it")]
mod inbound;
#[path = "../server/src/gateway/shard/outbox.rs"]
#[allow(dead_code, reason = "the gateway uses more of it")]
mod outbox;

use inbound::{Heard, Inbound, Turn};
use outbox::Outbox;
use std::{
    net::{Shutdown, TcpListener, TcpStream},
    time::Duration,
};
use tokio_tungstenite::tungstenite::{
    Error, Message, accept,
    protocol::{
        CloseFrame,
        frame::{
            Frame,
            coding::{CloseCode, Data, OpCode},
        },
    },
};

/// "Not now" to the frame path, after so long without a byte.
const PATIENCE: Duration = Duration::from_millis(1);

fn main() {
    let address = std::env::args().nth(1).expect("usage: echo ADDRESS");
    let listener = TcpListener::bind(address).expect("a free address");
    for stream in listener.incoming().flatten() {
        std::thread::spawn(move || {
            let shaken = accept(stream.try_clone().expect("a socket"));
            if shaken.is_ok() {
                serve(&stream);
            }
        });
    }
}

fn serve(mut stream: &TcpStream) {
    stream.set_read_timeout(Some(PATIENCE)).expect("a socket");
    let (mut inbound, mut outbox) = (Inbound::default(), Outbox::default());
    loop {
        let mut answers = Vec::new();
        let heard = inbound.read(&mut stream, &mut Turn::begin(), &mut answers);
        // The engine's own answers are whole frames, or nothing.
        let mut frames = vec![answers];
        let mut is_last = false;
        match heard {
            Heard::Message(Message::Text(text)) => {
                frames.push(bytes_of(Frame::message(text, OpCode::Data(Data::Text), true)));
            }
            Heard::Message(Message::Binary(bytes)) => {
                frames.push(bytes_of(Frame::message(bytes, OpCode::Data(Data::Binary), true)));
            }
            Heard::Message(Message::Close(_)) => is_last = true,
            Heard::Message(_) | Heard::Nothing | Heard::Later => {}
            Heard::Failed(error) => {
                is_last = true;
                if let Some(code) = code_of(&error) {
                    let close = CloseFrame { code, reason: "".into() };
                    frames.push(bytes_of(Frame::close(Some(close))));
                }
            }
        }
        let frames: Vec<&[u8]> = frames.iter().map(Vec::as_slice).filter(|frame| !frame.is_empty()).collect();
        if !frames.is_empty() && outbox.send(&mut stream, &frames).is_err() {
            return;
        }
        while !outbox.is_empty() {
            if outbox.flush(&mut stream).is_err() {
                return;
            }
        }
        if is_last {
            let _ = stream.shutdown(Shutdown::Write);
            return;
        }
    }
}

fn bytes_of(frame: Frame) -> Vec<u8> {
    let mut bytes = Vec::new();
    // Memory takes everything.
    let _ = frame.format(&mut bytes);
    bytes
}

fn code_of(error: &Error) -> Option<CloseCode> {
    match error {
        Error::Capacity(_) => Some(CloseCode::Size),
        Error::Utf8(_) => Some(CloseCode::Invalid),
        Error::Protocol(_) => Some(CloseCode::Protocol),
        _ => None,
    }
}
