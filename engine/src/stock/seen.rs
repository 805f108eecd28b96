//! How Redis recognises a repeated command: the names of commands in `lua/lib/seen.lua`. They are short, because everybody in a
//! long line has one there. Pure.

use flashsale_protocol::{CommandId, ShopperId};
use sha1::{Digest, Sha1};

/// What a command asks for. The same id with another request is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Request {
    Reserve { quantity: u32, partial: bool },
    Release,
    Extend,
    Join { quantity: u32 },
    Leave,
}

/// Number of fields that shoppers share: in a line of a million, each holds fifteen shoppers.
const BUCKETS: u64 = 1 << 16;
/// Bytes stay below DEL, which begins a shopper's part.
const BASE: u64 = 127;
const BEGIN: char = '\x7f';
const BUCKET_BYTES: u32 = 3;
/// 35 bits. Two shoppers of a bucket with the same tag would share a list; that does harm only if two of their commands also
/// share a mark.
const TAG_BYTES: u32 = 5;
/// 35 bits, for at most some hundred commands.
const MARK_BYTES: u32 = 5;

/// "field DEL tag mark what", without the spaces.
pub fn trace(shopper: &ShopperId, command: CommandId, request: Request) -> String {
    // A hash that a script can compute too.
    let person = Sha1::digest(shopper.as_str().as_bytes());
    let id = Sha1::new()
        .chain_update(command.to_string())
        .chain_update(shopper.as_str())
        .finalize();
    let (verb, quantity) = match request {
        Request::Reserve {
            quantity,
            partial: false,
        } => (1, quantity),
        Request::Reserve {
            quantity,
            partial: true,
        } => (2, quantity),
        Request::Release => (3, 0),
        Request::Join { quantity } => (4, quantity),
        Request::Leave => (5, 0),
        Request::Extend => (6, 0),
    };
    let mut text = String::with_capacity(16);
    push(&mut text, number(&person, 0) % BUCKETS, BUCKET_BYTES);
    text.push(BEGIN);
    push(&mut text, number(&person, 6), TAG_BYTES);
    push(&mut text, number(&id, 0), MARK_BYTES);
    push(&mut text, verb, 1);
    push(&mut text, u64::from(quantity), 1);
    text
}

/// 48 bits, because Lua's numbers hold no more than 53.
fn number(digest: &[u8], at: usize) -> u64 {
    digest[at..at + 6]
        .iter()
        .fold(0, |number, byte| number << 8 | u64::from(*byte))
}

/// Appends the lowest digits of a number, in the base of the allowed bytes.
fn push(text: &mut String, mut number: u64, digits: u32) {
    for _ in 0..digits {
        text.push(char::from((number % BASE) as u8));
        number /= BASE;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use flashsale_protocol::MAX_QUANTITY;

    fn of(shopper: &str, command: u128, request: Request) -> String {
        let command = CommandId::from_parts(1, command);
        trace(&shopper.parse().expect("an id"), command, request)
    }

    #[test]
    fn a_trace_has_its_parts_where_the_scripts_look_for_them() {
        let all = (0..2_000).map(|n| {
            let quantity = 1 + n % MAX_QUANTITY;
            of(&format!("u{n}"), n.into(), Request::Join { quantity })
        });
        for trace in all {
            assert_eq!(trace.len(), 16);
            let begins: Vec<usize> = trace.match_indices(BEGIN).map(|(at, _)| at).collect();
            assert_eq!(begins, [3], "{trace:?}");
            assert!(trace.is_ascii());
        }
    }

    #[test]
    fn a_shopper_a_command_and_its_contents_each_have_their_own_part() {
        let first = of("u1", 1, Request::Leave);
        let other = of("u1", 2, Request::Leave);
        assert_eq!(first[..9], other[..9]);
        assert_ne!(first[9..14], other[9..14]);
        assert_eq!(first[14..], other[14..]);
        assert_ne!(first[..9], of("u2", 1, Request::Leave)[..9]);
        assert_ne!(
            first[9..14],
            of("u2", 1, Request::Leave)[9..14],
            "an id is a shopper's own"
        );
    }

    #[test]
    fn no_two_requests_look_the_same() {
        let mut all = vec![Request::Release, Request::Leave, Request::Extend];
        for quantity in 1..=MAX_QUANTITY {
            all.push(Request::Join { quantity });
            all.extend([false, true].map(|partial| Request::Reserve { quantity, partial }));
        }
        let asked: std::collections::BTreeSet<String> = all
            .iter()
            .map(|request| of("u", 1, *request)[14..].to_owned())
            .collect();
        assert_eq!(asked.len(), all.len());
    }
}
