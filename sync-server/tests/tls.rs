//! Relays behind a proxy that speaks TLS, with real certificates: who is trusted connects and syncs, who is not says why.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use dinh_core::client::{Client, ClientConfig, ClientError, RelayUrl, Status, StoreKey};
use dinh_core::document::Value;
use dinh_core::path;
use dinh_proto::charter::record::{Audience, Writers};
use dinh_proto::ids::MemberId;
use dinh_proto::keys::{DeviceKey, SignKey};
use dinh_server::{Running, Server, ServerConfig};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, date_time_ymd};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;
use tokio_rustls::rustls::{ServerConfig as TlsConfig, crypto::ring};

const PATIENCE: Duration = Duration::from_secs(30);

fn authority() -> CertifiedIssuer<'static, KeyPair> {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// A proxy in front of the relay, with a certificate for `localhost` until the beginning of a year.
async fn proxy(relay: SocketAddr, by: &CertifiedIssuer<'static, KeyPair>, until: i32) -> SocketAddr {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    params.not_after = date_time_ymd(until, 1, 1);
    let certificate = params.signed_by(&key, by).unwrap();
    let builder = TlsConfig::builder_with_provider(Arc::new(ring::default_provider()));
    let builder = builder.with_safe_default_protocol_versions().unwrap().with_no_client_auth();
    let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let mut config = builder.with_single_cert(vec![certificate.der().clone()], key).unwrap();
    // As proxies are set up; what it gets must be HTTP/1.1 all the same.
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let Ok(mut outside) = acceptor.accept(stream).await else { return };
                assert_eq!(outside.get_ref().1.alpn_protocol(), Some(&b"http/1.1"[..]));
                let mut inside = TcpStream::connect(relay).await.unwrap();
                let _ = tokio::io::copy_bidirectional(&mut outside, &mut inside).await;
            });
        }
    });
    address
}

fn url(relay: &Running, proxy: SocketAddr) -> RelayUrl {
    RelayUrl::parse(&format!("wss://localhost:{}/dinh/v1#{}", proxy.port(), relay.public())).unwrap()
}

fn config(directory: &Path, n: u8, roots: &[&CertifiedIssuer<'static, KeyPair>]) -> ClientConfig {
    let file = |end: &str| directory.join(format!("{n}.{end}"));
    let keys = (DeviceKey::from_seed(&[n; 32]), StoreKey::new([n; 32]));
    let config = ClientConfig::new(file("redb"), file("marker"), keys.0, keys.1);
    ClientConfig { tls_roots: roots.iter().map(|root| root.der().to_vec()).collect(), ..config }
}

async fn until(client: &Client, what: impl FnMut(&Status) -> bool) -> Status {
    let mut status = client.status();
    let found = tokio::time::timeout(PATIENCE, status.wait_for(what)).await.expect("in time").unwrap();
    found.clone()
}

#[tokio::test]
async fn a_phone_syncs_through_tls_and_says_why_it_does_not() {
    let folder = tempfile::tempdir().unwrap();
    let listen = "127.0.0.1:0".parse().unwrap();
    let relay = Server::start(ServerConfig::new(folder.path().join("relay"), listen)).await.unwrap();
    let ours = authority();
    let good = proxy(relay.local_addr(), &ours, 2100).await;
    let expired = proxy(relay.local_addr(), &ours, 2020).await;

    let client = Client::open(config(folder.path(), 1, &[&ours])).await.unwrap();
    let root = SignKey::from_seed(&[99; 32]);
    let branch = client.found_branch(root, MemberId([0; 16]), "máy bí thư").await.unwrap();
    let space = client.create_space(branch, Audience::Everyone).await.unwrap();
    let doc = client.create_document(space, Writers::All).await.unwrap();
    client.edit(doc, None, |e| e.put(&path!["text"], Value::text("qua TLS"))).await.unwrap();

    client.set_relay(Some(url(&relay, expired)));
    let trouble = until(&client, |status| status.trouble.is_some()).await.trouble.unwrap();
    assert!(trouble.contains("is the clock right?"), "{trouble}");

    client.set_relay(Some(url(&relay, good)));
    assert_eq!(until(&client, Status::is_synced).await.trouble, None);

    // Who does not know the authority does not connect, and nothing is wrong with the relay.
    let stranger = Client::open(config(folder.path(), 2, &[])).await.unwrap();
    stranger.set_relay(Some(url(&relay, good)));
    let trouble = until(&stranger, |status| status.trouble.is_some()).await.trouble.unwrap();
    assert!(trouble.contains("nobody whom this device trusts"), "{trouble}");

    client.shutdown().await.unwrap();
    stranger.shutdown().await.unwrap();
    relay.shutdown().await.unwrap();
}

#[tokio::test]
async fn an_authority_that_is_none_is_refused_when_the_client_is_opened() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = config(folder.path(), 1, &[]);
    config.tls_roots = vec![b"-----BEGIN CERTIFICATE-----".to_vec()];
    let error = Client::open(config).await.unwrap_err();
    assert!(matches!(error, ClientError::BadRoot { .. }) && error.to_string().contains("DER"), "{error}");
}
