//! A phone's process: reads commands from stdin, carries them out on a client by the model's commands, answers on stdout.

pub mod hand;
pub mod look;
pub mod shelf;
mod start;

use std::collections::BTreeSet;
use std::fmt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use dinh_core::client::{ClientError, ClientStore};
use dinh_core::document::EditError;
use dinh_core::replica::{LinkState, ReplicaError};
use dinh_model::client::Documents;
use dinh_model::outline::text_of;
use dinh_proto::ids::DocId;
use serde_json::Value;
use tokio::io::{AsyncBufRead, AsyncBufReadExt, AsyncWrite, AsyncWriteExt};

use self::hand::{Done, Hand};
use self::look::path_of;
use self::shelf::Shelves;
use crate::act::{Act, Doc, Speech, bursts, member};
use crate::marks::{self, Mark};
use crate::protocol::{Command, Connection, Look, Reply, Request, Response, Seen, Status};

/// Words that a thumb keyboard commits at a time.
const WORDS_IN_A_BURST: usize = 5;

/// What is wrong with a phone on purpose: tests see that the account notices.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Fault {
    /// It says of its fifth act that it is saved, and does not do it.
    Forget,
    /// It hears nothing of the relay once it has joined, if it is the third one.
    Deaf,
    /// It ends by itself in the middle, if it is the second one.
    Crash,
    /// The secretary's says that phones are removed, and does not remove them.
    Keep,
}

/// One phone.
#[derive(Debug, Default)]
pub struct Phone {
    documents: Option<Documents>,
    shelves: Option<Shelves>,
    index: usize,
    /// Whose it is, by its id in the roster.
    member: String,
    directory: PathBuf,
    /// The relay's public key, which the orchestrator told this phone.
    relay_key: String,
    fault: Option<Fault>,
    acts: u32,
}

/// Why a phone could not do it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PhoneError {
    /// Its member may not.
    Denied(String),
    /// Something else.
    Failed(String),
}

impl fmt::Display for PhoneError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Self::Denied(why) | Self::Failed(why)) = self;
        f.write_str(why)
    }
}

impl From<ClientError> for PhoneError {
    fn from(error: ClientError) -> Self {
        match &error {
            ClientError::Replica(ReplicaError::Denied(_) | ReplicaError::NotAuthorised(_)) => {
                Self::Denied(error.to_string())
            }
            _ => Self::Failed(error.to_string()),
        }
    }
}

fn failed(error: impl fmt::Display) -> PhoneError {
    PhoneError::Failed(error.to_string())
}

/// An error of the play itself.
fn refused(why: &str) -> ReplicaError {
    ReplicaError::Edit(EditError::Refused(why.to_owned()))
}

type Result<T> = std::result::Result<T, PhoneError>;

/// Serves one phone until `Quit` or the end of input.
///
/// # Errors
/// If input or output fail: the orchestrator is gone.
pub async fn serve(
    phone: &mut Phone,
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
        let reply = match phone.obey(command).await {
            Ok(reply) => reply,
            Err(PhoneError::Denied(why)) => Reply::Denied { why },
            Err(PhoneError::Failed(error)) => Reply::Failed { error },
        };
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

impl Phone {
    /// A phone; see [`Fault`].
    #[must_use]
    pub fn new(fault: Option<Fault>) -> Self {
        Self { fault, ..Self::default() }
    }

    fn documents(&self) -> Result<Documents> {
        self.documents.clone().ok_or_else(|| failed("not started"))
    }

    fn shelves(&mut self) -> Result<(Documents, &mut Shelves)> {
        let documents = self.documents()?;
        Ok((documents, self.shelves.as_mut().ok_or_else(|| failed("not started"))?))
    }

    async fn obey(&mut self, command: Command) -> Result<Reply> {
        Ok(match command {
            Command::Start(start) => Reply::Ready { card: self.start(&start).await? },
            Command::Found { person, branch } => {
                self.found(&person, &branch).await?;
                Reply::Done
            }
            Command::Admit { card, person, relay } => {
                Reply::Admitted { welcome: self.admit(&card, &person, &relay).await? }
            }
            Command::Join { welcome, first } => {
                self.join(&welcome, first).await?;
                Reply::Done
            }
            Command::Remove { card, person, departure } => {
                if self.fault != Some(Fault::Keep) {
                    self.remove(&card, &person, departure).await?;
                }
                Reply::Done
            }
            Command::Do { step, at, act, typing_ms, again } => {
                self.act(step, at, act, typing_ms, again).await?
            }
            Command::NetworkChanged => {
                self.documents()?.client().network_changed();
                Reply::Done
            }
            Command::Status => Reply::Status(self.status().await?),
            Command::Held { fresh } => {
                let (documents, shelves) = self.shelves()?;
                shelves.keep_readers(&documents).await?;
                let held = shelves.held(&documents, fresh).await?;
                Reply::Held {
                    held: held.into_iter().map(|(doc, id, hash)| (doc, id.to_string(), hash)).collect(),
                }
            }
            Command::Dump { doc, sealed } => {
                let value = self.at_hand(0, move |hand| look::dump(hand, &doc, sealed)).await?;
                Reply::Dump { value: value.unwrap_or(Value::Null) }
            }
            Command::Values { doc, place } => {
                let values = self.at_hand(0, move |hand| look::values(hand, &doc, &place)).await?;
                Reply::Values { values }
            }
            Command::Sees { ids } => {
                let ids: BTreeSet<DocId> = ids.iter().filter_map(|id| id.parse().ok()).collect();
                let seen = self.documents()?.run(move |replica, _| shelf::sees(replica, &ids)).await?;
                Reply::Sees { ids: seen.iter().map(ToString::to_string).collect() }
            }
            Command::Look(what) => Reply::Seen(match what {
                Look::Seals => Seen::Seals(self.at_hand(0, look::seals).await?),
                Look::Numbers => Seen::Numbers(Box::new(self.at_hand(0, look::numbers).await?)),
                Look::Papers => Seen::Papers(self.at_hand(0, look::papers).await?),
            }),
            Command::Quit => {
                if let Some(documents) = self.documents.take() {
                    documents.client().shutdown().await?;
                }
                Reply::Done
            }
        })
    }

    async fn status(&self) -> Result<Status> {
        let documents = self.documents()?;
        let client = documents.client();
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
            items: client.items_held().await?,
        })
    }

    /// Runs something with this phone's member and documents, where nothing comes between.
    async fn at_hand<R: Send + 'static>(
        &mut self,
        at: i64,
        f: impl FnOnce(&mut Hand<'_>) -> std::result::Result<R, ReplicaError> + Send + 'static,
    ) -> Result<R> {
        let own = member(&self.member);
        let (documents, shelves) = self.shelves()?;
        let shelf = shelves.shelf(&documents, false).await?.clone();
        let run = documents.run(move |replica: &mut dinh_core::replica::Replica<ClientStore>, now| {
            f(&mut Hand::new(replica, now, at, &shelf, own)?)
        });
        Ok(run.await?)
    }

    /// Does what a person does, by the story's clock `at`. `again`: it was asked before, and the phone fell dead before it could
    /// answer: the person looks at the screen first.
    async fn act(&mut self, step: u32, at: i64, act: Act, typing_ms: u64, again: bool) -> Result<Reply> {
        self.acts += 1;
        match self.fault {
            Some(Fault::Forget) if self.acts == 5 && self.index == 2 => {
                return Ok(Reply::Acted { step, us_max: 0, calls: 0, replaced: Vec::new() });
            }
            Some(Fault::Crash) if self.acts == 4 && self.index == 1 => std::process::exit(3),
            _ => {}
        }
        let (doc, marks) = marks::of(&act, &self.member);
        let says = marks
            .iter()
            .find_map(|mark| if let Mark::Says(place, _) = mark { Some(place.clone()) } else { None });
        let (of, look) = (doc.clone(), marks.clone());
        let (replaced, is_done) = self
            .at_hand(at, move |hand| {
                let replaced = match (&says, hand.id(&of)) {
                    (Some(place), Ok(_)) => look::values(hand, &of, place)?,
                    _ => Vec::new(),
                };
                Ok((replaced, again && is_done(hand, &of, &look)?))
            })
            .await?;
        let replaced = replaced.into_iter().map(|(value, _)| value).collect();
        let mut watch = StopWatch::default();
        if !is_done {
            let speech = if let Act::Speech(speech) = &act { Some(speech.clone()) } else { None };
            let begun = match &speech {
                Some(speech) if again => self.stands(&Doc::Minutes, &speech.new.id()).await?,
                _ => false,
            };
            if !begun {
                let done = watch.time(self.at_hand(at, move |hand| hand.perform(&act))).await?;
                if let Done::Nothing(reason) = done {
                    return Ok(Reply::Skipped { step, reason });
                }
            }
            if let Some(speech) = speech {
                self.type_speech(&speech, typing_ms, &mut watch).await?;
            }
        }
        Ok(Reply::Acted { step, us_max: watch.us_max, calls: watch.calls, replaced })
    }

    async fn stands(&mut self, doc: &Doc, block: &str) -> Result<bool> {
        let (doc, at) = (doc.clone(), text_of(block));
        self.at_hand(0, move |hand| {
            let id = hand.id(&doc)?;
            hand.replica.view(&id, |v| v.text(&at).is_some())
        })
        .await
    }

    /// Types as a thumb keyboard gives it to an app: the whole field, burst by burst. What a crash left stands there already.
    async fn type_speech(&mut self, speech: &Speech, typing_ms: u64, watch: &mut StopWatch) -> Result<()> {
        let block = speech.new.id();
        let (id, mut shown) = self
            .at_hand(0, {
                let at = text_of(&block);
                move |hand| {
                    let id = hand.id(&Doc::Minutes)?;
                    Ok((id, hand.replica.view(&id, |v| v.text(&at))?.unwrap_or_default()))
                }
            })
            .await?;
        let documents = self.documents()?;
        let client = documents.client();
        let Some(rest) = speech.text.strip_prefix(shown.as_str()) else {
            return Err(failed("something else stands in the recorder's block"));
        };
        let field = client.bind_text(id, text_of(&block)).await?;
        for burst in bursts(rest, WORDS_IN_A_BURST) {
            shown.push_str(burst);
            field.set(&shown);
            watch.time(field.typed(false)).await?;
            tokio::time::sleep(Duration::from_millis(typing_ms)).await;
        }
        watch.time(field.flush()).await?;
        Ok(())
    }
}

/// Whether what an act leaves is on this phone's screen.
fn is_done(hand: &mut Hand<'_>, doc: &Doc, marks: &[Mark]) -> std::result::Result<bool, ReplicaError> {
    let Ok(id) = hand.id(doc) else { return Ok(false) };
    hand.replica.view(&id, |view| {
        !marks.is_empty()
            && marks.iter().all(|mark| match mark {
                Mark::There(place) => view.get(&path_of(place)).is_some(),
                Mark::Words(place, words) => view
                    .text(&path_of(place))
                    .or_else(|| view.get(&path_of(place)).and_then(|v| v.as_str().map(str::to_owned)))
                    .is_some_and(|text| text.contains(words.as_str())),
                // Doing these again changes nothing that is there.
                Mark::Instead(..) | Mark::Says(..) | Mark::Among(..) => false,
            })
    })
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
