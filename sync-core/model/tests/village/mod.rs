//! A branch with a phone for each member, and a relay.

#![allow(dead_code, clippy::unwrap_used, reason = "each test uses a part of this")]

#[path = "../../../tests/small_relay/mod.rs"]
mod small_relay;

use std::collections::BTreeSet;

use dinh_core::document::{Edit, EditError, Value};
use dinh_core::gate::rights::Schema;
use dinh_core::replica::{Now, Replica, ReplicaConfig, ReplicaError};
use dinh_core::store::MemoryStore;
use dinh_model::attendance::Attendance;
use dinh_model::feedback::Thread;
use dinh_model::field::{Fields, Writers as FieldWriters};
use dinh_model::index::Index;
use dinh_model::lifecycle::{self, Lifecycle, RESOLVE, Status};
use dinh_model::me::Me;
use dinh_model::minutes::{self, Minutes};
use dinh_model::outline::{self, Outline};
use dinh_model::overlap::{self, Overlap};
use dinh_model::resolution::Resolution;
use dinh_model::review::Review;
use dinh_model::roster::Roster;
use dinh_model::seal::{self, Seal, Verified};
use dinh_model::suggestion::{Place, Suggestion};
use dinh_model::task::Task;
use dinh_model::votebox::Question;
use dinh_proto::charter::record::{Audience, JoinRequest, Role, Writers};
use dinh_proto::ids::{DocId, MemberId, SpaceId};
use dinh_proto::keys::{DeviceKey, SignKey};
use small_relay::{SmallRelay, at};

pub(crate) const SECRETARY: usize = 0;
pub(crate) const RECORDER: usize = 1;

pub(crate) struct Village {
    relay: SmallRelay,
    pub phones: Vec<Replica<MemoryStore>>,
    pub branch: SpaceId,
    space: SpaceId,
    away: BTreeSet<usize>,
    clock: u64,
}

pub(crate) fn who(i: usize) -> MemberId {
    MemberId([i as u8 + 1; 16])
}

fn opened(i: usize, knows_the_rules: bool) -> Replica<MemoryStore> {
    let schemas: &[&Schema] = if knows_the_rules { dinh_model::SCHEMAS } else { &[] };
    let config = ReplicaConfig { schemas, ..ReplicaConfig::default() };
    let seed = [i as u8 + 1; 32];
    Replica::open(MemoryStore::new(), DeviceKey::from_seed(&seed), config, seed).unwrap()
}

/// An event as an app without the commands' checks writes it: of a thread, if its data names one.
pub(crate) fn raw_step<L: Lifecycle>(
    edit: &mut Edit<'_>,
    me: &mut Me,
    kind: &str,
    data: Vec<(&'static str, Value)>,
) -> Result<String, EditError> {
    let mut events = lifecycle::read(&edit.view());
    let thread = data.iter().find(|(key, _)| *key == "thread").and_then(|(_, id)| id.as_str());
    events.retain(|event| thread.is_none() || event.text("thread") == thread);
    let heads = lifecycle::fold::<L>(&events).heads;
    lifecycle::write(edit, me, kind, &heads, data)
}

impl Village {
    /// A secretary, and members with these roles.
    pub(crate) fn new(roles: &[Role]) -> Self {
        Self::with_lenient(roles, &[])
    }

    /// The same, with apps on some phones that do not know the rules.
    pub(crate) fn with_lenient(roles: &[Role], lenient: &[usize]) -> Self {
        let mut phones: Vec<_> = (0..=roles.len()).map(|i| opened(i, !lenient.contains(&i))).collect();
        let branch = phones[0].found_branch(&SignKey::from_seed(&[200; 32]), who(0), "thư ký").unwrap();
        for (i, role) in roles.iter().enumerate() {
            let request = JoinRequest::new(&DeviceKey::from_seed(&[i as u8 + 2; 32]));
            phones[0].admit_device(branch, who(i + 1), *role, request, "máy").unwrap();
        }
        // A branch's own space is not for the upper body.
        let audience = if roles.contains(&Role::Reviewer) {
            Audience::Members((0..=roles.len()).map(who).collect())
        } else {
            Audience::Everyone
        };
        let space = phones[0].create_space(branch, audience).unwrap();
        let invitation = phones[0].invitation(branch).unwrap();
        for phone in &mut phones[1..] {
            phone.join(&invitation).unwrap();
        }
        Self { relay: SmallRelay::default(), phones, branch, space, away: BTreeSet::new(), clock: 0 }
    }

    /// One more device of this phone's member.
    pub(crate) fn second_phone(&mut self, i: usize) -> usize {
        let new = self.phones.len();
        let request = JoinRequest::new(&DeviceKey::from_seed(&[new as u8 + 1; 32]));
        self.phones[i].admit_own_device(self.branch, request, "máy hai").unwrap();
        let mut phone = opened(new, true);
        phone.join(&self.phones[i].invitation(self.branch).unwrap()).unwrap();
        self.phones.push(phone);
        self.sync();
        new
    }

    fn now(&mut self) -> Now {
        self.clock += 10;
        at(self.clock)
    }

    /// A phone, and what time it is.
    pub(crate) fn phone(&mut self, i: usize) -> (Now, &mut Replica<MemoryStore>) {
        (self.now(), &mut self.phones[i])
    }

    pub(crate) fn sync(&mut self) {
        for _ in 0..3 {
            let before = self.relay.len();
            for i in 0..self.phones.len() {
                let now = self.now();
                if !self.away.contains(&i) {
                    self.relay.meet(&mut self.phones[i], now);
                }
            }
            // Nobody had anything that the others have not seen by now.
            if self.relay.len() == before {
                return;
            }
        }
    }

    pub(crate) fn leave(&mut self, i: usize) {
        self.away.insert(i);
    }

    pub(crate) fn come_back(&mut self, i: usize) {
        self.away.remove(&i);
    }

    pub(crate) fn create(&mut self, i: usize, writers: Writers, schema: &Schema) -> DocId {
        self.phones[i].create_document_with(self.space, writers, schema.name).unwrap()
    }

    pub(crate) fn try_act<R>(
        &mut self,
        i: usize,
        doc: &DocId,
        f: impl FnOnce(&mut Edit<'_>, &mut Me) -> Result<R, EditError>,
    ) -> Result<R, ReplicaError> {
        let now = self.now();
        let author = self.phones[i].author_now(doc).unwrap();
        let mut seed = [i as u8; 16];
        seed[8..].copy_from_slice(&self.clock.to_le_bytes());
        let mut me = Me::new(&author, now.wall.0 as i64, seed);
        self.phones[i].edit(now, doc, None, |edit| f(edit, &mut me)).map(|(result, _)| result)
    }

    pub(crate) fn act<R>(
        &mut self,
        i: usize,
        doc: &DocId,
        f: impl FnOnce(&mut Edit<'_>, &mut Me) -> Result<R, EditError>,
    ) -> R {
        self.try_act(i, doc, f).unwrap()
    }

    fn writers(&mut self, i: usize, doc: &DocId) -> FieldWriters {
        let devices = self.phones[i].charters()[&self.branch].devices();
        FieldWriters::new(self.phones[i].authors(doc), |device| devices.get(device).map(|d| d.member))
    }

    fn read<R>(&mut self, i: usize, doc: &DocId, f: impl FnOnce(&Fields<'_, '_>) -> R) -> R {
        let writers = self.writers(i, doc);
        self.phones[i].view(doc, |view| f(&Fields::new(view, &writers))).unwrap()
    }

    pub(crate) fn minutes(&mut self, i: usize, doc: &DocId) -> Minutes {
        self.read(i, doc, Minutes::read)
    }

    pub(crate) fn attendance(&mut self, i: usize, doc: &DocId) -> Attendance {
        self.read(i, doc, Attendance::read)
    }

    pub(crate) fn roster(&mut self, i: usize, doc: &DocId) -> Roster {
        self.read(i, doc, Roster::read)
    }

    pub(crate) fn resolution(&mut self, i: usize, doc: &DocId) -> Resolution {
        self.read(i, doc, Resolution::read)
    }

    pub(crate) fn threads(&mut self, i: usize, doc: &DocId) -> Vec<Thread> {
        self.read(i, doc, Thread::read_all)
    }

    pub(crate) fn questions(&mut self, i: usize, doc: &DocId) -> Vec<Question> {
        self.read(i, doc, Question::read_all)
    }

    pub(crate) fn tasks(&mut self, i: usize, doc: &DocId) -> Vec<Task> {
        self.read(i, doc, Task::read_all)
    }

    pub(crate) fn review(&mut self, i: usize, doc: &DocId) -> Review {
        self.read(i, doc, Review::read)
    }

    pub(crate) fn index(&mut self, i: usize, doc: &DocId) -> Index {
        self.read(i, doc, Index::read)
    }

    /// Blocks that several wrote in at the same time, and who.
    pub(crate) fn overlaps(&mut self, i: usize, doc: &DocId) -> Vec<Overlap> {
        let writers = self.writers(i, doc);
        self.phones[i].document(doc, |d| overlap::overlaps(d, &writers).unwrap()).unwrap()
    }

    pub(crate) fn outline(&mut self, i: usize, doc: &DocId) -> Outline {
        self.read(i, doc, Outline::read)
    }

    pub(crate) fn verified(&mut self, i: usize, doc: &DocId, found: &Seal) -> Verified {
        self.phones[i].document(doc, |d| seal::verify(d, found, &minutes::SCHEMA).unwrap()).unwrap()
    }

    /// What a new event comes after, a step that follows, and what to choose if it is disputed.
    pub(crate) fn life(
        &mut self,
        i: usize,
        doc: &DocId,
        minutes: bool,
    ) -> (Vec<String>, &'static str, String) {
        use dinh_model::resolution::state::State as R;
        use minutes::state::State as M;
        let first = |among: &[(String, String)]| (RESOLVE, among[0].0.clone());
        if minutes {
            let life = self.minutes(i, doc).life;
            let (next, choose) = match &life.status {
                Status::In(M::Planned | M::Postponed) => ("convened", String::new()),
                Status::In(M::Convened) => ("open", String::new()),
                Status::In(M::Open) => ("read_back", String::new()),
                Status::In(M::ReadBack) => ("adopted", String::new()),
                Status::In(_) => ("signed", String::new()),
                Status::Disputed(all) => {
                    first(&all.iter().map(|(id, s)| (id.clone(), format!("{s:?}"))).collect::<Vec<_>>())
                }
            };
            (life.heads, next, choose)
        } else {
            let life = self.resolution(i, doc).life;
            let (next, choose) = match &life.status {
                Status::In(R::Drafting) => ("committee_review", String::new()),
                Status::In(R::CommitteeReview) => ("consulting", String::new()),
                Status::In(R::Consulting) => ("tabled", String::new()),
                Status::In(R::Tabled) => ("adopted", String::new()),
                Status::In(_) => ("issued", String::new()),
                Status::Disputed(all) => {
                    first(&all.iter().map(|(id, s)| (id.clone(), format!("{s:?}"))).collect::<Vec<_>>())
                }
            };
            (life.heads, next, choose)
        }
    }

    /// Where a suggestion is about now.
    pub(crate) fn place(&mut self, i: usize, doc: &DocId, suggestion: &Suggestion) -> Place {
        self.phones[i].view(doc, |view| suggestion.place(view)).unwrap()
    }

    /// What this phone makes of a seal, and the text of the first block as it was sealed.
    pub(crate) fn sealed(&mut self, i: usize, doc: &DocId, found: &Seal) -> (Verified, String) {
        self.phones[i]
            .document(doc, |d| {
                let verified = seal::verify(d, found, &minutes::SCHEMA).unwrap();
                let heads: Vec<_> = d
                    .history()
                    .into_iter()
                    .map(|c| c.hash)
                    .filter(|hash| found.heads.contains(&hash.to_string()))
                    .collect();
                let view = d.view_at(&heads).unwrap();
                let block = view.keys(&dinh_core::path![outline::BLOCKS]).remove(0);
                (verified, view.text(&outline::text_of(&block)).unwrap())
            })
            .unwrap()
    }

    /// Changes that came too late: who made them and what they touch.
    pub(crate) fn late(&mut self, i: usize, doc: &DocId) -> Vec<(String, String)> {
        let found = self.minutes(i, doc).seals.get().cloned();
        self.phones[i]
            .document(doc, |d| {
                let Some(found) = found else { return Vec::new() };
                let late = seal::late(d, &found, &minutes::SCHEMA).unwrap();
                late.into_iter().map(|l| (l.change.to_string(), format!("{:?}", l.patches))).collect()
            })
            .unwrap()
    }
}
