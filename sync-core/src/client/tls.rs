//! TLS around the connection to a relay, for addresses that begin with `wss://`.
//!
//! It is there for proxies and networks that let nothing else through. The relay proves the key of its address inside it, so what
//! is said stays hidden even from a proxy that ends the TLS.

use std::io;
use std::sync::Arc;

use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{CertificateError, ClientConfig, Error, RootCertStore};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_tungstenite::MaybeTlsStream;

use super::ClientError;
use super::transport::ConnectError;

/// Makes TLS connections; remembers relays, so that the next handshake with one is shorter.
#[derive(Clone)]
pub(super) struct Tls(TlsConnector);

impl Tls {
    /// Trusts Mozilla's authorities and these.
    pub(super) fn new(own: &[Vec<u8>]) -> Result<Self, ClientError> {
        let mut roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
        for der in own {
            let added = roots.add(CertificateDer::from(der.as_slice()));
            added.map_err(|e| ClientError::BadRoot { reason: e.to_string() })?;
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let builder = builder.map_err(|e| ClientError::BadRoot { reason: e.to_string() })?;
        let mut config = builder.with_root_certificates(roots).with_no_client_auth();
        // A proxy that has the choice must not choose HTTP/2, which has no upgrade.
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self(TlsConnector::from(Arc::new(config))))
    }

    pub(super) async fn connect(
        &self,
        host: &str,
        stream: TcpStream,
    ) -> Result<MaybeTlsStream<TcpStream>, ConnectError> {
        let name = ServerName::try_from(host.to_owned());
        let name = name.map_err(|e| ConnectError::Tls(format!("{host:?} is no name of a host: {e}")))?;
        let connected = self.0.connect(name, stream).await;
        connected.map(MaybeTlsStream::Rustls).map_err(|e| failed(host, e))
    }
}

fn failed(host: &str, error: io::Error) -> ConnectError {
    let tls = error.get_ref().and_then(|e| e.downcast_ref::<Error>());
    ConnectError::Tls(match tls {
        None => return ConnectError::Unreachable(error),
        Some(Error::InvalidCertificate(certificate)) => match certificate {
            CertificateError::Expired
            | CertificateError::ExpiredContext { .. }
            | CertificateError::NotValidYet
            | CertificateError::NotValidYetContext { .. } => {
                format!(
                    "the certificate of {host} is not valid at the time that this device's clock shows: is the clock right?"
                )
            }
            CertificateError::UnknownIssuer => format!(
                "nobody whom this device trusts vouches for the certificate of {host}: if the authority is your own, name it in the \
                 client's configuration"
            ),
            other => format!("the certificate of {host} is not accepted: {other}"),
        },
        Some(other) => format!("the TLS handshake with {host} failed: {other}"),
    })
}
