//! What a device of the committee writes into the digest: read from the branch's documents.

use std::collections::BTreeMap;

use dinh_core::replica::{Now, Replica, ReplicaError};
use dinh_core::store::Store;
use dinh_proto::charter::DocumentEntry;
use dinh_proto::ids::{DocId, SpaceId};
use serde::Serialize;

use super::{Count, Digest, Month, update};
use crate::access::{act, read};
use crate::attendance::{self, Attendance, Mark};
use crate::branch::{self, Standing};
use crate::feedback::Thread;
use crate::index::{Index, Listed};
use crate::lifecycle::Status;
use crate::minutes::{self, Minutes};
use crate::resolution::{self, Resolution};
use crate::roster::Roster;
use crate::task::Task;

/// Months that are brought up to date: what is older does not change any more.
const MONTHS: usize = 2;

/// Brings the digest up to date from what this device has; `today` is `YYYY-MM-DD`. To be called by devices of the committee after
/// documents changed. What is as it was is not written, so several devices that do this write no more than one. Returns
/// whether anything was written.
///
/// # Errors
/// If this device may not; see [`Replica::view`].
pub fn keep<S: Store>(
    replica: &mut Replica<S>,
    now: Now,
    branch: &SpaceId,
    today: &str,
) -> Result<bool, ReplicaError> {
    let Some(standing) = branch::standing(replica, branch)? else { return Ok(false) };
    let index = read(replica, &standing.members.index, Index::read)?;
    let mut months: BTreeMap<&str, Vec<(DocId, &Listed)>> = BTreeMap::new();
    for (id, listed) in index.documents.iter().filter(|(_, listed)| listed.same_as.get().is_none()) {
        if let (Some(month), Ok(doc)) = (&listed.period, id.parse()) {
            months.entry(month).or_default().push((doc, listed));
        }
    }
    let mut written = false;
    for (back, (month, documents)) in months.iter().rev().take(MONTHS).enumerate() {
        let mut found = of_documents(replica, documents)?;
        if back == 0 {
            found.counts.extend(open(replica, &standing, today)?);
        }
        let wall = i64::try_from(now.wall.0).unwrap_or(i64::MAX);
        written |= act(replica, now, &standing.digest, None, |edit, _| update(edit, wall, month, &found))?.0;
    }
    Ok(written)
}

/// The digests of all branches that this device may read, from what is on it: what a reviewer's list opens with. Documents are
/// known by their schema, so that no index is read; only what a space's own creator made counts.
///
/// # Errors
/// See [`Replica::view`].
pub fn list<S: Store>(replica: &mut Replica<S>) -> Result<Vec<(SpaceId, Digest)>, ReplicaError> {
    let device = replica.device();
    let mut documents: Vec<(SpaceId, DocId)> = Vec::new();
    for (branch, charter) in replica.charters() {
        let readable = charter.readable(&device);
        let made = |entry: &DocumentEntry| {
            charter.spaces().get(&entry.space).is_some_and(|space| space.creator == entry.creator)
        };
        let here = charter.documents().iter().filter(|(_, e)| readable.contains(&e.space) && made(e));
        let digests = here.filter(|(doc, _)| replica.schema_of(doc) == Some(super::SCHEMA.name));
        documents.extend(digests.map(|(doc, _)| (*branch, *doc)));
    }
    documents.into_iter().map(|(branch, doc)| Ok((branch, read(replica, &doc, Digest::read)?))).collect()
}

/// As snapshots name it.
fn state<S: Serialize>(status: &Status<S>) -> String {
    let name = match status {
        Status::In(state) => serde_json::to_value(state).ok(),
        Status::Disputed(_) => Some("disputed".into()),
    };
    name.as_ref().and_then(|name| name.as_str()).unwrap_or_default().to_owned()
}

fn number(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}

/// What a month's documents say.
fn of_documents<S: Store>(
    replica: &mut Replica<S>,
    documents: &[(DocId, &Listed)],
) -> Result<Month, ReplicaError> {
    let mut month = Month::default();
    let of =
        |name: &'static str| documents.iter().filter(move |(_, l)| l.schema == name).map(|(doc, _)| *doc);
    let resolutions = of(resolution::SCHEMA.name).chain(of(resolution::OPEN_SCHEMA.name));
    let mut subjects = Vec::new();
    for doc in resolutions {
        let found = read(replica, &doc, Resolution::read)?;
        month.state = Some(state(&found.life.status));
        let has_read = |round: &&crate::field::Register<u32>| round.get() == Some(&found.round);
        month.counts.insert(Count::Round, found.round);
        month.counts.insert(Count::Read, number(found.read.values().filter(has_read).count()));
        subjects.push(doc.to_string());
    }
    for doc in of(minutes::SCHEMA.name) {
        let found = read(replica, &doc, Minutes::read)?;
        if subjects.is_empty() {
            month.state = Some(state(&found.life.status));
        }
        let about = |motion: &&minutes::Motion| {
            motion.subject.as_ref().is_some_and(|(document, _)| subjects.contains(document))
        };
        if let Some(vote) = found.motions.iter().filter(about).find_map(minutes::Motion::result) {
            month.counts.insert(Count::Yes, vote.tally.yes);
            month.counts.insert(Count::Base, vote.base);
        }
    }
    for doc in of(attendance::SCHEMA.name) {
        let found = read(replica, &doc, Attendance::read)?;
        let present = found.entries.values().filter(|entry| entry.mark.get() == Some(&Mark::Present));
        month.counts.insert(Count::Present, number(present.count()));
    }
    Ok(month)
}

/// What is open in the branch today.
fn open<S: Store>(
    replica: &mut Replica<S>,
    standing: &Standing,
    today: &str,
) -> Result<[(Count, u32); 3], ReplicaError> {
    let people = read(replica, &standing.roster, Roster::read)?.shown();
    let threads = read(replica, &standing.feedback, Thread::read_all)?;
    let tasks = read(replica, &standing.tasks, Task::read_all)?;
    let is_open = |thread: &&Thread| thread.life.status.state().is_none_or(|state| !state.is_answered());
    let late_threads = threads.iter().filter(|thread| thread.is_overdue(today)).count();
    let late_tasks = tasks.iter().filter(|task| task.is_overdue(today)).count();
    Ok([
        (Count::Members, number(people.len())),
        (Count::OpenFeedback, number(threads.iter().filter(is_open).count())),
        (Count::Overdue, number(late_threads + late_tasks)),
    ])
}
