//! Values that only this platform can make: ids derived from their command, so that a repeated command makes the same order and
//! payment, proofs of a place in line, and hand-offs of orders to the shop's checkout.

use crate::{
    clock,
    error::{Error, Result},
};
use flashsale_protocol::{Code, CommandId, OrderId, PaymentId, Reject, SaleId, ShopperId};
use hmac::{Hmac, KeyInit, Mac};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
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

/// The audience of a hand-off.
const HANDOFF_AUDIENCE: &str = "flashsale-handoff";

/// An order whose shopper goes to the shop's checkout.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Handoff {
    aud: String,
    /// Names this hand-off: it follows from the command that asked for it.
    pub jti: CommandId,
    pub payment: PaymentId,
    pub order: OrderId,
    pub sale: SaleId,
    pub merchant: String,
    /// Minor units.
    pub amount: i64,
    pub currency: String,
    /// Seconds since 1970.
    pub exp: u64,
}

/// What a hand-off is about.
pub struct HandedOver<'a> {
    pub name: CommandId,
    pub payment: PaymentId,
    pub order: OrderId,
    pub sale: SaleId,
    pub merchant: &'a str,
    pub amount: i64,
    pub currency: &'a str,
    pub expires_at_ms: u64,
}

/// The secrets of each kind of value, the present one first: values of all of them are good.
pub struct Seal {
    ids: Vec<Vec<u8>>,
    proofs: Vec<Vec<u8>>,
    handoffs: Vec<Vec<u8>>,
}

impl Seal {
    pub fn new(ids: Vec<Vec<u8>>, proofs: Vec<Vec<u8>>) -> Self {
        let handoffs = proofs.iter().map(|secret| derived(secret, "handoff")).collect();
        Self {
            ids,
            proofs,
            handoffs,
        }
    }

    /// A signed hand-off to the shop's checkout.
    pub fn handoff(&self, of: HandedOver) -> Result<String> {
        signed(
            &self.handoffs,
            &Handoff {
                aud: HANDOFF_AUDIENCE.into(),
                jti: of.name,
                payment: of.payment,
                order: of.order,
                sale: of.sale,
                merchant: of.merchant.into(),
                amount: of.amount,
                currency: of.currency.into(),
                exp: of.expires_at_ms / 1000,
            },
        )
    }

    /// Reads a hand-off that is ours and not too old.
    pub fn check_handoff(&self, token: &str) -> Result<Handoff, Reject> {
        let handoff: Handoff = read(&self.handoffs, HANDOFF_AUDIENCE, token).ok_or(Code::HandoffInvalid)?;
        match handoff.exp > clock::now_ms() / 1000 {
            true => Ok(handoff),
            false => Err(Code::HandoffExpired.into()),
        }
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

    /// The same for sales of format 2, whose shoppers have opaque ids: these are secret enough, and no rotation of a secret changes
    /// what a repeated command names.
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
        signed(&self.proofs, &claims)
    }

    /// Checks that a proof of place belongs to this shopper and this sale.
    pub fn check_queue_token(&self, token: &str, sale: SaleId, shopper: &ShopperId) -> Result<(), Reject> {
        let claims: PlaceClaims = read(&self.proofs, PLACE_AUDIENCE, token)
            .ok_or_else(|| Reject::because(Code::TokenInvalid, "The queue token is not valid."))?;
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

/// A secret for one purpose, from one for several.
pub fn derived(secret: &[u8], purpose: &str) -> Vec<u8> {
    #[expect(clippy::expect_used, reason = "HMAC takes keys of any length")]
    let mut mac = Hmac::<Sha256>::new_from_slice(secret).expect("any key length");
    mac.update(b"flashsale secret\0");
    mac.update(purpose.as_bytes());
    mac.finalize().into_bytes().to_vec()
}

fn signed(secrets: &[Vec<u8>], claims: &impl Serialize) -> Result<String> {
    let key = EncodingKey::from_secret(current(secrets));
    jsonwebtoken::encode(&Header::new(Algorithm::HS256), claims, &key)
        .map_err(|error| Error::unexpected(format!("cannot sign a token: {error}")))
}

/// What a token for this audience says, if one of these secrets has signed it. Its times are not looked at.
fn read<T: DeserializeOwned>(secrets: &[Vec<u8>], audience: &str, token: &str) -> Option<T> {
    let mut validation = Validation::new(Algorithm::HS256);
    // We check its times ourselves, because the library uses a clock of its own.
    (validation.validate_exp, validation.validate_nbf) = (false, false);
    validation.set_audience(&[audience]);
    let mut tries = secrets.iter().filter_map(|secret| {
        jsonwebtoken::decode::<T>(token, &DecodingKey::from_secret(secret), &validation).ok()
    });
    tries.next().map(|token| token.claims)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seal(proofs: &[&str]) -> Seal {
        let secrets = |of: &[&str]| of.iter().map(|secret| secret.as_bytes().to_vec()).collect();
        Seal::new(secrets(&["ids"]), secrets(proofs))
    }

    fn handed_over(expires_at_ms: u64) -> HandedOver<'static> {
        HandedOver {
            name: CommandId::from_parts(1, 1),
            payment: PaymentId::from_parts(1, 2),
            order: OrderId::from_parts(1, 3),
            sale: SaleId::from_parts(1, 4),
            merchant: "m",
            amount: 100,
            currency: "EUR",
            expires_at_ms,
        }
    }

    #[test]
    fn a_handoff_is_read_by_who_signed_it_until_its_time_and_over_a_rotation() {
        let soon = clock::now_ms() + 60_000;
        let token = seal(&["old"]).handoff(handed_over(soon)).expect("signs");
        let read = seal(&["new", "old"]).check_handoff(&token).expect("ours");
        assert_eq!((read.payment, read.amount), (PaymentId::from_parts(1, 2), 100));
        let code = |seal: &Seal, token: &str| seal.check_handoff(token).expect_err("refused").code;
        assert_eq!(code(&seal(&["new"]), &token), Code::HandoffInvalid);
        let old = seal(&["new"]).handoff(handed_over(1_000)).expect("signs");
        assert_eq!(code(&seal(&["new"]), &old), Code::HandoffExpired);
        for garbled in ["", "a.b.c", &token[..token.len() - 2]] {
            assert_eq!(code(&seal(&["old"]), garbled), Code::HandoffInvalid);
        }
    }

    #[test]
    fn a_handoff_is_no_place_in_line_and_a_place_no_handoff() {
        let seal = seal(&["one"]);
        let (sale, who) = (SaleId::from_parts(1, 4), "u1".parse().expect("an id"));
        let place = seal.queue_token(sale, &who).expect("signs");
        assert!(seal.check_handoff(&place).is_err());
        let token = seal.handoff(handed_over(u64::MAX)).expect("signs");
        assert!(seal.check_queue_token(&token, sale, &who).is_err());
        seal.check_queue_token(&place, sale, &who).expect("their place");
    }
}
