//! One public key, checked before it is kept: the library checks some of it only when a token comes, and panics on an
//! Ed25519 key that is too short.

use jsonwebtoken::{Algorithm, AlgorithmFamily, DecodingKey, crypto};

/// NIST SP 800-131A: smaller ones are not to be used any more.
pub const MIN_RSA_BITS: usize = 2048;
/// The library refuses every signature of a larger one.
pub const MAX_RSA_BITS: usize = 4096;
/// The library's largest exponent.
const MAX_RSA_EXPONENT: u64 = (1 << 33) - 1;
const ED25519_BYTES: usize = 32;

#[derive(Debug, Clone)]
pub struct PublicKey {
    pub id: Option<String>,
    /// Those that the key may be used with; never a symmetric one.
    pub algorithms: Vec<Algorithm>,
    pub key: DecodingKey,
}

/// The curves that the library knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Curve {
    P256,
    P384,
}

impl Curve {
    pub fn coordinate_bytes(self) -> usize {
        match self {
            Self::P256 => 32,
            Self::P384 => 48,
        }
    }

    fn algorithm(self) -> Algorithm {
        match self {
            Self::P256 => Algorithm::ES256,
            Self::P384 => Algorithm::ES384,
        }
    }
}

/// Makes a key; the error says what is wrong with it, as the end of a sentence that begins with the key's name.
impl PublicKey {
    /// An RSA key, from modulus and exponent (big-endian).
    pub fn rsa(modulus: &[u8], exponent: &[u8]) -> Result<Self, String> {
        let modulus = without_leading_zeros(modulus);
        let exponent = without_leading_zeros(exponent);
        let bits = modulus
            .first()
            .map_or(0, |first| modulus.len() * 8 - first.leading_zeros() as usize);
        if bits < MIN_RSA_BITS {
            return Err(format!(
                "is an RSA key of {bits} bits; at least {MIN_RSA_BITS} are needed"
            ));
        }
        if bits > MAX_RSA_BITS {
            return Err(format!(
                "is an RSA key of {bits} bits; at most {MAX_RSA_BITS} can be used"
            ));
        }
        let value = exponent.iter().try_fold(0_u64, |value, byte| {
            Some(value.checked_mul(256)? + u64::from(*byte))
        });
        let is_exponent = value.is_some_and(|e| e % 2 == 1 && (3..=MAX_RSA_EXPONENT).contains(&e));
        if !is_exponent || modulus.last().is_none_or(|last| last % 2 == 0) {
            return Err("is not an RSA key: modulus or exponent is out of range".to_owned());
        }
        Ok(Self {
            id: None,
            algorithms: AlgorithmFamily::Rsa.algorithms().to_vec(),
            key: DecodingKey::from_rsa_raw_components(modulus, exponent),
        })
    }

    /// An EC key, from its point as in SEC 1 (with the byte for its form in front).
    pub fn ec(curve: Curve, point: &[u8]) -> Result<Self, String> {
        let algorithm = curve.algorithm();
        let key = DecodingKey::from_ec_der(point);
        if !is_usable(&key, algorithm) {
            return Err("is not a point on its curve".to_owned());
        }
        Ok(Self {
            id: None,
            algorithms: vec![algorithm],
            key,
        })
    }

    pub fn ed25519(bytes: &[u8]) -> Result<Self, String> {
        let key = DecodingKey::from_ed_der(bytes);
        // The length first: the library takes the first 32 bytes, and panics if there are fewer.
        if bytes.len() != ED25519_BYTES || !is_usable(&key, Algorithm::EdDSA) {
            return Err("is not an Ed25519 key".to_owned());
        }
        Ok(Self {
            id: None,
            algorithms: vec![Algorithm::EdDSA],
            key,
        })
    }
}

/// Has the library read the key. It does so before it looks at the signature, which is empty here.
fn is_usable(key: &DecodingKey, algorithm: Algorithm) -> bool {
    crypto::verify("", b"", key, algorithm).is_ok()
}

fn without_leading_zeros(bytes: &[u8]) -> &[u8] {
    let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
    &bytes[zeros..]
}
