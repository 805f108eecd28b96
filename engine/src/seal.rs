//! Values that only this platform can make: ids derived from their command, so that a repeated command makes the same order and
//! payment, and proofs of a place in line.

use crate::{
    clock,
    error::{Error, Result},
};
use flashsale_protocol::{Code, Reject, SaleId, ShopperId};
use hmac::{Hmac, KeyInit, Mac};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::time::Duration;

/// How long a proof of place is valid.
const PLACE_LIFE: Duration = Duration::from_secs(24 * 3600);
/// The audience that tells a proof of place from a token that signs somebody in.
const PLACE_AUDIENCE: &str = "flashsale-queue";

#[derive(Debug, Serialize, Deserialize)]
struct PlaceClaims {
    sub: ShopperId,
    exp: u64,
    aud: String,
    sale: SaleId,
}

/// The secrets of each kind of value, the present one first: values of all of them are good.
pub struct Seal {
    ids: Vec<Vec<u8>>,
    proofs: Vec<Vec<u8>>,
}

impl Seal {
    pub fn new(ids: Vec<Vec<u8>>, proofs: Vec<Vec<u8>>) -> Self {
        Self { ids, proofs }
    }

    /// 80 bits derived from these parts: the random part of an id.
    pub fn bits(&self, parts: &[&[u8]]) -> u128 {
        #[expect(clippy::expect_used, reason = "HMAC takes keys of any length")]
        let mut mac = Hmac::<Sha256>::new_from_slice(current(&self.ids)).expect("any key length");
        mac.update(b"order\0");
        for part in parts {
            mac.update(&(part.len() as u64).to_le_bytes());
            mac.update(part);
        }
        mac.finalize()
            .into_bytes()
            .iter()
            .take(10)
            .fold(0, |bits, byte| (bits << 8) | u128::from(*byte))
    }

    /// The same for sales whose shoppers have opaque ids: these are secret enough, and no rotation of a secret changes what a
    /// repeated command names.
    pub fn plain_bits(parts: &[&[u8]]) -> u128 {
        let mut hasher = Sha256::new();
        hasher.update(b"flashsale id\0");
        for part in parts {
            hasher.update((part.len() as u64).to_le_bytes());
            hasher.update(part);
        }
        let hash = hasher.finalize();
        hash.iter()
            .take(10)
            .fold(0, |bits, byte| (bits << 8) | u128::from(*byte))
    }

    /// A signed proof that this shopper is in this sale's line.
    pub fn queue_token(&self, sale: SaleId, shopper: &ShopperId) -> Result<String> {
        let claims = PlaceClaims {
            sub: shopper.clone(),
            exp: clock::now_ms() / 1000 + PLACE_LIFE.as_secs(),
            aud: PLACE_AUDIENCE.into(),
            sale,
        };
        jsonwebtoken::encode(
            &Header::new(Algorithm::HS256),
            &claims,
            &EncodingKey::from_secret(current(&self.proofs)),
        )
        .map_err(|error| Error::unexpected(format!("cannot sign a queue token: {error}")))
    }

    /// Checks that a proof of place belongs to this shopper and this sale.
    pub fn check_queue_token(&self, token: &str, sale: SaleId, shopper: &ShopperId) -> Result<(), Reject> {
        let mut validation = Validation::new(Algorithm::HS256);
        // We check its times ourselves, because the library uses a clock of its own.
        (validation.validate_exp, validation.validate_nbf) = (false, false);
        validation.set_audience(&[PLACE_AUDIENCE]);
        let mut tries = self.proofs.iter().filter_map(|secret| {
            jsonwebtoken::decode::<PlaceClaims>(token, &DecodingKey::from_secret(secret), &validation).ok()
        });
        let claims = tries
            .next()
            .ok_or_else(|| Reject::because(Code::TokenInvalid, "The queue token is not valid."))?
            .claims;
        if claims.exp <= clock::now_ms() / 1000 {
            return Err(Reject::because(
                Code::TokenExpired,
                "The queue token has expired.",
            ));
        }
        if claims.sale != sale || claims.sub != *shopper {
            return Err(Reject::because(
                Code::Forbidden,
                "The queue token belongs to another shopper or sale.",
            ));
        }
        Ok(())
    }
}

fn current(secrets: &[Vec<u8>]) -> &[u8] {
    secrets.first().map_or(&[], Vec::as_slice)
}
