//! Certificates for tests.

use chrono::{DateTime, Datelike, TimeDelta, Utc};
use flashsale_engine::clock;
use rcgen::{CertificateParams, KeyPair, date_time_ymd};
use rustls::{
    ClientConfig, ClientConnection, RootCertStore, ServerConfig,
    pki_types::{CertificateDer, ServerName},
};
use std::{path::Path, sync::Arc};

/// A certificate that has signed itself, for this machine.
pub struct Sample {
    pub cert: CertificateDer<'static>,
    pub cert_pem: String,
    pub key_pem: String,
}

pub fn sample() -> Sample {
    sample_until(clock::now() + TimeDelta::days(90))
}

/// One that ends at the beginning of that day.
pub fn sample_until(end: DateTime<Utc>) -> Sample {
    let mut wanted = CertificateParams::new(["localhost".to_owned()]).expect("a name");
    wanted.not_after = date_time_ymd(end.year(), end.month() as u8, end.day() as u8);
    let key = KeyPair::generate().expect("a key");
    let made = wanted.self_signed(&key).expect("a certificate");
    Sample {
        cert_pem: pem_of("CERTIFICATE", made.der()),
        key_pem: pem_of("PRIVATE KEY", key.serialized_der()),
        cert: made.der().clone(),
    }
}

fn pem_of(label: &str, der: &[u8]) -> String {
    pem::encode(&pem::Pem::new(label, der))
}

impl Sample {
    pub fn write(&self, folder: &Path) -> crate::config::Tls {
        let (cert, key) = (folder.join("cert.pem"), folder.join("key.pem"));
        std::fs::write(&cert, &self.cert_pem).expect("written");
        std::fs::write(&key, &self.key_pem).expect("written");
        crate::config::Tls {
            cert: Some(cert),
            key: Some(key),
        }
    }

    /// A client that trusts only this certificate.
    pub fn client(&self) -> ClientConnection {
        crate::tls::provide();
        let mut roots = RootCertStore::empty();
        roots.add(self.cert.clone()).expect("a certificate");
        let config = ClientConfig::builder()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let name = ServerName::try_from("localhost").expect("a name");
        ClientConnection::new(Arc::new(config), name).expect("a client")
    }
}

/// Whether a client that trusts only this certificate gets through the handshake.
pub fn is_shown(sample: &Sample, config: Arc<ServerConfig>) -> bool {
    let mut client = sample.client();
    let mut server = rustls::ServerConnection::new(config).expect("a server");
    while client.is_handshaking() || server.is_handshaking() {
        let mut bytes = Vec::new();
        client.write_tls(&mut bytes).expect("memory takes everything");
        server.read_tls(&mut &bytes[..]).expect("all of it");
        if server.process_new_packets().is_err() {
            return false;
        }
        bytes.clear();
        server.write_tls(&mut bytes).expect("memory takes everything");
        client.read_tls(&mut &bytes[..]).expect("all of it");
        if client.process_new_packets().is_err() {
            return false;
        }
    }
    true
}
