//! The certificate and its key: read from their files, and read again when these change.

use crate::{config, stamp::Stamp};
use rustls::{
    ServerConfig,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    version::{TLS12, TLS13},
};
use std::{
    fs::File,
    io::Read,
    path::{Path, PathBuf},
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};
use tokio_util::sync::CancellationToken;

/// How often the files are looked at. What has changed is read when it has stayed the same for one more look: the two files are
/// written one after the other.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Largest size of each file.
const MAX_FILE_BYTES: u64 = 256 * 1024;
/// HTTP/2 is a proxy's business.
const ALPN: &[u8] = b"http/1.1";

/// Why a certificate cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    #[error("{0} cannot be read: {1}")]
    Unreadable(PathBuf, std::io::Error),
    #[error("{0} is larger than {max} KiB", max = MAX_FILE_BYTES / 1024)]
    TooLarge(PathBuf),
    #[error("{0} has no certificate in PEM (-----BEGIN CERTIFICATE-----)")]
    NoCertificate(PathBuf),
    #[error("{0} has no private key in PEM that can be used (PKCS#8, PKCS#1 or SEC1, not encrypted)")]
    NoKey(PathBuf),
    #[error("the certificate in {0} does not fit the key in {1}")]
    NotFitting(PathBuf, PathBuf),
    #[error("the certificate in {0} with the key in {1} cannot be used: {2}")]
    Unusable(PathBuf, PathBuf, rustls::Error),
}

/// What new handshakes use.
#[derive(Debug)]
pub struct Certificate {
    cert: PathBuf,
    key: PathBuf,
    /// The files' state before they were read at the start.
    first: Stamps,
    config: RwLock<Arc<ServerConfig>>,
}

type Stamps = [Option<Stamp>; 2];

impl Certificate {
    /// Reads the files, if there are any; they must be good at first.
    pub fn open(tls: &config::Tls) -> Result<Option<Arc<Self>>, CertificateError> {
        let (Some(cert), Some(key)) = (&tls.cert, &tls.key) else {
            return Ok(None);
        };
        // The state before the contents: what is written in between is seen as a change.
        let first = stamps(cert, key);
        let config = read(cert, key)?;
        Ok(Some(Arc::new(Self {
            cert: cert.clone(),
            key: key.clone(),
            first,
            config: RwLock::new(Arc::new(config)),
        })))
    }

    pub(crate) fn config(&self) -> Arc<ServerConfig> {
        self.config.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Looks at the files, again and again.
    pub async fn follow(self: Arc<Self>, stopping: CancellationToken) {
        let mut clock = tokio::time::interval(LOOK_EVERY);
        let (mut seen, mut is_new) = (self.first, false);
        loop {
            tokio::select! {
                () = stopping.cancelled() => return,
                _ = clock.tick() => {}
            }
            let now = stamps(&self.cert, &self.key);
            if now != seen {
                (seen, is_new) = (now, true);
            } else if std::mem::take(&mut is_new) {
                self.renew();
            }
        }
    }

    fn renew(&self) {
        match read(&self.cert, &self.key) {
            Ok(config) => {
                tracing::info!(certificate = %self.cert.display(), "the TLS certificate was read again");
                *self.config.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(config);
            }
            Err(error) => {
                tracing::warn!(%error, "the new TLS certificate cannot be used; the old one stays in use");
            }
        }
    }
}

fn stamps(cert: &Path, key: &Path) -> Stamps {
    [Stamp::of(cert), Stamp::of(key)]
}

fn read(cert_path: &Path, key_path: &Path) -> Result<ServerConfig, CertificateError> {
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&contents(cert_path)?).collect();
    let chain = chain.unwrap_or_default();
    if chain.is_empty() {
        return Err(CertificateError::NoCertificate(cert_path.into()));
    }
    let key = PrivateKeyDer::from_pem_slice(&contents(key_path)?)
        .map_err(|_| CertificateError::NoKey(key_path.into()))?;
    config_of(chain, key).map_err(|error| {
        let (cert, key) = (cert_path.into(), key_path.into());
        match error {
            rustls::Error::InconsistentKeys(_) => CertificateError::NotFitting(cert, key),
            error => CertificateError::Unusable(cert, key, error),
        }
    })
}

fn contents(path: &Path) -> Result<Vec<u8>, CertificateError> {
    let unreadable = |error| CertificateError::Unreadable(path.into(), error);
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(unreadable)?;
    file.take(MAX_FILE_BYTES + 1)
        .read_to_end(&mut bytes)
        .map_err(unreadable)?;
    match bytes.len() as u64 > MAX_FILE_BYTES {
        true => Err(CertificateError::TooLarge(path.into())),
        false => Ok(bytes),
    }
}

/// Everything is made anew with a certificate, also the key of tickets: a session of before is not resumed under it.
fn config_of(
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
) -> Result<ServerConfig, rustls::Error> {
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(&[&TLS13, &TLS12])?
        .with_no_client_auth()
        .with_single_cert(chain, key)?;
    config.alpn_protocols = vec![ALPN.to_vec()];
    config.ticketer = ring::Ticketer::new()?;
    Ok(config)
}

#[cfg(test)]
mod tests {
    use super::{
        super::samples::{Sample, is_shown, sample},
        *,
    };
    use std::{fs, io::Write, sync::Mutex};

    /// What was logged by this thread.
    #[derive(Clone, Default)]
    struct Log(Arc<Mutex<Vec<u8>>>);

    impl Write for Log {
        fn write(&mut self, text: &[u8]) -> std::io::Result<usize> {
            self.0.lock().expect("the log").extend_from_slice(text);
            Ok(text.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    impl Log {
        fn take(&self) -> String {
            let text = std::mem::take(&mut *self.0.lock().expect("the log"));
            String::from_utf8(text).expect("text")
        }
    }

    fn fails(tls: &config::Tls) -> String {
        let error = Certificate::open(tls).expect_err("it cannot be used").to_string();
        assert!(error.contains(".pem"), "it names a file: {error}");
        error
    }

    #[test]
    fn what_cannot_be_used_at_the_start_is_named() {
        let folder = tempfile::tempdir().expect("a folder");
        let (good, other) = (sample(), sample());
        let tls = good.write(folder.path());
        assert!(Certificate::open(&tls).expect("good").is_some());
        assert!(
            Certificate::open(&config::Tls::default())
                .expect("none")
                .is_none()
        );
        let (cert, key) = (tls.cert.clone().expect("set"), tls.key.clone().expect("set"));

        fs::write(&key, &other.key_pem).expect("written");
        assert!(fails(&tls).contains("does not fit"));
        fs::write(&key, "garbage").expect("written");
        assert!(fails(&tls).contains("no private key"));
        fs::write(&key, good.key_pem.replace("PRIVATE KEY", "ENCRYPTED PRIVATE KEY")).expect("written");
        assert!(fails(&tls).contains("not encrypted"));
        fs::remove_file(&key).expect("removed");
        assert!(fails(&tls).contains("cannot be read"));
        fs::write(&key, &good.key_pem).expect("written");

        for garbage in ["", "garbage", &good.key_pem, "-----BEGIN CERTIFICATE-----\n%\n"] {
            fs::write(&cert, garbage).expect("written");
            assert!(fails(&tls).contains("no certificate"), "{garbage}");
        }
        fs::write(
            &cert,
            "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
        )
        .expect("written");
        assert!(fails(&tls).contains("cannot be used"));
        fs::write(&cert, vec![b'x'; MAX_FILE_BYTES as usize + 1]).expect("written");
        assert!(fails(&tls).contains("larger than 256 KiB"));
    }

    /// Lets so many looks pass.
    async fn looks(count: u32) {
        tokio::time::sleep(LOOK_EVERY * count).await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_new_certificate_is_used_and_a_bad_one_is_not_with_one_warning() {
        let log = Log::default();
        let writer = log.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_writer(move || writer.clone())
            .with_ansi(false)
            .finish();
        let _log = tracing::subscriber::set_default(subscriber);
        let folder = tempfile::tempdir().expect("a folder");
        let (first, second, third) = (sample(), sample(), sample());
        let tls = first.write(folder.path());
        let key = tls.key.clone().expect("set");
        let certificate = Certificate::open(&tls).expect("good").expect("there");
        let stopping = CancellationToken::new();
        let following = tokio::spawn(certificate.clone().follow(stopping.clone()));
        let shows = |sample: &Sample| is_shown(sample, certificate.config());
        looks(3).await;
        assert!(shows(&first) && !shows(&second));

        second.write(folder.path());
        looks(3).await;
        assert!(shows(&second) && !shows(&first));
        assert!(log.take().contains("was read again"));

        for bad in [&third.key_pem, "garbage"] {
            fs::write(&key, bad).expect("written");
            looks(5).await;
            assert!(shows(&second), "the old one stays");
            let said = log.take();
            assert_eq!(said.matches("WARN").count(), 1, "{said}");
            assert!(said.contains("the old one stays in use"), "{said}");
            assert!(!said.contains("PRIVATE"), "{said}");
        }

        // Written one after the other: in between they do not fit, and nobody minds.
        fs::write(tls.cert.as_ref().expect("set"), &third.cert_pem).expect("written");
        looks(1).await;
        fs::write(&key, &third.key_pem).expect("written");
        looks(3).await;
        assert!(shows(&third));
        assert!(!log.take().contains("WARN"));
        stopping.cancel();
        following.await.expect("ends");
    }
}
