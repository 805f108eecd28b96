//! Reads a JWKS document (RFC 7517), each key on its own: providers publish keys for other purposes beside those for tokens.

use super::{
    KeyError, MAX_KEYS,
    public_key::{Curve, PublicKey},
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::Algorithm;
use serde_json::{Map, Value};

/// A foreign text is shown up to here in a message.
const SHOWN_CHARS: usize = 60;
/// Members that only a private key has (RFC 7518, 6.2.2 and 6.3.2).
const PRIVATE_MEMBERS: [&str; 6] = ["d", "p", "q", "dp", "dq", "qi"];
/// Some editors put it in front of a text.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// The usable keys, and a text for each other one.
pub fn read(bytes: &[u8]) -> Result<(Vec<PublicKey>, Vec<String>), KeyError> {
    let bytes = bytes.strip_prefix(BYTE_ORDER_MARK).unwrap_or(bytes);
    let document: Value =
        serde_json::from_slice(bytes).map_err(|error| KeyError::NotJson(error.to_string()))?;
    let Some(listed) = document.get("keys").and_then(Value::as_array) else {
        return Err(KeyError::NoKeys);
    };
    if listed.len() > MAX_KEYS {
        return Err(KeyError::TooManyKeys(listed.len()));
    }
    let (mut keys, mut skipped) = (Vec::new(), Vec::new());
    for (i, jwk) in listed.iter().enumerate() {
        match public_key(jwk) {
            Ok(key) => keys.push(key),
            Err(why) => skipped.push(format!("{} {why}", name(jwk, i + 1))),
        }
    }
    Ok((keys, skipped))
}

fn name(jwk: &Value, number: usize) -> String {
    match jwk.get("kid").and_then(Value::as_str) {
        Some(kid) => format!("key {}", quoted(kid)),
        None => format!("key number {number}"),
    }
}

fn quoted(text: &str) -> String {
    let shown: String = text.chars().take(SHOWN_CHARS).collect();
    format!("{shown:?}")
}

/// The error is the end of a sentence that begins with the key's name.
fn public_key(jwk: &Value) -> Result<PublicKey, String> {
    let jwk = jwk.as_object().ok_or("is not an object")?;
    if jwk.get("kty").and_then(Value::as_str) == Some("oct") {
        return Err("is a shared secret (type \"oct\"), which a public document must not hold".to_owned());
    }
    is_for_signatures(jwk)?;
    if PRIVATE_MEMBERS.iter().any(|member| jwk.contains_key(*member)) {
        return Err("contains its private key, so that anybody can sign with it".to_owned());
    }
    let mut key = match text(jwk, "kty")? {
        Some("RSA") => PublicKey::rsa(&bytes(jwk, "n")?, &bytes(jwk, "e")?)?,
        Some("EC") => {
            let curve = match text(jwk, "crv")? {
                Some("P-256") => Curve::P256,
                Some("P-384") => Curve::P384,
                other => return Err(unknown("curve", other)),
            };
            let mut point = vec![4];
            for member in ["x", "y"] {
                point.extend(coordinate(&bytes(jwk, member)?, curve)?);
            }
            PublicKey::ec(curve, &point)?
        }
        Some("OKP") => match text(jwk, "crv")? {
            Some("Ed25519") => PublicKey::ed25519(&bytes(jwk, "x")?)?,
            other => return Err(unknown("curve", other)),
        },
        other => return Err(unknown("type", other)),
    };
    if let Some(named) = text(jwk, "alg")? {
        let algorithm = algorithm(named).filter(|algorithm| key.algorithms.contains(algorithm));
        key.algorithms = match algorithm {
            Some(algorithm) => vec![algorithm],
            None => {
                return Err(format!(
                    "has the algorithm {}, which does not fit its type or is unknown",
                    quoted(named)
                ));
            }
        };
    }
    key.id = text(jwk, "kid")?.map(str::to_owned);
    Ok(key)
}

fn is_for_signatures(jwk: &Map<String, Value>) -> Result<(), String> {
    if let Some(purpose) = text(jwk, "use")?
        && purpose != "sig"
    {
        return Err(format!("is not for signatures (use {})", quoted(purpose)));
    }
    match jwk.get("key_ops") {
        None | Some(Value::Null) => Ok(()),
        Some(Value::Array(operations)) if operations.iter().any(|operation| operation == "verify") => Ok(()),
        Some(_) => Err("is not for checking signatures (key_ops has no \"verify\")".to_owned()),
    }
}

fn algorithm(named: &str) -> Option<Algorithm> {
    match named {
        // RFC 9864 names the curve where RFC 8037 names the family.
        "Ed25519" => Some(Algorithm::EdDSA),
        named => named.parse().ok(),
    }
}

fn unknown(what: &str, value: Option<&str>) -> String {
    match value {
        Some(value) => format!("has the {what} {}, which is not supported", quoted(value)),
        None => format!("has no {what}"),
    }
}

/// A member that is a text, if it is there.
fn text<'a>(jwk: &'a Map<String, Value>, member: &str) -> Result<Option<&'a str>, String> {
    match jwk.get(member) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(format!("has a {member:?} that is not a text")),
    }
}

/// A member that is a number or a point, in base64url. Some providers pad it, which the standard forbids and nobody minds.
fn bytes(jwk: &Map<String, Value>, member: &str) -> Result<Vec<u8>, String> {
    let text = text(jwk, member)?.ok_or_else(|| format!("has no {member:?}"))?;
    URL_SAFE_NO_PAD
        .decode(text.trim_end_matches('='))
        .map_err(|_| format!("has a {member:?} that is not base64url"))
}

/// A coordinate in its full length: some providers leave out zeros in front.
fn coordinate(bytes: &[u8], curve: Curve) -> Result<Vec<u8>, String> {
    let missing = curve
        .coordinate_bytes()
        .checked_sub(bytes.len())
        .ok_or("has a coordinate that is too long")?;
    let mut full = vec![0; missing];
    full.extend(bytes);
    Ok(full)
}
