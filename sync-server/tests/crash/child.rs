//! A phone's process: the production client on a real file. It says what it does in lines on stdout, each when it is true.

use std::io::{BufRead, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use dinh_core::client::{Client, ClientConfig, ClientError, RelayUrl, StoreKey, Timeouts, block_on};
use dinh_core::document::Value;
use dinh_core::replica::ReplicaError;
use dinh_proto::ids::DocId;
use dinh_proto::keys::DeviceKey;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};

use crate::tokens::{self, Numbers, is_typed};

/// The variable that says what a phone is to do: [`Task::write`].
pub(crate) const TOLD: &str = "CRASH_PHONE";
/// A phone that could not start or go on.
pub(crate) const EXIT_FAILED: i32 = 9;

/// What a phone is told.
#[derive(Debug, Clone)]
pub(crate) struct Task {
    pub(crate) directory: PathBuf,
    pub(crate) index: usize,
    pub(crate) phones: usize,
    pub(crate) relay: String,
    pub(crate) docs: [DocId; 2],
    /// The first number of a token that it has not begun before.
    pub(crate) next: u64,
    pub(crate) seed: u64,
    /// A file with an invitation: it joins with it first, reads everything, and edits nothing.
    pub(crate) join: Option<PathBuf>,
}

impl Task {
    pub(crate) fn write(&self) -> String {
        let join = self.join.as_ref().map(|p| p.display().to_string()).unwrap_or_default();
        let Self { directory, index, phones, relay, docs: [a, b], next, seed, .. } = self;
        format!("{}\n{index}\n{phones}\n{relay}\n{a}\n{b}\n{next}\n{seed}\n{join}", directory.display())
    }

    fn read(told: &str) -> Self {
        let l: Vec<&str> = told.split('\n').collect();
        Self {
            directory: l[0].into(),
            index: l[1].parse().unwrap(),
            phones: l[2].parse().unwrap(),
            relay: l[3].to_owned(),
            docs: [l[4].parse().unwrap(), l[5].parse().unwrap()],
            next: l[6].parse().unwrap(),
            seed: l[7].parse().unwrap(),
            join: (!l[8].is_empty()).then(|| l[8].into()),
        }
    }
}

pub(crate) fn config(directory: &Path, index: usize) -> ClientConfig {
    let file = |end: &str| directory.join(format!("{index}.{end}"));
    let n = u8::try_from(index + 1).unwrap();
    let config = ClientConfig::new(
        file("redb"),
        file("marker"),
        DeviceKey::from_seed(&[n; 32]),
        StoreKey::new([n; 32]),
    );
    let timeouts = Timeouts { probe: Duration::from_millis(500), ..Timeouts::default() };
    ClientConfig { timeouts, ..config }
}

fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    // Nobody listens any more: the driver is gone.
    if writeln!(out, "{line}").and_then(|()| out.flush()).is_err() {
        std::process::exit(1);
    }
}

fn fail(what: &str, error: &dyn std::fmt::Display) -> ! {
    say(&format!("failed {what}: {error}"));
    std::process::exit(EXIT_FAILED);
}

pub(crate) fn main(told: &str) {
    // libtest has begun a line.
    say("");
    let task = Task::read(told);
    let relay = RelayUrl::parse(&task.relay).unwrap();
    let config = ClientConfig { relay: Some(relay), ..config(&task.directory, task.index) };
    let client = Client::open_blocking(config).unwrap_or_else(|e| fail("opening", &e));
    let quiet = Arc::new(AtomicBool::new(task.join.is_some()));
    listen(client.clone(), quiet.clone());
    if let Some(invitation) = &task.join {
        let invitation = std::fs::read(invitation).unwrap();
        block_on(client.join(invitation)).unwrap_or_else(|e| fail("joining", &e));
    } else {
        let held = held(&client, &task).unwrap_or_else(|e| fail("reading", &e));
        say(&format!("held {}", tokens::write(&held[task.index])));
    }
    say("ready");
    if let Err(error) = edit_until_quiet(&client, &task, &quiet) {
        fail("editing", &error);
    }
    loop {
        if let Err(error) = tell_state(&client, &task) {
            fail("reading", &error);
        }
        std::thread::sleep(Duration::from_millis(40));
    }
}

/// Orders, one a line. Without a driver there is no phone.
fn listen(client: Client, quiet: Arc<AtomicBool>) {
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().lines() {
            match line.as_deref() {
                Ok("net") => client.network_changed(),
                Ok("quiet") => quiet.store(true, Ordering::SeqCst),
                _ => break,
            }
        }
        std::process::exit(0);
    });
}

fn edit_until_quiet(client: &Client, task: &Task, quiet: &AtomicBool) -> Result<(), ClientError> {
    let mut rng = ChaCha8Rng::seed_from_u64(task.seed);
    let status = client.status();
    let mut n = task.next;
    while !quiet.load(Ordering::SeqCst) {
        say(&format!("begun {n}"));
        block_on(edit(client, task, n))?;
        say(&format!("saved {n}"));
        std::thread::sleep(Duration::from_micros(u64::from(rng.next_u32() % 30_000)));
        // Looked at between edits: all of them are saved, so when nothing is pending all are acknowledged. Some wait for it.
        let looks = if rng.next_u32().is_multiple_of(3) { 40 } else { 1 };
        for _ in 0..looks {
            let (pending, acked) = {
                let status = status.borrow();
                (status.pending, status.acked)
            };
            if pending == 0 {
                say(&format!("acked {n} {}", acked.0));
                break;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        n += 1;
    }
    Ok(())
}

async fn edit(client: &Client, task: &Task, n: u64) -> Result<(), ClientError> {
    let doc = task.docs[tokens::document_of(n)];
    if is_typed(n) {
        let field = tokens::field(task.index);
        let path = field.clone();
        if client.read(doc, move |v| v.text(&path)).await?.is_none() {
            let text = format!("{n} ");
            return client.edit(doc, None, move |e| e.put(&field, Value::text(text))).await.map(|_| ());
        }
        let bound = client.bind_text(doc, field).await?;
        bound.set(&format!("{}{n} ", bound.text()));
        bound.typed(n % 8 == 3).await?;
        return bound.flush().await;
    }
    let key = tokens::key(task.index, n);
    client.edit(doc, None, move |e| e.put(&key, Value::Uint(n))).await.map(|_| ())
}

/// Every phone's tokens in both documents.
fn held(client: &Client, task: &Task) -> Result<Vec<Numbers>, ClientError> {
    let mut all = vec![Numbers::new(); task.phones];
    for doc in task.docs {
        let phones = task.phones;
        let found = block_on(client.read(doc, move |view| tokens::found(view, phones)))?;
        for (all, found) in all.iter_mut().zip(found) {
            for n in found {
                assert!(all.insert(n), "{n} is in both documents");
            }
        }
    }
    Ok(all)
}

/// Whether it is synced, and what it holds then.
fn tell_state(client: &Client, task: &Task) -> Result<(), ClientError> {
    let status = client.status().borrow().clone();
    if !status.is_synced() {
        say(&format!(
            "waits link {:?}, {} pending, trouble {:?}",
            status.link, status.pending, status.trouble
        ));
        return Ok(());
    }
    // Everything is in the store, but an open document takes it in piece by piece.
    for doc in task.docs {
        let waiting = block_on(client.run(move |replica, _| replica.waiting_runs(&doc)));
        // An auditor that has just begun.
        if matches!(waiting, Err(ClientError::Replica(ReplicaError::UnknownDocument(_)))) {
            say("waits for the documents");
            return Ok(());
        }
        let waiting = waiting?;
        if waiting > 0 {
            say(&format!("waits for {waiting} runs to be applied"));
            return Ok(());
        }
    }
    let mut hashes = String::new();
    for doc in task.docs {
        let hash = block_on(client.document_hash(doc))?;
        hashes.extend(hash.iter().map(|b| format!("{b:02x}")));
    }
    let held = held(client, task)?;
    let quarantined = block_on(client.quarantined())?.len();
    let held: Vec<String> = held.iter().map(tokens::write).collect();
    say(&format!("synced {hashes} {quarantined} {}", held.join(";")));
    Ok(())
}
