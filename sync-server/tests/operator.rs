//! What an operator does with the program: configuration, changing it while the relay runs, and stopping it.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![cfg(unix)]

mod raw_common;

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::time::Duration;

use dinh_proto::error::{CloseCode, SessionError};
use dinh_proto::keys::{DeviceKey, RelayPublic};
use dinh_proto::session::DeviceEvent;
use raw_common::Client;
use rcgen::{CertificateParams, KeyPair};

const PATIENCE: Duration = Duration::from_secs(30);

fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_dinh-relay"));
    command.env_remove("RUST_LOG");
    command
}

/// Exit code, stdout and stderr.
fn run(args: &[&str], environment: &[(&str, &str)]) -> (Option<i32>, String, String) {
    let output = program().args(args).envs(environment.iter().copied()).output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

struct Relay {
    child: Child,
    address: String,
    /// What devices connect to.
    url: String,
    log: Receiver<String>,
}

impl Relay {
    fn start(config: &Path) -> Self {
        let mut child = program()
            .args(["serve", "--config"])
            .arg(config)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let (told, log) = mpsc::channel();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        std::thread::spawn(move || stderr.lines().map_while(Result::ok).try_for_each(|line| told.send(line)));
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let mut printed = |what: &str| {
            let mut line = String::new();
            stdout.read_line(&mut line).unwrap();
            line.trim().strip_prefix(what).expect("it starts").to_owned()
        };
        let (address, url) = (printed("dinh-relay listening "), printed("dinh-relay address "));
        // Its pipe stays open until it ends.
        std::thread::spawn(move || stdout.lines().map_while(Result::ok).for_each(drop));
        Self { child, address, url, log }
    }

    /// The next line of the log with this in it.
    fn logs(&self, what: &str) -> String {
        loop {
            let line = self.log.recv_timeout(PATIENCE).unwrap_or_else(|_| panic!("never logged: {what}"));
            if line.contains(what) {
                return line;
            }
        }
    }

    fn key(&self) -> RelayPublic {
        self.url.split_once('#').unwrap().1.parse().unwrap()
    }

    fn signal(&self, name: &str) {
        let sent = Command::new("kill").args(["-s", name, &self.child.id().to_string()]).status().unwrap();
        assert!(sent.success());
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn config(folder: &Path, text: &str) -> PathBuf {
    let path = folder.join("relay.toml");
    let data = folder.join("data");
    std::fs::write(&path, format!("data = {data:?}\nlisten = \"127.0.0.1:0\"\n{text}")).unwrap();
    path
}

#[test]
fn check_config_shows_every_default_and_names_what_is_wrong() {
    let (code, defaults, _) = run(&["check-config", "--defaults"], &[]);
    assert_eq!((code, defaults.trim_end()), (Some(0), dinh_server::config::REFERENCE.trim_end()));
    let folder = tempfile::tempdir().unwrap();
    let good = config(folder.path(), "[quotas]\nspace_bytes = 700000000\n");
    let good = good.to_str().unwrap();
    let (code, shown, _) = run(
        &["check-config", "--config", good, "--set", "connections.max=9"],
        &[("DINH_RELAY_ADMISSION__MODE", "closed")],
    );
    assert_eq!(code, Some(0));
    for line in ["space_bytes = 700000000", "max = 9", "mode = \"closed\"", "branch_documents = 20000"] {
        assert!(shown.lines().any(|l| l == line), "{line} is not in\n{shown}");
    }
    let bad = config(folder.path(), "[quotas]\nspace_byte = 7\n");
    for command in ["check-config", "serve"] {
        let (code, _, error) = run(&[command, "--config", bad.to_str().unwrap()], &[]);
        assert_eq!(code, Some(2));
        assert!(
            error.contains("relay.toml") && error.contains("line 4") && error.contains("space_byte"),
            "{error}"
        );
    }
    let (code, _, error) = run(&["serve"], &[]);
    assert_eq!(code, Some(2));
    assert!(error.contains("--data DIR"), "{error}");
}

/// Whether a connection that asks for health is answered. One that is turned away may be gone before it can read why.
fn is_served(address: &str) -> bool {
    let ask = || {
        let mut stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: relay\r\nConnection: close\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        std::io::Result::Ok(answer)
    };
    ask().is_ok_and(|answer| answer.starts_with("HTTP/1.1 200"))
}

#[test]
fn a_running_relay_takes_what_it_can_of_a_changed_configuration() {
    let folder = tempfile::tempdir().unwrap();
    // One connection in all of which nobody knows whose it is.
    let greeting = |max| format!("[connections.greeting]\nmax = {max}\ngrace_seconds = 3600\n");
    let path = config(folder.path(), &greeting(1));
    let relay = Relay::start(&path);
    let _first = TcpStream::connect(&relay.address).unwrap();
    assert!(!is_served(&relay.address), "there is no room for a second one");

    // What is wrong is not taken, and nothing of it.
    config(folder.path(), "[connections.greeting]\nmax = 0\n");
    relay.signal("HUP");
    let told = relay.logs("is not taken");
    assert!(told.contains("connections.greeting.max"), "{told}");
    assert!(!is_served(&relay.address));

    config(folder.path(), &format!("{}[connections]\nmax = 5\n", greeting(10)));
    relay.signal("HUP");
    let told = relay.logs("when the relay is started again");
    assert!(told.contains("connections.max"), "{told}");
    relay.logs("the configuration was read again");
    assert!(is_served(&relay.address));

    // The log's level too.
    config(folder.path(), &format!("{}[log]\nlevel = \"error\"\n", greeting(10)));
    relay.signal("HUP");
    std::thread::sleep(Duration::from_millis(300));
    relay.signal("TERM");
    let mut relay = relay;
    assert!(relay.child.wait().unwrap().success());
    let rest: Vec<String> = relay.log.iter().collect();
    assert!(!rest.iter().any(|line| line.contains("stopping")), "{rest:?}");
}

/// Writes a certificate for one name that ends in so many days.
fn certify(folder: &Path, days: i64) {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec!["relay.example".to_owned()]).unwrap();
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    let ends = i64::try_from(now).unwrap() + days * 24 * 3_600;
    params.not_after = rcgen::date_time_ymd(1970, 1, 1) + Duration::from_secs(u64::try_from(ends).unwrap());
    std::fs::write(folder.join("chain.pem"), params.self_signed(&key).unwrap().pem()).unwrap();
    std::fs::write(folder.join("key.pem"), key.serialize_pem()).unwrap();
}

#[test]
fn a_certificate_is_checked_named_warned_about_and_renewed_with_sighup() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str| folder.path().join(name);
    let tls = format!("[tls]\ncertificate = {:?}\nkey = {:?}\n", file("chain.pem"), file("key.pem"));
    let path = config(folder.path(), &tls);
    certify(folder.path(), -1);
    for command in ["check-config", "serve"] {
        let (code, _, error) = run(&[command, "--config", path.to_str().unwrap()], &[]);
        assert_eq!(code, Some(2), "{error}");
        assert!(error.contains("chain.pem") && error.contains("renew it"), "{error}");
    }
    certify(folder.path(), 13);
    let relay = Relay::start(&path);
    assert!(relay.url.starts_with("wss://relay.example:"), "{}", relay.url);
    let warned = relay.logs("the certificate ends soon");
    assert!(warned.contains("days=12") && warned.contains("chain.pem"), "{warned}");
    std::fs::write(file("key.pem"), "not yet").unwrap();
    relay.signal("HUP");
    let told = relay.logs("the certificate is not taken");
    assert!(told.contains("key.pem"), "{told}");
    certify(folder.path(), 90);
    relay.signal("HUP");
    relay.logs("another certificate is in use");
    // Whether there is TLS is decided when it starts.
    config(folder.path(), "");
    relay.signal("HUP");
    let told = relay.logs("when the relay is started again");
    assert!(told.contains("tls"), "{told}");
}

#[test]
fn devices_are_told_to_come_back_spread_over_the_configured_time() {
    const DEVICES: usize = 300;
    let folder = tempfile::tempdir().unwrap();
    let path = config(folder.path(), "[connections]\nretry_spread_seconds = 60\n");
    let mut relay = Relay::start(&path);
    let (key, address) = (relay.key(), relay.address.clone());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let told: Vec<u32> = runtime.block_on(async {
        let mut devices = Vec::new();
        for n in 0..DEVICES {
            let mut seed = [1; 32];
            seed[..2].copy_from_slice(&u16::try_from(n).unwrap().to_be_bytes());
            let stream = tokio::net::TcpStream::connect(&address).await.unwrap();
            let device = Client::over(stream, &key, &DeviceKey::from_seed(&seed)).await;
            devices.push(device.expect("a welcome"));
        }
        relay.signal("TERM");
        let mut told = Vec::new();
        for mut device in devices {
            told.push(tokio::time::timeout(PATIENCE, going_away(&mut device)).await.expect("in time"));
        }
        told
    });
    assert_eq!(told.len(), DEVICES);
    assert!(told.iter().all(|ms| *ms < 60_000), "{told:?}");
    // In every tenth of the time some come back (on average 30), and hardly two at once.
    for tenth in 0..10 {
        let those = told.iter().filter(|ms| **ms / 6_000 == tenth).count();
        assert!((8..=70).contains(&those), "{those} of {DEVICES} in tenth {tenth}");
    }
    assert!(told.iter().collect::<BTreeSet<_>>().len() > DEVICES * 9 / 10);
    assert!(relay.child.wait().unwrap().success());
}

/// How long the relay asks this device to stay away.
async fn going_away(device: &mut Client) -> u32 {
    loop {
        let event = device.event().await.expect("it says why");
        if let DeviceEvent::Closed(SessionError::ClosedByPeer { code, retry_after_ms, .. }) = event {
            assert_eq!(code, CloseCode::GoingAway);
            return retry_after_ms;
        }
    }
}

#[test]
fn who_is_told_twice_to_stop_does_not_wait_for_connections() {
    let folder = tempfile::tempdir().unwrap();
    let mut relay = Relay::start(&config(folder.path(), ""));
    // It has become a WebSocket and does not take part in closing it.
    let mut silent = TcpStream::connect(&relay.address).unwrap();
    silent.write_all(format!("{}\r\n", raw_common::UPGRADE).as_bytes()).unwrap();
    assert!(silent.read(&mut [0; 16]).unwrap() > 0);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(raw_common::reaches(relay.address.parse().unwrap(), "connections", 1));
    relay.signal("TERM");
    relay.logs("stopping");
    // Something else does not end it.
    relay.signal("HUP");
    std::thread::sleep(Duration::from_millis(300));
    assert!(relay.child.try_wait().unwrap().is_none());
    relay.signal("TERM");
    relay.logs("told again");
    assert_eq!(relay.child.wait().unwrap().code(), Some(4));
    // Who is in which branch is for nobody else on this machine.
    let mode = |path: PathBuf| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    let data = folder.path().join("data");
    assert_eq!((mode(data.clone()), mode(data.join("relay.redb"))), (0o700, 0o600));
    // Its data are whole: the next one opens them, and stops when it is told once.
    let mut relay = Relay::start(&config(folder.path(), ""));
    relay.signal("TERM");
    assert!(relay.child.wait().unwrap().success());
}
