//! A small engine and relay, good enough to play a meeting with the orchestrator: a log of operations which every
//! replica replays in the same total order. It exists to test the meeting, and can be told to misbehave.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{broadcast, watch};
use tokio::time::{sleep, timeout};
use village_hall::action::Path;
use village_hall::cast::{Person, Space};
use village_hall::phone::{Engine, EngineError};
use village_hall::protocol::{Connection, Departure, Start, Status};

/// Lamport time, phone, index within the operation: orders operations and names characters.
type Id = (u64, usize, usize);

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Op {
    lamport: u64,
    phone: usize,
    doc: String,
    kind: Kind,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
enum Kind {
    Create(Value),
    Append(Path, Value),
    Set(Path, Value, Vec<Id>),
    /// Characters to delete, the character after which to insert, what to insert.
    Splice(Path, Vec<Id>, Option<Id>, String),
    /// From here on the relay takes nothing from this phone.
    Remove(usize),
}

/// A line of the relay's protocol and of both sides' files.
#[derive(Clone, Debug, Serialize, Deserialize)]
enum Line {
    From(u64),
    Put(Op),
    Item(u64, Op),
}

#[derive(Default)]
struct Document {
    value: Value,
    texts: BTreeMap<Path, Vec<(Id, char, bool)>>,
    fields: BTreeMap<Path, Vec<(Id, Value)>>,
}

#[derive(Default)]
struct Replica {
    ops: BTreeMap<(u64, usize), (Op, Option<u64>)>,
    documents: BTreeMap<String, Document>,
    applied: (u64, usize),
    /// An operation arrived out of order: the documents are played again before they are next read.
    stale: bool,
    cursor: u64,
    names: Vec<String>,
    connection: Connection,
    file: Option<File>,
}

impl Document {
    fn apply(&mut self, op: &Op) {
        let id = (op.lamport, op.phone, 0);
        match &op.kind {
            Kind::Create(value) => self.value = value.clone(),
            Kind::Append(list, entry) => {
                if let Some(Value::Array(list)) = list.find_mut(&mut self.value) {
                    list.push(entry.clone());
                }
            }
            Kind::Set(path, value, over) => {
                let standing = self.fields.entry(path.clone()).or_default();
                standing.retain(|(id, _)| !over.contains(id));
                standing.insert(0, (id, value.clone()));
                if let Some(field) = path.find_mut(&mut self.value) {
                    *field = value.clone();
                }
            }
            Kind::Splice(path, delete, after, insert) => {
                let text = self.text(path);
                for (id, _, gone) in text.iter_mut() {
                    *gone |= delete.contains(id);
                }
                let at = after
                    .map_or(0, |after| text.iter().position(|(id, ..)| *id == after).map_or(0, |i| i + 1));
                let new =
                    insert.chars().enumerate().map(|(index, c)| ((op.lamport, op.phone, index), c, false));
                text.splice(at..at, new);
                let shown: String = text.iter().filter(|(.., gone)| !gone).map(|(_, c, _)| *c).collect();
                if let Some(field) = path.find_mut(&mut self.value) {
                    *field = Value::String(shown);
                }
            }
            Kind::Remove(_) => {}
        }
    }

    fn text(&mut self, path: &Path) -> &mut Vec<(Id, char, bool)> {
        let first = path.find(&self.value).and_then(Value::as_str).unwrap_or_default().to_owned();
        let letters = || first.chars().enumerate().map(|(index, c)| ((0, 0, index), c, false)).collect();
        self.texts.entry(path.clone()).or_insert_with(letters)
    }
}

impl Replica {
    fn learn(&mut self, op: Op, seq: Option<u64>) {
        let key = (op.lamport, op.phone);
        self.cursor = self.cursor.max(seq.unwrap_or(0));
        if let Some(known) = self.ops.get_mut(&key) {
            known.1 = known.1.or(seq);
            return;
        }
        self.ops.insert(key, (op.clone(), seq));
        self.stale |= key < self.applied;
        self.applied = self.applied.max(key);
        if !self.stale {
            self.documents.entry(op.doc.clone()).or_default().apply(&op);
        }
    }

    fn document(&mut self, doc: &str) -> Option<&mut Document> {
        if std::mem::take(&mut self.stale) {
            self.documents.clear();
            for (op, _) in self.ops.values() {
                self.documents.entry(op.doc.clone()).or_default().apply(op);
            }
        }
        self.documents.get_mut(doc)
    }

    fn write(&mut self, line: &Line) -> Result<(), EngineError> {
        let mut text = serde_json::to_vec(line).unwrap();
        text.push(b'\n');
        let file = self.file.as_mut().ok_or_else(|| EngineError("not started".into()))?;
        file.write_all(&text).map_err(|error| EngineError(error.to_string()))
    }

    fn pending(&self, phone: usize) -> Vec<Op> {
        self.ops
            .values()
            .filter(|(op, seq)| op.phone == phone && seq.is_none())
            .map(|(op, _)| op.clone())
            .collect()
    }
}

/// The engine of one phone.
pub(crate) struct Toy {
    phone: usize,
    replica: Arc<Mutex<Replica>>,
    wake: watch::Sender<u64>,
    fault: String,
    calls: u64,
}

impl Toy {
    pub(crate) fn new() -> Self {
        let fault = std::env::var("TOY_FAULT").unwrap_or_default();
        Self { phone: 0, replica: Arc::default(), wake: watch::channel(0).0, fault, calls: 0 }
    }

    fn replica(&self) -> MutexGuard<'_, Replica> {
        self.replica.lock().unwrap()
    }

    fn put(&mut self, doc: &str, kind: Kind) -> Result<(), EngineError> {
        self.calls += 1;
        if self.phone == 1 && self.calls == 30 {
            match self.fault.as_str() {
                "forget" => return Ok(()),
                "crash" => std::process::exit(7),
                _ => {}
            }
        }
        let mut replica = self.replica();
        let op = Op { lamport: replica.applied.0 + 1, phone: self.phone, doc: doc.into(), kind };
        replica.write(&Line::Put(op.clone()))?;
        replica.learn(op, None);
        drop(replica);
        self.wake.send_modify(|n| *n += 1);
        Ok(())
    }
}

impl Engine for Toy {
    async fn start(&mut self, start: &Start) -> Result<String, EngineError> {
        self.phone = start.phone;
        let path = format!("{}/log", start.directory);
        let old = std::fs::read_to_string(&path).unwrap_or_default();
        let mut replica = self.replica();
        replica.file = OpenOptions::new().create(true).append(true).open(&path).ok();
        for line in old.lines() {
            match serde_json::from_str(line) {
                Ok(Line::Put(op)) => replica.learn(op, None),
                Ok(Line::Item(seq, op)) => replica.learn(op, Some(seq)),
                _ => {}
            }
        }
        drop(replica);
        let deaf = self.fault == "deaf" && self.phone == 1;
        tokio::spawn(talk(start.clone(), Arc::clone(&self.replica), self.wake.subscribe(), deaf));
        Ok(format!("card-{}", self.phone))
    }

    async fn found(
        &mut self,
        _: &[Person],
        spaces: &[Space],
    ) -> Result<BTreeMap<String, String>, EngineError> {
        Ok(spaces.iter().map(|space| (space.name.clone(), space.name.clone())).collect())
    }

    async fn admit(&mut self, card: &str, _: &Person, _: &str) -> Result<String, EngineError> {
        Ok(format!("welcome, {card}"))
    }

    async fn join(&mut self, welcome: &str, spaces: &BTreeMap<String, String>) -> Result<(), EngineError> {
        assert_eq!(welcome, format!("welcome, card-{}", self.phone));
        assert!(!spaces.is_empty());
        Ok(())
    }

    async fn remove(&mut self, card: &str, _: &Person, _: Departure) -> Result<(), EngineError> {
        let phone = card.trim_start_matches("card-").parse().map_err(|_| EngineError(card.into()))?;
        self.put("", Kind::Remove(phone))
    }

    async fn create(&mut self, doc: &str, space: &str, content: &Value) -> Result<String, EngineError> {
        self.put(doc, Kind::Create(content.clone()))?;
        self.open(doc, space, doc).await?;
        Ok(doc.into())
    }

    async fn open(&mut self, doc: &str, _: &str, _: &str) -> Result<(), EngineError> {
        self.replica().names.push(doc.into());
        Ok(())
    }

    async fn dump(&mut self, doc: &str) -> Result<Option<Value>, EngineError> {
        Ok(self.replica().document(doc).map(|document| document.value.clone()))
    }

    async fn values(&mut self, doc: &str, path: &Path) -> Result<Vec<Value>, EngineError> {
        let mut replica = self.replica();
        let Some(document) = replica.document(doc) else { return Ok(vec![]) };
        Ok(match document.fields.get(path) {
            Some(standing) => standing.iter().map(|(_, value)| value.clone()).collect(),
            None => path.find(&document.value).cloned().into_iter().collect(),
        })
    }

    async fn splice(
        &mut self,
        doc: &str,
        path: &Path,
        at: usize,
        delete: usize,
        insert: &str,
    ) -> Result<(), EngineError> {
        let (mut gone, mut after, mut unit) = (Vec::new(), None, 0);
        let mut replica = self.replica();
        let document = replica.document(doc).ok_or_else(|| EngineError("no such document".into()))?;
        for (id, c, dead) in document.text(path).iter() {
            if !dead && unit < at {
                after = Some(*id);
            } else if !dead && unit < at + delete {
                gone.push(*id);
            }
            unit += if *dead { 0 } else { c.len_utf16() };
        }
        drop(replica);
        self.put(doc, Kind::Splice(path.clone(), gone, after, insert.into()))
    }

    async fn set(&mut self, doc: &str, path: &Path, value: &Value) -> Result<(), EngineError> {
        let mut replica = self.replica();
        let standing = replica.document(doc).and_then(|document| document.fields.get(path));
        let over = standing.into_iter().flatten().map(|(id, _)| *id).collect();
        drop(replica);
        self.put(doc, Kind::Set(path.clone(), value.clone(), over))
    }

    async fn append(&mut self, doc: &str, list: &Path, entry: &Value) -> Result<(), EngineError> {
        self.put(doc, Kind::Append(list.clone(), entry.clone()))
    }

    async fn network_changed(&mut self) -> Result<(), EngineError> {
        Ok(())
    }

    async fn status(&mut self) -> Result<Status, EngineError> {
        let replica = self.replica();
        let pending = replica.pending(self.phone).len() as u64;
        let items = replica.ops.len() as u64;
        Ok(Status { connection: replica.connection, pending, last_seq: replica.cursor, items })
    }

    async fn hashes(&mut self) -> Result<Vec<(String, Option<String>)>, EngineError> {
        let replica = self.replica();
        let hash = |name: &String| {
            let keys: Vec<_> =
                replica.ops.iter().filter(|(_, (op, _))| op.doc == *name).map(|(key, _)| key).collect();
            (name.clone(), Some(format!("{keys:?}")).filter(|_| !keys.is_empty()))
        };
        Ok(replica.names.iter().map(hash).collect())
    }

    async fn stop(&mut self) -> Result<(), EngineError> {
        Ok(())
    }
}

/// Connects for ever.
async fn talk(start: Start, replica: Arc<Mutex<Replica>>, mut wake: watch::Receiver<u64>, deaf: bool) {
    loop {
        if let Ok(stream) = TcpStream::connect(&start.relay).await {
            let _ = session(stream, start.phone, &replica, &mut wake, deaf).await;
        }
        replica.lock().unwrap().connection = Connection::Offline;
        sleep(Duration::from_millis(50)).await;
    }
}

async fn session(
    stream: TcpStream,
    phone: usize,
    replica: &Mutex<Replica>,
    wake: &mut watch::Receiver<u64>,
    deaf: bool,
) -> std::io::Result<()> {
    let (read, mut write) = stream.into_split();
    let mut lines = BufReader::new(read).lines();
    let cursor = replica.lock().unwrap().cursor;
    write.write_all(&encode(&Line::From(cursor))).await?;
    let mut sent = std::collections::BTreeSet::new();
    loop {
        wake.mark_unchanged();
        let pending = replica.lock().unwrap().pending(phone);
        for op in pending.into_iter().filter(|op| !sent.contains(&op.lamport)).collect::<Vec<_>>() {
            sent.insert(op.lamport);
            write.write_all(&encode(&Line::Put(op))).await?;
        }
        tokio::select! {
            // The relay beats every 100 ms, so silence means that the connection is half open.
            line = timeout(Duration::from_millis(600), lines.next_line()) => {
                let Ok(Ok(Some(line))) = line else { return Ok(()) };
                let mut replica = replica.lock().unwrap();
                replica.connection = Connection::Live;
                if let Ok(Line::Item(seq, op)) = serde_json::from_str(&line) {
                    if deaf && op.phone != phone && seq % 20 == 0 {
                        replica.cursor = replica.cursor.max(seq);
                        continue;
                    }
                    let _ = replica.write(&Line::Item(seq, op.clone()));
                    replica.learn(op, Some(seq));
                }
            }
            _ = wake.changed() => {}
        }
    }
}

fn encode(line: &Line) -> Vec<u8> {
    let mut bytes = serde_json::to_vec(line).unwrap();
    bytes.push(b'\n');
    bytes
}

struct Log {
    ops: Vec<Op>,
    file: File,
    news: broadcast::Sender<u64>,
}

/// The relay's process: appends what is put, sends everything to everybody.
pub(crate) async fn relay(data: &str) {
    let path = format!("{data}/log");
    let old = std::fs::read_to_string(&path).unwrap_or_default();
    let ops = old.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let file = OpenOptions::new().create(true).append(true).open(&path).unwrap();
    let log = Arc::new(Mutex::new(Log { ops, file, news: broadcast::channel(4096).0 }));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    println!("{{\"listening\":\"{}\"}}", listener.local_addr().unwrap());
    while let Ok((stream, _)) = listener.accept().await {
        let log = Arc::clone(&log);
        tokio::spawn(async move {
            let _ = serve(stream, &log).await;
        });
    }
}

async fn serve(stream: TcpStream, log: &Mutex<Log>) -> std::io::Result<()> {
    let (read, mut write) = stream.into_split();
    let mut lines = BufReader::new(read).lines();
    let mut news = log.lock().unwrap().news.subscribe();
    let mut next = match lines.next_line().await?.map(|line| serde_json::from_str(&line)) {
        Some(Ok(Line::From(cursor))) => usize::try_from(cursor).unwrap(),
        _ => return Ok(()),
    };
    write.write_all(b"\n").await?;
    let leaks = std::env::var("TOY_FAULT").is_ok_and(|fault| fault == "leak");
    loop {
        let tail: Vec<Op> = log.lock().unwrap().ops.get(next..).unwrap_or_default().to_vec();
        for op in tail {
            next += 1;
            write.write_all(&encode(&Line::Item(next as u64, op))).await?;
        }
        tokio::select! {
            line = lines.next_line() => {
                let Some(line) = line? else { return Ok(()) };
                let Ok(Line::Put(op)) = serde_json::from_str::<Line>(&line) else { continue };
                let mut log = log.lock().unwrap();
                let removed = |known: &Op| matches!(known.kind, Kind::Remove(phone) if phone == op.phone);
                if !leaks && log.ops.iter().any(removed) {
                    continue;
                }
                if !log.ops.iter().any(|known| (known.lamport, known.phone) == (op.lamport, op.phone)) {
                    let mut bytes = serde_json::to_vec(&op)?;
                    bytes.push(b'\n');
                    log.file.write_all(&bytes)?;
                    log.ops.push(op);
                    let _ = log.news.send(0);
                }
            }
            _ = news.recv() => {}
            () = sleep(Duration::from_millis(100)) => write.write_all(b"\n").await?,
        }
    }
}
