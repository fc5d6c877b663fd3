//! Many phones at one relay: who is connected, time that passes, what each phone was told.

use std::time::Duration;

use dinh_core::path;
use dinh_core::replica::{Counters, Event, LinkState, Replica};
use dinh_core::store::{MemoryStore, Store};
use dinh_proto::charter::Charter;
use dinh_proto::charter::record::JoinRequest;
use dinh_proto::ids::{DeviceId, DocId, MemberId, SpaceId};
use dinh_proto::join::Welcome;
use dinh_proto::time::WallTime;
use dinh_server::hub::PeerId;

use super::{NOW, Relay, Role, SignKey, key, phone, put_token, tokens};

/// The secret of the root key of every branch here.
pub(crate) const ROOT: [u8; 32] = [200; 32];

pub(crate) fn root() -> SignKey {
    SignKey::from_seed(&ROOT)
}

/// A phone, its connection if it has one, and what it told its app.
pub(crate) struct Node<S: Store = MemoryStore> {
    pub phone: Replica<S>,
    pub seed: u8,
    pub peer: Option<PeerId>,
    pub events: Vec<Event>,
}

/// A relay and phones; phone `i` has the key of seed `i + 1`.
pub(crate) struct Net<S: Store = MemoryStore> {
    pub relay: Relay,
    pub nodes: Vec<Node<S>>,
    pub branch: SpaceId,
}

/// The member whose first phone is phone `i`.
pub(crate) fn member(i: usize) -> MemberId {
    MemberId([i as u8 + 1; 16])
}

impl Net {
    /// A branch: the first phone is the secretary's, the others have these roles. All are connected and know each other.
    pub(crate) fn branch(roles: &[Role]) -> Self {
        let mut net = Self { relay: Relay::new(), nodes: Vec::new(), branch: SpaceId::default() };
        net.add();
        net.branch = net.p(0).found_branch(&root(), member(0), "phone 0").unwrap();
        net.on(0);
        for (i, role) in roles.iter().enumerate() {
            net.add();
            net.admit(i + 1, *role);
        }
        net.settle();
        net
    }

    /// One more phone, in no branch.
    pub(crate) fn add(&mut self) -> usize {
        let seed = self.nodes.len() as u8 + 1;
        self.nodes.push(Node { phone: phone(seed), seed, peer: None, events: Vec::new() });
        self.nodes.len() - 1
    }

    /// The secretary admits a phone as its own member's, which joins by the welcome.
    pub(crate) fn admit(&mut self, i: usize, role: Role) {
        let (branch, request) = (self.branch, self.p(i).join_request());
        self.p(0).admit_device(branch, member(i), role, request, &format!("phone {i}")).unwrap();
        let welcome = self.welcome(0, i);
        self.p(i).join_by_welcome(&welcome).unwrap();
        self.on(i);
        self.settle();
    }

    /// The secretary admits a device of which only the key is there.
    pub(crate) fn admit_named(&mut self, member: MemberId, seed: u8, name: &str) {
        let (branch, request) = (self.branch, JoinRequest::new(&key(seed)));
        self.p(0).admit_device(branch, member, Role::Member, request, name).unwrap();
    }

    pub(crate) fn put_text(&mut self, i: usize, doc: &DocId, text: &str) {
        self.p(i).edit(NOW, doc, None, |e| e.set_text(&path!["text"], text)).unwrap();
        self.settle();
    }

    /// The store of a phone as it is, opened again.
    pub(crate) fn reopen(&mut self, i: usize) {
        self.off(i);
        let fresh = phone(250);
        let node = &mut self.nodes[i];
        let store = std::mem::replace(&mut node.phone, fresh).close().unwrap();
        let config = super::config();
        node.phone = Replica::open(store, key(node.seed), config, [node.seed ^ 0x55; 32]).unwrap();
    }

    /// A copy of a phone's store, as a thief of the phone has it.
    pub(crate) fn copy(&mut self, i: usize) -> MemoryStore {
        let online = self.nodes[i].peer.is_some();
        self.reopen(i);
        let fresh = phone(250);
        let store = std::mem::replace(&mut self.nodes[i].phone, fresh).close().unwrap();
        self.nodes[i].phone = super::restored(&store, self.nodes[i].seed ^ 0x33, self.nodes[i].seed);
        if online {
            self.on(i);
            self.settle();
        }
        store
    }
}

impl<S: Store> Net<S> {
    pub(crate) fn p(&mut self, i: usize) -> &mut Replica<S> {
        &mut self.nodes[i].phone
    }

    pub(crate) fn device(&self, i: usize) -> DeviceId {
        self.nodes[i].phone.device()
    }

    /// The first space.
    pub(crate) fn space(&self) -> SpaceId {
        *self.charter(0).spaces().keys().next().unwrap()
    }

    /// What a phone shows to another that it has admitted.
    pub(crate) fn welcome(&self, by: usize, to: usize) -> Welcome {
        let relay = super::relay_key().public();
        self.nodes[by].phone.welcome(self.branch, self.device(to), relay, "wss://relay.example").unwrap()
    }

    pub(crate) fn charter(&self, i: usize) -> &Charter {
        &self.nodes[i].phone.charters()[&self.branch]
    }

    pub(crate) fn counters(&self, i: usize) -> Counters {
        self.nodes[i].phone.counters()
    }

    pub(crate) fn on(&mut self, i: usize) {
        let node = &mut self.nodes[i];
        if node.peer.is_none() {
            node.peer = Some(self.relay.connect(&mut node.phone));
        }
    }

    pub(crate) fn off(&mut self, i: usize) {
        if let Some(peer) = self.nodes[i].peer.take() {
            self.relay.hub.handle_disconnected(self.relay.now.mono, peer);
            self.nodes[i].phone.handle_disconnected();
        }
    }

    /// Connects these and carries frames until nobody has anything to say.
    pub(crate) fn meet(&mut self, phones: &[usize]) {
        phones.iter().for_each(|i| self.on(*i));
        self.settle();
    }

    pub(crate) fn settle(&mut self) {
        let mut connected: Vec<_> =
            self.nodes.iter_mut().filter_map(|n| Some((&mut n.phone, n.peer?))).collect();
        self.relay.settle(&mut connected);
        for node in &mut self.nodes {
            while let Some(event) = node.phone.poll_event() {
                node.events.push(event);
            }
        }
    }

    /// Time passes: phones look what is needed of them, and do it.
    pub(crate) fn pass(&mut self, time: Duration) {
        let step = Duration::from_secs(1);
        let end = self.relay.now.mono + time;
        while self.relay.now.mono < end {
            let now = &mut self.relay.now;
            now.mono = now.mono + step.min(Duration::from_millis(end.0 - now.mono.0));
            now.wall = WallTime(NOW.wall.0 + (now.mono.0 - NOW.mono.0));
            for node in &mut self.nodes {
                let ended = node.phone.handle_timeout(self.relay.now).unwrap();
                assert_eq!(ended, None);
            }
            self.relay.hub.handle_timeout(self.relay.now.mono);
            self.relay.run_effects();
            self.settle();
        }
    }

    /// Long enough for everybody to have done what a branch needs of them.
    pub(crate) fn tend(&mut self) {
        self.pass(Duration::from_secs(12));
    }

    pub(crate) fn put(&mut self, i: usize, doc: &DocId, token: &str) {
        put_token(self.p(i), doc, token);
        self.settle();
    }

    pub(crate) fn tokens(&mut self, i: usize, doc: &DocId) -> Vec<String> {
        tokens(self.p(i), doc)
    }

    /// All of these phones have exactly these tokens, the same document and nothing left to do.
    pub(crate) fn assert_same(&mut self, phones: &[usize], doc: &DocId, expected: &[&str]) {
        self.assert_same_but(phones, doc, expected, 0);
    }

    /// The same, with this many runs that nobody has a key for.
    pub(crate) fn assert_same_but(
        &mut self,
        phones: &[usize],
        doc: &DocId,
        expected: &[&str],
        sealed_up: usize,
    ) {
        let mut expected = expected.to_vec();
        expected.sort_unstable();
        let mut hashes = Vec::new();
        for i in phones {
            assert_eq!(self.tokens(*i, doc), expected, "phone {i}");
            assert_eq!(self.p(*i).waiting_runs(doc).unwrap(), sealed_up, "phone {i}");
            hashes.push(self.p(*i).document_hash(doc).unwrap());
            if self.nodes[*i].peer.is_some() {
                let status = self.p(*i).status();
                assert_eq!((status.pending, status.link), (0, LinkState::Live), "phone {i}");
            }
        }
        hashes.dedup();
        assert_eq!(hashes.len(), 1, "{phones:?} do not have the same document");
    }

    /// How often a phone was told something.
    pub(crate) fn told(&self, i: usize, f: impl Fn(&Event) -> bool) -> usize {
        self.nodes[i].events.iter().filter(|e| f(e)).count()
    }

    pub(crate) fn forget_events(&mut self) {
        self.nodes.iter_mut().for_each(|n| n.events.clear());
    }
}

/// The order of numbers below `n` by a seed.
pub(crate) fn shuffled(n: usize, seed: u64) -> Vec<usize> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut order: Vec<usize> = (0..n).collect();
    for i in (1..n).rev() {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        order.swap(i, (state % (i as u64 + 1)) as usize);
    }
    order
}
