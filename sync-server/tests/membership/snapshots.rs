//! Removals and what is kept of documents: snapshots, saved views, changes that are in no item yet.

use std::cell::RefCell;
use std::ops::ControlFlow;
use std::rc::Rc;

use dinh_core::path;
use dinh_core::replica::{Replica, ReplicaConfig};
use dinh_core::store::{MemoryStore, ReadTx, Store, StoreError, Table, WriteTx};
use dinh_proto::charter::record::{Audience, Reason, Role, Writers};
use dinh_proto::ids::DocId;

use crate::pair_common::net::{Net, member};
use crate::pair_common::{NOW, key, put_token, tokens};

fn document(net: &mut Net) -> DocId {
    let branch = net.branch;
    let space = match net.charter(0).spaces().keys().next() {
        Some(space) => *space,
        None => net.p(0).create_space(branch, Audience::Everyone).unwrap(),
    };
    let doc = net.p(0).create_document(space, Writers::All).unwrap();
    net.p(0).edit(NOW, &doc, None, |e| e.put_map(&path!["tokens"])).unwrap();
    net.settle();
    doc
}

/// What phone `i` writes of this many bytes that do not compress.
fn put_bulk(net: &mut Net, i: usize, doc: &DocId, name: &str, bytes: usize) {
    let mut state = bytes as u64 ^ 0x1234_5678_9abc_def0;
    let noise: Vec<u8> = std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    })
    .take(bytes)
    .collect();
    net.p(i).edit(NOW, doc, None, |e| e.put(&path!["tokens", name], noise.clone())).unwrap();
    net.settle();
}

#[test]
fn a_snapshot_of_which_a_part_is_cut_is_given_up_and_all_converge() {
    for documents in [1, 3] {
        // 1 will be removed; the remover (0) is away when 1 writes its last.
        let mut net = Net::branch(&[Role::Member, Role::Member, Role::Member]);
        let docs: Vec<DocId> = (0..documents).map(|_| document(&mut net)).collect();
        for doc in &docs {
            net.put(1, doc, "seen by the remover");
        }
        net.off(0);
        for doc in &docs {
            net.put(1, doc, "late");
        }
        // 2 does not build on it: it was away. Then 3 makes a snapshot that holds everything.
        for doc in &docs {
            net.put(3, doc, "by 3, building on nothing late");
        }
        let made = net.counters(2).snapshots_made;
        for doc in &docs {
            put_bulk(&mut net, 2, doc, "bulk", 20_000);
            put_bulk(&mut net, 2, doc, "more bulk", 24_000);
        }
        let snapshots = net.counters(2).snapshots_made - made;
        assert!(snapshots >= documents as u64, "{snapshots}");
        // Two phones that have only the snapshot: one stays connected, one is away when the removal comes.
        let (new, away) = (net.add(), net.add());
        for i in [new, away] {
            let (branch, request) = (net.branch, net.p(i).join_request());
            net.p(2).admit_own_device(branch, request, "own").unwrap();
            let welcome = net.welcome(2, i);
            net.p(i).join_by_welcome(&welcome).unwrap();
            net.meet(&[i]);
            assert_eq!(net.counters(i).snapshots_used, documents as u64);
            assert_eq!(net.tokens(i, &docs[0]).len(), 5);
        }
        net.off(away);
        let (branch, device) = (net.branch, net.device(1));
        net.p(0).remove_device(branch, device, Reason::Expelled).unwrap();
        net.meet(&[0]);
        net.tend();
        net.meet(&[away]);
        net.tend();
        // The late run was built on by 3 and 2: it stays. So the snapshot does not hold it by right.
        let all = [0, 2, 3, new, away];
        let first = net.tokens(0, &docs[0]);
        let expected: Vec<&str> = first.iter().map(String::as_str).collect();
        for doc in &docs {
            net.assert_same(&all, doc, &expected);
        }
        // One more phone, after all that.
        let last = net.add();
        net.admit(last, Role::Member);
        net.tend();
        for doc in &docs {
            net.put(last, doc, "by the last");
            let expected: Vec<&str> = expected.iter().copied().chain(["by the last"]).collect();
            net.assert_same(&[0, 2, 3, new, away, last], doc, &expected);
        }
        // And after restarts.
        for i in [0, 2, 3, new, away, last] {
            net.reopen(i);
            net.on(i);
        }
        net.settle();
        for doc in &docs {
            let expected: Vec<&str> = expected.iter().copied().chain(["by the last"]).collect();
            net.assert_same(&[0, 2, 3, new, away, last], doc, &expected);
        }
        println!(
            "{documents} document(s), {snapshots} snapshot(s) cut by a removal: 6 of 6 phones the same, {} entries",
            expected.len() + 1
        );
    }
}

#[test]
fn a_cut_run_in_a_snapshot_that_nobody_built_on_disappears_everywhere() {
    // 1 writes while nobody else is there but 2, who makes the snapshot without building on 1's last run: 2 is offline and
    // its own run is older.
    let mut net = Net::branch(&[Role::Member, Role::Member]);
    let doc = document(&mut net);
    net.put(1, &doc, "seen by the remover");
    net.off(0);
    net.off(1);
    put_token(net.p(1), &doc, "late");
    put_bulk(&mut net, 2, &doc, "bulk", 20_000);
    net.off(2);
    net.on(1);
    net.settle();
    net.on(2);
    net.settle();
    // 2's bulk came first; now 2 is told of the late run, and the next bulk would build on it: 1 makes the snapshot.
    put_bulk(&mut net, 1, &doc, "late bulk", 30_000);
    assert!(net.counters(1).snapshots_made > 0);
    let new = net.add();
    let (branch, request) = (net.branch, net.p(new).join_request());
    net.p(2).admit_own_device(branch, request, "own").unwrap();
    let welcome = net.welcome(2, new);
    net.p(new).join_by_welcome(&welcome).unwrap();
    net.meet(&[new]);
    assert_eq!(net.counters(new).snapshots_used, 1);
    assert_eq!(net.tokens(new, &doc), ["bulk", "late", "late bulk", "seen by the remover"]);
    let device = net.device(1);
    net.p(0).remove_device(branch, device, Reason::Lost).unwrap();
    net.meet(&[0]);
    net.tend();
    net.assert_same(&[0, 2, new], &doc, &["bulk", "seen by the remover"]);
    let last = net.add();
    net.admit(last, Role::Member);
    net.tend();
    net.assert_same(&[0, 2, new, last], &doc, &["bulk", "seen by the remover"]);
    net.put(last, &doc, "on");
    net.assert_same(&[0, 2, new, last], &doc, &["bulk", "on", "seen by the remover"]);
    println!("a snapshot by the removed device, with 2 late runs: 0 of them on 4 of 4 phones");
}

/// A store that remembers how it was after every write.
#[derive(Debug, Default)]
struct Journal {
    inner: MemoryStore,
    states: Rc<RefCell<Vec<MemoryStore>>>,
}

impl Store for Journal {
    fn read<R>(&self, f: impl FnOnce(&dyn ReadTx) -> Result<R, StoreError>) -> Result<R, StoreError> {
        self.inner.read(f)
    }

    fn write<R>(
        &mut self,
        f: impl FnOnce(&mut dyn WriteTx) -> Result<R, StoreError>,
    ) -> Result<R, StoreError> {
        let result = self.inner.write(f);
        self.states.borrow_mut().push(self.inner.clone());
        result
    }
}

#[test]
fn a_power_cut_at_any_write_while_a_removal_comes_changes_nothing() {
    let mut net = Net::branch(&[Role::Member, Role::Member]);
    let doc = document(&mut net);
    net.put(1, &doc, "seen by the remover");
    net.off(0);
    net.put(1, &doc, "late");
    net.tokens(2, &doc);
    // The phone of 2 with its views saved, over a store that is cut at every write.
    net.off(2);
    let states = Rc::new(RefCell::new(Vec::new()));
    let store = Journal { inner: net.copy(2), states: states.clone() };
    let saved = store.inner.read(|tx| {
        let mut n = 0;
        tx.scan(Table::Views, &[], None, &mut |_, _| {
            n += 1;
            Ok(ControlFlow::Continue(()))
        })?;
        Ok(n)
    });
    assert_eq!(saved.unwrap(), 1, "the late run is in a saved view");
    let mut phone = Replica::open(store, key(3), ReplicaConfig::default(), [91; 32]).unwrap();
    assert_eq!(tokens(&mut phone, &doc), ["late", "seen by the remover"]);
    let (branch, device) = (net.branch, net.device(1));
    net.p(0).remove_device(branch, device, Reason::Expelled).unwrap();
    net.meet(&[0]);
    states.borrow_mut().clear();
    let peer = net.relay.connect(&mut phone);
    net.relay.settle(&mut [(&mut phone, peer)]);
    assert_eq!(tokens(&mut phone, &doc), ["seen by the remover"]);
    net.relay.hub.handle_disconnected(NOW.mono, peer);
    let states = states.take();
    for (cut, state) in states.iter().enumerate() {
        let mut again = Replica::open(state.clone(), key(3), ReplicaConfig::default(), [92; 32]).unwrap();
        let peer = net.relay.connect(&mut again);
        net.relay.settle(&mut [(&mut again, peer)]);
        assert_eq!(
            tokens(&mut again, &doc),
            ["seen by the remover"],
            "after write {cut} of {}",
            states.len()
        );
        net.relay.hub.handle_disconnected(NOW.mono, peer);
    }
    assert!(states.len() >= 3, "{}", states.len());
    println!("power cut after each of {} writes: the late run on 0 phones", states.len());
}

#[test]
fn changes_in_no_item_yet_when_the_right_is_lost_are_on_no_phone() {
    let mut net = Net::branch(&[Role::Deputy, Role::Member]);
    let branch = net.branch;
    let space = net.p(0).create_space(branch, Audience::Everyone).unwrap();
    let minutes = net.p(0).create_document(space, Writers::Officers).unwrap();
    net.p(0).edit(NOW, &minutes, None, |e| e.put_map(&path!["tokens"])).unwrap();
    net.settle();
    net.put(1, &minutes, "as deputy");
    // A key that only its author has: the deputy cannot send what it writes.
    net.off(1);
    net.off(0);
    let extra = net.device(2);
    net.p(0).change_role(branch, member(1), Role::Member).unwrap();
    net.p(0).remove_device(branch, extra, Reason::Left).unwrap();
    net.p(2).rotate_key(space).unwrap();
    net.settle();
    put_token(net.p(1), &minutes, "late");
    net.meet(&[0]);
    net.meet(&[1]);
    net.tend();
    net.assert_same(&[0, 1], &minutes, &["as deputy"]);
    net.reopen(1);
    net.meet(&[1]);
    net.put(0, &minutes, "by the secretary");
    net.assert_same(&[0, 1], &minutes, &["as deputy", "by the secretary"]);
    println!("unsent minutes of a former deputy: on 0 of 2 phones");
}
