//! Whatever the socket takes of each write: frames leave whole, in order and unmixed.
#![no_main]

#[path = "../../server/src/gateway/shard/outbox.rs"]
mod outbox;

use libfuzzer_sys::fuzz_target;
use outbox::Outbox;
use std::io::{self, Write};

/// Takes as many bytes of each write as the plan says, 0 meaning "not now", 255 "interrupted".
struct Stingy {
    plan: Vec<u8>,
    taken: Vec<u8>,
}

impl Write for Stingy {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self.plan.pop().unwrap_or(0) {
            0 => Err(io::ErrorKind::WouldBlock.into()),
            255 => Err(io::ErrorKind::Interrupted.into()),
            some => {
                let some = usize::from(some).min(bytes.len());
                self.taken.extend_from_slice(&bytes[..some]);
                Ok(some)
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fuzz_target!(|input: (Vec<Vec<Vec<u8>>>, Vec<u8>)| {
    let (sends, plan) = input;
    let mut socket = Stingy { plan, taken: Vec::new() };
    let mut outbox = Outbox::default();
    let mut whole = Vec::new();
    for frames in &sends {
        // A frame has a head: it is never empty.
        let frames: Vec<&[u8]> = frames.iter().map(Vec::as_slice).filter(|frame| !frame.is_empty()).collect();
        if frames.is_empty() {
            outbox.flush(&mut socket).expect("blocked is no error");
            continue;
        }
        whole.extend(frames.concat());
        outbox.send(&mut socket, &frames).expect("blocked is no error");
        assert_eq!(outbox.len(), whole.len() - socket.taken.len());
        assert!(whole.starts_with(&socket.taken));
    }
    socket.plan = vec![254; whole.len() + 1];
    outbox.flush(&mut socket).expect("blocked is no error");
    assert!(outbox.is_empty());
    assert_eq!(socket.taken, whole);
});
