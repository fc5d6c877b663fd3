//! The drills of `docs/operating.md`, word for word, while phones go on editing: what an operator is told to do works, and nothing
//! is lost, whatever the backup lacks.
//!
//! Real processes and files: the relay and its commands, phones with the production client. Only `systemctl` is a stand-in, which
//! starts and stops the relay with the configuration that the service would have.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test fails by panicking, and may measure"
)]
#![cfg(unix)]

mod phones;
#[path = "../real_common/mod.rs"]
mod real_common;

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use dinh_proto::ids::LogEpoch;
use dinh_server::log::RedbLog;

use phones::Phones;
use real_common::{number, report};

const GUIDE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/operating.md");
const PATIENCE: Duration = Duration::from_secs(60);

/// The blocks of the guide that follow a line `<!-- drill: NAME -->`.
fn drills() -> BTreeMap<String, String> {
    let guide = std::fs::read_to_string(GUIDE).unwrap();
    let mut drills = BTreeMap::new();
    let mut lines = guide.lines();
    while let Some(line) = lines.next() {
        let Some(name) = line.strip_prefix("<!-- drill: ").and_then(|l| l.strip_suffix(" -->")) else {
            continue;
        };
        assert_eq!(lines.next(), Some("```sh"), "a block follows {line}");
        let block: Vec<&str> = lines.by_ref().take_while(|l| *l != "```").collect();
        assert!(drills.insert(name.to_owned(), block.join("\n")).is_none(), "{name} is there twice");
    }
    drills
}

/// One machine: its relay, and what an operator types there.
struct Machine {
    at: PathBuf,
    drills: BTreeMap<String, String>,
}

impl Machine {
    fn new(at: &Path, listen: &str) -> Self {
        let at = at.to_owned();
        std::fs::create_dir_all(at.join("bin")).unwrap();
        let relay = Path::new(env!("CARGO_BIN_EXE_dinh-relay"));
        std::os::unix::fs::symlink(relay, at.join("bin/dinh-relay")).unwrap();
        let config = format!("data = {:?}\nlisten = {listen:?}\n[log]\nlevel = \"warn\"\n", at.join("dinh"));
        std::fs::write(at.join("relay.toml"), config).unwrap();
        let systemctl = at.join("bin/systemctl");
        std::fs::write(&systemctl, include_str!("systemctl.sh")).unwrap();
        std::fs::set_permissions(&systemctl, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        Self { at, drills: drills() }
    }

    fn shell(&self, text: &str) -> (bool, String) {
        let path = std::env::var("PATH").unwrap();
        let output = Command::new("bash")
            .args(["-eu", "-o", "pipefail", "-c", text])
            .current_dir(&self.at)
            .env("PATH", format!("{}:{path}", self.at.join("bin").display()))
            .env("DRILL", &self.at)
            .env("DATA", self.at.join("dinh"))
            .env("BACKUPS", self.at.join("backups"))
            .output()
            .unwrap();
        let said = [output.stdout, output.stderr].map(|o| String::from_utf8_lossy(&o).into_owned()).concat();
        (output.status.success(), said)
    }

    /// What the guide says under this name.
    fn drill(&self, name: &str) -> String {
        let block = self.drills.get(name).unwrap_or_else(|| panic!("the guide has no drill {name}"));
        let (done, said) = self.shell(block);
        assert!(done, "{name}:\n{block}\n{said}\n{}", self.log());
        said
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.at.join("relay.log")).unwrap_or_default()
    }

    /// The address that devices have, from what the relay printed when it started last.
    fn address(&self) -> String {
        let log = self.log();
        let address = log.lines().rev().find_map(|l| l.strip_prefix("dinh-relay address "));
        address.unwrap_or_else(|| panic!("no address in\n{log}")).to_owned()
    }

    fn start(&self) {
        let (started, said) = self.shell("systemctl start dinh-relay");
        assert!(started, "{said}\n{}", self.log());
    }

    fn pid(&self) -> String {
        std::fs::read_to_string(self.at.join("pid")).unwrap().trim().to_owned()
    }

    /// As a machine that loses its power, and part of what is on its disk.
    fn breaks_down(&self) {
        let killed = Command::new("kill").args(["-9", &self.pid()]).status().unwrap();
        assert!(killed.success());
        std::thread::sleep(Duration::from_millis(200));
        let log = std::fs::OpenOptions::new().write(true).open(self.at.join("dinh/relay.redb")).unwrap();
        log.set_len(log.metadata().unwrap().len() / 2).unwrap();
    }

    /// The epochs of its log; the relay must not run. The last is of this reading.
    fn epochs(&self) -> Vec<LogEpoch> {
        let log = RedbLog::open(&self.at.join("dinh/relay.redb"), LogEpoch(*b"the test")).unwrap();
        let epochs = log.epochs().starts().iter().map(|s| s.epoch).collect();
        log.close().unwrap();
        epochs
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        let _ = self.shell("kill -9 $(cat pid) || true");
    }
}

fn metric(relay: &str, name: &str) -> f64 {
    let mut stream = TcpStream::connect(relay).unwrap();
    stream.write_all(b"GET /metrics HTTP/1.0\r\nHost: localhost\r\n\r\n").unwrap();
    let mut page = String::new();
    stream.read_to_string(&mut page).unwrap();
    let value = page.lines().find_map(|l| l.strip_prefix(name)?.strip_prefix(' '));
    value.unwrap_or_else(|| panic!("{name} is not in\n{page}")).parse().unwrap()
}

/// A port below those that the system gives to outgoing connections, so that nobody takes it while the relay is down.
fn free_port() -> u16 {
    let from = 20_000 + u16::try_from(std::process::id() % 10_000).unwrap();
    (from..32_000).find(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok()).unwrap()
}

#[test]
fn the_drills_of_the_guide_lose_nothing_under_load() {
    let began = Instant::now();
    let phones = usize::try_from(number("DRILL_PHONES", 6)).unwrap();
    let folder = tempfile::Builder::new().prefix("dinh-drill-").tempdir().unwrap();
    let listen = format!("127.0.0.1:{}", free_port());
    let first = Machine::new(&folder.path().join("first"), &listen);
    first.start();
    let address = first.address();
    let mut load = Phones::found(&folder.path().join("phones"), phones, &address);
    load.edit_until(20, PATIENCE);

    first.drill("backup");
    load.edit_until(30, PATIENCE);
    // The second is what came since.
    first.drill("backup");
    first.drill("rehearse");
    load.edit_until(40, PATIENCE);
    // Acknowledged, and in no backup.
    let lacks = load.saved();

    first.breaks_down();
    load.edit_until(45, PATIENCE);
    first.drill("restore");
    assert_eq!(first.address(), address, "devices know it by the same key");
    load.edit_until(60, PATIENCE);
    load.converge(PATIENCE);
    let reconciles = metric(&listen, "dinh_relay_reconciles_total");
    assert!(reconciles >= 1.0, "cursors beyond the backup are refused: {reconciles}");
    let saved = load.check_with_a_new_device(&folder.path().join("auditor"), &address);
    report(&format!(
        "drill: restored under load; {saved} edits of {phones} phones, {lacks} of them saved before the machine broke down, 0 lost"
    ));

    // The same on a new machine, whose name devices find at the same address.
    load.start_again();
    load.edit_until(load.least() + 5, PATIENCE);
    first.drill("move-away");
    let second = Machine::new(&folder.path().join("second"), &listen);
    std::fs::rename(first.at.join("backups"), second.at.join("backups")).unwrap();
    second.drill("move-in");
    assert_eq!(second.address(), address);
    load.edit_until(load.least() + 5, PATIENCE);
    load.converge(PATIENCE);
    let saved = load.check_with_a_new_device(&folder.path().join("auditor-2"), &address);
    load.stop();
    let (stopped, said) = second.shell("systemctl stop dinh-relay");
    assert!(stopped, "{said}");
    // First start, after the restore, after the move, and this reading.
    let epochs = second.epochs();
    assert!(epochs.len() >= 4, "each start of a restored log begins an epoch: {epochs:?}");
    report(&format!(
        "drill: moved under load; {saved} edits, 0 lost; {} epochs; {} s",
        epochs.len(),
        began.elapsed().as_secs()
    ));
}

#[test]
fn every_drill_of_the_guide_is_tried() {
    let names: Vec<String> = drills().into_keys().collect();
    assert_eq!(names, ["backup", "move-away", "move-in", "rehearse", "restore"]);
}
