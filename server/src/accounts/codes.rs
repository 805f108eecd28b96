//! Codes of an authenticator app (RFC 6238), as an operator's second proof. Their secret is made from a seed and a secret of the
//! platform, so that none is stored.

use flashsale_engine::{
    clock,
    error::Error,
    store::accounts::{Account, CodeSeed},
};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use totp_rs::{Builder, Totp};

/// Length of a secret, in bytes: RFC 4226 recommends it.
const SECRET_BYTES: usize = 20;
const ISSUER: &str = "Flash sale";

pub struct Codes {
    /// The present secret, and those of before, whose codes are still good.
    secrets: Vec<Vec<u8>>,
}

/// What an authenticator app is set up with.
pub struct Enrolment {
    pub seed: CodeSeed,
    /// In base32, for typing.
    pub secret: String,
    /// `otpauth://…`, for a QR code.
    pub uri: String,
}

impl Codes {
    pub fn new(secrets: Vec<Vec<u8>>) -> Self {
        Self { secrets }
    }

    pub fn enrol(&self, account: &Account) -> Result<Enrolment, Error> {
        let secret = self.secrets.first();
        let secret = secret.ok_or_else(|| Error::unexpected("codes without a secret"))?;
        let seed: CodeSeed = rand::random();
        let totp = totp(secret, account, &seed)?;
        Ok(Enrolment {
            seed,
            secret: totp.secret().to_base32(),
            uri: totp
                .to_url()
                .map_err(|error| Error::unexpected(error.to_string()))?,
        })
    }

    /// The time step of a code; None: it is wrong, or not of now.
    pub fn step(&self, account: &Account, seed: &CodeSeed, code: &str) -> Result<Option<i64>, Error> {
        // People type the gap that apps show.
        let code: String = code.chars().filter(|c| !c.is_whitespace()).collect();
        let now_s = clock::now_ms() / 1_000;
        for secret in &self.secrets {
            if let Some(step) = totp(secret, account, seed)?.check(&code, now_s) {
                return Ok(i64::try_from(step).ok());
            }
        }
        Ok(None)
    }
}

/// Six digits, a new code every 30 seconds; the one before and the one after are good as well.
fn totp(secret: &[u8], account: &Account, seed: &CodeSeed) -> Result<Totp, Error> {
    #[expect(clippy::expect_used, reason = "HMAC takes keys of any length")]
    let mut mac = Hmac::<Sha256>::new_from_slice(secret).expect("any key length");
    mac.update(account.id.as_bytes());
    mac.update(&[0]);
    mac.update(seed);
    let made = mac.finalize().into_bytes();
    Builder::new()
        .with_secret(&made[..SECRET_BYTES])
        // A colon has a meaning in the address.
        .with_account_name(account.email.replace(':', " "))
        .with_issuer(Some(ISSUER))
        .build()
        .map_err(|error| Error::unexpected(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use chrono::DateTime;
    use flashsale_engine::operator::OperatorRole;

    fn account(id: &str) -> Account {
        Account {
            id: id.into(),
            email: "ann@shop.example".into(),
            merchant: None,
            role: OperatorRole::Admin,
            has_password: true,
            has_codes: true,
            invited_until: None,
            created_at: DateTime::UNIX_EPOCH,
        }
    }

    fn code_of(enrolment: &Enrolment, steps: i64) -> String {
        let totp = Totp::from_url(&enrolment.uri).expect("an address as apps read it");
        let now_s = (clock::now_ms() / 1_000) as i64 + 30 * steps;
        totp.generate(now_s as u64).to_string()
    }

    #[test]
    fn a_code_is_good_for_its_operator_and_its_time() {
        let codes = Codes::new(vec![b"a secret".to_vec()]);
        let (ann, bob) = (account("op_ann"), account("op_bob"));
        let enrolment = codes.enrol(&ann).expect("a secret");
        let step =
            |account: &Account, code: &str| codes.step(account, &enrolment.seed, code).expect("an answer");
        let code = code_of(&enrolment, 0);
        assert_eq!(code.len(), 6);
        let now = step(&ann, &code).expect("it is good");
        assert_eq!(step(&ann, &format!("{} {}", &code[..3], &code[3..])), Some(now));
        assert!(step(&bob, &code).is_none(), "another operator's");
        assert!(step(&ann, &code_of(&enrolment, -10)).is_none(), "too old");
        for wrong in ["", "1", "12345", "1234567", "abcdef", "١٢٣٤٥٦"] {
            assert!(step(&ann, wrong).is_none(), "{wrong:?}");
        }
    }

    #[test]
    fn codes_stay_good_while_their_secret_is_among_those_of_before() {
        let [old, new] = [b"an old secret".to_vec(), b"a new secret".to_vec()];
        let ann = account("op_ann");
        let enrolment = Codes::new(vec![old.clone()]).enrol(&ann).expect("a secret");
        let code = code_of(&enrolment, 0);
        let is_good = |secrets: Vec<Vec<u8>>| {
            let step = Codes::new(secrets).step(&ann, &enrolment.seed, &code);
            step.expect("an answer").is_some()
        };
        assert!(is_good(vec![new.clone(), old]));
        assert!(!is_good(vec![new]));
    }

    #[test]
    fn the_address_names_the_operator() {
        let codes = Codes::new(vec![b"a secret".to_vec()]);
        let enrolment = codes.enrol(&account("op_ann")).expect("a secret");
        assert!(enrolment.uri.starts_with("otpauth://totp/"), "{}", enrolment.uri);
        assert!(enrolment.uri.contains("ann%40shop.example"), "{}", enrolment.uri);
        assert!(enrolment.uri.contains(&enrolment.secret), "{}", enrolment.uri);
    }
}
