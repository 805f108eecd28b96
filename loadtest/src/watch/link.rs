//! A shopper's connection: bare, or over TLS.

use anyhow::{Context, Result};
use rustls::{
    ClientConfig, ClientConnection, RootCertStore,
    client::Resumption,
    pki_types::{CertificateDer, ServerName, pem::PemObject},
};
use std::{
    fs,
    io::{self, Read, Write},
    net::TcpStream,
    path::{Path, PathBuf},
    sync::Arc,
};

/// The name in the certificate that a run makes for itself.
const NAME: &str = "localhost";

/// A certificate that has signed itself, and its key, in a run's folder.
#[derive(Clone)]
pub struct Certificate {
    pub cert: PathBuf,
    pub key: PathBuf,
}

impl Certificate {
    pub fn make(folder: &Path) -> Result<Self> {
        let made = rcgen::generate_simple_self_signed([NAME.to_owned()])?;
        let (cert, key) = (folder.join("tls-cert.pem"), folder.join("tls-key.pem"));
        fs::write(&cert, pem_of("CERTIFICATE", made.cert.der()))?;
        fs::write(&key, pem_of("PRIVATE KEY", made.signing_key.serialized_der()))?;
        Ok(Self { cert, key })
    }
}

fn pem_of(label: &str, der: &[u8]) -> String {
    pem::encode(&pem::Pem::new(label, der))
}

/// What shoppers trust: this certificate, and no other. Each of them is new: no handshake is shortened by an earlier one.
pub fn trusting(cert: &Path) -> Result<Arc<ClientConfig>> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(cert).context("no certificate")?)?;
    let mut config = ClientConfig::builder()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.resumption = Resumption::disabled();
    Ok(Arc::new(config))
}

/// What is read and written is not encrypted; what cannot be sent at once goes with the next bytes.
pub enum Link {
    Plain(TcpStream),
    Tls(Box<ClientConnection>, TcpStream),
}

impl Link {
    pub fn new(stream: TcpStream, tls: Option<&Arc<ClientConfig>>) -> Result<Self> {
        Ok(match tls {
            None => Self::Plain(stream),
            Some(config) => {
                let connection = ClientConnection::new(config.clone(), ServerName::try_from(NAME)?)?;
                Self::Tls(Box::new(connection), stream)
            }
        })
    }

    /// Whether a read of less than the buffer's size was all that there is.
    pub fn says_all_at_once(&self) -> bool {
        matches!(self, Self::Plain(_))
    }
}

impl Read for Link {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.read(buffer),
            Self::Tls(connection, stream) => loop {
                match connection.reader().read(buffer) {
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    done => return done,
                }
                let read = connection.read_tls(stream)?;
                connection.process_new_packets().map_err(io::Error::other)?;
                send(connection, stream)?;
                if read == 0 {
                    return Ok(0);
                }
            },
        }
    }
}

impl Write for Link {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.write(bytes),
            Self::Tls(connection, stream) => {
                let taken = connection.writer().write(bytes)?;
                send(connection, stream)?;
                Ok(taken)
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn send(connection: &mut ClientConnection, stream: &mut TcpStream) -> io::Result<()> {
    while connection.wants_write() {
        match connection.write_tls(stream) {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
