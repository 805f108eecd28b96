//! Reads public keys from PEM (RFC 7468): several blocks in one text. The library reads one block, does not tell its curve, and
//! takes a private key for a public one.

use super::{
    KeyError, MAX_KEYS,
    public_key::{Curve, PublicKey},
};
use base64::{Engine, engine::general_purpose::STANDARD};
use jsonwebtoken::Algorithm;

pub const BEGIN: &str = "-----BEGIN ";
const DASHES: &str = "-----";
const UNREADABLE: &str = "cannot be read: its contents are not what its first line says";

// Tags of DER (X.690, 8.1.2).
const INTEGER: u8 = 0x02;
const BIT_STRING: u8 = 0x03;
const OBJECT_ID: u8 = 0x06;
const SEQUENCE: u8 = 0x30;
/// A certificate's version, which old ones leave out.
const VERSION: u8 = 0xa0;

// Object ids in DER.
const RSA: &[u8] = b"\x2a\x86\x48\x86\xf7\x0d\x01\x01\x01";
/// A key that is for PSS signatures only.
const RSA_PSS: &[u8] = b"\x2a\x86\x48\x86\xf7\x0d\x01\x01\x0a";
const EC: &[u8] = b"\x2a\x86\x48\xce\x3d\x02\x01";
const P256: &[u8] = b"\x2a\x86\x48\xce\x3d\x03\x01\x07";
const P384: &[u8] = b"\x2b\x81\x04\x00\x22";
const P521: &[u8] = b"\x2b\x81\x04\x00\x23";
const SECP256K1: &[u8] = b"\x2b\x81\x04\x00\x0a";
const X25519: &[u8] = b"\x2b\x65\x6e";
const ED25519: &[u8] = b"\x2b\x65\x70";
const ED448: &[u8] = b"\x2b\x65\x71";

/// The key of every block. Text between blocks is a comment.
pub fn read(text: &str) -> Result<Vec<PublicKey>, KeyError> {
    let mut keys = Vec::new();
    for (i, rest) in text.split(BEGIN).skip(1).enumerate() {
        let block = i + 1;
        if block > MAX_KEYS {
            return Err(KeyError::TooManyKeys(text.matches(BEGIN).count()));
        }
        // Before anything else, so that a broken one is named as what it is too.
        let label = rest.split(DASHES).next().unwrap_or_default();
        if label.contains("PRIVATE KEY") {
            return Err(KeyError::PrivateKey(block));
        }
        let key = public_key(label, rest).map_err(|why| KeyError::UnusableBlock { block, why })?;
        keys.push(key);
    }
    Ok(keys)
}

/// The error is the end of a sentence that begins with the block's number.
fn public_key(label: &str, rest: &str) -> Result<PublicKey, String> {
    let end = format!("{DASHES}END {label}{DASHES}");
    let body = rest[label.len()..]
        .strip_prefix(DASHES)
        .and_then(|rest| rest.split_once(&end));
    let (body, _) = body.ok_or("has no end")?;
    // In settings a PEM text is often one line, with "\n" written out.
    let base64: String = body
        .replace("\\r", "")
        .replace("\\n", "")
        .split_whitespace()
        .collect();
    let der = STANDARD.decode(base64).map_err(|_| "is not base64")?;
    match label {
        "PUBLIC KEY" => key_of_info(Der(&der).take(SEQUENCE).ok_or(UNREADABLE)?),
        "RSA PUBLIC KEY" => rsa(&der),
        "CERTIFICATE" => key_of_info(info_of_certificate(&der).ok_or(UNREADABLE)?),
        _ => Err("is neither a PUBLIC KEY, an RSA PUBLIC KEY nor a CERTIFICATE".to_owned()),
    }
}

/// One after the other, the elements of an encoded structure.
struct Der<'a>(&'a [u8]);

impl<'a> Der<'a> {
    /// The next element's contents, if it has this tag.
    fn take(&mut self, tag: u8) -> Option<&'a [u8]> {
        let (&[found, length], rest) = self.0.split_first_chunk::<2>()?;
        if found != tag {
            return None;
        }
        let (length, rest) = match length {
            0..=0x7f => (usize::from(length), rest),
            // The length takes one or two bytes more: a document has fewer than 64 KiB.
            0x81 | 0x82 => {
                let (length, rest) = rest.split_at_checked(usize::from(length & 0x7f))?;
                let length = length.iter().fold(0, |all, byte| all * 256 + usize::from(*byte));
                (length, rest)
            }
            _ => return None,
        };
        let (contents, rest) = rest.split_at_checked(length)?;
        self.0 = rest;
        Some(contents)
    }

    fn take_bits(&mut self) -> Option<&'a [u8]> {
        // The first byte says how many bits of the last one do not count: none, in keys.
        self.take(BIT_STRING)?.strip_prefix(&[0])
    }
}

/// The key of a SubjectPublicKeyInfo (RFC 5280, 4.1).
fn key_of_info(info: &[u8]) -> Result<PublicKey, String> {
    let mut info = Der(info);
    let mut algorithm = Der(info.take(SEQUENCE).ok_or(UNREADABLE)?);
    let id = algorithm.take(OBJECT_ID).ok_or(UNREADABLE)?;
    let key = info.take_bits().ok_or(UNREADABLE)?;
    let unsupported = |what: &str| Err(format!("has {what}, which is not supported"));
    match id {
        RSA => rsa(key),
        RSA_PSS => {
            let mut key = rsa(key)?;
            key.algorithms.retain(|algorithm| {
                matches!(algorithm, Algorithm::PS256 | Algorithm::PS384 | Algorithm::PS512)
            });
            Ok(key)
        }
        EC => match algorithm.take(OBJECT_ID) {
            Some(P256) => PublicKey::ec(Curve::P256, key),
            Some(P384) => PublicKey::ec(Curve::P384, key),
            Some(P521) => unsupported("the curve P-521"),
            Some(SECP256K1) => unsupported("the curve secp256k1"),
            _ => unsupported("an unknown curve"),
        },
        ED25519 => PublicKey::ed25519(key),
        X25519 => unsupported("the type X25519"),
        ED448 => unsupported("the type Ed448"),
        _ => unsupported("an unknown type"),
    }
}

/// The key of an RSAPublicKey (RFC 8017, A.1.1).
fn rsa(der: &[u8]) -> Result<PublicKey, String> {
    let mut numbers = Der(Der(der).take(SEQUENCE).ok_or(UNREADABLE)?);
    let modulus = numbers.take(INTEGER).ok_or(UNREADABLE)?;
    let exponent = numbers.take(INTEGER).ok_or(UNREADABLE)?;
    PublicKey::rsa(modulus, exponent)
}

/// The SubjectPublicKeyInfo of a certificate (RFC 5280, 4.1).
fn info_of_certificate(der: &[u8]) -> Option<&[u8]> {
    let mut certificate = Der(Der(der).take(SEQUENCE)?);
    let mut signed = Der(certificate.take(SEQUENCE)?);
    let _ = signed.take(VERSION);
    signed.take(INTEGER)?; // serial number
    for _signature_issuer_validity_subject in 0..4 {
        signed.take(SEQUENCE)?;
    }
    signed.take(SEQUENCE)
}
