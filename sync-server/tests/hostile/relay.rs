//! The relay in a process of its own, and what it takes.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use dinh_proto::limits;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::peer::Address;

pub(crate) struct Relay {
    child: Child,
    pub(crate) at: Address,
}

impl Relay {
    pub(crate) fn start(data: &Path) -> Self {
        // The relay of this build, or another, for example a release.
        let program = std::env::var_os("DINH_TEST_RELAY");
        let program = program.unwrap_or_else(|| env!("CARGO_BIN_EXE_dinh-relay").into());
        let mut child = Command::new(program)
            .args(["serve", "--listen", "127.0.0.1:0", "--data"])
            .arg(data)
            .env("RUST_LOG", "warn")
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
        let mut address = lines.filter_map(|l| l.strip_prefix("dinh-relay address ").map(Address::parse));
        let at = address.next().expect("it says where it is");
        Self { child, at }
    }

    pub(crate) fn printed_address(&self) -> String {
        format!("ws://{}/dinh/v1#{}", self.at.host, self.at.key)
    }

    /// A field of its status in bytes: `VmRSS` or `VmHWM`.
    pub(crate) fn memory(&self, field: &str) -> u64 {
        let status =
            std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).expect("it is alive");
        let line = status.lines().find(|l| l.starts_with(field)).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
    }

    pub(crate) fn is_alive(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    pub(crate) async fn metrics(&self) -> String {
        let mut stream = tokio::net::TcpStream::connect(&self.at.host).await.unwrap();
        let request = "GET /metrics HTTP/1.1\r\nHost: relay\r\nConnection: close\r\n\r\n";
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    pub(crate) async fn metric(&self, name: &str) -> u64 {
        let page = self.metrics().await;
        let line = page.lines().find(|l| l.starts_with(&format!("dinh_relay_{name} ")));
        line.unwrap_or_else(|| panic!("{name} is not in {page}")).rsplit(' ').next().unwrap().parse().unwrap()
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The most memory that a relay may take with so many connections that greeted, so many that did not, of the first some that do
/// not read what they asked for, and a log of this many bytes. Each term is a bound that the relay keeps itself.
pub(crate) fn memory_bound(greeted: u64, greeting: u64, do_not_read: u64, log_bytes: u64) -> u64 {
    const MIB: u64 = 1 << 20;
    // Code, runtime, threads' stacks as far as they are touched, the allocator's arenas, the hub's index of a small log.
    let program = 32 * MIB;
    // `CACHE_BYTES` of log/redb.rs; pages of the file, and those of the transaction that is being written.
    let pages = (64 * MIB).min(2 * log_bytes);
    // `IN_FLIGHT_BYTES_MAX` of driver.rs: being verified or stored.
    let in_flight = 32 * MIB;
    // Of those that have not greeted: what is kept of their Hellos in all, a frame each and the buffers of an idle connection.
    let frame = limits::FRAME_BYTES_MAX as u64 + 40 * 1024;
    let greetings = limits::GREETING_BYTES_MAX as u64 + greeting * frame;
    // Of the others: a message that is not whole yet, one more that overdraws the credit, and what credit lets in.
    let each = frame + 2 * limits::MESSAGE_BYTES_MAX as u64 + limits::CREDIT_BYTES;
    program + pages + in_flight + greetings + greeted * each + do_not_read * limits::OUTGOING_BYTES_MAX as u64
}
