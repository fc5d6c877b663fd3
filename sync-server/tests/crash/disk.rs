//! A full disk (a small tmpfs), a read-only disk, a read-only file, and two processes on one file: a clear error each time that
//! names the cause and what to do, and nothing lost.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use dinh_core::client::{Client, ClientConfig, RelayUrl, block_on};
use dinh_core::document::Value;
use dinh_core::path;
use dinh_proto::charter::record::{Audience, Writers};
use dinh_proto::ids::{DocId, MemberId};
use dinh_proto::keys::SignKey;

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

    /// Takes all space but this much.
    fn fill(&self, but_kib: u64) {
        let path = self.at.join("ballast");
        let df = Command::new("df").args(["--output=avail", "-k"]).arg(&self.at).output().unwrap();
        let text = String::from_utf8(df.stdout).unwrap();
        let free: u64 = text.lines().nth(1).unwrap().trim().parse().unwrap();
        let size = usize::try_from(free.saturating_sub(but_kib)).unwrap() * 1024;
        std::fs::write(path, vec![1; size]).unwrap();
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
    block_on(async {
        let root = SignKey::from_seed(&[9; 32]);
        let branch = client.found_branch(root, MemberId([1; 16]), "máy").await.unwrap();
        let space = client.create_space(branch, Audience::Everyone).await.unwrap();
        client.create_document(space, Writers::All).await.unwrap()
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
    // A port that stays the same.
    let listen = format!("127.0.0.1:{}", 19_000 + std::process::id() % 900);
    let (mut relay, stderr) = serve(&data, &listen, &phones.path().join("first.log"));
    let address = relay.address();
    let client = phone(phones.path(), Some(&address)).unwrap();
    let doc = document(&client);
    put(&client, doc, 0, 1_000).unwrap();
    wait_for(&client, |s| s.is_synced());
    mount.fill(2_500);
    // The phone goes on whatever the relay does.
    let mut written = 1;
    let status = loop {
        put(&client, doc, written, 60_000).unwrap();
        written += 1;
        if let Some(status) = relay.ended_within(Duration::from_millis(50)) {
            break status;
        }
        assert!(written < 500, "the disk does not fill up");
    };
    let acked = client.status().borrow().acked;
    assert_eq!(status.code(), Some(3));
    let text = std::fs::read_to_string(&stderr).unwrap();
    assert!(text.contains("the disk is full: free space on the volume of the --data directory"), "{text}");
    // It does not start on a full disk either without saying so.
    mount.fill(0);
    let output = start_and_fail(&data);
    if let Some(output) = output {
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(text.contains("the disk is full"), "{text}");
        assert_ne!(output.status.code(), Some(0));
    }
    put(&client, doc, written, 1_000).unwrap();
    assert!(client.status().borrow().pending > 0);
    mount.free();
    mount.remount("size=64m");
    let (mut relay, _) = serve(&data, &listen, &phones.path().join("second.log"));
    assert_eq!(relay.address(), address);
    client.network_changed();
    wait_for(&client, |s| s.is_synced());
    assert!(client.status().borrow().acked > acked);
    assert_eq!(keys(&client, doc), written + 1);
    client.shutdown_blocking().unwrap();
    relay.kill();
    let log = dinh_server::log::RedbLog::open(&data.join("relay.redb"), dinh_proto::ids::LogEpoch([0xee; 8]))
        .unwrap();
    assert!(log.head() >= acked);
    report(&format!(
        "crash: a relay's disk was full after {written} edits: it ended with code 3 and says what to do; 0 lost, all {} synced \
         when there was room",
        written + 1
    ));
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
