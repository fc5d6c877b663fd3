//! Relays that speak TLS, or have a proxy that does, with real certificates: who is trusted connects and syncs, who is not says why.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use dinh_core::client::{Client, ClientConfig, ClientError, RelayUrl, Status, StoreKey};
use dinh_core::document::Value;
use dinh_core::path;
use dinh_core::replica::LinkState;
use dinh_proto::charter::record::{Audience, Writers};
use dinh_proto::ids::MemberId;
use dinh_proto::keys::{DeviceKey, SignKey};
use dinh_server::{Running, ServeError, Server, ServerConfig, TlsFiles};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, date_time_ymd};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::{PrivateKeyDer, ServerName};
use tokio_rustls::rustls::{ClientConfig as TlsClientConfig, RootCertStore, ServerConfig as TlsConfig};
use tokio_rustls::{TlsAcceptor, TlsConnector};

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

/// A certificate for `localhost` until the beginning of a year, in files as certbot writes them; what of it a client sees.
fn renew(files: &TlsFiles, by: &CertifiedIssuer<'static, KeyPair>, until: i32) -> Vec<u8> {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    params.not_after = date_time_ymd(until, 1, 1);
    let certificate = params.signed_by(&key, by).unwrap();
    std::fs::write(&files.certificate, certificate.pem() + &by.pem()).unwrap();
    std::fs::write(&files.key, key.serialize_pem()).unwrap();
    certificate.der().to_vec()
}

fn files(folder: &Path) -> TlsFiles {
    TlsFiles { certificate: folder.join("fullchain.pem"), key: folder.join("privkey.pem") }
}

fn server(folder: &Path) -> ServerConfig {
    let config = ServerConfig::new(folder.join("relay"), "127.0.0.1:0".parse().unwrap());
    ServerConfig { tls: Some(files(folder)), ..config }
}

async fn inside(
    stream: TcpStream,
    by: &CertifiedIssuer<'static, KeyPair>,
) -> std::io::Result<TlsStream<TcpStream>> {
    let mut roots = RootCertStore::empty();
    roots.add(by.der().clone()).unwrap();
    let builder = TlsClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
    let builder = builder.with_safe_default_protocol_versions().unwrap();
    let config = builder.with_root_certificates(roots).with_no_client_auth();
    let name = ServerName::try_from("localhost").unwrap();
    TlsConnector::from(Arc::new(config)).connect(name, stream).await
}

/// What the relay answers over TLS, and the certificate that it shows.
async fn ask(relay: &Running, by: &CertifiedIssuer<'static, KeyPair>, path: &str) -> (String, Vec<u8>) {
    let stream = TcpStream::connect(relay.local_addr()).await.unwrap();
    let mut stream = inside(stream, by).await.unwrap();
    let shown = stream.get_ref().1.peer_certificates().unwrap()[0].to_vec();
    let request = format!("GET {path} HTTP/1.1\r\nHost: relay\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    (answer, shown)
}

async fn metric(relay: &Running, by: &CertifiedIssuer<'static, KeyPair>, name: &str) -> u64 {
    let (page, _) = ask(relay, by, "/metrics").await;
    let line = page.lines().find(|line| line.starts_with(&format!("dinh_relay_{name} ")));
    line.unwrap_or_else(|| panic!("{name} is not in {page}")).rsplit(' ').next().unwrap().parse().unwrap()
}

/// Waits until this is counted: a connection may be closed a moment before.
async fn reaches(relay: &Running, by: &CertifiedIssuer<'static, KeyPair>, name: &str, number: u64) {
    let counted = async {
        while metric(relay, by, name).await != number {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, counted).await.unwrap_or_else(|_| panic!("{name} is never {number}"));
}

/// Whether the other side closes before anything else happens.
async fn is_closed(stream: &mut TcpStream) -> bool {
    let read = tokio::time::timeout(PATIENCE, stream.read(&mut [0; 64])).await.expect("it stays open");
    read.map_or(true, |n| n == 0)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_renewed_certificate_is_taken_while_a_device_stays_connected_and_a_bad_one_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let ours = authority();
    let first = renew(&files(folder.path()), &ours, 2090);
    let relay = Server::start(server(folder.path())).await.unwrap();
    let address = format!("wss://localhost:{}/dinh/v1#{}", relay.local_addr().port(), relay.public());
    assert_eq!(relay.address(), address);
    let url = RelayUrl::parse(&address).unwrap();
    let client = Client::open(config(folder.path(), 1, &[&ours])).await.unwrap();
    let root = SignKey::from_seed(&[99; 32]);
    let branch = client.found_branch(root, MemberId([0; 16]), "máy bí thư").await.unwrap();
    let space = client.create_space(branch, Audience::Everyone).await.unwrap();
    let doc = client.create_document(space, Writers::All).await.unwrap();
    client.set_relay(Some(url.clone()));
    until(&client, Status::is_synced).await;
    assert_eq!(ask(&relay, &ours, "/healthz").await.1, first);
    let ends = |year| u64::try_from(date_time_ymd(year, 1, 1).unix_timestamp()).unwrap();
    assert_eq!(metric(&relay, &ours, "tls_certificate_expiry_seconds").await, ends(2090));

    let mut good = renew(&files(folder.path()), &ours, 2091);
    relay.reconfigure(server(folder.path()));
    assert_eq!(ask(&relay, &ours, "/healthz").await.1, good);
    assert_eq!(metric(&relay, &ours, "tls_certificate_expiry_seconds").await, ends(2091));

    // None of these is taken.
    let spoil: [fn(&TlsFiles, &CertifiedIssuer<'static, KeyPair>); 4] = [
        |files, _| std::fs::write(&files.certificate, "-----BEGIN CERTIFICATE-----\nmore to come").unwrap(),
        |files, _| std::fs::write(&files.key, KeyPair::generate().unwrap().serialize_pem()).unwrap(),
        |files, by| drop(renew(files, by, 2020)),
        |files, _| std::fs::remove_file(&files.certificate).unwrap(),
    ];
    for spoil in spoil {
        spoil(&files(folder.path()), &ours);
        relay.reconfigure(server(folder.path()));
        assert_eq!(ask(&relay, &ours, "/healthz").await.1, good);
        good = renew(&files(folder.path()), &ours, 2091);
        relay.reconfigure(server(folder.path()));
        assert_eq!(ask(&relay, &ours, "/healthz").await.1, good);
    }

    // All this time the device was connected, and it goes on syncing; a new one connects too.
    client.edit(doc, None, |e| e.put(&path!["text"], Value::text("qua TLS"))).await.unwrap();
    until(&client, |status| status.pending == 0).await;
    assert_eq!(client.status().borrow().failures, 0);
    let newcomer = Client::open(config(folder.path(), 2, &[&ours])).await.unwrap();
    newcomer.set_relay(Some(url));
    until(&newcomer, |status| matches!(status.link, LinkState::CatchingUp | LinkState::Live)).await;
    assert_eq!(metric(&relay, &ours, "connections_total").await, 2);
    assert_eq!(metric(&relay, &ours, "disconnections_total").await, 0);

    client.shutdown().await.unwrap();
    newcomer.shutdown().await.unwrap();
    relay.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_certificate_that_cannot_be_used_is_named_when_the_relay_starts() {
    let folder = tempfile::tempdir().unwrap();
    let (ours, files) = (authority(), files(folder.path()));
    let text = |what: &str| std::fs::write(&files.certificate, what).unwrap();
    let no_certificate = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    let cases: [(&str, &str, &dyn Fn()); 6] = [
        ("fullchain.pem", "may the relay's user read it?", &|| {}),
        ("fullchain.pem", "write here the certificate", &|| {
            renew(&files, &ours, 2090);
            text("not yet");
        }),
        ("fullchain.pem", "cannot be read", &|| text(no_certificate)),
        ("privkey.pem", "write here the certificate's private key", &|| {
            renew(&files, &ours, 2090);
            std::fs::copy(&files.certificate, &files.key).unwrap();
        }),
        ("privkey.pem", "is not that of the first certificate", &|| {
            renew(&files, &ours, 2090);
            std::fs::write(&files.key, KeyPair::generate().unwrap().serialize_pem()).unwrap();
        }),
        ("fullchain.pem", "renew it, or set this machine's clock", &|| drop(renew(&files, &ours, 2020))),
    ];
    for (file, told, write) in cases {
        write();
        let error = Server::start(server(folder.path())).await.unwrap_err();
        let text = error.to_string();
        assert!(matches!(error, ServeError::Tls(_)) && text.contains(file) && text.contains(told), "{text}");
    }
    renew(&files, &ours, 2090);
    Server::start(server(folder.path())).await.unwrap().shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handshake_that_stalls_is_cut_off_and_nobody_else_notices() {
    let folder = tempfile::tempdir().unwrap();
    let ours = authority();
    renew(&files(folder.path()), &ours, 2090);
    let mut config = server(folder.path());
    config.greeting.request = Duration::from_millis(1_500);
    let relay = Server::start(config).await.unwrap();
    let mut silent = TcpStream::connect(relay.local_addr()).await.unwrap();
    let mut begun = TcpStream::connect(relay.local_addr()).await.unwrap();
    begun.write_all(&[0x16, 3, 1]).await.unwrap();
    assert!(ask(&relay, &ours, "/healthz").await.0.ends_with("ok\n"));
    for stream in [&mut silent, &mut begun] {
        assert!(is_closed(stream).await);
    }
    let failed = async |why, number| {
        reaches(&relay, &ours, &format!("tls_handshakes_failed_total{{why=\"{why}\"}}"), number).await;
    };
    failed("timed_out", 2).await;

    // HTTP without TLS is told so, at once.
    let mut plain = TcpStream::connect(relay.local_addr()).await.unwrap();
    plain.write_all(b"GET /dinh/v1 HTTP/1.1\r\nHost: relay\r\nConnection: close\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    plain.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 400") && answer.contains("write wss://"), "{answer}");
    failed("plain_http", 1).await;
    // Noise, one who does not trust the certificate, and one who goes away.
    let mut noise = TcpStream::connect(relay.local_addr()).await.unwrap();
    noise.write_all(&[0xff; 64]).await.unwrap();
    let _ = noise.read_to_end(&mut Vec::new()).await;
    let stranger = TcpStream::connect(relay.local_addr()).await.unwrap();
    assert!(inside(stranger, &authority()).await.is_err());
    drop(TcpStream::connect(relay.local_addr()).await.unwrap());
    failed("tls", 2).await;
    failed("closed", 1).await;
    relay.shutdown().await.unwrap();
}

#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread")]
async fn handshakes_have_the_limits_of_the_doorstep() {
    let folder = tempfile::tempdir().unwrap();
    let ours = authority();
    renew(&files(folder.path()), &ours, 2090);
    let mut config = server(folder.path());
    config.greeting.per_address = 3;
    config.greeting.request = Duration::from_secs(60);
    let relay = Server::start(config).await.unwrap();
    let from = async |last| {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(SocketAddr::from(([127, 0, 0, last], 0))).unwrap();
        socket.connect(relay.local_addr()).await.unwrap()
    };
    let mut stalled = [from(2).await, from(2).await, from(2).await];
    assert!(inside(from(2).await, &ours).await.is_err(), "there is room for three");
    assert!(inside(from(3).await, &ours).await.is_ok());
    reaches(&relay, &ours, "connections_refused_total{limit=\"address\"}", 1).await;
    // After its time the oldest gives way in the middle of its handshake.
    tokio::time::sleep(dinh_proto::limits::GREETING_GRACE).await;
    assert!(inside(from(2).await, &ours).await.is_ok());
    assert!(is_closed(&mut stalled[0]).await);
    relay.shutdown().await.unwrap();
}
