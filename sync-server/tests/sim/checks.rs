//! What must hold, checked with knowledge that no node has.

use std::collections::{BTreeMap, BTreeSet};

use dinh_core::document::Value;
use dinh_core::path;
use dinh_core::replica::LinkState;
use dinh_core::store::{Store, Table};
use dinh_proto::charter::Charter;
use dinh_proto::charter::record::Role;
use dinh_proto::codec::Reader;
use dinh_proto::ids::{DeviceId, DocId, ItemId, Seq, SpaceId};
use dinh_proto::item::{Item, Kind, RawItem, SpaceSum};

use crate::model::names;
use crate::net::Said;
use crate::truth::What;
use crate::world::{SECOND, World};

/// Everything must have converged this long after the last fault.
const HEAL_WITHIN: u64 = 1_800 * SECOND;

impl World {
    /// Every frame: durability and privacy.
    pub(crate) fn check_said(&mut self, conn: u64, p: usize, said: &Said) {
        self.check_privacy(conn, p, said);
        for (id, seq) in &said.acked {
            let snapshot = self.is_snapshot(id);
            let durable = self.truth.logged.get(id) == Some(seq);
            // An older snapshot is answered with the place of the newer one.
            assert!(
                durable || snapshot && self.truth.log.contains_key(&seq.0),
                "durability: {id:?} was acknowledged at {seq} and is not in the log there"
            );
            if durable && !snapshot {
                self.truth.acked.insert(*id);
            }
        }
        self.phones[p].given += said.given.len() as u64;
        let member = self.phones[p].member;
        for item in &said.given {
            let space = item.header().space;
            assert!(
                self.truth.may_read(&member, &space),
                "privacy: phone {p} was given {:?} of {space:?}",
                item.id()
            );
        }
    }

    fn is_snapshot(&self, id: &ItemId) -> bool {
        let ledger = self.ledger.borrow();
        let made = ledger.made.get(id).cloned();
        made.is_some_and(|b| RawItem::parse(b).is_ok_and(|i| i.header().kind == Kind::Snapshot))
    }

    /// The log after a start: what was durable is there, unless an older copy was put back.
    pub(crate) fn check_log_after_start(&mut self, found: &[(Seq, ItemId)]) {
        let head = Seq(found.len() as u64);
        if std::mem::take(&mut self.truth.restored) {
            self.truth.cut(head);
        }
        for (i, (seq, id)) in found.iter().enumerate() {
            assert_eq!(seq.0, i as u64 + 1, "the log has a hole");
            match self.truth.log.get(&seq.0) {
                Some(known) => assert_eq!(known, id, "the log changed at {seq}"),
                // The answer was lost, not the item.
                None => self.truth.append(*seq, *id),
            }
        }
        let lost = self.truth.log.len() - found.len();
        assert_eq!(lost, 0, "durability: the relay lost the last {lost} items of its log");
        self.served_anew();
    }

    /// No local loss: after a start everything that this phone wrote is in its documents.
    pub(crate) fn check_restarted(&mut self, p: usize) {
        let mut deeds = self.phones[p].deeds.clone();
        if !self.truth.cut.is_empty() {
            // A snapshot with a part that does not count any more is given up; its runs are fetched again, and wait until then.
            let docs: BTreeSet<DocId> =
                deeds.iter().filter_map(|i| self.truth.deeds[*i].what.doc()).collect();
            for doc in docs {
                let Some(waiting) = self.call(p, |r, _| r.waiting_runs(&doc)) else { return };
                if waiting.is_ok_and(|waiting| waiting > 0) {
                    deeds.retain(|i| self.truth.deeds[*i].what.doc() != Some(doc));
                }
            }
        }
        self.check_deeds(p, &deeds, "after its start");
    }

    /// The deeds are visible in this phone's documents.
    fn check_deeds(&mut self, p: usize, deeds: &[usize], when: &str) {
        let due: Vec<usize> = deeds.iter().copied().filter(|i| self.is_due(&self.truth.deeds[*i])).collect();
        // A phone whose disk is full may die of being looked at.
        let Some(lacking) = self.lacking(p, &due) else { return };
        if let Some(deed) = lacking.first().map(|i| &self.truth.deeds[*i]) {
            let value = deed
                .what
                .doc()
                .and_then(|doc| self.phones[p].replica.as_mut()?.view(&doc, |v| v.get(&path![])).ok());
            let deed = deed.clone();
            panic!("phone {p} {when} lacks what phone {} did: {:?}\n{value:?}", deed.phone, deed.what);
        }
    }

    /// Which of these deeds cannot be seen on this phone. `None` if the phone dies of being looked at.
    pub(crate) fn lacking(&mut self, p: usize, deeds: &[usize]) -> Option<Vec<usize>> {
        let deleted: BTreeSet<usize> = self
            .truth
            .deeds
            .iter()
            .filter_map(|d| match d.what {
                What::Delete { of, .. } => Some(of),
                _ => None,
            })
            .collect();
        let named: BTreeSet<DocId> = deeds.iter().filter_map(|i| self.truth.deeds[*i].what.doc()).collect();
        let mut docs: BTreeMap<DocId, Value> = BTreeMap::new();
        for doc in named {
            let value = self.call(p, |r, _| r.view(&doc, |v| v.get(&path![])))?;
            docs.insert(doc, value.ok().flatten().unwrap_or(Value::Null));
        }
        let seen: BTreeMap<DocId, Seen<'_>> = docs
            .iter()
            .map(|(doc, value)| (*doc, Seen::of(value, self.truth.papers_docs.contains(doc))))
            .collect();
        let seen = |doc: &DocId| &seen[doc];
        let charter = self.phones[p].replica.as_ref()?.charters().get(&self.truth.branch);
        let mut lacking = Vec::new();
        for index in deeds {
            let what = &self.truth.deeds[*index].what;
            let is_there = match what {
                What::Key { .. } if deleted.contains(index) => true,
                What::Key { doc, token } => seen(doc).keys.contains(token.as_str()),
                What::Delete { doc, of } => match &self.truth.deeds[*of].what {
                    What::Key { token, .. } => !seen(doc).keys.contains(token.as_str()),
                    _ => true,
                },
                What::Entry { doc, token } => seen(doc).entries.contains(token.as_str()),
                What::Word { doc, token } => seen(doc).words.contains(token.as_str()),
                What::Document { doc } => {
                    charter.is_some_and(|c| c.documents().contains_key(doc)) && seen(doc).is_made
                }
                What::Space { space } => charter.is_some_and(|c| c.spaces().contains_key(space)),
                What::Grant { space, member } => charter.is_some_and(|c| {
                    c.spaces().get(space).is_some_and(|s| s.everyone || s.members.contains(member))
                }),
                What::Removal { device } => charter.is_some_and(|c| c.removed().contains_key(device)),
                What::Paper { doc } => charter.is_some_and(|c| c.documents().contains_key(doc)),
                What::Act { doc, id } => seen(doc).names.contains(id.as_str()),
                What::Ballot { doc, question, member } => {
                    let at = ["ballots", question, &member.to_string()].map(str::to_owned);
                    at.iter()
                        .try_fold(&docs[doc], |value, key| match value {
                            Value::Map(map) => map.get(key),
                            _ => None,
                        })
                        .is_some()
                }
            };
            if !is_there {
                lacking.push(*index);
            }
        }
        Some(lacking)
    }

    /// Everybody is live, has nothing to send, and readers of a document have the same.
    pub(crate) fn has_converged(&mut self) -> bool {
        if self.relay.node.is_none() {
            return false;
        }
        let mut tag = None;
        let mut readable_by: Vec<BTreeSet<SpaceId>> = Vec::new();
        for (p, phone) in self.phones.iter().enumerate() {
            if self.is_out(p) {
                readable_by.push(BTreeSet::new());
                continue;
            }
            let Some(replica) = &phone.replica else { return false };
            let status = replica.status();
            if status.link != LinkState::Live || status.pending != 0 {
                return false;
            }
            let Some(charter) = replica.charters().get(&self.truth.branch) else { return false };
            if tag.is_some_and(|t| t != charter.tag()) {
                return false;
            }
            tag = Some(charter.tag());
            // By the charter on which all agree: a grant may be gone with the disk of who gave it.
            readable_by.push(charter.readable(&replica.device()).into_iter().collect());
        }
        for (doc, space) in self.truth.docs.clone() {
            let mut hash = None;
            for (p, readable) in readable_by.iter().enumerate() {
                if !readable.contains(&space) {
                    continue;
                }
                let Some(found) = self.call(p, |r, _| r.document_hash(&doc)) else { return false };
                // A document whose creator's disk was lost is known to nobody.
                let found = found.ok();
                if hash.is_some_and(|h| h != found) {
                    return false;
                }
                hash = Some(found);
            }
        }
        true
    }

    /// After the faults: liveness, quiet, and everything that can be said about the end.
    pub(crate) fn finish(&mut self) {
        self.heal();
        let healed = self.now;
        self.run_until(HEAL_WITHIN, "convergence", Self::has_converged);
        self.totals.heal_us_max = self.now - healed;
        // Half-open connections are found out by their timers only.
        self.run_for(240 * SECOND);
        self.run_for(180 * SECOND);
        assert!(
            self.now - self.last_busy >= 180 * SECOND,
            "not quiet: after convergence something was said {} s ago\n{}",
            (self.now - self.last_busy) / SECOND,
            self.describe()
        );
        assert!(self.has_converged(), "it had converged, and then diverged\n{}", self.describe());
        if self.opts.faults.clock_jump > 0 || self.opts.wrong_clocks {
            // Whose clock jumped draws new keys for old ones, by its clock, when it comes back.
            self.reconnect_everybody();
            self.run_for(60 * SECOND);
        }
        let (before, mismatches) = (self.truth.log.len(), self.mismatches());
        self.reconnect_everybody();
        assert_eq!(before, self.truth.log.len(), "a reconnect with nothing changed made items");
        assert_eq!(mismatches, self.mismatches(), "a reconnect with nothing changed found a mismatch");
        let charter = self.check_log();
        self.check_documents(&charter);
        self.check_holdings();
        self.check_stores(&charter);
        self.check_checksums_idle();
        self.totals.virtual_us = self.now;
        self.totals.items = self.truth.log.len() as u64;
    }

    /// New connections for all.
    fn reconnect_everybody(&mut self) {
        let conns: Vec<u64> = self.conns.keys().copied().collect();
        conns.into_iter().for_each(|c| self.break_conn(c));
        self.run_for(5 * SECOND);
        self.run_until(600 * SECOND, "everybody back", Self::has_converged);
    }

    fn mismatches(&self) -> u64 {
        self.phones.iter().filter_map(|p| p.replica.as_ref()).map(|r| r.counters().mismatches).sum()
    }

    /// The relay's log: nothing invented, nothing acknowledged missing. Returns the charter that it adds up to.
    fn check_log(&mut self) -> Charter {
        let node = self.relay.node.as_ref().expect("the relay is up");
        let seqs: Vec<Seq> = self.truth.log.keys().map(|seq| Seq(*seq)).collect();
        let mut charter = Charter::new(self.truth.branch);
        let mut records: Vec<Item> = Vec::new();
        let ledger = self.ledger.borrow();
        for (seq, bytes) in node.log.read(&seqs).expect("the log reads") {
            let item = RawItem::parse(bytes.clone()).expect("the log holds well-formed items");
            assert_eq!(self.truth.log.get(&seq.0), Some(&item.id()), "the log at {seq}");
            assert_eq!(
                ledger.made.get(&item.id()),
                Some(&bytes),
                "invention: the item at {seq} is not its author's"
            );
            if item.header().kind == Kind::Charter {
                records.push(item.trust());
            }
        }
        drop(ledger);
        charter.extend(&records).expect("the log's charter reads");
        for id in &self.truth.acked {
            // A relay that went back takes nothing of who was removed since.
            let item = RawItem::parse(self.ledger.borrow().made[id].clone()).expect("checked before");
            let device = item.header().author.device;
            let gone = self.truth.cut.iter().any(|(cut, _)| *cut == device);
            let may_be_gone = self.opts.faults.relay_restore > 0 && !self.truth.cut.is_empty() && gone;
            assert!(
                may_be_gone || self.truth.logged.contains_key(id),
                "durability: {id:?} was acknowledged and is not in the log at the end"
            );
        }
        charter
    }

    fn check_documents(&mut self, charter: &Charter) {
        for (p, phone) in self.phones.iter().enumerate() {
            let known = charter.devices().contains_key(&phone.device);
            assert!(known || self.is_out(p), "phone {p} is not in the charter");
        }
        for deed in self.truth.deeds.iter().filter(|d| self.is_due(d)) {
            let kept = match &deed.what {
                What::Space { space } => charter.spaces().contains_key(space),
                What::Grant { space, member } => {
                    charter.spaces().get(space).is_some_and(|s| s.members.contains(member) || s.everyone)
                }
                What::Document { doc } => charter.documents().contains_key(doc),
                What::Removal { device } => charter.removed().contains_key(device),
                _ => true,
            };
            assert!(kept, "what phone {} did is not in the charter: {:?}", deed.phone, deed.what);
        }
        let all: Vec<usize> = (0..self.truth.deeds.len()).collect();
        let mut behind_denied: BTreeMap<DocId, usize> = BTreeMap::new();
        for p in (0..self.phones.len()).filter(|p| !self.is_out(*p)).collect::<Vec<_>>() {
            let device = self.phones[p].device;
            let readable: BTreeSet<DocId> = charter
                .documents()
                .iter()
                .filter(|(_, d)| charter.can_read(&device, &d.space))
                .map(|(doc, _)| *doc)
                .collect();
            self.check_nothing_of_who_was_out(p, &readable);
            let mut whole = readable.clone();
            for doc in readable {
                let waiting = self.call(p, |r, _| r.waiting_runs(&doc));
                let Some(Ok(waiting)) = waiting else {
                    panic!("phone {p}: {doc} does not open: {waiting:?}")
                };
                let denied =
                    self.call(p, |r, _| r.denied_runs(&doc)).and_then(Result::ok).unwrap_or_default();
                // What builds on what its author's role forbids waits for an officer, on everybody's phone.
                let entry = &charter.documents()[&doc];
                let is_known =
                    !denied.is_empty() || !entry.counts || is_unread(charter, &entry.space, &device);
                assert!(waiting == 0 || is_known, "phone {p}: {waiting} runs of {doc} wait for ever");
                if waiting > 0 {
                    whole.remove(&doc);
                }
                if !denied.is_empty() {
                    let others = *behind_denied.entry(doc).or_insert(waiting);
                    assert_eq!(
                        waiting, others,
                        "phone {p}: behind a denied run of {doc} others have others waiting"
                    );
                }
            }
            let mine: Vec<usize> = all
                .iter()
                .copied()
                .filter(|i| self.truth.deeds[*i].what.doc().is_some_and(|d| whole.contains(&d)))
                .collect();
            self.check_deeds(p, &mine, "at the end");
        }
        self.check_equal_values(charter);
        let minutes = self.truth.papers.map(|papers| papers.minutes);
        let readers = (0..self.phones.len()).filter(|p| !self.is_out(*p));
        let readers: Vec<usize> = readers
            .filter(|p| {
                let entry = minutes.and_then(|doc| charter.documents().get(&doc));
                entry.is_some_and(|d| charter.can_read(&self.phones[*p].device, &d.space))
            })
            .collect();
        self.check_papers(&readers);
    }

    fn check_equal_values(&mut self, charter: &Charter) {
        for (doc, entry) in charter.documents() {
            let mut first: Option<(usize, Value)> = None;
            for p in 0..self.phones.len() {
                if !charter.can_read(&self.phones[p].device, &entry.space) {
                    continue;
                }
                let value = self.call(p, |r, _| r.view(doc, |v| v.get(&path![])));
                let value = value.and_then(Result::ok).flatten().expect("a readable document has a value");
                match &first {
                    None => first = Some((p, value)),
                    Some((other, expected)) => {
                        assert_eq!(&value, expected, "phones {other} and {p} show {doc} differently");
                    }
                }
            }
        }
    }

    /// Privacy, once more, by what is on the disks.
    fn check_holdings(&self) {
        for ((device, space), id) in &self.ledger.borrow().holdings {
            let phone = self.phones.iter().find(|p| p.device == *device);
            let Some(phone) = phone else { continue };
            assert!(
                self.truth.may_read(&phone.member, space),
                "privacy: {device:?} holds {id:?} of {space:?}, which it may not read"
            );
        }
    }

    /// What is on each phone's disk: checksums equal to the log's, nothing parked or in quarantine.
    fn check_stores(&mut self, charter: &Charter) {
        let sums = self.sums_of_log();
        for p in 0..self.phones.len() {
            let phone = &mut self.phones[p];
            let replica = phone.replica.take().expect("all phones are up");
            let counters = replica.counters();
            self.totals.mismatches += counters.mismatches;
            self.totals.refused += counters.refused;
            self.totals.recoveries += counters.recoveries;
            self.totals.snapshots_made += counters.snapshots_made;
            self.totals.snapshots_used += counters.snapshots_used;
            self.totals.reconciles += counters.reconciles;
            let store = replica.close().expect("a replica closes");
            let rows = |table: Table| {
                let mut rows = Vec::new();
                store
                    .read(|tx| {
                        tx.scan(table, &[], None, &mut |k, v| {
                            rows.push((k.to_vec(), v.to_vec()));
                            Ok(std::ops::ControlFlow::Continue(()))
                        })
                    })
                    .expect("the store reads");
                rows
            };
            if self.is_out(p) {
                continue;
            }
            let device = self.phones[p].device;
            for (key, _) in rows(Table::Unsealed) {
                let doc = DocId(key[..16].try_into().expect("a document"));
                let space = self.space_of(&doc);
                let readable = space.is_none_or(|space| charter.can_read(&device, &space));
                assert!(!readable, "phone {p}: changes of {doc}, which it reads, are in no item");
            }
            for table in [Table::Parked, Table::Outbox, Table::Backfills] {
                assert_eq!(rows(table).len(), 0, "phone {p}: something is left in {}", table.name());
            }
            if !self.phones.iter().any(|other| other.may_fork) && self.truth.cut.is_empty() {
                assert_eq!(rows(Table::Quarantine).len(), 0, "phone {p}: something is in quarantine");
            }
            let mut mine: BTreeMap<SpaceId, SpaceSum> = BTreeMap::new();
            for (key, value) in rows(Table::Sums) {
                let mut r = Reader::new(&key);
                let space = SpaceId(r.array("space").expect("a space"));
                let sum = u128::from_le_bytes(value.try_into().expect("16 bytes"));
                mine.insert(space, SpaceSum(sum));
            }
            for (space, sum) in &sums {
                if charter.can_read(&self.phones[p].device, space) {
                    assert_eq!(
                        mine.get(space).copied().unwrap_or_default(),
                        *sum,
                        "cursor: phone {p} does not have what the log has of {space:?}"
                    );
                }
            }
        }
    }

    fn sums_of_log(&self) -> BTreeMap<SpaceId, SpaceSum> {
        let mut sums: BTreeMap<SpaceId, SpaceSum> = BTreeMap::new();
        let ledger = self.ledger.borrow();
        for id in self.truth.log.values() {
            let item = RawItem::parse(ledger.made[id].clone()).expect("checked before");
            if item.header().kind != Kind::Snapshot {
                sums.entry(item.header().space).or_default().add(id);
            }
        }
        sums
    }
}

/// A document's content as the deeds name it.
#[derive(Default)]
struct Seen<'a> {
    keys: BTreeSet<&'a str>,
    entries: BTreeSet<&'a str>,
    words: BTreeSet<&'a str>,
    is_made: bool,
    /// Of a document of the model.
    names: BTreeSet<String>,
}

impl<'a> Seen<'a> {
    fn of(value: &'a Value, of_model: bool) -> Self {
        let mut seen = Self::default();
        if of_model {
            names(value, &mut seen.names);
            return seen;
        }
        let Value::Map(root) = value else { return seen };
        if let Some(Value::Map(notes)) = root.get("notes") {
            seen.keys.extend(notes.keys().map(String::as_str));
        }
        if let Some(Value::List(items)) = root.get("items") {
            seen.entries.extend(items.iter().filter_map(Value::as_str));
        }
        if let Some(Value::Text(text)) = root.get("text") {
            seen.words.extend(text.split(' '));
        }
        seen.is_made = ["notes", "items", "text"].iter().all(|key| root.contains_key(*key));
        seen
    }
}

/// Whether a device cannot have a key of a space that it may read: whoever had it is out, or may only read.
fn is_unread(charter: &Charter, space: &SpaceId, device: &DeviceId) -> bool {
    let readers = charter.readers(space);
    charter.epochs(space).any(|(id, epoch)| {
        let lacking = charter.unwrapped(space, &id);
        let has = |d: &DeviceId| *d == epoch.issuer || !lacking.contains(d);
        let hands = |d: &DeviceId| charter.device(d).is_some_and(|found| found.role != Role::Reader);
        lacking.contains(device) && !readers.iter().any(|d| has(d) && hands(d))
    })
}
