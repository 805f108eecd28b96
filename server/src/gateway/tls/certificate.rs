//! The certificate and its key: read from their files, and read again when these change.

use crate::{config, stamp::Stamp};
use chrono::{DateTime, TimeDelta, Utc};
use flashsale_engine::{clock, telemetry::name};
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
    sync::{Arc, PoisonError, RwLock, RwLockReadGuard},
    time::Duration,
};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use x509_cert::{Certificate as X509, der::Decode};

/// How often the files are looked at. What has changed is read when it has stayed the same for one more look: the two files are
/// written one after the other.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Largest size of each file.
const MAX_FILE_BYTES: u64 = 256 * 1024;
/// How long before its end, and how often then, the log warns of a certificate. Authorities renew it some 30 days before.
const WARN_BEFORE: TimeDelta = TimeDelta::days(14);
const WARN_EVERY: Duration = Duration::from_secs(24 * 3_600);
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
    used: RwLock<Used>,
}

#[derive(Debug, Clone)]
struct Used {
    config: Arc<ServerConfig>,
    valid: Valid,
}

/// When the certificate and those up to its authority are all good. None: that cannot be read.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Valid {
    from: Option<DateTime<Utc>>,
    until: Option<DateTime<Utc>>,
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
        let used = read(cert, key)?;
        let certificate = Self {
            cert: cert.clone(),
            key: key.clone(),
            first,
            used: RwLock::new(used),
        };
        certificate.warn();
        Ok(Some(Arc::new(certificate)))
    }

    fn used(&self) -> RwLockReadGuard<'_, Used> {
        self.used.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn config(&self) -> Arc<ServerConfig> {
        self.used().config.clone()
    }

    /// Looks at the files, again and again.
    pub async fn follow(self: Arc<Self>, stopping: CancellationToken) {
        let mut clock = tokio::time::interval(LOOK_EVERY);
        let (mut seen, mut is_new) = (self.first, false);
        let mut warned = Instant::now();
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
                warned = Instant::now();
            } else if warned.elapsed() > WARN_EVERY {
                self.warn();
                warned = Instant::now();
            }
        }
    }

    fn renew(&self) {
        match read(&self.cert, &self.key) {
            Ok(used) => {
                tracing::info!(certificate = %self.cert.display(), "the TLS certificate was read again");
                *self.used.write().unwrap_or_else(PoisonError::into_inner) = used;
                self.warn();
            }
            Err(error) => {
                tracing::warn!(%error, "the new TLS certificate cannot be used; the old one stays in use");
            }
        }
    }
}

impl Certificate {
    /// Says in the log what clients would say, and in the metrics when the certificate ends.
    fn warn(&self) {
        let Valid { from, until } = self.used().valid;
        if let Some(until) = until {
            metrics::gauge!(name::CERTIFICATE_ENDS).set(until.timestamp() as f64);
        }
        let (certificate, now) = (self.cert.display(), clock::now());
        match (from, until) {
            (_, Some(until)) if until <= now => {
                tracing::warn!(%certificate, %until, "the TLS certificate has expired: clients refuse it");
            }
            (_, Some(until)) if until <= now + WARN_BEFORE => {
                tracing::warn!(%certificate, %until, "the TLS certificate expires soon: renew it");
            }
            (Some(from), _) if from > now => {
                tracing::warn!(%certificate, %from, "the TLS certificate is not valid yet: clients refuse it");
            }
            _ => {}
        }
    }
}

impl Valid {
    fn of(chain: &[CertificateDer<'_>]) -> Self {
        let at = |time: x509_cert::time::Time| {
            DateTime::from_timestamp(i64::try_from(time.to_unix_duration().as_secs()).ok()?, 0)
        };
        let all = chain.iter().filter_map(|one| X509::from_der(one).ok());
        let all: Vec<_> = all.map(|one| one.tbs_certificate.validity).collect();
        Self {
            from: all.iter().filter_map(|one| at(one.not_before)).max(),
            until: all.iter().filter_map(|one| at(one.not_after)).min(),
        }
    }
}

fn stamps(cert: &Path, key: &Path) -> Stamps {
    [Stamp::of(cert), Stamp::of(key)]
}

fn read(cert_path: &Path, key_path: &Path) -> Result<Used, CertificateError> {
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&contents(cert_path)?).collect();
    let chain = chain.unwrap_or_default();
    if chain.is_empty() {
        return Err(CertificateError::NoCertificate(cert_path.into()));
    }
    let key = PrivateKeyDer::from_pem_slice(&contents(key_path)?)
        .map_err(|_| CertificateError::NoKey(key_path.into()))?;
    let valid = Valid::of(&chain);
    let config = config_of(chain, key).map_err(|error| {
        let (cert, key) = (cert_path.into(), key_path.into());
        match error {
            rustls::Error::InconsistentKeys(_) => CertificateError::NotFitting(cert, key),
            error => CertificateError::Unusable(cert, key, error),
        }
    })?;
    Ok(Used {
        config: Arc::new(config),
        valid,
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
        super::samples::{Sample, is_shown, sample, sample_until},
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

    fn listen(log: &Log) -> tracing::subscriber::DefaultGuard {
        let writer = log.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_writer(move || writer.clone())
            .with_ansi(false)
            .finish();
        tracing::subscriber::set_default(subscriber)
    }

    #[tokio::test(start_paused = true)]
    async fn the_log_warns_of_a_certificate_that_ends_once_a_day() {
        let log = Log::default();
        let _log = listen(&log);
        let folder = tempfile::tempdir().expect("a folder");
        let in_days = |days| clock::now() + TimeDelta::days(days);
        for (days, word) in [(-1, "has expired"), (13, "expires soon")] {
            let tls = sample_until(in_days(days)).write(folder.path());
            let certificate = Certificate::open(&tls).expect("good").expect("there");
            let said = log.take();
            assert_eq!(said.matches("WARN").count(), 1, "{said}");
            assert!(said.contains(word), "{said}");
            let stopping = CancellationToken::new();
            let following = tokio::spawn(certificate.follow(stopping.clone()));
            tokio::time::sleep(Duration::from_secs(60 * 3_600)).await;
            let said = log.take();
            assert_eq!(said.matches(word).count(), 2, "{said}");
            stopping.cancel();
            following.await.expect("ends");
        }
        Certificate::open(&sample_until(in_days(16)).write(folder.path())).expect("good");
        assert_eq!(log.take(), "");
    }

    /// Lets so many looks pass.
    async fn looks(count: u32) {
        tokio::time::sleep(LOOK_EVERY * count).await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_new_certificate_is_used_and_a_bad_one_is_not_with_one_warning() {
        let log = Log::default();
        let _log = listen(&log);
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
