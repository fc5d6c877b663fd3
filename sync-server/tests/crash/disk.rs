//! A full disk (a small tmpfs), a read-only disk, a read-only file, and two processes on one file: a clear error each time that
//! names the cause and what to do, and nothing lost.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use dinh_core::client::{Client, ClientConfig, RelayUrl, block_on};
use dinh_core::document::Value;
use dinh_core::path;
use dinh_proto::charter::record::{Audience, Role, Writers};
use dinh_proto::ids::{DocId, MemberId, SpaceId};
use dinh_proto::keys::SignKey;
use dinh_proto::limits::RETRY_LATER;

use crate::process::{PATIENCE, Phone, Relay, relay_program};
use crate::{child, report};

/// Set where a file system can be mounted (`.ci/run` looks): then these tests must run. Without it they say so and do nothing if they
/// cannot, because who is not root may not mount.
const MUST_MOUNT: &str = "CRASH_MUST_MOUNT";

/// A tmpfs of its own.
struct Mount {
    at: PathBuf,
    _parent: tempfile::TempDir,
}

impl Mount {
    /// `None` if nothing can be mounted here.
    fn of(mib: u32) -> Option<Self> {
        let parent = tempfile::Builder::new().prefix("dinh-crash-").tempdir().unwrap();
        let at = parent.path().join("small");
        std::fs::create_dir(&at).unwrap();
        let size = format!("size={mib}m");
        let output =
            Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(&at).output().unwrap();
        if output.status.success() {
            return Some(Self { at, _parent: parent });
        }
        let why = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        report(&format!("crash: NOT TESTED: a tmpfs cannot be mounted here ({why}); run as root, who may"));
        assert!(std::env::var_os(MUST_MOUNT).is_none(), "a tmpfs cannot be mounted: {why}");
        None
    }

    fn remount(&self, option: &str) {
        let option = format!("remount,{option}");
        assert!(Command::new("mount").args(["-o", &option]).arg(&self.at).status().unwrap().success());
    }

    /// Takes all space but this much, beside what it took before.
    fn fill(&self, but_kib: u64) {
        let path = self.at.join("ballast");
        let df = Command::new("df").args(["--output=avail", "-k"]).arg(&self.at).output().unwrap();
        let text = String::from_utf8(df.stdout).unwrap();
        let free: u64 = text.lines().nth(1).unwrap().trim().parse().unwrap();
        let size = usize::try_from(free.saturating_sub(but_kib)).unwrap() * 1024;
        let mut ballast = std::fs::OpenOptions::new().create(true).append(true).open(path).unwrap();
        // Others may take some of it meanwhile.
        let _ = ballast.write_all(&vec![1; size]);
    }

    fn free(&self) {
        std::fs::remove_file(self.at.join("ballast")).unwrap();
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.at).status();
    }
}

fn phone(at: &Path, relay: Option<&str>) -> Result<Client, dinh_core::client::ClientError> {
    let relay = relay.map(|r| RelayUrl::parse(r).unwrap());
    Client::open_blocking(ClientConfig { relay, ..child::config(at, 0) })
}

fn document(client: &Client) -> DocId {
    found(client).1
}

/// A branch and a document in it.
fn found(client: &Client) -> (SpaceId, DocId) {
    block_on(async {
        let root = SignKey::from_seed(&[9; 32]);
        let branch = client.found_branch(root, MemberId([1; 16]), "máy").await.unwrap();
        let space = client.create_space(branch, Audience::Everyone).await.unwrap();
        (branch, client.create_document(space, Writers::All).await.unwrap())
    })
}

fn put(client: &Client, doc: DocId, n: usize, bytes: usize) -> Result<(), dinh_core::client::ClientError> {
    let value = Value::Bytes(noise(n, bytes));
    block_on(client.edit(doc, None, move |e| e.put(&path![format!("k{n}")], value))).map(|_| ())
}

/// What does not compress.
fn noise(n: usize, bytes: usize) -> Vec<u8> {
    let mut x = (n as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let next = |_| {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        (x >> 24) as u8
    };
    (0..bytes).map(next).collect()
}

fn keys(client: &Client, doc: DocId) -> usize {
    block_on(client.read(doc, |v| v.keys(&path![]).len())).unwrap()
}

#[test]
fn a_phone_on_a_full_disk_says_so_loses_nothing_and_goes_on_when_there_is_room() {
    let Some(mount) = Mount::of(24) else { return };
    let client = phone(&mount.at, None).unwrap();
    let doc = document(&client);
    for n in 0..5 {
        put(&client, doc, n, 1_000).unwrap();
    }
    mount.fill(1_500);
    let mut saved = 5;
    let error = loop {
        match put(&client, doc, saved, 20_000) {
            Ok(()) => saved += 1,
            Err(error) => break error,
        }
        assert!(saved < 2_000, "the disk does not fill up");
    };
    let text = error.to_string();
    assert!(text.contains("the disk is full") && text.contains("free some space"), "{text}");
    // Again the same answer, and not another.
    let again = put(&client, doc, saved, 10).unwrap_err().to_string();
    assert!(again.contains("the disk is full"), "{again}");
    drop(client);
    // Still full: it may open or not, but it says why not, and nothing is lost by trying.
    for _ in 0..3 {
        wait_until_closed(&mount.at);
        match phone(&mount.at, None) {
            Ok(client) => {
                assert!(keys(&client, doc) >= saved);
                block_on(client.shutdown())
                    .unwrap_or_else(|e| assert!(e.to_string().contains("disk is full"), "{e}"));
            }
            Err(error) => assert!(error.to_string().contains("disk is full"), "{error}"),
        }
    }
    mount.free();
    wait_until_closed(&mount.at);
    let client = phone(&mount.at, None).unwrap();
    let found = keys(&client, doc);
    assert!(found == saved || found == saved + 1, "{saved} edits were saved, {found} are there");
    put(&client, doc, 5_000, 20_000).unwrap();
    assert_eq!(keys(&client, doc), found + 1);
    client.shutdown_blocking().unwrap();
    report(&format!("crash: a phone's disk was full after {saved} edits: {text:?}; 0 lost, and it goes on"));
}

/// A client that stopped by itself closes its file a moment later.
fn wait_until_closed(at: &Path) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match dinh_core::store::RedbStore::open(at.join("0.redb")) {
            Err(dinh_core::store::StoreError::Locked) => {}
            _ => return,
        }
        assert!(Instant::now() < deadline);
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_relay_on_a_full_disk_says_so_loses_nothing_and_goes_on_when_there_is_room() {
    let Some(mount) = Mount::of(24) else { return };
    let data = mount.at.join("relay");
    let phones = tempfile::tempdir().unwrap();
    let (mut relay, stderr) = serve(&data, "127.0.0.1:0", &phones.path().join("first.log"));
    let address = relay.address();
    let client = phone(phones.path(), Some(&address)).unwrap();
    let doc = document(&client);
    put(&client, doc, 0, 1_000).unwrap();
    wait_for(&client, |s| s.is_synced());
    mount.fill(2_500);
    // The phone goes on whatever the relay does.
    let mut written = 1;
    loop {
        put(&client, doc, written, 60_000).unwrap();
        written += 1;
        std::thread::sleep(Duration::from_millis(50));
        if ask(&address, "/readyz").starts_with("HTTP/1.1 503") {
            break;
        }
        assert!(written < 500, "the disk does not fill up");
    }
    mount.fill(0);
    put(&client, doc, written, 1_000).unwrap();
    let head = loop {
        let head = ask(&address, "/dinh/v1");
        if head.contains("retry-after: 10\r\n") {
            break head;
        }
        assert!(head.starts_with("HTTP/1.1 ") && !head.starts_with("HTTP/1.1 200"), "{head}");
        std::thread::sleep(Duration::from_millis(50));
    };
    assert!(head.starts_with("HTTP/1.1 503") && head.contains("the disk is full: free space"), "{head}");
    let acked = client.status().borrow().acked;
    // Long enough to see that it does not give up, and that it does not pretend either.
    std::thread::sleep(Duration::from_secs(6));
    assert!(ask(&address, "/readyz").starts_with("HTTP/1.1 503"));
    assert!(ask(&address, "/healthz").ends_with("ok, waiting for room on its disk\n"), "it is worth keeping");
    assert!(client.status().borrow().pending > 0);
    assert_eq!(client.status().borrow().acked, acked);
    mount.free();
    mount.remount("size=64m");
    wait_for(&client, |s| s.is_synced());
    assert!(client.status().borrow().acked > acked);
    assert_eq!(keys(&client, doc), written + 1);
    assert!(ask(&address, "/readyz").starts_with("HTTP/1.1 200"));
    // It is the same process, and what it then stores is there after a kill.
    assert_eq!(relay.ended_within(Duration::ZERO), None);
    client.shutdown_blocking().unwrap();
    let acked = client.status().borrow().acked;
    relay.kill();
    let text = std::fs::read_to_string(&stderr).unwrap();
    assert!(text.contains("the disk is full: devices are told to come back"), "{text}");
    // It does not start on a full disk without saying so.
    mount.fill(0);
    let output = start_and_fail(&data);
    if let Some(output) = output {
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        // The log may have room left in its file.
        assert!(text.contains("the disk is full") || text.contains("No space left on device"), "{text}");
        assert_ne!(output.status.code(), Some(0));
    }
    mount.free();
    let log = dinh_server::log::RedbLog::open(&data.join("relay.redb"), dinh_proto::ids::LogEpoch([0xee; 8]))
        .unwrap();
    assert!(log.head() >= acked);
    report(&format!(
        "crash: a relay's disk was full after {written} edits: it waited and opened its log again by itself; 0 lost, all {} synced when \
         there was room",
        written + 1
    ));
}

#[test]
fn a_relay_with_little_room_left_serves_what_it_has_and_stores_again_without_a_restart() {
    const RESERVE: u64 = 16 << 20;
    let Some(mount) = Mount::of(64) else { return };
    let (data, phones) = (mount.at.join("relay"), tempfile::tempdir().unwrap());
    let stderr = phones.path().join("relay.log");
    let mut relay = Relay::spawn_with_reserve(&data, "127.0.0.1:0", &stderr, RESERVE);
    let address = relay.address();
    let open = |index| {
        let relay = Some(RelayUrl::parse(&address).unwrap());
        Client::open_blocking(ClientConfig { relay, ..child::config(phones.path(), index) }).unwrap()
    };
    let (writer, reader) = (open(0), open(1));
    let (branch, doc) = found(&writer);
    let invitation = block_on(async {
        writer
            .admit_device(branch, MemberId([2; 16]), Role::Member, reader.join_request(), "máy")
            .await
            .unwrap();
        writer.invitation(branch).await.unwrap()
    });
    put(&writer, doc, 0, 1_000).unwrap();
    wait_for(&writer, |s| s.is_synced());
    let acked = writer.status().borrow().acked;
    mount.fill(RESERVE / 1024 - 1_000);
    metric_is(&address, "read_only", 1);
    for n in 1..=20 {
        put(&writer, doc, n, 1_000).unwrap();
    }
    // Longer than until the phone offers them, and once again.
    std::thread::sleep(RETRY_LATER + Duration::from_secs(3));
    assert!(metric(&address, "rejects_total{code=\"Unavailable\"}") >= 2);
    assert!(writer.status().borrow().pending > 0);
    assert_eq!(writer.status().borrow().acked, acked);
    // Meanwhile somebody comes who has nothing yet, and reads what is stored.
    block_on(reader.join(invitation)).unwrap();
    let deadline = Instant::now() + PATIENCE;
    while block_on(reader.read(doc, |v| v.keys(&path![]).len())).unwrap_or_default() == 0 {
        assert!(Instant::now() < deadline, "{:?}", reader.status().borrow());
        std::thread::sleep(Duration::from_millis(50));
    }
    assert_eq!((keys(&writer, doc), keys(&reader, doc)), (21, 1));
    let (connections, disconnections) =
        (metric(&address, "connections"), metric(&address, "disconnections_total"));
    mount.free();
    wait_for(&writer, |s| s.is_synced());
    let deadline = Instant::now() + PATIENCE;
    while keys(&reader, doc) < 21 {
        assert!(Instant::now() < deadline, "{:?}", reader.status().borrow());
        std::thread::sleep(Duration::from_millis(50));
    }
    metric_is(&address, "read_only", 0);
    assert_eq!((connections, disconnections), (2, 0));
    assert_eq!(metric(&address, "disconnections_total"), 0);
    writer.shutdown_blocking().unwrap();
    reader.shutdown_blocking().unwrap();
    relay.kill();
    let text = std::fs::read_to_string(&stderr).unwrap();
    assert!(text.contains("nearly full: nothing is stored until there is room"), "{text}");
    report(
        "crash: a relay with little room left was read-only, served a new phone, and stored all 21 edits when there was room; 0 lost",
    );
}

fn metric(address: &str, name: &str) -> u64 {
    let page = ask(address, "/metrics");
    let line =
        page.lines().find_map(|l| l.strip_prefix("dinh_relay_")?.strip_prefix(name)?.strip_prefix(' '));
    line.map_or(0, |value| value.parse().unwrap())
}

/// What the relay answers. A WebSocket is asked for, where there is one.
fn ask(address: &str, path: &str) -> String {
    let host = address.strip_prefix("ws://").and_then(|rest| rest.split('/').next()).unwrap();
    let mut stream = TcpStream::connect(host).unwrap();
    let websocket = "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    let upgrade = if path == "/dinh/v1" {
        format!("Connection: upgrade\r\nUpgrade: websocket\r\n{websocket}")
    } else {
        "Connection: close\r\n".to_owned()
    };
    stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: relay\r\n{upgrade}\r\n").as_bytes()).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
    let mut answer = Vec::new();
    // What was not closed has said everything by then.
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}

fn metric_is(address: &str, name: &str, value: u64) {
    let deadline = Instant::now() + PATIENCE;
    while metric(address, name) != value {
        assert!(Instant::now() < deadline, "{name} does not become {value}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn wait_for(client: &Client, what: impl FnMut(&dinh_core::client::Status) -> bool) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let mut status = client.status();
    let found =
        runtime.block_on(async { tokio::time::timeout(PATIENCE, status.wait_for(what)).await.is_ok() });
    assert!(found, "{:?}", client.status().borrow());
}

/// A relay whose complaints go to a file.
fn serve(data: &Path, listen: &str, log: &Path) -> (Relay, PathBuf) {
    (Relay::spawn_logging(data, listen, log), log.to_owned())
}

/// A relay that should not start: what it says. `None` if it did start.
fn start_and_fail(data: &Path) -> Option<Output> {
    let mut child = Command::new(relay_program())
        .args(["serve", "--listen", "127.0.0.1:0", "--data"])
        .arg(data)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(5) {
        if child.try_wait().unwrap().is_some() {
            return Some(child.wait_with_output().unwrap());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    end(&mut child);
    None
}

fn end(child: &mut Child) {
    let _ = child.kill();
    let _ = child.wait();
}

#[test]
fn a_read_only_disk_and_a_damaged_permission_are_named() {
    let Some(mount) = Mount::of(24) else { return };
    let client = phone(&mount.at, None).unwrap();
    let doc = document(&client);
    put(&client, doc, 0, 100).unwrap();
    client.shutdown_blocking().unwrap();
    let data = mount.at.join("relay");
    let mut relay = Relay::spawn_logging(&data, "127.0.0.1:0", &mount.at.join("log"));
    let address = relay.address();
    relay.kill();
    mount.remount("ro");
    let error = phone(&mount.at, None).unwrap_err().to_string();
    assert!(error.contains("cannot be") && error.to_lowercase().contains("read-only"), "{error}");
    let output = start_and_fail(&data).expect("it does not start");
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1));
    assert!(text.to_lowercase().contains("read-only") && text.contains("--data"), "{text}");
    mount.remount("rw");
    let client = phone(&mount.at, None).unwrap();
    assert_eq!(keys(&client, doc), 1);
    client.shutdown_blocking().unwrap();
    report(&format!("crash: a read-only disk: phone {error:?}; relay {:?}", text.trim()));

    // A file that may be read and not written. Root may write everything, so another user opens it.
    let as_nobody = |program: PathBuf, arguments: &[&str], told: Option<String>| {
        let mut command = Command::new("setpriv");
        command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]).arg(program).args(arguments);
        if let Some(told) = told {
            command.env(child::TOLD, told);
        }
        command.stdin(Stdio::null()).output().unwrap()
    };
    let parent = mount.at.parent().unwrap();
    let set = |mode: &str, path: &Path| {
        assert!(Command::new("chmod").args(["-R", mode]).arg(path).status().unwrap().success());
    };
    set("a+rX", parent);
    assert!(Command::new("chown").arg("65534").arg(data.join("relay.key")).status().unwrap().success());
    set("go-r", &data.join("relay.key"));
    let arguments = ["serve", "--listen", "127.0.0.1:0", "--data", data.to_str().unwrap()];
    let output = as_nobody(relay_program(), &arguments, None);
    let relay = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{relay}");
    assert!(relay.contains("relay.redb") && relay.contains("Permission denied"), "{relay}");
    assert!(relay.contains("permissions of --data"), "{relay}");
    let task = child::Task {
        directory: mount.at.clone(),
        index: 0,
        phones: 1,
        relay: address,
        docs: [doc, doc],
        next: 1,
        seed: 1,
        join: None,
    };
    let arguments = ["--exact", "a_phone_process", "--ignored", "--nocapture", "--test-threads=1"];
    let output = as_nobody(std::env::current_exe().unwrap(), &arguments, Some(task.write()));
    let phone_says = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(child::EXIT_FAILED), "{phone_says}");
    assert!(phone_says.contains("cannot be written: Permission denied"), "{phone_says}");
    let client = phone(&mount.at, None).unwrap();
    assert_eq!(keys(&client, doc), 1);
    client.shutdown_blocking().unwrap();
    report(&format!("crash: a read-only file: relay {:?}; the phone is told the same", relay.trim()));
}

#[test]
fn two_processes_on_one_file_the_second_says_so_and_the_first_does_not_notice() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("relay");
    let mut relay = Relay::spawn_logging(&data, "127.0.0.1:0", &dir.path().join("log"));
    let address = relay.address();
    let client = phone(dir.path(), None).unwrap();
    let doc = document(&client);
    let second_doc = doc;
    client.shutdown_blocking().unwrap();
    // Two phones are two processes here: the file is the first one's.
    let task = child::Task {
        directory: dir.path().to_owned(),
        index: 0,
        phones: 1,
        relay: address,
        docs: [doc, second_doc],
        next: 1,
        seed: 1,
        join: None,
    };
    let mut first = Phone::new(0);
    first.spawn(&task);
    first.wait(|h| h.saved.len() > 3, PATIENCE).expect("the first edits");
    for _ in 0..5 {
        let output = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "a_phone_process", "--ignored", "--nocapture", "--test-threads=1"])
            .env(child::TOLD, task.write())
            .stdin(Stdio::piped())
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert_eq!(output.status.code(), Some(child::EXIT_FAILED), "{text}");
        assert!(text.contains("already open, here or in another process"), "{text}");
        let output = start_and_fail(&data).expect("it does not start");
        assert_eq!(output.status.code(), Some(1));
        assert!(String::from_utf8_lossy(&output.stderr).contains("another dinh-relay has this file open"));
    }
    let before = first.heard().saved.len();
    let after = first.wait(|h| h.saved.len() > before + 3 && h.acked > 0, PATIENCE);
    let after = after.expect("the first goes on, and its relay too").saved.len();
    first.kill();
    relay.kill();
    report(&format!(
        "crash: five second phones and five second relays were told that the file is in use; the first went on ({before}, then \
         {after} edits)"
    ));
}
