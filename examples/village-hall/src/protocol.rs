//! The line protocol between the orchestrator and a phone or the relay: one JSON object a line on stdin and stdout.
//!
//! Every [`Request`] carries an id; exactly one [`Reply`] answers it with the same id, in any order, unless the phone
//! dies first. Lines of a child that are not JSON objects of this protocol are ignored, so that a library which prints
//! does not break the meeting.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::act::{Act, Doc};
use crate::cast::Person;
use crate::marks::Place;
use crate::phone::look::{Numbers, Papers, SealSeen};

/// From the orchestrator to a phone.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Request {
    /// Chosen by the orchestrator, unique in one run of the phone's process.
    pub id: u64,
    /// What to do.
    pub command: Command,
}

/// What a phone can be told.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Command {
    /// Open the store and connect. First command of every process, also after a restart.
    Start(Start),
    /// Found the branch with its spaces and standing documents. Sent once, to phone 0.
    Found {
        /// Who holds it.
        person: Person,
        /// What the branch is called.
        branch: String,
    },
    /// Admit a phone to the branch. Sent to phone 0.
    Admit {
        /// What that phone answered to `Start`.
        card: String,
        /// Who holds it.
        person: Person,
        /// `host:port` at which that phone reaches the relay. In a real hall it is the same for all.
        relay: String,
    },
    /// Join the branch from the relay, by what phone 0 answered to `Admit` for this phone.
    Join {
        /// Opaque to the orchestrator.
        welcome: String,
        /// Whether it is a member's first phone, which makes the mailbox with the upper body.
        first: bool,
    },
    /// Remove a phone from the branch. Sent to phone 0.
    Remove {
        /// What that phone answered to `Start`.
        card: String,
        /// Who holds it.
        person: Person,
        /// Why.
        departure: Departure,
    },
    /// Do what a person does; answered when it is on this phone's disk.
    Do {
        /// Step of the script.
        step: u32,
        /// The story's clock, which this phone's clock shows: milliseconds since 1970.
        at: i64,
        /// What.
        act: Act,
        /// Real milliseconds between two bursts of typing.
        typing_ms: u64,
        /// Whether it was asked before and not answered.
        again: bool,
    },
    /// The Wi-Fi is back: what Android and iOS tell apps.
    NetworkChanged,
    /// Ask for the state of the session.
    Status,
    /// Ask for every document that this phone's indexes list, with the hash of its heads.
    Held {
        /// Whether everything is looked up once more, instead of what changed.
        fresh: bool,
    },
    /// Ask for a whole document as JSON.
    Dump {
        /// Which.
        doc: Doc,
        /// Whether as it was sealed.
        sealed: bool,
    },
    /// Ask for all values that stand at a field: the winner, then those in conflict with it.
    Values {
        /// Which document.
        doc: Doc,
        /// The field.
        place: Place,
    },
    /// Ask which of these documents this phone has anything of, whether or not an index names them to it.
    Sees {
        /// Ids of documents.
        ids: Vec<String>,
    },
    /// Ask what a person sees.
    Look(Look),
    /// Close the store and exit.
    Quit,
}

/// What a person looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Look {
    /// Seals, and what came too late.
    Seals,
    /// Roll, votes, states.
    Numbers,
    /// The sealed papers, laid out.
    Papers,
}

/// What a person sees.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Seen {
    /// To [`Look::Seals`].
    Seals(Vec<SealSeen>),
    /// To [`Look::Numbers`].
    Numbers(Box<Numbers>),
    /// To [`Look::Papers`].
    Papers(Papers),
}

/// What a phone needs to run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Start {
    /// Index of the phone.
    pub phone: usize,
    /// Who holds it.
    pub person: Person,
    /// Where this phone keeps its store; exists.
    pub directory: String,
    /// `host:port` of this phone's link, which leads to the relay.
    pub relay: String,
    /// The line that the relay printed when it was ready: its key and whatever else phones must know.
    pub relay_info: RelayReady,
    /// Seeds this phone's back-off.
    pub seed: u64,
}

/// From a phone to the orchestrator.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Response {
    /// Of the request.
    pub id: u64,
    /// The answer.
    pub reply: Reply,
}

/// What a phone answers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reply {
    /// To `Start`: the code with this device's public keys, opaque to the orchestrator.
    Ready {
        /// Shown to phone 0.
        card: String,
    },
    /// To `Admit`.
    Admitted {
        /// Goes to the admitted phone in `Join`.
        welcome: String,
    },
    /// To `Found`, `Join`, `Remove`, `NetworkChanged` and `Quit`.
    Done,
    /// To `Do`: it is on this phone's disk.
    Acted {
        /// Step of the script.
        step: u32,
        /// Longest time that one call into the library took, in microseconds.
        us_max: u64,
        /// How many calls it took.
        calls: u32,
        /// If it wrote a field: the values that stood there on this phone just before; they were causally overwritten.
        replaced: Vec<Value>,
    },
    /// To `Do`: there was nothing to do, for instance because the phrase had been replaced by somebody else.
    Skipped {
        /// Step of the script.
        step: u32,
        /// Why.
        reason: String,
    },
    /// Its member may not do that; nothing was written.
    Denied {
        /// Why.
        why: String,
    },
    /// To `Status`.
    Status(Status),
    /// To `Held`.
    Held {
        /// What it is, its id, and a hash; a document that has not arrived has none.
        held: Vec<(Doc, String, Option<String>)>,
    },
    /// To `Dump`.
    Dump {
        /// The document, or null when it has not arrived.
        value: Value,
    },
    /// To `Values`.
    Values {
        /// The winner first, with whose they are, by ids in the roster.
        values: Vec<(Value, String)>,
    },
    /// To `Sees`.
    Sees {
        /// Ids of documents.
        ids: Vec<String>,
    },
    /// To `Look`.
    Seen(Seen),
    /// The command failed.
    Failed {
        /// Why.
        error: String,
    },
}

/// Why a phone is removed from the branch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Departure {
    /// The phone is lost or stolen; its owner stays a member.
    Lost,
    /// The member leaves the branch, with every device.
    Left,
}

/// State of a phone's session.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// How it stands with the relay.
    pub connection: Connection,
    /// Items on this phone that the relay has not acknowledged.
    pub pending: u64,
    /// Last `Seq` that this phone has stored.
    pub last_seq: u64,
    /// Items that this phone holds, its own and others'.
    pub items: u64,
}

/// How a phone stands with the relay.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Connection {
    /// No connection.
    #[default]
    Offline,
    /// Dialling or shaking hands.
    Connecting,
    /// Connected, receiving what it lacks.
    CatchingUp,
    /// Connected and up to date.
    Live,
}

/// First line that the relay's process prints.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RelayReady {
    /// `ip:port` where it listens.
    pub listening: String,
    /// Its public key or whatever else phones pin; opaque to the orchestrator.
    #[serde(default)]
    pub key: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_round_trip() {
        let act = Act::SetDue { task: "t1".into(), due: "ừ".into() };
        let request =
            Request { id: 7, command: Command::Do { step: 3, at: 9, act, typing_ms: 2, again: false } };
        let line = serde_json::to_string(&request).unwrap();
        assert!(!line.contains('\n'));
        assert_eq!(serde_json::from_str::<Request>(&line).unwrap(), request);

        let response = Response { id: 7, reply: Reply::Status(Status { pending: 2, ..Status::default() }) };
        let line = serde_json::to_string(&response).unwrap();
        assert_eq!(serde_json::from_str::<Response>(&line).unwrap(), response);
    }

    #[test]
    fn noise_is_not_a_response() {
        assert!(serde_json::from_str::<Response>("running 1 test").is_err());
        assert!(serde_json::from_str::<Response>("{\"id\":1}").is_err());
    }
}
