//! Lost phones, own phones that remove each other, joining by codes, recovery with the root key.

use dinh_core::path;
use dinh_core::replica::{Event, ReplicaError, Taken};
use dinh_proto::charter::record::{Audience, Reason, Record, Role, Writers};
use dinh_proto::ids::DocId;
use dinh_proto::item::Kind;

use crate::pair_common::net::{Net, member, root};
use crate::pair_common::{NOW, parsed, put_token};

fn with_document(roles: &[Role]) -> (Net, DocId) {
    let mut net = Net::branch(roles);
    let branch = net.branch;
    let space = net.p(0).create_space(branch, Audience::Everyone).unwrap();
    let doc = net.p(0).create_document(space, Writers::All).unwrap();
    net.p(0).edit(NOW, &doc, None, |e| e.put_map(&path!["tokens"])).unwrap();
    net.settle();
    (net, doc)
}

/// Phone `by` admits a new phone of its own member.
fn own_phone(net: &mut Net, by: usize) -> usize {
    let new = net.add();
    let (branch, request) = (net.branch, net.p(new).join_request());
    net.p(by).admit_own_device(branch, request, "second").unwrap();
    let welcome = net.welcome(by, new);
    net.p(new).join_by_welcome(&welcome).unwrap();
    net.on(new);
    net.settle();
    new
}

#[test]
fn a_lost_phone_is_removed_by_its_owners_other_phone_offline() {
    let (mut net, doc) = with_document(&[Role::Member, Role::Member]);
    let tablet = own_phone(&mut net, 1);
    net.put(1, &doc, "by the phone");
    net.put(tablet, &doc, "by the tablet");
    let (branch, lost) = (net.branch, net.device(1));
    net.forget_events();
    net.off(tablet);
    let epochs = |net: &Net, i: usize| {
        [net.branch, net.space()].map(|s| net.charter(i).current_epoch(&s).unwrap().1.generation)
    };
    let before = epochs(&net, tablet);
    net.p(tablet).remove_device(branch, lost, Reason::Lost).unwrap();
    // One act, offline: the removal and new keys for everything that the owner reads.
    assert_eq!(epochs(&net, tablet), before.map(|g| g + 1));
    put_token(net.p(tablet), &doc, "written under the new key");
    // The finder of the phone writes meanwhile.
    net.put(1, &doc, "by the finder");
    assert_eq!(net.tokens(0, &doc).len(), 3);
    net.meet(&[tablet]);
    net.assert_same(&[0, 2, tablet], &doc, &["by the phone", "by the tablet", "written under the new key"]);
    for i in [0, 2, tablet] {
        assert_eq!(
            net.told(i, |e| matches!(e, Event::DeviceRemoved { reason: Reason::Lost, .. })),
            1,
            "phone {i}"
        );
        assert_eq!(epochs(&net, i), before.map(|g| g + 1));
        assert!(!net.charter(i).can_read(&lost, &net.space()));
    }
    // Another member may not do this, nor a member to an officer.
    let of_other = net.device(2);
    assert!(matches!(
        net.p(tablet).remove_device(branch, of_other, Reason::Lost),
        Err(ReplicaError::NotAuthorised(_))
    ));
    let secretary = net.device(0);
    assert!(net.p(2).remove_device(branch, secretary, Reason::Expelled).is_err());
    net.settle();
    net.put(0, &doc, "after");
    net.tend();
    assert_eq!(net.charter(0).devices().len(), 3);
    println!("lost phone: out by one offline act, 2 spaces with new keys, 3 phones agree");
}

#[test]
fn two_own_phones_that_remove_each_other_are_both_out_and_come_back_with_new_keys() {
    let (mut net, doc) = with_document(&[Role::Member, Role::Member]);
    let tablet = own_phone(&mut net, 1);
    net.put(1, &doc, "phone");
    net.put(tablet, &doc, "tablet");
    let (branch, one, two) = (net.branch, net.device(1), net.device(tablet));
    net.off(1);
    net.off(tablet);
    net.p(1).remove_device(branch, two, Reason::Lost).unwrap();
    net.p(tablet).remove_device(branch, one, Reason::Lost).unwrap();
    put_token(net.p(1), &doc, "phone, after");
    put_token(net.p(tablet), &doc, "tablet, after");
    net.meet(&[1]);
    net.meet(&[tablet]);
    net.tend();
    // The second removal comes from a device that is out already, and counts all the same.
    for i in [0, 2] {
        let charter = net.charter(i);
        assert!(charter.removed().contains_key(&one) && charter.removed().contains_key(&two), "phone {i}");
        assert_eq!(charter.devices().len(), 2);
    }
    net.assert_same(&[0, 2], &doc, &["phone", "tablet"]);
    // The secretary takes the member in again, with a new phone and new keys.
    let phone = net.add();
    let request = net.p(phone).join_request();
    net.p(0).admit_device(branch, member(1), Role::Member, request, "new phone").unwrap();
    let welcome = net.welcome(0, phone);
    net.p(phone).join_by_welcome(&welcome).unwrap();
    net.meet(&[phone]);
    net.put(phone, &doc, "again");
    net.assert_same(&[0, 2, phone], &doc, &["phone", "tablet", "again"]);
    // Old keys are not taken back in.
    let again = net.p(1).join_request();
    let before = net.charter(0).devices().len();
    assert!(net.p(0).admit_device(branch, member(1), Role::Member, again, "old").is_err());
    assert_eq!(net.charter(0).devices().len(), before);
    println!("mutual removal: 2 of 2 out, the member is back with new keys, the old ones are refused");
}

#[test]
fn a_stolen_secretary_phone_is_undone_by_one_root_record() {
    let (mut net, doc) = with_document(&[Role::Deputy, Role::Member, Role::Member]);
    let branch = net.branch;
    let (minutes, space) = (doc, net.space());
    net.put(0, &minutes, "by the secretary");
    for i in [1, 2, 3] {
        net.put(i, &minutes, &format!("by {i}"));
    }
    net.tend();
    // The thief: everybody out, and keys only for itself.
    net.off(2);
    put_token(net.p(2), &minutes, "by 2, offline");
    let heads = |net: &Net| net.relay.log.len();
    let before = heads(&net);
    for i in [1, 2, 3] {
        let device = net.device(i);
        net.p(0).remove_device(branch, device, Reason::Expelled).unwrap();
    }
    net.settle();
    net.put(0, &minutes, "by the thief");
    assert_eq!(net.charter(0).devices().len(), 1);
    // Phones that are out write on: nothing of it may be lost.
    net.put(1, &minutes, "by 1, while out");
    net.put(3, &minutes, "by 3, while out");
    net.meet(&[2]);
    net.put(2, &minutes, "by 2, while out");
    net.tend();
    assert!(heads(&net) > before);
    // The deputy brings the paper.
    let bad = net
        .charter(1)
        .records()
        .find(|r| matches!(r.record, Record::Removal { .. }) && r.author.device == net.device(0));
    let taken = Taken { device: net.device(0), reason: Reason::Lost, from_record: bad.map(|r| r.id) };
    assert!(matches!(
        net.p(1).recover_branch(branch, &dinh_proto::keys::SignKey::from_seed(&[1; 32]), member(0), "x", &[]),
        Err(ReplicaError::NotAuthorised(_))
    ));
    let records = heads(&net);
    net.p(1).recover_branch(branch, &root(), member(0), "thư ký", &[taken]).unwrap();
    net.settle();
    net.tend();
    net.tend();
    let roots = parsed(&net.relay.log)
        .iter()
        .skip(records)
        .filter(|i| {
            i.header().kind == Kind::Charter && matches!(Record::decode(i.payload()), Ok(Record::Root(_)))
        })
        .count();
    for i in [1, 2, 3] {
        let charter = net.charter(i);
        assert_eq!(charter.devices().len(), 3, "phone {i}");
        assert_eq!(charter.devices()[&net.device(1)].role, Role::Secretary);
        assert!(charter.removed().contains_key(&net.device(0)));
        for s in [branch, space] {
            assert!(
                !charter.rotation_due(&s)
                    && charter.current_epoch(&s).is_some_and(|(id, _)| charter.unwrapped(&s, &id).is_empty()),
                "phone {i}"
            );
        }
    }
    for i in [1, 2, 3] {
        net.put(i, &minutes, &format!("by {i}, later"));
    }
    net.tend();
    let expected = [
        "by the secretary",
        "by 1",
        "by 2",
        "by 3",
        "by 2, offline",
        "by 1, while out",
        "by 3, while out",
        "by 2, while out",
        "by 1, later",
        "by 2, later",
        "by 3, later",
    ];
    // The thief's own run is under a key that only the thief has.
    net.assert_same_but(&[1, 2, 3], &minutes, &expected, 1);
    for i in [1, 2, 3] {
        assert_eq!(net.p(i).quarantined().unwrap().len(), 0, "phone {i}");
    }
    println!(
        "stolen secretary phone: {roots} root record, 3 of 3 phones back, 11 of 11 entries, 0 of the thief's"
    );
}
