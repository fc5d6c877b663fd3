//! Operator policy as people meet it: the program's commands on a relay that runs and on one that does not, with real devices.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test fails by panicking, and may measure"
)]
#![cfg(unix)]

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::time::Duration;

use dinh_core::client::{Client, ClientConfig, RelayUrl, Status, StoreKey, Timeouts};
use dinh_core::document::Value;
use dinh_core::path;
use dinh_core::replica::LinkState;
use dinh_proto::charter::record::{Audience, Role, Writers};
use dinh_proto::ids::{DocId, MemberId, SpaceId};
use dinh_proto::keys::{DeviceKey, SignKey};

const PATIENCE: Duration = Duration::from_secs(30);

fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_dinh-relay"));
    command.env_remove("RUST_LOG");
    command
}

struct Relay {
    child: Child,
    /// With the key.
    address: String,
    log: Receiver<String>,
}

impl Relay {
    fn start(data: &Path, mode: &str) -> Self {
        let mut child = program()
            .args(["serve", "--listen", "127.0.0.1:0", "--set", &format!("admission.mode={mode}"), "--data"])
            .arg(data)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let (told, log) = mpsc::channel();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        std::thread::spawn(move || stderr.lines().map_while(Result::ok).try_for_each(|line| told.send(line)));
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
        let address = lines.find_map(|line| line.strip_prefix("dinh-relay address ").map(str::to_owned));
        std::thread::spawn(move || lines.for_each(drop));
        Self { child, address: address.expect("it starts"), log }
    }

    fn url(&self) -> Option<RelayUrl> {
        Some(RelayUrl::parse(&self.address).unwrap())
    }

    fn url_with(&self, permit: &str) -> Option<RelayUrl> {
        let body = permit.strip_prefix("dinh-permit:").unwrap();
        Some(RelayUrl::parse(&format!("{}.{body}", self.address)).unwrap())
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

    fn stop(mut self) {
        let sent = Command::new("kill").args(["-s", "TERM", &self.child.id().to_string()]).status().unwrap();
        assert!(sent.success());
        assert!(self.child.wait().unwrap().success());
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A folder with a relay's data in it, and the commands on it.
struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn data(&self) -> PathBuf {
        self.0.path().join("relay")
    }

    /// Exit code, stdout and stderr of a command on the data directory.
    fn run(&self, args: &[&str]) -> (Option<i32>, String, String) {
        let output = program().args(args).arg("--data").arg(self.data()).output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
        (output.status.code(), text(&output.stdout), text(&output.stderr))
    }

    #[track_caller]
    fn done(&self, args: &[&str]) -> String {
        let (code, out, error) = self.run(args);
        assert_eq!(code, Some(0), "{args:?}: {error}");
        out
    }

    #[track_caller]
    fn json(&self, args: &[&str]) -> serde_json::Value {
        let out = self.done(&[args, &["--json"]].concat());
        serde_json::from_str(&out).unwrap_or_else(|e| panic!("{e}: {out}"))
    }

    async fn phone(&self, n: u8, relay: Option<RelayUrl>) -> Client {
        let file = |end: &str| self.0.path().join(format!("{n}.{end}"));
        let keys = (DeviceKey::from_seed(&[n; 32]), StoreKey::new([n; 32]));
        let config = ClientConfig::new(file("redb"), file("marker"), keys.0, keys.1);
        let timeouts = Timeouts { probe: Duration::from_millis(500), ..Timeouts::default() };
        Client::open(ClientConfig { relay, timeouts, ..config }).await.unwrap()
    }
}

/// A branch of this phone with one space and one document.
async fn found(phone: &Client, seed: u8) -> (SpaceId, SpaceId, DocId) {
    let root = SignKey::from_seed(&[seed; 32]);
    let branch = phone.found_branch(root, MemberId([seed; 16]), "máy bí thư").await.unwrap();
    let space = phone.create_space(branch, Audience::Everyone).await.unwrap();
    let doc = phone.create_document(space, Writers::All).await.unwrap();
    phone.edit(doc, None, |e| e.put(&path!["text"], Value::text(""))).await.unwrap();
    (branch, space, doc)
}

async fn wait_for(client: &Client, what: impl FnMut(&Status) -> bool) {
    let mut status = client.status();
    let found = tokio::time::timeout(PATIENCE, status.wait_for(what)).await;
    assert!(found.is_ok(), "{:?}", client.status().borrow());
}

fn troubled(text: &'static str) -> impl FnMut(&Status) -> bool {
    move |status| status.trouble.as_deref().is_some_and(|trouble| trouble.contains(text))
}

async fn add(client: &Client, doc: DocId, text: &'static str) {
    let edit = client.edit(doc, None, move |e| {
        let end = e.view().text_len(&path!["text"]);
        e.splice_text(&path!["text"], end, 0, text)
    });
    edit.await.unwrap();
}

async fn text(client: &Client, doc: DocId) -> String {
    client.read(doc, |v| v.text(&path!["text"])).await.unwrap().unwrap_or_default()
}

async fn wait_for_text(client: &Client, doc: DocId, wanted: &str) {
    let reads = async {
        loop {
            let read = client.read(doc, |v| v.text(&path!["text"])).await;
            if read.is_ok_and(|text| text.as_deref() == Some(wanted)) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    assert!(tokio::time::timeout(PATIENCE, reads).await.is_ok(), "{wanted:?} never came");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_branch_founded_offline_is_refused_then_admitted_and_everything_arrives() {
    let place = Place::new();
    let relay = Relay::start(&place.data(), "permit");
    let (a, b) = (place.phone(1, None).await, place.phone(2, None).await);
    let (branch, _, doc) = found(&a, 1).await;
    a.admit_device(branch, MemberId([2; 16]), Role::Member, b.join_request(), "máy").await.unwrap();
    add(&a, doc, "viết khi không có mạng").await;
    a.set_relay(relay.url());
    wait_for(&a, troubled("ask its operator for one")).await;
    assert!(a.status().borrow().pending > 0, "it is kept");
    // It goes on working meanwhile.
    add(&a, doc, ", rồi viết tiếp").await;
    assert!(text(&a, doc).await.contains("rồi"));

    place.done(&["permit", "admit", &branch.to_string()]);
    let audit = relay.logs("permit admit");
    assert!(audit.contains("audit=true") && audit.contains(&branch.to_string()), "{audit}");
    // As when somebody opens the app; by itself it would ask within a minute.
    a.set_relay(None);
    wait_for(&a, |s| s.link == LinkState::Offline).await;
    a.set_relay(relay.url());
    wait_for(&a, |s| s.is_synced() && s.trouble.is_none()).await;
    let counters = a.counters().await.unwrap();
    assert_eq!((counters.recoveries, counters.refused), (0, 0), "nothing was taken back: {counters:?}");
    b.set_relay(relay.url());
    b.join(a.invitation(branch).await.unwrap()).await.unwrap();
    wait_for_text(&b, doc, "viết khi không có mạng, rồi viết tiếp").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_permit_in_the_relay_s_address_founds_one_branch_and_is_listed_as_used() {
    let place = Place::new();
    let relay = Relay::start(&place.data(), "permit");
    let token = place.done(&["permit", "issue", "--expires", "30d"]);
    assert!(token.starts_with("dinh-permit:") && !token.contains(char::is_whitespace), "{token}");
    assert!(!relay.logs("permit issue").contains(&token[12..40]), "the log does not hold it");
    let a = place.phone(1, relay.url_with(&token)).await;
    let (branch, _, doc) = found(&a, 1).await;
    add(&a, doc, "có giấy phép").await;
    wait_for(&a, Status::is_synced).await;
    let url = a.relay().unwrap();
    assert_eq!(RelayUrl::parse(&url.to_string()), Ok(url.clone()), "it is kept with the address");
    assert!(!url.address().contains(&token[12..]) && !format!("{url:?}").contains(&token[12..]));
    // Another branch with the same permit.
    let b = place.phone(2, relay.url_with(&token)).await;
    found(&b, 2).await;
    wait_for(&b, troubled("used up")).await;

    let listed = place.json(&["permit", "list"]);
    assert_eq!(listed["mode"], "permit");
    assert_eq!(listed["permits"][0]["used_by"], serde_json::json!([branch.to_string()]));
    assert_eq!(listed["admitted"][0]["founded"], true);
    let id = listed["permits"][0]["id"].as_str().unwrap().to_owned();

    // Everything again after a start, and without the relay.
    relay.stop();
    assert_eq!(place.json(&["permit", "list"])["permits"], listed["permits"]);
    place.done(&["permit", "revoke", &id]);
    let second = place.done(&["permit", "issue"]);
    let relay = Relay::start(&place.data(), "permit");
    let listed = place.json(&["permit", "list"]);
    let revoked = |id: &str| {
        let all = listed["permits"].as_array().unwrap();
        !all.iter().find(|p| p["id"] == id).unwrap()["revoked_ms"].is_null()
    };
    assert!(revoked(&id));
    a.set_relay(relay.url());
    add(&a, doc, ", vẫn còn").await;
    wait_for(&a, Status::is_synced).await;
    b.set_relay(relay.url_with(&second));
    wait_for(&b, |s| s.is_synced() && s.trouble.is_none()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_suspended_phone_is_cut_off_at_once_keeps_everything_and_comes_back() {
    let place = Place::new();
    let relay = Relay::start(&place.data(), "open");
    let (a, b) = (place.phone(1, relay.url()).await, place.phone(2, relay.url()).await);
    let (branch, space, doc) = found(&a, 1).await;
    a.admit_device(branch, MemberId([2; 16]), Role::Member, b.join_request(), "máy").await.unwrap();
    b.join(a.invitation(branch).await.unwrap()).await.unwrap();
    wait_for_text(&b, doc, "").await;
    wait_for(&b, Status::is_synced).await;
    let device = DeviceKey::from_seed(&[2; 32]).public().id().to_string();
    let shown = place.json(&["devices", "show", &device]);
    assert_eq!(shown["connections"][0]["address"], "127.0.0.1");
    assert_eq!(shown["branches"], serde_json::json!([branch.to_string()]));

    place.done(&["devices", "suspend", &device, "--reason", "mất máy"]);
    let audit = relay.logs("devices suspend");
    assert!(audit.contains("audit=true") && audit.contains(&device) && !audit.contains("mất"), "{audit}");
    wait_for(&b, troubled("suspended this device")).await;
    add(&b, doc, "của máy bị khóa").await;
    assert!(b.status().borrow().pending > 0);
    wait_for(&a, Status::is_synced).await;
    let listed = place.json(&["devices", "list"]);
    let of = |id: &str| listed.as_array().unwrap().iter().find(|d| d["device"] == id).unwrap().clone();
    assert_eq!(of(&device)["suspended"]["reason"], "mất máy");
    assert_eq!(of(&device)["connections"], serde_json::json!([]));

    // Also after a start; resumed while the relay does not run.
    relay.stop();
    place.done(&["devices", "resume", &device]);
    let again = place.done(&["devices", "resume", &device]);
    assert!(again.contains("was not suspended"), "{again}");
    let relay = Relay::start(&place.data(), "open");
    a.set_relay(relay.url());
    b.set_relay(relay.url());
    wait_for(&b, Status::is_synced).await;
    wait_for_text(&a, doc, "của máy bị khóa").await;

    // A space: what is there is read, what is new waits.
    place.done(&["spaces", "suspend", &space.to_string(), "--reason", "hết hạn"]);
    add(&b, doc, ", đợi").await;
    wait_for(&b, troubled("suspended this: it can be read")).await;
    assert_eq!(text(&a, doc).await, "của máy bị khóa");
    place.done(&["spaces", "resume", &space.to_string()]);
    b.set_relay(None);
    wait_for(&b, |s| s.link == LinkState::Offline).await;
    b.set_relay(relay.url());
    wait_for_text(&a, doc, "của máy bị khóa, đợi").await;
    wait_for(&b, |s| s.is_synced() && s.trouble.is_none()).await;
}

#[test]
fn commands_say_what_is_wrong_and_what_to_do() {
    let place = Place::new();
    let (code, _, error) = place.run(&["permit", "list"]);
    assert_eq!(code, Some(1));
    assert!(error.contains("there is no relay in") && error.contains("dinh-relay serve --data"), "{error}");
    assert!(!place.data().exists(), "nothing was made by a mistake");
    Relay::start(&place.data(), "open").stop();

    let key = place.done(&["permit", "key"]);
    assert!(key.starts_with("dinh-operator:"), "{key}");
    use std::os::unix::fs::PermissionsExt;
    let file = std::fs::metadata(place.data().join("operator.key")).unwrap();
    assert_eq!(file.permissions().mode() & 0o777, 0o600);

    let device = "0f".repeat(16);
    let token = place.done(&["permit", "issue", "--branch", &device, "--documents", "7", "--any-relay"]);
    let show = |token: &str| {
        let output = program().args(["permit", "show", token, "--json"]).output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (output.status.success(), text(&output.stdout), text(&output.stderr))
    };
    let (good, shown, _) = show(&token);
    let shown: serde_json::Value = serde_json::from_str(&shown).unwrap();
    assert!(good);
    assert_eq!((&shown["operator"], &shown["branch"]), (&key.into(), &device.clone().into()));
    assert_eq!((&shown["limits"]["documents"], &shown["relay"]), (&7.into(), &serde_json::Value::Null));
    let other = if &token[60..61] == "3" { "4" } else { "3" };
    let damaged = format!("{}{other}{}", &token[..60], &token[61..]);
    let (good, _, error) = show(&damaged);
    assert!(!good && error.contains("copy it again"), "{error}");

    for (args, told) in [
        (&["devices", "show", "12"][..], "32 hexadecimal digits"),
        (&["devices", "suspend", &device, "--reason", &"x".repeat(300)], "at most 200 bytes"),
        (&["permit", "issue", "--expires", "2020-01-01"], "a day that is to come"),
        (&["permit", "admit", "nothing"], "is no branch"),
    ] {
        let (code, _, error) = place.run(args);
        assert!(code == Some(1) && error.contains(told), "{args:?}: {error}");
    }
    let (code, _, error) = place.run(&["permit", "issue", "--space-bytes", "10"]);
    assert!(code == Some(2) && error.contains("give at least"), "{error}");

    // The same from a relay that runs.
    let _relay = Relay::start(&place.data(), "open");
    let (code, _, error) = place.run(&["devices", "suspend", &device, "--reason", &"x".repeat(300)]);
    assert!(code == Some(1) && error.contains("at most 200 bytes"), "{error}");
    assert_eq!(
        place.done(&["permit", "revoke", &device]),
        format!("permit {device} is revoked; nothing was known of it here")
    );
    // One whose listener for the operator is not found has the file for itself.
    std::fs::remove_file(place.data().join("admin.json")).unwrap();
    let (code, _, error) = place.run(&["permit", "list"]);
    assert!(code == Some(1) && error.contains("another dinh-relay has this file open"), "{error}");
}
