//! What can be wrong with a set of keys, one sentence each.

use super::{MAX_DOCUMENT_BYTES, MAX_KEYS};

/// Most skipped keys that an error names.
const SHOWN: usize = 5;

/// Why there are no keys. The text is for the person who gave the file or the address, and shows no address of ours.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    #[error("The keys take more than {} KiB.", MAX_DOCUMENT_BYTES / 1024)]
    TooLarge,
    #[error("The document has {0} keys; at most {MAX_KEYS} are read.")]
    TooManyKeys(usize),
    #[error("The document is not JSON: {0}.")]
    NotJson(String),
    #[error("The document is JSON, but it has no list named \"keys\".")]
    NoKeys,
    #[error("The text is neither JSON (a JWKS document; {0}) nor PEM (it has no \"-----BEGIN\").")]
    NeitherForm(String),
    #[error(
        "PEM block {0} is a private key. Give the public key only, and replace this pair: its secret has been shown."
    )]
    PrivateKey(usize),
    #[error("PEM block {block} {why}.")]
    UnusableBlock { block: usize, why: String },
    #[error("There is no usable public key.{0}")]
    NoUsableKey(String),
    #[error("The address of the keys cannot be used: {0}.")]
    BadUrl(String),
    #[error("The address of the keys does not begin with https://.")]
    NotHttps,
    #[error("{0} is not on the public internet.")]
    PrivateAddress(String),
    #[error("The address of the keys redirects more than {0} times.")]
    Redirected(usize),
    #[error("The provider answered {0} instead of 200.")]
    Status(u16),
    #[error("The provider did not send the keys within {0} seconds.")]
    TooSlow(u64),
    #[error("The provider cannot be reached: {0}.")]
    Unreachable(String),
    #[error("The file of keys cannot be read: {0}.")]
    UnreadableFile(String),
    #[error("Encrypted connections cannot be set up here: {0}.")]
    NoTls(String),
}

impl KeyError {
    pub(super) fn no_usable(skipped: &[String]) -> Self {
        if skipped.is_empty() {
            return Self::NoUsableKey(" The set is empty.".to_owned());
        }
        let shown = skipped[..skipped.len().min(SHOWN)].join("; ");
        let more = match skipped.len().saturating_sub(SHOWN) {
            0 => String::new(),
            more => format!("; and {more} more"),
        };
        Self::NoUsableKey(format!(" Skipped: {shown}{more}."))
    }

    /// A word for programs. It stays the same when the sentence changes.
    pub fn word(&self) -> &'static str {
        match self {
            Self::TooLarge => "too_large",
            Self::TooManyKeys(_) => "too_many_keys",
            Self::NotJson(_) => "not_json",
            Self::NoKeys => "no_keys",
            Self::NeitherForm(_) => "neither_form",
            Self::PrivateKey(_) => "private_key",
            Self::UnusableBlock { .. } => "unusable_block",
            Self::NoUsableKey(_) => "no_usable_key",
            Self::BadUrl(_) => "bad_url",
            Self::NotHttps => "not_https",
            Self::PrivateAddress(_) => "private_address",
            Self::Redirected(_) => "redirected",
            Self::Status(_) => "status",
            Self::TooSlow(_) => "too_slow",
            Self::Unreachable(_) => "unreachable",
            Self::UnreadableFile(_) => "unreadable_file",
            Self::NoTls(_) => "no_tls",
        }
    }
}
