//! Checks the signatures of public keys with *ring*, which is three times as fast as the library's own code. Everything else, such as
//! signing and shared secrets, stays with the library.

use jsonwebtoken::{
    Algorithm, AlgorithmFamily, DecodingKey, DecodingKeyKind,
    crypto::{CryptoProvider, JwtVerifier, rust_crypto},
    errors::{ErrorKind, Result},
};
use ring::signature::{
    self as checks, RsaParameters, RsaPublicKeyComponents, UnparsedPublicKey, VerificationAlgorithm,
};
use signature::{Error, Verifier};
use std::sync::LazyLock;

static PROVIDER: LazyLock<CryptoProvider> = LazyLock::new(|| CryptoProvider {
    verifier_factory: verifier,
    ..rust_crypto::DEFAULT_PROVIDER.clone()
});

/// Chooses it for this process, unless something was chosen before.
pub fn provide() {
    let _ = PROVIDER.install_default();
}

enum Check {
    Rsa(&'static RsaParameters),
    Other(&'static dyn VerificationAlgorithm),
}

struct Public {
    algorithm: Algorithm,
    check: Check,
    key: DecodingKey,
}

fn verifier(algorithm: &Algorithm, key: &DecodingKey) -> Result<Box<dyn JwtVerifier>> {
    let (check, family) = match algorithm {
        Algorithm::RS256 => (
            Check::Rsa(&checks::RSA_PKCS1_2048_8192_SHA256),
            AlgorithmFamily::Rsa,
        ),
        Algorithm::RS384 => (
            Check::Rsa(&checks::RSA_PKCS1_2048_8192_SHA384),
            AlgorithmFamily::Rsa,
        ),
        Algorithm::RS512 => (
            Check::Rsa(&checks::RSA_PKCS1_2048_8192_SHA512),
            AlgorithmFamily::Rsa,
        ),
        Algorithm::PS256 => (
            Check::Rsa(&checks::RSA_PSS_2048_8192_SHA256),
            AlgorithmFamily::Rsa,
        ),
        Algorithm::PS384 => (
            Check::Rsa(&checks::RSA_PSS_2048_8192_SHA384),
            AlgorithmFamily::Rsa,
        ),
        Algorithm::PS512 => (
            Check::Rsa(&checks::RSA_PSS_2048_8192_SHA512),
            AlgorithmFamily::Rsa,
        ),
        Algorithm::ES256 => (
            Check::Other(&checks::ECDSA_P256_SHA256_FIXED),
            AlgorithmFamily::Ec,
        ),
        Algorithm::ES384 => (
            Check::Other(&checks::ECDSA_P384_SHA384_FIXED),
            AlgorithmFamily::Ec,
        ),
        Algorithm::EdDSA => (Check::Other(&checks::ED25519), AlgorithmFamily::Ed),
        _ => return (rust_crypto::DEFAULT_PROVIDER.verifier_factory)(algorithm, key),
    };
    // A key of another kind never gets this far; here it would be read as bytes of this one.
    if key.family() != family {
        return Err(ErrorKind::InvalidKeyFormat.into());
    }
    Ok(Box::new(Public {
        algorithm: *algorithm,
        check,
        key: key.clone(),
    }))
}

impl Verifier<Vec<u8>> for Public {
    fn verify(&self, message: &[u8], signed: &Vec<u8>) -> std::result::Result<(), Error> {
        let checked = match (&self.check, self.key.kind()) {
            (Check::Rsa(parameters), DecodingKeyKind::RsaModulusExponent { n, e }) => {
                RsaPublicKeyComponents { n, e }.verify(parameters, message, signed)
            }
            (Check::Rsa(parameters), DecodingKeyKind::SecretOrDer(bytes)) => {
                UnparsedPublicKey::new(*parameters, bytes).verify(message, signed)
            }
            (Check::Other(algorithm), DecodingKeyKind::SecretOrDer(bytes)) => {
                UnparsedPublicKey::new(*algorithm, bytes).verify(message, signed)
            }
            _ => return Err(Error::new()),
        };
        checked.map_err(|_| Error::new())
    }
}

impl JwtVerifier for Public {
    fn algorithm(&self) -> Algorithm {
        self.algorithm
    }
}
