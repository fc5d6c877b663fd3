//! The real thing: a phone's [`Engine`] is a [`Client`], and the relay is the one that operators run.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::fs::File;
use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::path::{Path as FilePath, PathBuf};
use std::time::Duration;

use dinh_core::client::{Client, ClientConfig, ClientError, RelayUrl, StoreKey};
use dinh_core::document::{Path as DocPath, Prop as DocProp, Value as DocValue};
use dinh_core::replica::{Event, LinkState, ReplicaError};
use dinh_proto::charter::record::{Audience, Reason, Role, Writers};
use dinh_proto::ids::{DocId, MemberId, SpaceId};
use dinh_proto::join::Code;
use dinh_proto::keys::{DeviceKey, SignKey};
use dinh_server::{Server, ServerConfig};
use serde_json::Value;
use tokio::io::AsyncReadExt;

use crate::action::{Path, Segment, TEXT_KEY};
use crate::cast::{Person, Space};
use crate::phone::{Engine, EngineError};
use crate::protocol::{Connection, Departure, RelayReady, Start, Status};

/// How long a phone waits for its branch after it read its welcome; shorter than the orchestrator waits for an answer.
const JOIN_TIMEOUT: Duration = Duration::from_secs(15);
/// Where a phone keeps the relay's address that it has from its welcome.
const RELAY_FILE: &str = "relay.txt";

/// One phone.
#[derive(Debug, Default)]
pub struct Dinh {
    client: Option<Client>,
    phone: usize,
    directory: PathBuf,
    /// The relay's public key, which the orchestrator told this phone.
    relay_key: String,
    /// Ids of spaces by their names in the meeting.
    spaces: BTreeMap<String, SpaceId>,
    documents: BTreeMap<String, DocId>,
}

impl Dinh {
    fn client(&self) -> Result<Client, EngineError> {
        self.client.clone().ok_or_else(|| failed("not started"))
    }

    fn doc(&self, name: &str) -> Result<DocId, EngineError> {
        self.documents.get(name).copied().ok_or_else(|| failed(format!("{name} is not opened")))
    }

    /// The branch: each phone of the meeting is in one.
    async fn branch(&self) -> Result<SpaceId, EngineError> {
        let charters = self.client()?.charters().await.map_err(failed)?;
        charters.into_keys().next().ok_or_else(|| failed("this phone is in no branch"))
    }

    fn learn_spaces(&mut self, spaces: &BTreeMap<String, String>) -> Result<(), EngineError> {
        for (name, id) in spaces {
            let id = unhex(id)?.try_into().map_err(|_| failed("a space's id is not 16 bytes"))?;
            self.spaces.insert(name.clone(), SpaceId(id));
        }
        let text = serde_json::to_vec(spaces).map_err(failed)?;
        std::fs::write(self.directory.join("spaces.json"), text).map_err(failed)
    }
}

impl Engine for Dinh {
    async fn start(&mut self, start: &Start) -> Result<String, EngineError> {
        self.phone = start.phone;
        self.directory = PathBuf::from(&start.directory);
        // An app keeps both secrets in the platform's keystore.
        let secret = |name: &str| secret(&self.directory.join(name)).map_err(failed);
        let (key, store_key) =
            (DeviceKey::from_seed(&secret("device.key")?), StoreKey::new(secret("store.key")?));
        if let Ok(text) = std::fs::read(self.directory.join("spaces.json")) {
            let spaces = serde_json::from_slice(&text).map_err(failed)?;
            self.learn_spaces(&spaces)?;
        }
        let (store, marker) = (self.directory.join("store.redb"), self.directory.join("no-backup.marker"));
        let mut config = ClientConfig::new(store, marker, key, store_key);
        self.relay_key = start.relay_info.key.clone();
        // The secretary had the relay's address from who runs it; everybody else has it from their welcome.
        let relay = match std::fs::read_to_string(self.directory.join(RELAY_FILE)) {
            Ok(relay) => Some(relay),
            Err(_) if start.phone == 0 => Some(address(&start.relay, &self.relay_key)),
            Err(_) => None,
        };
        config.relay = relay.map(|relay| RelayUrl::parse(&relay)).transpose().map_err(failed)?;
        let client = Client::open(config).await.map_err(failed)?;
        let card = Code::from(client.join_request()).link().to_string();
        self.client = Some(client);
        Ok(card)
    }

    async fn found(
        &mut self,
        people: &[Person],
        spaces: &[Space],
    ) -> Result<BTreeMap<String, String>, EngineError> {
        let client = self.client()?;
        let founder = people.first().ok_or_else(|| failed("nobody founds it"))?;
        // Would be put on paper, to replace a secretary who lost every device.
        let root = SignKey::from_seed(&random().map_err(failed)?);
        let branch = client.found_branch(root, member(founder), &founder.name).await.map_err(failed)?;
        for space in spaces {
            let audience = if space.phones.len() == people.len() {
                Audience::Everyone
            } else {
                Audience::Members(space.phones.iter().filter_map(|p| people.get(*p)).map(member).collect())
            };
            let id = client.create_space(branch, audience).await.map_err(failed)?;
            self.spaces.insert(space.name.clone(), id);
        }
        let spaces = self.spaces.iter().map(|(name, id)| (name.clone(), hex(&id.0))).collect();
        self.learn_spaces(&spaces)?;
        Ok(spaces)
    }

    async fn admit(&mut self, card: &str, person: &Person, relay: &str) -> Result<String, EngineError> {
        let (client, branch) = (self.client()?, self.branch().await?);
        let request = Code::from_link(card).and_then(Code::into_join).map_err(failed)?;
        let device = request.public.id();
        let admitted = client.admit_device(branch, member(person), role(person), request, &person.name);
        admitted.await.map_err(failed)?;
        let relay = RelayUrl::parse(&address(relay, &self.relay_key)).map_err(failed)?;
        let welcome = client.welcome(branch, device, &relay).await.map_err(failed)?;
        Ok(Code::from(welcome).link().to_string())
    }

    async fn join(&mut self, welcome: &str, spaces: &BTreeMap<String, String>) -> Result<(), EngineError> {
        let client = self.client()?;
        let welcome = Code::from_link(welcome).and_then(Code::into_welcome).map_err(failed)?;
        let relay = welcome.address();
        let mut events = client.subscribe();
        client.join_by_welcome(welcome).await.map_err(failed)?;
        let joined = async {
            loop {
                match events.next().await {
                    Some(Event::Joined { .. }) => return Ok(()),
                    Some(Event::JoinFailed { .. }) => {
                        return Err(failed("the branch is not what the code says"));
                    }
                    Some(_) => {}
                    None => return Err(failed("the client ended")),
                }
            }
        };
        tokio::time::timeout(JOIN_TIMEOUT, joined)
            .await
            .map_err(|_| failed("the relay does not bring the branch"))??;
        std::fs::write(self.directory.join(RELAY_FILE), relay).map_err(failed)?;
        self.learn_spaces(spaces)
    }

    async fn remove(&mut self, card: &str, person: &Person, departure: Departure) -> Result<(), EngineError> {
        let (client, branch) = (self.client()?, self.branch().await?);
        let device = Code::from_link(card).and_then(Code::into_join).map_err(failed)?.public.id();
        match departure {
            Departure::Lost => client.remove_device(branch, device, Reason::Lost).await,
            Departure::Left => client.remove_member(branch, member(person), Reason::Left).await,
        }
        .map_err(failed)
    }

    async fn create(&mut self, doc: &str, space: &str, content: &Value) -> Result<String, EngineError> {
        let client = self.client()?;
        let space = *self.spaces.get(space).ok_or_else(|| failed(format!("no space {space}")))?;
        let id = client.create_document(space, Writers::All).await.map_err(failed)?;
        let DocValue::Map(fields) = to_document(content, "") else {
            return Err(failed("a document is a map"));
        };
        let filled = client.edit(id, None, move |e| {
            fields.into_iter().try_for_each(|(key, value)| e.put(&DocPath::root().join(key), value))
        });
        filled.await.map_err(failed)?;
        self.documents.insert(doc.to_owned(), id);
        Ok(id.to_string())
    }

    async fn open(&mut self, doc: &str, _space: &str, doc_id: &str) -> Result<(), EngineError> {
        let id = doc_id.parse().map_err(failed)?;
        self.documents.insert(doc.to_owned(), id);
        Ok(())
    }

    async fn dump(&mut self, doc: &str) -> Result<Option<Value>, EngineError> {
        let value = self.client()?.read(self.doc(doc)?, |v| v.get(&DocPath::root())).await;
        match value {
            Ok(Some(DocValue::Map(map))) if map.is_empty() => Ok(None),
            Ok(value) => Ok(Some(serde_json::to_value(value).map_err(failed)?)),
            Err(ClientError::Replica(ReplicaError::UnknownDocument(_))) => Ok(None),
            Err(error) => Err(failed(error)),
        }
    }

    async fn values(&mut self, doc: &str, path: &Path) -> Result<Vec<Value>, EngineError> {
        let path = path.clone();
        let client = self.client()?;
        let read = client.read(self.doc(doc)?, move |v| {
            let place = resolve(&path, |p| v.get(p), |p| v.len(p));
            place.map(|p| v.conflicts(&p).into_iter().map(|c| c.value).collect::<Vec<_>>())
        });
        let values = read.await.map_err(failed)?.unwrap_or_default();
        values.iter().map(|v| serde_json::to_value(v).map_err(failed)).collect()
    }

    async fn splice(
        &mut self,
        doc: &str,
        path: &Path,
        at: usize,
        delete: usize,
        insert: &str,
    ) -> Result<(), EngineError> {
        let (path, insert) = (path.clone(), insert.to_owned());
        let client = self.client()?;
        let edit = client.edit(self.doc(doc)?, None, move |e| {
            let Some(place) = resolve(&path, |p| e.view().get(p), |p| e.view().len(p)) else {
                return Ok(false);
            };
            e.splice_text(&place, at, delete, &insert).map(|()| true)
        });
        done(edit.await, "no such text")
    }

    async fn set(&mut self, doc: &str, path: &Path, value: &Value) -> Result<(), EngineError> {
        let (path, value) = (path.clone(), to_document(value, ""));
        let client = self.client()?;
        let edit = client.edit(self.doc(doc)?, None, move |e| {
            let Some(place) = resolve(&path, |p| e.view().get(p), |p| e.view().len(p)) else {
                return Ok(false);
            };
            e.put(&place, value).map(|()| true)
        });
        done(edit.await, "no such field")
    }

    async fn append(&mut self, doc: &str, list: &Path, entry: &Value) -> Result<(), EngineError> {
        let (list, entry) = (list.clone(), to_document(entry, ""));
        let client = self.client()?;
        let edit = client.edit(self.doc(doc)?, None, move |e| {
            let Some(place) = resolve(&list, |p| e.view().get(p), |p| e.view().len(p)) else {
                return Ok(false);
            };
            e.push(&place, entry).map(|()| true)
        });
        done(edit.await, "no such list")
    }

    async fn network_changed(&mut self) -> Result<(), EngineError> {
        self.client()?.network_changed();
        Ok(())
    }

    async fn status(&mut self) -> Result<Status, EngineError> {
        let client = self.client()?;
        let status = client.status().borrow().clone();
        Ok(Status {
            connection: match status.link {
                LinkState::Offline => Connection::Offline,
                LinkState::Connecting => Connection::Connecting,
                LinkState::CatchingUp => Connection::CatchingUp,
                LinkState::Live => Connection::Live,
            },
            pending: status.pending as u64,
            last_seq: status.received.0,
            items: client.items_held().await.map_err(failed)?,
        })
    }

    async fn hashes(&mut self) -> Result<Vec<(String, Option<String>)>, EngineError> {
        let client = self.client()?;
        let mut hashes = Vec::new();
        for (name, doc) in &self.documents {
            let arrived = client.document(*doc, |d| !d.heads().is_empty()).await.unwrap_or(false);
            let hash = if arrived { client.document_hash(*doc).await.ok() } else { None };
            hashes.push((name.clone(), hash.map(|h| hex(&h[..8]))));
        }
        Ok(hashes)
    }

    async fn stop(&mut self) -> Result<(), EngineError> {
        match self.client.take() {
            Some(client) => client.shutdown().await.map_err(failed),
            None => Ok(()),
        }
    }
}

/// Runs a relay until stdin ends: then whoever started it is gone.
///
/// # Errors
/// If it cannot start, or has to stop.
pub async fn relay(data: PathBuf, listen: SocketAddr) -> io::Result<()> {
    let running = Server::start(ServerConfig::new(data, listen)).await.map_err(io::Error::other)?;
    let (listening, key) = (running.local_addr().to_string(), running.public().to_string());
    let ready = RelayReady { listening, key };
    println!("{}", serde_json::to_string(&ready)?);
    let mut ignored = [0; 64];
    let mut stdin = tokio::io::stdin();
    let orphaned = async { while stdin.read(&mut ignored).await.is_ok_and(|n| n > 0) {} };
    tokio::select! {
        error = running.failed() => return Err(io::Error::other(error)),
        () = orphaned => {}
    }
    running.shutdown().await.map_err(io::Error::other)
}

/// Where a path of the meeting leads now.
fn resolve(
    path: &Path,
    get: impl Fn(&DocPath) -> Option<DocValue>,
    len: impl Fn(&DocPath) -> usize,
) -> Option<DocPath> {
    path.segments().iter().try_fold(DocPath::root(), |here, segment| {
        let step = match segment {
            Segment::Key(key) => DocProp::Key(key.clone()),
            Segment::Id(id) => {
                let has_id = |index: &usize| {
                    let found = get(&here.join(*index).join("id"));
                    found.as_ref().and_then(DocValue::as_str) == Some(id)
                };
                DocProp::Index((0..len(&here)).find(has_id)?)
            }
        };
        Some(here.join(step))
    })
}

/// JSON as the document keeps it: strings under [`TEXT_KEY`] are collaborative text.
fn to_document(value: &Value, key: &str) -> DocValue {
    match value {
        Value::Null => DocValue::Null,
        Value::Bool(value) => DocValue::Bool(*value),
        Value::Number(number) => {
            number.as_i64().map_or_else(|| DocValue::F64(number.as_f64().unwrap_or_default()), DocValue::Int)
        }
        Value::String(text) if key == TEXT_KEY => DocValue::text(text.as_str()),
        Value::String(text) => DocValue::from(text.as_str()),
        Value::Array(list) => DocValue::List(list.iter().map(|value| to_document(value, "")).collect()),
        Value::Object(map) => {
            DocValue::Map(map.iter().map(|(key, value)| (key.clone(), to_document(value, key))).collect())
        }
    }
}

fn done<T>(edit: Result<(bool, T), ClientError>, absent: &str) -> Result<(), EngineError> {
    if edit.map_err(failed)?.0 { Ok(()) } else { Err(failed(absent)) }
}

fn address(host: &str, key: &str) -> String {
    format!("ws://{host}/dinh/v1#{key}")
}

fn role(person: &Person) -> Role {
    match person.role.as_str() {
        "deputy_secretary" => Role::Deputy,
        "committee_member" => Role::Committee,
        _ => Role::Member,
    }
}

/// The roster's short ids are enough of an identity for a play.
fn member(person: &Person) -> MemberId {
    let mut id = [0; 16];
    let bytes = person.member.as_bytes();
    let n = bytes.len().min(id.len());
    id[..n].copy_from_slice(&bytes[..n]);
    MemberId(id)
}

/// A secret of this phone, made at the first start. A real app keeps it in the platform's keystore, not in a file.
fn secret(path: &FilePath) -> io::Result<[u8; 32]> {
    match std::fs::read(path) {
        Ok(bytes) => bytes.try_into().map_err(|_| io::Error::other("the secret's file is damaged")),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let seed = random()?;
            let mut file = File::create(path)?;
            file.write_all(&seed)?;
            file.sync_all()?;
            Ok(seed)
        }
        Err(error) => Err(error),
    }
}

fn random() -> io::Result<[u8; 32]> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).map_err(io::Error::other)?;
    Ok(bytes)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

fn unhex(text: &str) -> Result<Vec<u8>, EngineError> {
    let byte = |i: usize| text.get(i..i + 2).and_then(|pair| u8::from_str_radix(pair, 16).ok());
    let bytes: Option<Vec<u8>> = (0..text.len()).step_by(2).map(byte).collect();
    bytes.ok_or_else(|| failed("not hexadecimal"))
}

fn failed(error: impl Display) -> EngineError {
    EngineError(error.to_string())
}
