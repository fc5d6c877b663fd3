//! Who may be given what, at each point of the relay's log: a charter of the world's own, made of the records that the
//! relay has taken so far, against what is said on the links.
//!
//! The relay takes a record when it hands it to its writer; from then on it judges by it. What was on its way to a device
//! before it lost a right may still reach it on the connection that was open then, up to one window of credit, and
//! nothing that is later in the log. On every other connection, and after that, nothing may.

use std::collections::{BTreeMap, BTreeSet};

use dinh_proto::charter::Charter;
use dinh_proto::ids::{DeviceId, SpaceId};
use dinh_proto::item::{Item, Kind, RawItem};
use dinh_proto::limits;

use crate::net::Said;
use crate::world::World;

/// See the module.
#[derive(Debug)]
pub(crate) struct Served {
    /// Of the records that the relay has taken.
    pub(crate) charter: Charter,
    /// The last place that the relay has given to an item.
    staged: u64,
    readable: BTreeMap<DeviceId, BTreeSet<SpaceId>>,
    lost: BTreeMap<(DeviceId, SpaceId), Lost>,
    /// Devices that are out, with the place of the record that put them there.
    out: BTreeMap<DeviceId, u64>,
}

/// A right to read that is gone.
#[derive(Debug)]
struct Lost {
    /// What was durable then.
    head: u64,
    /// Connections that were open then, with what they were given since.
    open: BTreeMap<u64, usize>,
}

impl Served {
    pub(crate) fn new(branch: SpaceId) -> Self {
        Self {
            charter: Charter::new(branch),
            staged: 0,
            readable: BTreeMap::new(),
            lost: BTreeMap::new(),
            out: BTreeMap::new(),
        }
    }

    /// Who lost and gained what by the record at `staged`.
    fn compare(&mut self, head: u64, open: &BTreeMap<u64, DeviceId>) {
        let mut known: BTreeSet<DeviceId> = self.charter.devices().keys().copied().collect();
        known.extend(self.readable.keys().copied());
        known.extend(self.charter.removed().keys().copied());
        for device in known {
            let now = self.charter.readable(&device);
            let before = self.readable.insert(device, now.clone()).unwrap_or_default();
            for space in before.difference(&now) {
                let of_device = open.iter().filter(|(_, d)| **d == device);
                let open = of_device.map(|(conn, _)| (*conn, 0)).collect();
                self.lost.insert((device, *space), Lost { head, open });
            }
            now.difference(&before).for_each(|space| drop(self.lost.remove(&(device, *space))));
            match self.charter.removed().contains_key(&device) {
                true => drop(self.out.entry(device).or_insert(self.staged)),
                false => drop(self.out.remove(&device)),
            }
        }
    }
}

impl World {
    /// The relay begins on its log as it is.
    pub(crate) fn served_anew(&mut self) {
        let mut served = Served::new(self.truth.branch);
        let ledger = self.ledger.borrow();
        let known = self.truth.log.values().filter_map(|id| ledger.made.get(id).cloned());
        let items = known.map(|bytes| RawItem::parse(bytes).expect("phones make well-formed items"));
        let records: Vec<Item> =
            items.filter(|i| i.header().kind == Kind::Charter).map(RawItem::trust).collect();
        drop(ledger);
        served.charter.extend(&records).expect("the log's charter reads");
        served.staged = self.truth.log.len() as u64;
        served.compare(served.staged, &BTreeMap::new());
        self.served = served;
    }

    /// The relay hands items to its writer: they are taken.
    pub(crate) fn taken(&mut self, items: &[Item]) {
        if self.served.charter.is_empty() {
            self.served.charter = Charter::new(self.truth.branch);
        }
        let head = self.truth.log.len() as u64;
        for item in items {
            self.served.staged += 1;
            let header = item.header();
            if header.kind == Kind::Charter {
                self.served.charter.keep(item).expect("what the relay takes is a record");
                let conns = self.conns.iter().filter(|(_, c)| c.relay_open);
                let open = conns.map(|(id, c)| (*id, self.phones[c.phone].device)).collect();
                self.served.compare(head, &open);
            }
        }
    }

    /// Its device is out, by what the relay has taken.
    pub(crate) fn is_out(&self, p: usize) -> bool {
        self.served.out.contains_key(&self.phones[p].device)
    }

    /// The same, by what is durable at the relay: no crash takes it back.
    pub(crate) fn is_out_for_good(&self, p: usize) -> bool {
        let out = self.served.out.get(&self.phones[p].device);
        out.is_some_and(|seq| self.truth.log.contains_key(seq))
    }

    /// What the relay says to a device, against the charter at this point of its log.
    pub(crate) fn check_privacy(&mut self, conn: u64, p: usize, said: &Said) {
        let device = self.phones[p].device;
        for item in &said.given {
            let (space, id) = (item.header().space, item.id());
            let place = self.truth.logged.get(&id).map_or(u64::MAX, |seq| seq.0);
            self.check_given(conn, p, &space, place, item.as_bytes().len(), &format!("{id:?}"));
        }
        for (space, what, bytes) in &said.told {
            self.check_given(conn, p, space, 0, *bytes, what);
        }
        // The relay takes nothing from who is out but records: one that somebody else issued, whoever brings it, and one that
        // counts all the same (two devices of one member that remove each other).
        let Some(since) = self.served.out.get(&device).copied() else { return };
        for (id, seq) in &said.taken {
            let item = RawItem::parse(self.ledger.borrow().made[id].clone()).expect("the ledger has items");
            let header = item.header();
            let is_record = header.kind == Kind::Charter;
            let counts = header.author.device != device || self.served.charter.counts(id);
            assert!(
                is_record && counts || seq.0 < since,
                "revoked: the relay took {id:?} at {seq} from phone {p}, which is out since {since}"
            );
        }
    }

    fn check_given(&mut self, conn: u64, p: usize, space: &SpaceId, place: u64, bytes: usize, what: &str) {
        let device = self.phones[p].device;
        if self.served.readable.get(&device).is_some_and(|r| r.contains(space)) {
            return;
        }
        let staged = self.served.staged;
        let wrong =
            |why: &str| format!("privacy: phone {p} was given {what} of {space:?} at {staged}, {why}");
        let lost = self.served.lost.get_mut(&(device, *space));
        let lost = lost.unwrap_or_else(|| panic!("{}", wrong("which it may not read")));
        assert!(place <= lost.head, "{}", wrong("made after it lost the right to read it"));
        let given = lost.open.get_mut(&conn);
        let given = given.unwrap_or_else(|| panic!("{}", wrong("on a connection made after it lost that")));
        *given += bytes;
        let most = limits::CREDIT_BYTES as usize + limits::MESSAGE_BYTES_MAX;
        assert!(*given <= most, "{}", wrong("and more than was on its way"));
    }
}
