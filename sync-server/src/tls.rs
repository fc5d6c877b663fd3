//! The listener's TLS: a certificate from two files, taken anew when they change, without touching a connection.
//!
//! What a connection began with it keeps; the next one gets what was taken last. A certificate that cannot be used is never taken:
//! at start the relay says which file it is and does not run, later it goes on with the one it has, says so, and tries again every
//! minute.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use thiserror::Error;
use tokio::net::TcpStream;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::{Error as PemError, PemObject};
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::{self, ServerConfig};
use tokio_rustls::server::TlsStream;
use tokio_rustls::{TlsAcceptor, rustls::Error as RustlsError};
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};
use zeroize::Zeroizing;

/// How often the files are looked at: who renews certificates need not tell the relay.
const LOOK_EVERY: Duration = Duration::from_secs(60);
/// A certificate that ends sooner was not renewed when it should have been: those who renew do it a month before.
const WARN_BEFORE: Duration = Duration::from_secs(14 * DAY_SECONDS);
const WARN_EVERY: Duration = Duration::from_secs(DAY_SECONDS);
const DAY_SECONDS: u64 = 24 * 3_600;
/// The first byte of a TLS handshake.
const HANDSHAKE: u8 = 0x16;

/// The files that a certificate renewer writes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFiles {
    /// The certificate and those between it and its authority, in this order (PEM).
    pub certificate: PathBuf,
    /// The certificate's private key (PEM).
    pub key: PathBuf,
}

/// Why a certificate cannot be used. Each names the file.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum TlsError {
    /// A file cannot be read.
    #[error("cannot read {}: {source}; may the relay's user read it?", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file has none of what should be in it.
    #[error("{}: {source}; write here {what} (PEM, with lines of BEGIN and END)", path.display())]
    Pem {
        /// The file.
        path: PathBuf,
        /// What should be in it.
        what: &'static str,
        /// What is wrong.
        source: PemError,
    },
    /// The file holds no certificate that can be read.
    #[error("{}: the first certificate cannot be read: {why}", path.display())]
    Certificate {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// The key is another certificate's.
    #[error("the key in {} is not that of the first certificate in {}", key.display(), certificate.display())]
    Mismatch {
        /// The key's file.
        key: PathBuf,
        /// The certificate's file.
        certificate: PathBuf,
    },
    /// Certificate and key are of no use together.
    #[error("{} with {}: {source}", certificate.display(), key.display())]
    Unusable {
        /// The certificate's file.
        certificate: PathBuf,
        /// The key's file.
        key: PathBuf,
        /// What rustls said.
        source: RustlsError,
    },
    /// Nobody would trust it now.
    #[error("{}: the certificate is valid from {from} to {until}: renew it, or set this machine's clock", path.display())]
    NotValidNow {
        /// The file.
        path: PathBuf,
        /// Its first moment.
        from: String,
        /// Its last.
        until: String,
    },
}

impl TlsFiles {
    /// Whether they could be used now.
    ///
    /// # Errors
    /// Why not.
    pub fn check(&self) -> Result<(), TlsError> {
        Loaded::new(self).map(drop)
    }
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Tls {
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    files: TlsFiles,
    loaded: Loaded,
    warned: Option<SystemTime>,
}

/// What new connections get.
#[derive(Debug)]
struct Loaded {
    config: Arc<ServerConfig>,
    /// The first name that it is for, if that is one machine's.
    name: Option<String>,
    not_after: u64,
    written: [Written; 2],
}

/// Changes whenever a file is written.
type Written = Option<(SystemTime, u64)>;

/// A connection of which the first bytes were read.
#[derive(Debug)]
pub(crate) enum Opened {
    /// The handshake is done.
    Tls(Box<TlsStream<TcpStream>>),
    /// It speaks HTTP without TLS.
    Plain(TcpStream),
}

impl Tls {
    /// Blocks on files.
    pub(crate) fn load(files: TlsFiles) -> Result<Self, TlsError> {
        let loaded = Loaded::new(&files)?;
        loaded.log(&files, "certificate");
        Ok(Self { state: Mutex::new(State { files, loaded, warned: None }) })
    }

    /// The handshake, with the certificate of now. Call with a time limit.
    pub(crate) async fn open(&self, stream: TcpStream) -> io::Result<Opened> {
        let mut first = [0];
        stream.peek(&mut first).await?;
        // Devices and people who forget the s are told so, in words that they can read.
        if first[0] != HANDSHAKE && first[0].is_ascii_uppercase() {
            return Ok(Opened::Plain(stream));
        }
        let acceptor = TlsAcceptor::from(self.lock().loaded.config.clone());
        Ok(Opened::Tls(Box::new(acceptor.accept(stream).await?)))
    }

    /// A name that is in the certificate.
    pub(crate) fn name(&self) -> Option<String> {
        self.lock().loaded.name.clone()
    }

    /// The certificate's last second, since 1970.
    pub(crate) fn not_after(&self) -> u64 {
        self.lock().loaded.not_after
    }

    /// From now on these files, read again. What cannot be used is not taken. Blocks on them.
    pub(crate) fn reload(&self, files: &TlsFiles) {
        self.lock().files = files.clone();
        self.take(files);
    }

    /// Looks whether the files changed, and at the time that is left. Blocks on files.
    fn look(&self) {
        let (files, written) = {
            let state = self.lock();
            (state.files.clone(), state.loaded.written)
        };
        if files.written() != written {
            self.take(&files);
        }
        let now = SystemTime::now();
        let mut state = self.lock();
        let left = (UNIX_EPOCH + Duration::from_secs(state.loaded.not_after)).duration_since(now);
        let left = left.unwrap_or_default();
        let is_due = state.warned.is_none_or(|then| now.duration_since(then).is_ok_and(|d| d >= WARN_EVERY));
        if left < WARN_BEFORE && is_due {
            state.warned = Some(now);
            let (certificate, days) = (state.files.certificate.display(), left.as_secs() / DAY_SECONDS);
            tracing::warn!(%certificate, days, "the certificate ends soon: renew it");
        }
    }

    /// Reads the files without keeping connections from the certificate that there is.
    fn take(&self, files: &TlsFiles) {
        match Loaded::new(files) {
            Ok(loaded) => {
                let mut state = self.lock();
                // Others may have been named meanwhile.
                if state.files == *files {
                    loaded.log(files, "another certificate");
                    (state.loaded, state.warned) = (loaded, None);
                }
            }
            Err(error) => {
                tracing::error!(%error, "the certificate is not taken: the relay goes on with the one it has");
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Looks at the files from time to time, and tells each time when the certificate ends. Runs until it is dropped.
pub(crate) async fn keep(tls: Arc<Tls>, tell: impl Fn(u64)) {
    loop {
        let looking = tls.clone();
        let _ = tokio::task::spawn_blocking(move || looking.look()).await;
        tell(tls.not_after());
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

impl TlsFiles {
    fn written(&self) -> [Written; 2] {
        [&self.certificate, &self.key].map(|path| {
            let metadata = std::fs::metadata(path).ok()?;
            Some((metadata.modified().ok()?, metadata.len()))
        })
    }
}

impl Loaded {
    fn new(files: &TlsFiles) -> Result<Self, TlsError> {
        let TlsFiles { certificate, key } = files;
        // Before they are read: what is written meanwhile is seen the next time.
        let written = files.written();
        let pem = |path: &Path, what| {
            let path = path.to_owned();
            move |source| TlsError::Pem { path, what, source }
        };
        let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(&read(certificate)?)
            .collect::<Result<_, _>>()
            .and_then(|chain: Vec<_>| if chain.is_empty() { Err(PemError::NoItemsFound) } else { Ok(chain) })
            .map_err(pem(certificate, "the certificate and those between it and its authority"))?;
        let private =
            PrivateKeyDer::from_pem_slice(&read(key)?).map_err(pem(key, "the certificate's private key"))?;
        let unreadable = |why: String| TlsError::Certificate { path: certificate.clone(), why };
        let (_, first) = X509Certificate::from_der(&chain[0]).map_err(|e| unreadable(e.to_string()))?;
        let validity = first.validity();
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let seconds = |time: i64| u64::try_from(time).unwrap_or(0);
        let not_after = seconds(validity.not_after.timestamp());
        if now > not_after || now < seconds(validity.not_before.timestamp()) {
            let (from, until) = (validity.not_before.to_string(), validity.not_after.to_string());
            return Err(TlsError::NotValidNow { path: certificate.clone(), from, until });
        }
        let names = first.subject_alternative_name().ok().flatten();
        let name = names.iter().flat_map(|names| &names.value.general_names).find_map(|name| match name {
            GeneralName::DNSName(name) if !name.contains('*') => Some((*name).to_owned()),
            _ => None,
        });
        let mut config = server_config(chain, private).map_err(|source| match source {
            RustlsError::InconsistentKeys(_) => {
                TlsError::Mismatch { key: key.clone(), certificate: certificate.clone() }
            }
            source => TlsError::Unusable { certificate: certificate.clone(), key: key.clone(), source },
        })?;
        // WebSockets are opened over nothing else.
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self { config: Arc::new(config), name, not_after, written })
    }

    fn log(&self, files: &TlsFiles, what: &str) {
        let certificate = files.certificate.display();
        tracing::info!(%certificate, name = self.name, not_after = self.not_after, "{what} is in use");
    }
}

fn server_config(
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
) -> Result<ServerConfig, rustls::Error> {
    ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, key)
}

fn read(path: &Path) -> Result<Zeroizing<Vec<u8>>, TlsError> {
    let read = std::fs::read(path).map(Zeroizing::new);
    read.map_err(|source| TlsError::Read { path: path.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair, date_time_ymd};

    use super::*;

    /// Writes a certificate that ends with the beginning of a year.
    fn write(files: &TlsFiles, until: i32) {
        let key = KeyPair::generate().unwrap();
        let names = ["*.example", "relay.example"].map(str::to_owned);
        let mut params = CertificateParams::new(names).unwrap();
        params.not_after = date_time_ymd(until, 1, 1);
        std::fs::write(&files.certificate, params.self_signed(&key).unwrap().pem()).unwrap();
        std::fs::write(&files.key, key.serialize_pem()).unwrap();
    }

    fn ends(until: i32) -> u64 {
        u64::try_from(date_time_ymd(until, 1, 1).unix_timestamp()).unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn files_are_looked_at_every_minute_and_taken_as_soon_as_they_are_right() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str| folder.path().join(name);
        let files = TlsFiles { certificate: file("chain.pem"), key: file("key.pem") };
        write(&files, 2090);
        let tls = Arc::new(Tls::load(files.clone()).unwrap());
        assert_eq!(tls.name().as_deref(), Some("relay.example"));
        let (tell, mut told) = tokio::sync::mpsc::unbounded_channel();
        let began = tokio::time::Instant::now();
        let looks = tokio::spawn(keep(tls.clone(), move |ends| tell.send(ends).unwrap()));
        assert_eq!(told.recv().await, Some(ends(2090)));
        // A renewer that has written one of the two.
        let old = std::fs::read(&files.key).unwrap();
        write(&files, 2091);
        let new = std::fs::read(&files.key).unwrap();
        std::fs::write(&files.key, old).unwrap();
        assert_eq!(told.recv().await, Some(ends(2090)));
        std::fs::write(&files.key, new).unwrap();
        assert_eq!(told.recv().await, Some(ends(2091)));
        assert_eq!(began.elapsed().as_secs(), 120);
        // Nothing of a file that is gone, and nothing that is over.
        std::fs::remove_file(&files.key).unwrap();
        assert_eq!(told.recv().await, Some(ends(2091)));
        write(&files, 2020);
        assert_eq!(told.recv().await, Some(ends(2091)));
        looks.abort();
    }
}
