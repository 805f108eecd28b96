//! The bytes that a socket is owed. Frames leave whole and in order; bytes that the socket does not take at once are kept, and
//! nothing else leaves before them. Ticks are not kept here: a socket that was behind gets the newest one afterwards.

use std::io::{self, IoSlice, Write};

/// Only a pointer for the many sockets that are owed nothing.
#[derive(Debug, Default)]
pub struct Outbox(Option<Box<Owed>>);

#[derive(Debug, Default)]
struct Owed {
    bytes: Vec<u8>,
    /// How many of them have already been sent.
    sent: usize,
}

impl Outbox {
    pub fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// Bytes that the socket has not taken yet.
    pub fn len(&self) -> usize {
        self.0.as_ref().map_or(0, |owed| owed.bytes.len() - owed.sent)
    }

    /// Sends frames after the owed bytes; if there are none, in one write without a copy.
    pub fn send(&mut self, socket: &mut impl Write, frames: &[&[u8]]) -> io::Result<()> {
        let mut taken = 0;
        if self.is_empty() {
            taken = match frames {
                [frame] => attempt(|| socket.write(frame))?,
                frames => {
                    let slices: Vec<IoSlice> = frames.iter().map(|frame| IoSlice::new(frame)).collect();
                    attempt(|| socket.write_vectored(&slices))?
                }
            };
        }
        for frame in frames {
            let skipped = taken.min(frame.len());
            self.owe(&frame[skipped..]);
            taken -= skipped;
        }
        self.flush(socket)
    }

    /// Adds the rest of a frame that was begun elsewhere, while nothing was owed.
    pub(crate) fn owe(&mut self, rest: &[u8]) {
        if !rest.is_empty() {
            self.0.get_or_insert_default().bytes.extend_from_slice(rest);
        }
    }

    /// Sends owed bytes, as far as the socket takes them.
    pub fn flush(&mut self, socket: &mut impl Write) -> io::Result<()> {
        let Some(owed) = &mut self.0 else {
            return Ok(());
        };
        while owed.sent < owed.bytes.len() {
            match attempt(|| socket.write(&owed.bytes[owed.sent..]))? {
                0 => return Ok(()),
                taken => owed.sent += taken,
            }
        }
        self.0 = None;
        Ok(())
    }
}

/// One write; 0 if the socket takes nothing now.
fn attempt(mut write: impl FnMut() -> io::Result<usize>) -> io::Result<usize> {
    loop {
        match write() {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(0),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            done => return done,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Takes as many bytes of each write as the plan says; 0 means "not now".
    struct Stingy {
        plan: Vec<usize>,
        taken: Vec<u8>,
    }

    impl Write for Stingy {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            match self.plan.pop().unwrap_or(0).min(bytes.len()) {
                0 => Err(io::ErrorKind::WouldBlock.into()),
                some => {
                    self.taken.extend_from_slice(&bytes[..some]);
                    Ok(some)
                }
            }
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    proptest! {
        /// However much the socket takes of each write, frames arrive whole, in order and unmixed.
        #[test]
        fn short_writes_never_mix_frames(
            frames in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..40), 1..30),
            plan in prop::collection::vec(0usize..50, 0..200),
            together in prop::collection::vec(1usize..4, 30),
        ) {
            let mut socket = Stingy { plan, taken: Vec::new() };
            let mut outbox = Outbox::default();
            let mut rest = frames.as_slice();
            for size in together {
                let (now, later) = rest.split_at(size.min(rest.len()));
                rest = later;
                let now: Vec<&[u8]> = now.iter().map(Vec::as_slice).collect();
                if !now.is_empty() {
                    outbox.send(&mut socket, &now).expect("blocked is no error");
                }
            }
            let whole = frames.concat();
            prop_assert_eq!(outbox.len(), whole.len() - socket.taken.len());
            while !outbox.is_empty() {
                socket.plan = vec![3, 0, 7, 0, 1];
                outbox.flush(&mut socket).expect("blocked is no error");
            }
            prop_assert_eq!(socket.taken, whole);
        }
    }
}
