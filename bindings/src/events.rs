//! What happens to a client besides the content of documents.

use std::sync::Arc;

use dinh_core::client;
use dinh_core::replica::{self, Refuser};
use tokio::sync::Mutex;

use crate::branch::{Reason, Role};
use crate::client::Client;
use crate::error::Result;
use crate::ids;
use crate::stream::Cancel;

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq, uniffi::Enum)]
pub enum ClientEvent {
    /// A document changed.
    DocumentChanged {
        /// Which.
        doc: String,
    },
    /// Members, spaces or documents of a branch changed.
    CharterChanged {
        /// Which.
        branch: String,
    },
    /// A device was admitted. Everybody's phone should say so: a device that nobody knows of must not go unseen.
    DeviceAdded {
        /// Where.
        branch: String,
        /// The device.
        device: String,
        /// Whose it is.
        member: String,
        /// What it may do.
        role: Role,
    },
    /// A device was removed: nothing that it writes from now on counts.
    DeviceRemoved {
        /// Where.
        branch: String,
        /// The device.
        device: String,
        /// Why.
        reason: Reason,
    },
    /// This device is in the branch whose welcome it scanned.
    Joined {
        /// The branch.
        branch: String,
    },
    /// The branch's records do not confirm the welcome: it was made for another phone, or is forged. Scan again, in person.
    JoinFailed {
        /// The branch.
        branch: String,
    },
    /// The relay withholds records that who admitted this device had seen: ask another device or relay.
    Withheld {
        /// The branch.
        branch: String,
    },
    /// Something was refused for good. It is kept in quarantine.
    Refused {
        /// The item.
        item: String,
        /// Whether the relay refused it.
        by_relay: bool,
        /// Why, for logs.
        detail: String,
    },
    /// A run of an open document is kept and not shown: its author may not write what it writes. An officer may let it in.
    RunDenied {
        /// The document.
        doc: String,
        /// The run.
        run: String,
        /// Its author's device.
        device: String,
        /// Why, for people.
        detail: String,
    },
    /// This store turned out to be an old copy: own changes were written again. Nothing is lost.
    Recovered {
        /// How many changes.
        changes: u64,
    },
    /// What another device is doing: bytes of the app's.
    Presence {
        /// Where.
        space: String,
        /// The device.
        device: String,
        /// The bytes.
        payload: Vec<u8>,
    },
}

/// What happens to a client: see `Client.event_stream`.
#[derive(Debug, uniffi::Object)]
pub struct EventStream {
    events: Mutex<client::EventStream>,
    cancel: Cancel,
}

#[uniffi::export]
impl EventStream {
    /// Waits for the next event; none when the client was closed or the stream cancelled.
    pub async fn next(&self) -> Result<Option<ClientEvent>> {
        let advance = async {
            let mut events = self.events.lock().await;
            while let Some(event) = events.next().await {
                if let Some(event) = told(event) {
                    return Ok(Some(event));
                }
            }
            Ok(None)
        };
        self.cancel.unless(advance).await
    }

    /// Ends the stream, and a wait that is under way.
    pub fn cancel(&self) {
        self.cancel.cancel();
    }
}

/// Something that was refused for good.
#[derive(Debug, Clone, PartialEq, Eq, uniffi::Record)]
pub struct Quarantined {
    /// The item, if it is one.
    pub item: Option<String>,
    /// The device that made it, if it is one. Not proved if the signature is what was refused.
    pub device: Option<String>,
    /// The document, if it is of one.
    pub doc: Option<String>,
    /// Why, for people.
    pub detail: String,
    /// The bytes as they were received.
    pub bytes: Vec<u8>,
}

fn told(event: replica::Event) -> Option<ClientEvent> {
    use replica::Event;
    Some(match event {
        Event::DocumentChanged { doc, .. } | Event::DocumentReset { doc } => {
            ClientEvent::DocumentChanged { doc: ids::text(&doc) }
        }
        Event::CharterChanged { branch } => ClientEvent::CharterChanged { branch: ids::text(&branch) },
        Event::DeviceAdded { branch, device, member, role } => ClientEvent::DeviceAdded {
            branch: ids::text(&branch),
            device: ids::text(&device),
            member: ids::text(&member),
            role: role.into(),
        },
        Event::DeviceRemoved { branch, device, reason } => ClientEvent::DeviceRemoved {
            branch: ids::text(&branch),
            device: ids::text(&device),
            reason: reason.into(),
        },
        Event::Joined { branch } => ClientEvent::Joined { branch: ids::text(&branch) },
        Event::JoinFailed { branch } => ClientEvent::JoinFailed { branch: ids::text(&branch) },
        Event::Withheld { branch, .. } => ClientEvent::Withheld { branch: ids::text(&branch) },
        Event::Refused { id, by, detail, .. } => {
            ClientEvent::Refused { item: ids::text(&id), by_relay: by == Refuser::Relay, detail }
        }
        Event::RunDenied { doc, id, device, why } => ClientEvent::RunDenied {
            doc: ids::text(&doc),
            run: ids::text(&id),
            device: ids::text(&device),
            detail: why,
        },
        Event::Recovered { changes, .. } => ClientEvent::Recovered { changes: changes as u64 },
        Event::Presence { space, device, payload } => ClientEvent::Presence {
            space: ids::text(&space),
            device: ids::text(&device),
            payload: payload.to_vec(),
        },
        // The status has listeners of its own.
        _ => return None,
    })
}

#[uniffi::export]
impl Client {
    /// What happens from now on.
    pub fn event_stream(&self) -> Arc<EventStream> {
        Arc::new(EventStream { events: Mutex::new(self.core().subscribe()), cancel: Cancel::new() })
    }

    /// Everything that was refused for good.
    pub async fn quarantined(&self) -> Result<Vec<Quarantined>> {
        let of = |found: replica::Quarantined| Quarantined {
            item: found.id.as_ref().map(ids::text),
            device: found.author.map(|author| ids::text(&author.device)),
            doc: found.doc.as_ref().map(ids::text),
            detail: found.detail,
            bytes: found.bytes,
        };
        Ok(self.core().quarantined().await?.into_iter().map(of).collect())
    }

    /// Lets a run in that its author's rights do not, on all devices: by an officer.
    pub async fn release_run(&self, doc: String, run: String) -> Result<()> {
        let (doc, run) = (ids::doc(&doc)?, ids::item(&run)?);
        Ok(self.core().run(move |replica, now| replica.release_run(now, &doc, &run)).await?)
    }
}
