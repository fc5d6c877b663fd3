//! A phone's process: reads commands from stdin, turns each edit into calls of an [`Engine`], answers on stdout.

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::io::{AsyncBufRead, AsyncBufReadExt, AsyncWrite, AsyncWriteExt};

use crate::action::{Action, Path, bursts};
use crate::cast::{Person, Space};
use crate::protocol::{Command, Departure, Reply, Request, Response, Start, Status};

/// Words that a thumb keyboard commits at a time.
const WORDS_IN_A_BURST: usize = 5;

/// What a phone needs of the sync engine.
///
/// # Contract
/// * Every call that edits returns only when the edit is on this device's disk; a process killed right after has lost
///   nothing. It never waits for the network.
/// * Text indexes are UTF-16 code units.
/// * Paths are resolved against the document as it is now; [`Path::resolve`] helps.
pub trait Engine: Send {
    /// Opens or makes the store in `start.directory` and, if it is in a branch, begins to connect. Answers with a code
    /// that holds this device's public keys. A device that had joined is a member again without another `join`.
    fn start(&mut self, start: &Start) -> impl Future<Output = Result<String, EngineError>> + Send;
    /// Founds the branch, of which the first of these people is the secretary and holds this phone, and its spaces;
    /// answers with their ids.
    fn found(
        &mut self,
        people: &[Person],
        spaces: &[Space],
    ) -> impl Future<Output = Result<BTreeMap<String, String>, EngineError>> + Send;
    /// Admits the phone that shows `card`; answers with the code by which it joins.
    fn admit(
        &mut self,
        card: &str,
        person: &Person,
        relay: &str,
    ) -> impl Future<Output = Result<String, EngineError>> + Send;
    /// Joins by the code of who admitted this phone; returns when the branch is here.
    fn join(
        &mut self,
        welcome: &str,
        spaces: &BTreeMap<String, String>,
    ) -> impl Future<Output = Result<(), EngineError>> + Send;
    /// Removes a phone, or its owner with every device: nothing that it writes from now on may reach anybody.
    fn remove(
        &mut self,
        card: &str,
        person: &Person,
        departure: Departure,
    ) -> impl Future<Output = Result<(), EngineError>> + Send;
    /// Makes a document and opens it under this name; answers with its id.
    fn create(
        &mut self,
        doc: &str,
        space: &str,
        content: &Value,
    ) -> impl Future<Output = Result<String, EngineError>> + Send;
    /// Opens a document, which need not have arrived, under a name.
    fn open(
        &mut self,
        doc: &str,
        space: &str,
        doc_id: &str,
    ) -> impl Future<Output = Result<(), EngineError>> + Send;
    /// The whole document as JSON, text as strings; `None` when it has not arrived.
    fn dump(&mut self, doc: &str) -> impl Future<Output = Result<Option<Value>, EngineError>> + Send;
    /// The values at a field: the winner, then those in conflict with it; empty when there is none.
    fn values(
        &mut self,
        doc: &str,
        path: &Path,
    ) -> impl Future<Output = Result<Vec<Value>, EngineError>> + Send;
    /// Deletes `delete` units of a text at `at` and inserts there, as one edit and not as a diff.
    fn splice(
        &mut self,
        doc: &str,
        path: &Path,
        at: usize,
        delete: usize,
        insert: &str,
    ) -> impl Future<Output = Result<(), EngineError>> + Send;
    /// Sets a scalar.
    fn set(
        &mut self,
        doc: &str,
        path: &Path,
        value: &Value,
    ) -> impl Future<Output = Result<(), EngineError>> + Send;
    /// Appends a map to a list; its field [`crate::action::TEXT_KEY`] becomes collaborative text.
    fn append(
        &mut self,
        doc: &str,
        list: &Path,
        entry: &Value,
    ) -> impl Future<Output = Result<(), EngineError>> + Send;
    /// The system says that this phone's network changed.
    fn network_changed(&mut self) -> impl Future<Output = Result<(), EngineError>> + Send;
    /// State of the session.
    fn status(&mut self) -> impl Future<Output = Result<Status, EngineError>> + Send;
    /// Name and hash of the heads of every open document; no hash for one that has not arrived.
    fn hashes(&mut self) -> impl Future<Output = Result<Vec<(String, Option<String>)>, EngineError>> + Send;
    /// Closes the store.
    fn stop(&mut self) -> impl Future<Output = Result<(), EngineError>> + Send;
}

/// Why an engine could not do it, for people to read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EngineError(pub String);

impl fmt::Display for EngineError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for EngineError {}

impl<E: std::error::Error> From<Box<E>> for EngineError {
    fn from(error: Box<E>) -> Self {
        Self(error.to_string())
    }
}

/// Serves one phone until `Quit` or the end of input.
///
/// # Errors
/// If input or output fail: the orchestrator is gone.
pub async fn serve<E: Engine>(
    engine: &mut E,
    input: impl AsyncBufRead + Unpin,
    mut output: impl AsyncWrite + Unpin,
) -> std::io::Result<()> {
    let mut lines = input.lines();
    while let Some(line) = lines.next_line().await? {
        let Ok(Request { id, command }) = serde_json::from_str::<Request>(&line) else {
            tracing::warn!(line, "not a command");
            continue;
        };
        let quit = command == Command::Quit;
        let reply = obey(engine, command).await.unwrap_or_else(|error| Reply::Failed { error: error.0 });
        let mut line = serde_json::to_vec(&Response { id, reply })?;
        line.push(b'\n');
        output.write_all(&line).await?;
        output.flush().await?;
        if quit {
            break;
        }
    }
    Ok(())
}

async fn obey<E: Engine>(engine: &mut E, command: Command) -> Result<Reply, EngineError> {
    Ok(match command {
        Command::Start(start) => Reply::Ready { card: engine.start(&start).await? },
        Command::Found { people, spaces } => Reply::Founded { spaces: engine.found(&people, &spaces).await? },
        Command::Admit { card, person, relay } => {
            Reply::Admitted { welcome: engine.admit(&card, &person, &relay).await? }
        }
        Command::Join { welcome, spaces } => {
            engine.join(&welcome, &spaces).await?;
            Reply::Done
        }
        Command::Remove { card, person, departure } => {
            engine.remove(&card, &person, departure).await?;
            Reply::Done
        }
        Command::Create { doc, space, content } => {
            Reply::Created { doc_id: engine.create(&doc, &space, &content).await? }
        }
        Command::Open { doc, space, doc_id } => {
            engine.open(&doc, &space, &doc_id).await?;
            Reply::Done
        }
        Command::Do { step, action, typing_ms } => edit(engine, step, action, typing_ms).await?,
        Command::NetworkChanged => {
            engine.network_changed().await?;
            Reply::Done
        }
        Command::Status => Reply::Status(engine.status().await?),
        Command::DocumentHashes => Reply::Hashes { hashes: engine.hashes().await? },
        Command::Dump { doc } => Reply::Dump { value: engine.dump(&doc).await?.unwrap_or(Value::Null) },
        Command::Values { doc, path } => Reply::Values { values: engine.values(&doc, &path).await? },
        Command::Quit => {
            engine.stop().await?;
            Reply::Done
        }
    })
}

/// Makes one edit. Doing the same edit again after a crash, when it is not known whether it was saved, changes nothing
/// that is there already: the person looks at the screen and goes on.
async fn edit<E: Engine>(
    engine: &mut E,
    step: u32,
    action: Action,
    typing_ms: u64,
) -> Result<Reply, EngineError> {
    let Some(document) = engine.dump(action.doc()).await? else {
        return Err(absent("the document has not arrived"));
    };
    let mut watch = StopWatch::default();
    let mut replaced = Vec::new();
    match action {
        Action::Append { doc, list, entry } => {
            if list.find(&document).and_then(Value::as_array).is_none() {
                return Err(absent("no such list"));
            }
            let id = entry.get("id").and_then(Value::as_str).unwrap_or_default();
            if list.id(id).find(&document).is_none() {
                let entry = Value::Object(entry);
                watch.time(engine.append(&doc, &list, &entry)).await?;
            }
        }
        Action::Type { doc, path, text } => {
            let Some(now) = path.find(&document).and_then(Value::as_str) else {
                return Err(absent("no such text"));
            };
            // What a crash left of an earlier attempt stands at the end already.
            let typed = if now.contains(text.as_str()) { text.len() } else { overlap(now, &text) };
            let mut at = units(now);
            for burst in bursts(&text[typed..], WORDS_IN_A_BURST) {
                watch.time(engine.splice(&doc, &path, at, 0, burst)).await?;
                at += units(burst);
                tokio::time::sleep(Duration::from_millis(typing_ms)).await;
            }
        }
        Action::Insert { doc, path, text } => {
            let Some(now) = path.find(&document).and_then(Value::as_str) else {
                return Err(absent("no such text"));
            };
            if !now.contains(&text) {
                watch.time(engine.splice(&doc, &path, units(now), 0, &text)).await?;
            }
        }
        Action::Replace { doc, path, find, with } => {
            let Some(now) = path.find(&document).and_then(Value::as_str) else {
                return Err(absent("no such text"));
            };
            if !now.contains(&with) {
                let Some(byte) = now.find(&find) else {
                    let reason = "somebody else had replaced the phrase".to_owned();
                    return Ok(Reply::Skipped { step, reason });
                };
                watch.time(engine.splice(&doc, &path, units(&now[..byte]), units(&find), &with)).await?;
            }
        }
        Action::Set { doc, path, value } => {
            if path.resolve(&document).is_none() {
                return Err(absent("no such field"));
            }
            replaced = engine.values(&doc, &path).await?;
            watch.time(engine.set(&doc, &path, &value)).await?;
        }
    }
    Ok(Reply::Edited { step, us_max: watch.us_max, calls: watch.calls, replaced })
}

#[derive(Default)]
struct StopWatch {
    us_max: u64,
    calls: u32,
}

impl StopWatch {
    async fn time<T>(&mut self, call: impl Future<Output = T>) -> T {
        let started = Instant::now();
        let result = call.await;
        let us = u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.us_max = self.us_max.max(us);
        self.calls += 1;
        result
    }
}

/// The script waits until everybody has what is edited next, so a missing place is a fault of the engine.
fn absent(what: &str) -> EngineError {
    EngineError(what.to_owned())
}

/// UTF-16 code units.
fn units(text: &str) -> usize {
    text.encode_utf16().count()
}

/// Bytes of the longest beginning of `wanted` with which `now` ends.
fn overlap(now: &str, wanted: &str) -> usize {
    let ends = wanted.char_indices().map(|(index, _)| index).rev();
    ends.take_while(|end| *end > 0).find(|end| now.ends_with(&wanted[..*end])).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::protocol::Connection;

    /// An engine in memory, without network.
    struct Memory(Value);

    impl Memory {
        fn text(&mut self, path: &Path) -> &mut Value {
            path.find_mut(&mut self.0).unwrap()
        }
    }

    impl Engine for Memory {
        async fn start(&mut self, start: &Start) -> Result<String, EngineError> {
            Ok(format!("card {}", start.phone))
        }
        async fn found(
            &mut self,
            _: &[Person],
            _: &[Space],
        ) -> Result<BTreeMap<String, String>, EngineError> {
            Ok(BTreeMap::new())
        }
        async fn admit(&mut self, card: &str, _: &Person, _: &str) -> Result<String, EngineError> {
            Ok(card.into())
        }
        async fn join(&mut self, _: &str, _: &BTreeMap<String, String>) -> Result<(), EngineError> {
            Err(EngineError("no".into()))
        }
        async fn remove(&mut self, _: &str, _: &Person, _: Departure) -> Result<(), EngineError> {
            Ok(())
        }
        async fn create(&mut self, _: &str, _: &str, content: &Value) -> Result<String, EngineError> {
            self.0 = content.clone();
            Ok("id".into())
        }
        async fn open(&mut self, _: &str, _: &str, _: &str) -> Result<(), EngineError> {
            Ok(())
        }
        async fn dump(&mut self, _: &str) -> Result<Option<Value>, EngineError> {
            Ok(Some(self.0.clone()).filter(|value| !value.is_null()))
        }
        async fn values(&mut self, _: &str, path: &Path) -> Result<Vec<Value>, EngineError> {
            Ok(path.find(&self.0).cloned().into_iter().collect())
        }
        async fn splice(
            &mut self,
            _: &str,
            path: &Path,
            at: usize,
            delete: usize,
            insert: &str,
        ) -> Result<(), EngineError> {
            let text = self.text(path);
            let mut now: Vec<u16> = text.as_str().unwrap().encode_utf16().collect();
            now.splice(at..at + delete, insert.encode_utf16());
            *text = json!(String::from_utf16(&now).unwrap());
            Ok(())
        }
        async fn set(&mut self, _: &str, path: &Path, value: &Value) -> Result<(), EngineError> {
            *self.text(path) = value.clone();
            Ok(())
        }
        async fn append(&mut self, _: &str, list: &Path, entry: &Value) -> Result<(), EngineError> {
            self.text(list).as_array_mut().unwrap().push(entry.clone());
            Ok(())
        }
        async fn network_changed(&mut self) -> Result<(), EngineError> {
            Ok(())
        }
        async fn status(&mut self) -> Result<Status, EngineError> {
            Ok(Status { connection: Connection::Live, ..Status::default() })
        }
        async fn hashes(&mut self) -> Result<Vec<(String, Option<String>)>, EngineError> {
            Ok(vec![])
        }
        async fn stop(&mut self) -> Result<(), EngineError> {
            Ok(())
        }
    }

    fn start() -> Memory {
        Memory(json!({"list": [{"id": "b", "text": "𝄞 cũ: thu 500.000 đồng", "due": "a"}]}))
    }

    async fn make(engine: &mut Memory, action: Action) -> Reply {
        edit(engine, 1, action, 0).await.unwrap()
    }

    fn at(path: &str) -> Path {
        path.parse().unwrap()
    }

    #[tokio::test]
    async fn replaces_behind_characters_of_two_units_and_skips_what_is_gone() {
        let mut engine = start();
        let action = Action::Replace {
            doc: "d".into(),
            path: at("list/#b/text"),
            find: "500.000 đồng".into(),
            with: "một triệu".into(),
        };
        assert!(matches!(make(&mut engine, action.clone()).await, Reply::Edited { calls: 1, .. }));
        assert_eq!(engine.0["list"][0]["text"], "𝄞 cũ: thu một triệu");
        assert!(matches!(make(&mut engine, action.clone()).await, Reply::Edited { calls: 0, .. }), "again");
        engine.0["list"][0]["text"] = json!("khác");
        assert!(matches!(make(&mut engine, action).await, Reply::Skipped { .. }));
    }

    #[tokio::test]
    async fn typing_goes_on_where_a_crash_left_it() {
        let text = "Chi bộ nhất trí với chương trình của buổi sinh hoạt tối nay.";
        for cut in text.char_indices().map(|(index, _)| index) {
            let mut engine = Memory(json!({"text": format!("Trước đó. {}", &text[..cut])}));
            let action = Action::Type { doc: "d".into(), path: at("text"), text: text.into() };
            make(&mut engine, action.clone()).await;
            assert_eq!(engine.0["text"], format!("Trước đó. {text}"));
            assert!(matches!(make(&mut engine, action).await, Reply::Edited { calls: 0, .. }));
        }
    }

    #[tokio::test]
    async fn appending_twice_makes_one_entry_and_setting_tells_what_stood_there() {
        let mut engine = start();
        let entry = json!({"id": "n", "text": "ý"}).as_object().cloned().unwrap();
        let action = Action::Append { doc: "d".into(), list: at("list"), entry };
        make(&mut engine, action.clone()).await;
        make(&mut engine, action).await;
        assert_eq!(engine.0["list"].as_array().unwrap().len(), 2);
        let action = Action::Set { doc: "d".into(), path: at("list/#b/due"), value: json!("b") };
        let Reply::Edited { replaced, .. } = make(&mut engine, action).await else { panic!("skipped") };
        assert_eq!(replaced, [json!("a")]);
    }

    #[tokio::test]
    async fn serves_lines_and_answers_failures() {
        let commands = [
            Command::Status,
            Command::Join { welcome: String::new(), spaces: BTreeMap::new() },
            Command::Quit,
            Command::Status,
        ];
        let mut input = String::from("noise\n");
        for (id, command) in (1..).zip(commands) {
            input.push_str(&serde_json::to_string(&Request { id, command }).unwrap());
            input.push('\n');
        }
        let mut output = Vec::new();
        serve(&mut start(), input.as_bytes(), &mut output).await.unwrap();
        let replies: Vec<Response> = String::from_utf8(output)
            .unwrap()
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        assert_eq!(replies.len(), 3, "nothing after Quit");
        assert_eq!(replies[1].reply, Reply::Failed { error: "no".into() });
        assert_eq!(replies[2], Response { id: 3, reply: Reply::Done });
    }
}
