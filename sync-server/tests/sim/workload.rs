//! What people do.

use std::collections::BTreeSet;

use bytes::Bytes;
use dinh_core::document::{EditError, Path, Value};
use dinh_core::path;
use dinh_core::replica::ReplicaError;
use dinh_proto::charter::record::{Audience, JoinRequest, Role, Writers};
use dinh_proto::error::RejectCode;
use dinh_proto::ids::{DocId, MemberId, SpaceId};
use dinh_proto::keys::{DeviceKey, SignKey};
use rand_chacha::rand_core::RngCore;

use crate::net::relay_key;
use crate::options::below;
use crate::truth::{Deed, Must, SpaceInfo, What};
use crate::world::{Happening, World};

/// Words of a branch meeting; some with the tone mark apart, as some keyboards send them.
const WORDS: [&str; 12] = [
    "chi_bộ",
    "nghị_quyết",
    "biên_bản",
    "thôn",
    "đảng_viên",
    "họp",
    "ý_kiến",
    "nước_sạch",
    "đường_làng",
    "giữ_gìn",
    "tie\u{302}\u{301}ng",
    "Việt",
];

pub(crate) fn member(n: usize) -> MemberId {
    let mut id = MemberId([7; 16]);
    id.0[0] = n as u8;
    id
}

impl World {
    /// Founds the branch and brings the first phones in, without any network.
    pub(crate) fn found(&mut self) {
        let root = SignKey::from_seed(&self.seed32());
        let key = DeviceKey::from_seed(&self.seed32());
        let secretary = self.add_phone(key, member(0), Role::Secretary);
        let found = self.call(secretary, |r, _| r.found_branch(&root, member(0), "Bí thư"));
        self.truth.branch = found.expect("no fault yet").expect("a branch is founded");
        self.create_space(secretary, Audience::Everyone);
        let space = self.truth.spaces[0].id;
        self.create_document(secretary, space);
        if self.opts.model {
            self.found_papers();
        }
        for p in 1..self.opts.phones {
            let role =
                if self.opts.reader && p + 1 == self.opts.phones { Role::Reader } else { Role::Member };
            self.join(member(p % self.opts.members), role);
        }
        self.pump_phone(secretary);
    }

    /// A new phone is admitted by the secretary, face to face.
    pub(crate) fn join(&mut self, who: MemberId, role: Role) -> Option<usize> {
        if self.phones[0].replica.is_none() || self.phones[0].suspended {
            return None;
        }
        let branch = self.truth.branch;
        let key = DeviceKey::from_seed(&self.seed32());
        let (device, request) = (key.public().id(), JoinRequest::new(&key));
        // If the secretary's phone dies of it, the other leaves.
        let shown = self.call(0, |r, _| {
            r.admit_device(branch, who, role, request, "Điện thoại")?;
            let welcome = r.welcome(branch, device, relay_key().public(), "ws://relay.example/dinh/v1")?;
            Ok((r.invitation(branch)?, welcome))
        })?;
        let (invitation, welcome) = match shown {
            Ok(shown) => shown,
            // The member has as many phones as may be.
            Err(ReplicaError::NotAuthorised(RejectCode::Quota)) => return None,
            Err(error) => panic!("a secretary admits: {error}"),
        };
        let p = self.add_phone(key, who, role);
        let by_welcome = self.chance(50);
        let joined = self.call(p, |r, _| match by_welcome {
            true => r.join_by_welcome(&welcome),
            false => r.join(&invitation).map(drop),
        });
        joined.expect("no fault yet").expect("an admitted phone joins");
        self.say(|| format!("phone {p} joins as {who:?} {role:?}"));
        self.pump_phone(0);
        self.pump_phone(p);
        Some(p)
    }

    /// Somebody does something; then the next is planned.
    pub(crate) fn act(&mut self) {
        if self.actions_left == 0 {
            return;
        }
        self.actions_left -= 1;
        let gap = self.between((1, self.opts.action_gap));
        self.after(gap, Happening::Act);
        let Some(p) = self.running_phone().filter(|p| !self.phones[*p].suspended) else { return };
        if self.opts.removals > 0 && self.chance(self.opts.removals) {
            return self.change_membership(p);
        }
        if self.opts.model && self.chance(70) {
            self.paper_act(p);
            return self.pump_phone(p);
        }
        let dice = below(&mut self.rng, 100);
        match dice {
            0..=74 => self.edit_something(p),
            75..=79 => self.delete_something(p),
            80..=84 => self.create_some_document(p),
            85..=88 => self.create_some_space(p),
            89..=91 => self.grant_something(p),
            92 => self.rotate_something(p),
            93..=96 => self.send_presence(p),
            _ => self.join_somebody(),
        }
        self.pump_phone(p);
    }

    fn some_doc(&mut self) -> Option<DocId> {
        let i = below(&mut self.rng, self.truth.docs.len() as u64) as usize;
        let doc = self.truth.docs.get(i).map(|(doc, _)| *doc);
        doc.filter(|doc| !self.truth.papers_docs.contains(doc))
    }

    pub(crate) fn deed(&mut self, p: usize, what: What, must: Must) -> usize {
        let must = self.must_of(p, &what, must);
        let index = self.truth.deeds.len();
        self.truth.deeds.push(Deed { what, must, phone: p });
        if must == Must::Yes {
            self.phones[p].deeds.push(index);
        }
        index
    }

    /// Writes down what became of an edit.
    fn edited(&mut self, p: usize, what: What, result: Option<Result<bool, ReplicaError>>) {
        self.totals.edits += 1;
        self.say(|| format!("phone {p}: {what:?} {}", if result.is_some() { "" } else { "(died of it)" }));
        match result {
            Some(Ok(changed)) => {
                assert!(changed, "phone {p}: an edit changed nothing: {what:?}");
                self.deed(p, what, Must::Yes);
            }
            None => {
                self.deed(p, what, Must::Maybe);
            }
            Some(Err(error)) => panic!("phone {p}: {what:?}: {error}"),
        }
    }

    fn edit_something(&mut self, p: usize) {
        let Some(doc) = self.some_doc() else { return };
        let ready = self.call(p, |r, _| {
            if r.may_write(&doc).is_err() {
                return Ok(false);
            }
            r.view(&doc, |v| v.get(&path!["text"]).is_some())
        });
        if !matches!(ready, Some(Ok(true))) {
            return;
        }
        let n = self.truth.deeds.len();
        let word = WORDS[below(&mut self.rng, WORDS.len() as u64) as usize];
        let token = format!("{word}·{n}·");
        let place = self.rng.next_u64();
        match below(&mut self.rng, 10) {
            0..=3 => self.edit_key(p, doc, token),
            4..=6 => self.edit_entry(p, doc, token, place),
            _ => self.edit_word(p, doc, token, place),
        }
    }

    pub(crate) fn edit_key(&mut self, p: usize, doc: DocId, token: String) {
        let path = path!["notes", token.as_str()];
        let done = self.call(p, |r, now| r.edit(now, &doc, None, |e| e.put(&path, 1_i64)));
        let token = nfc(&token);
        self.edited(p, What::Key { doc, token }, done.map(|d| d.map(|(_, change)| change.is_some())));
    }

    fn edit_entry(&mut self, p: usize, doc: DocId, token: String, place: u64) {
        let list = path!["items"];
        let done = self.call(p, |r, now| {
            r.edit(now, &doc, Some("thêm mục"), |e| {
                let len = e.view().len(&list) as u64;
                e.insert(&list, (place % (len + 1)) as usize, token.as_str())
            })
        });
        let token = nfc(&token);
        self.edited(p, What::Entry { doc, token }, done.map(|d| d.map(|(_, change)| change.is_some())));
    }

    fn edit_word(&mut self, p: usize, doc: DocId, token: String, place: u64) {
        let path = path!["text"];
        if self.opts.typing && place.is_multiple_of(5) {
            self.type_word(p, doc, &path, &token);
            return;
        }
        let done = self.call(p, |r, now| {
            r.edit(now, &doc, None, |e| {
                let text = e.view().text(&path).unwrap_or_default();
                let at = word_starts(&text);
                e.splice_text(&path, at[(place % at.len() as u64) as usize], 0, &format!("{token} "))
            })
        });
        let token = nfc(&token);
        self.edited(p, What::Word { doc, token }, done.map(|d| d.map(|(_, change)| change.is_some())));
    }

    /// Through the typing buffer: on disk when it is flushed. Where the word stands in the end, the difference of
    /// two texts decides, so that only convergence is checked.
    fn type_word(&mut self, p: usize, doc: DocId, path: &Path, token: &str) {
        let flush = self.chance(50);
        let composing = self.chance(20);
        let done = self.call(p, |r, now| {
            let text = r.view(&doc, |v| v.text(path))?.unwrap_or_default();
            r.type_text(now, &doc, path, &format!("{text}{token} "), composing)?;
            if flush { r.flush_text(now, &doc) } else { Ok(()) }
        });
        if let Some(Err(error)) = done {
            panic!("phone {p}: typing: {error}");
        }
        self.totals.edits += 1;
    }

    fn delete_something(&mut self, p: usize) {
        let Some(doc) = self.some_doc() else { return };
        let keys: Vec<(usize, String)> = self
            .truth
            .deeds
            .iter()
            .enumerate()
            .filter_map(|(i, deed)| match &deed.what {
                What::Key { doc: d, token } if *d == doc => Some((i, token.clone())),
                _ => None,
            })
            .collect();
        let i = below(&mut self.rng, keys.len() as u64) as usize;
        let Some((of, token)) = keys.get(i).cloned() else { return };
        let path = path!["notes", token.as_str()];
        let there =
            self.call(p, |r, _| Ok(r.may_write(&doc).is_ok() && r.view(&doc, |v| v.get(&path).is_some())?));
        if !matches!(there, Some(Ok(true))) {
            return;
        }
        let done = self.call(p, |r, now| r.edit(now, &doc, None, |e| e.delete(&path)));
        self.edited(p, What::Delete { doc, of }, done.map(|d| d.map(|(_, change)| change.is_some())));
    }

    fn create_some_document(&mut self, p: usize) {
        let i = below(&mut self.rng, self.truth.spaces.len() as u64) as usize;
        let space = self.truth.spaces[i].id;
        self.create_document(p, space);
    }

    /// A document with its containers. Nothing happens if this phone does not know the space or may not.
    pub(crate) fn create_document(&mut self, p: usize, space: SpaceId) -> Option<DocId> {
        let created = self.call(p, |r, _| r.create_document(space, Writers::All))?;
        let doc = match created {
            Ok(doc) => doc,
            Err(ReplicaError::UnknownSpace(_) | ReplicaError::NotAuthorised(_)) => return None,
            Err(error) => panic!("phone {p}: create_document: {error}"),
        };
        self.truth.docs.push((doc, space));
        let done = self.call(p, |r, now| {
            r.edit(now, &doc, Some("tạo"), |e| -> Result<(), EditError> {
                e.put(&path!["notes"], Value::map())?;
                e.put_list(&path!["items"])?;
                e.put_text(&path!["text"])
            })
        });
        self.edited(p, What::Document { doc }, done.map(|d| d.map(|(_, change)| change.is_some())));
        Some(doc)
    }

    fn create_some_space(&mut self, p: usize) {
        let everyone = self.phones[p].role == Role::Secretary && self.chance(50);
        let own = self.phones[p].member;
        let mut members = vec![own];
        for n in 0..self.opts.members {
            if self.chance(40) {
                members.push(member(n));
            }
        }
        let audience = if everyone { Audience::Everyone } else { Audience::Members(members) };
        self.create_space(p, audience);
    }

    pub(crate) fn create_space(&mut self, p: usize, audience: Audience) -> Option<SpaceId> {
        let branch = self.truth.branch;
        let created = self.call(p, |r, _| r.create_space(branch, audience.clone()))?;
        let space = match created {
            Ok(space) => space,
            Err(ReplicaError::NotAuthorised(_)) => return None,
            Err(error) => panic!("phone {p}: create_space: {error}"),
        };
        self.say(|| format!("phone {p}: space {space:?} for {audience:?}"));
        let members: BTreeSet<MemberId> = match &audience {
            Audience::Everyone => Default::default(),
            Audience::Members(members) => members.iter().copied().collect(),
        };
        let first = members.clone();
        let everyone = audience == Audience::Everyone;
        let creator = self.phones[p].member;
        self.truth.spaces.push(SpaceInfo { id: space, everyone, creator, members, first });
        self.deed(p, What::Space { space }, Must::Yes);
        Some(space)
    }

    fn grant_something(&mut self, p: usize) {
        let own = self.phones[p].member;
        let mine: Vec<SpaceId> =
            self.truth.spaces.iter().filter(|s| !s.everyone && s.creator == own).map(|s| s.id).collect();
        let i = below(&mut self.rng, mine.len() as u64) as usize;
        let Some(space) = mine.get(i).copied() else { return };
        let to = member(below(&mut self.rng, self.opts.members as u64) as usize);
        self.grant(p, space, to);
    }

    pub(crate) fn grant(&mut self, p: usize, space: SpaceId, to: MemberId) {
        // Known to the world before anybody can act on it.
        if let Some(info) = self.truth.spaces.iter_mut().find(|s| s.id == space) {
            info.members.insert(to);
        }
        match self.call(p, |r, _| r.grant(space, to)) {
            None => {
                self.deed(p, What::Grant { space, member: to }, Must::Maybe);
            }
            Some(Ok(())) => {
                self.say(|| format!("phone {p}: {space:?} granted to {to:?}"));
                // Somebody who does not know of it yet, or who ranks higher, may have taken it away.
                let must = if self.truth.revoked.contains(&(space, to)) { Must::Maybe } else { Must::Yes };
                self.deed(p, What::Grant { space, member: to }, must);
            }
            Some(Err(ReplicaError::UnknownSpace(_) | ReplicaError::NotAuthorised(_))) => {}
            Some(Err(error)) => panic!("phone {p}: grant: {error}"),
        }
    }

    /// A new key of some space, also at the same time as others and without a connection.
    fn rotate_something(&mut self, p: usize) {
        let i = below(&mut self.rng, self.truth.spaces.len() as u64) as usize;
        let space = self.truth.spaces[i].id;
        match self.call(p, |r, _| r.rotate_key(space)) {
            None => {}
            Some(Ok(())) => self.say(|| format!("phone {p}: {space:?} has a new key")),
            Some(Err(ReplicaError::UnknownSpace(_) | ReplicaError::NotAuthorised(_))) => {}
            Some(Err(error)) => panic!("phone {p}: rotate_key: {error}"),
        }
    }

    fn send_presence(&mut self, p: usize) {
        let space = self.truth.spaces[0].id;
        if let Some(replica) = &mut self.phones[p].replica {
            replica.send_presence(space, Bytes::from_static(b"dang go"));
        }
    }

    fn join_somebody(&mut self) {
        if self.phones.len() < self.opts.phones_max {
            let who = member(below(&mut self.rng, self.opts.members as u64) as usize);
            self.join(who, Role::Member);
        }
    }
}

/// Where a word can be put in: UTF-16 indexes.
pub(crate) fn word_starts(text: &str) -> Vec<usize> {
    let mut at = vec![0];
    let mut index = 0;
    for c in text.chars() {
        index += c.len_utf16();
        if c == ' ' {
            at.push(index);
        }
    }
    at
}

/// As the document layer stores it.
fn nfc(token: &str) -> String {
    token.replace("tie\u{302}\u{301}ng", "tiếng")
}
