//! Webhook signatures: `Flash-Signature: t=<seconds since 1970>,v1=<hex of HMAC-SHA256(secret, "t.body")>`. There may be several
//! `v1` while a secret is being changed. Pure.

use flashsale_protocol::{Code, Reject};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use std::fmt::Write;

pub const HEADER: &str = "flash-signature";
/// Largest difference between a signature's time and ours, both ways. An older one may be a replay.
pub const TOLERANCE_S: u64 = 300;
/// Most signatures in one header.
const MAX_SIGNATURES: usize = 4;

/// The header's value for a body.
pub fn sign(secret: &[u8], body: &[u8], now_s: u64) -> String {
    let code = mac(secret, now_s, body).finalize().into_bytes();
    let mut header = format!("t={now_s},v1=");
    for byte in code {
        let _ = write!(header, "{byte:02x}");
    }
    header
}

/// Refuses a body that was not signed with our secret, or not lately.
pub fn verify(secret: &[u8], header: Option<&str>, body: &[u8], now_s: u64) -> Result<(), Reject> {
    let header = header
        .ok_or_else(|| Reject::because(Code::SignatureInvalid, "The Flash-Signature header is missing."))?;
    let (mut time, mut codes) = (None, Vec::new());
    for part in header.split(',') {
        match part.trim().split_once('=') {
            Some(("t", seconds)) => time = seconds.parse::<u64>().ok(),
            Some(("v1", code)) if codes.len() < MAX_SIGNATURES => codes.extend(hex::decode(code)),
            _ => {}
        }
    }
    let Some(time) = time else {
        return Err(Reject::because(
            Code::SignatureInvalid,
            "The Flash-Signature header has no time (t=…).",
        ));
    };
    // The signature comes first: a sender who cannot sign is not told whether the time is too old.
    if !codes
        .iter()
        .any(|code| mac(secret, time, body).verify_slice(code).is_ok())
    {
        return Err(Code::SignatureInvalid.into());
    }
    if time.abs_diff(now_s) > TOLERANCE_S {
        return Err(Code::SignatureExpired.into());
    }
    Ok(())
}

fn mac(secret: &[u8], time: u64, body: &[u8]) -> Hmac<Sha256> {
    #[expect(clippy::expect_used, reason = "HMAC takes keys of any length")]
    let mut mac = Hmac::<Sha256>::new_from_slice(secret).expect("any key length");
    mac.update(time.to_string().as_bytes());
    mac.update(b".");
    mac.update(body);
    mac
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &[u8] = b"a secret of at least some length";
    const NOW: u64 = 1_700_000_000;

    fn check(header: Option<&str>, body: &[u8]) -> Result<(), Code> {
        verify(SECRET, header, body, NOW).map_err(|reject| reject.code)
    }

    #[test]
    fn a_known_answer_so_that_others_can_check_their_own() {
        let header = sign(b"whsec", b"{}", 1);
        // printf '1.{}' | openssl dgst -sha256 -hmac whsec
        assert_eq!(
            header,
            "t=1,v1=6ab13b5991724d5a0c7f02d7989ba3425b580e39d5b9a0a6258a7f5d0419173a"
        );
    }

    #[test]
    fn only_this_body_signed_lately_with_this_secret_is_let_in() {
        let good = sign(SECRET, b"{}", NOW);
        assert_eq!(check(Some(&good), b"{}"), Ok(()));
        assert_eq!(check(Some(&good), b"{ }"), Err(Code::SignatureInvalid));
        assert_eq!(check(None, b"{}"), Err(Code::SignatureInvalid));
        let other = sign(b"another secret", b"{}", NOW);
        assert_eq!(check(Some(&other), b"{}"), Err(Code::SignatureInvalid));
        let moved = good.replace(&NOW.to_string(), &(NOW + 1).to_string());
        assert_eq!(
            check(Some(&moved), b"{}"),
            Err(Code::SignatureInvalid),
            "the time is signed too"
        );
        for nonsense in ["", "t=,v1=", "v1=00", "t=1700000000,v1=zz", "t=1700000000,v1=é"] {
            assert_eq!(
                check(Some(nonsense), b"{}"),
                Err(Code::SignatureInvalid),
                "{nonsense}"
            );
        }
    }

    #[test]
    fn a_signature_is_good_for_five_minutes_in_either_direction() {
        for (time, good) in [
            (NOW - TOLERANCE_S, true),
            (NOW - TOLERANCE_S - 1, false),
            (NOW + TOLERANCE_S, true),
            (NOW + TOLERANCE_S + 1, false),
        ] {
            let outcome = check(Some(&sign(SECRET, b"{}", time)), b"{}");
            assert_eq!(
                outcome,
                if good { Ok(()) } else { Err(Code::SignatureExpired) },
                "{time}"
            );
        }
    }

    #[test]
    fn while_a_secret_is_changed_either_signature_will_do() {
        let old = sign(b"the old secret", b"{}", NOW);
        let new = sign(SECRET, b"{}", NOW);
        let both = format!("{old},{}", new.split(',').nth(1).expect("v1"));
        assert_eq!(check(Some(&both), b"{}"), Ok(()));
    }
}
