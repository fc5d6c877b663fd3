//! What a reviewer sees of many branches.

use std::time::Instant;

use dinh_model::access::{act, read};
use dinh_model::attendance::{self, Mark};
use dinh_model::branch;
use dinh_model::digest::{self, Count, Digest, keep};
use dinh_model::index::Entry;
use dinh_model::resolution;
use dinh_model::task;
use dinh_proto::charter::record::{Role, Writers};

use crate::pair_common::NOW;
use crate::pair_common::net::{Net, member as who, root};

#[test]
fn the_committees_devices_keep_the_digest_that_a_reviewer_reads() {
    let mut net = Net::branch(&[Role::Deputy, Role::Member, Role::Reviewer]);
    let (secretary, deputy, member, reviewer) = (0, 1, 2, 3);
    let branch = net.branch;
    let standing = branch::set_up(net.p(secretary), NOW, branch, "Chi bộ thôn Nà Mận").unwrap();
    let of = |schema| Entry { schema, period: Some("2026-12"), ..Entry::default() };
    let resolution = branch::create(
        net.p(secretary),
        NOW,
        &standing.members,
        Writers::All,
        &of(resolution::SCHEMA.name),
        |e, _| resolution::create(e, &resolution::SCHEMA, "2026-12", &[]),
    )
    .unwrap();
    branch::create(
        net.p(secretary),
        NOW,
        &standing.members,
        Writers::All,
        &of(attendance::SCHEMA.name),
        |e, _| {
            attendance::create(e, "m")?;
            [0, 2].map(who).iter().try_for_each(|id| attendance::mark(e, id, Some(Mark::Present)))
        },
    )
    .unwrap();
    act(net.p(secretary), NOW, &standing.tasks, None, |e, me| {
        task::give(e, me, "Vận động", &[who(2)], "2026-12-01", "")
    })
    .unwrap();
    net.tend();
    act(net.p(member), NOW, &resolution, None, |e, me| resolution::has_read(e, me, 0)).unwrap();
    net.settle();
    assert!(keep::keep(net.p(deputy), NOW, &branch, "2026-12-03").unwrap());
    net.settle();
    assert!(!keep::keep(net.p(secretary), NOW, &branch, "2026-12-03").unwrap(), "it is as it was");
    let found = keep::list(net.p(reviewer)).unwrap();
    assert_eq!(found.len(), 1);
    let digest: &Digest = &found[0].1;
    assert_eq!((found[0].0, digest.branch.get().unwrap().as_str()), (branch, "Chi bộ thôn Nà Mận"));
    let month = &digest.months["2026-12"];
    assert_eq!(month.state.as_deref(), Some("drafting"));
    let expected = [
        (Count::Round, 0),
        (Count::Read, 1),
        (Count::Members, 0),
        (Count::Present, 2),
        (Count::OpenFeedback, 0),
        (Count::Overdue, 1),
    ];
    assert_eq!(month.counts, expected.into());
    // Another day, another number.
    assert!(keep::keep(net.p(secretary), NOW, &branch, "2026-11-30").unwrap());
    net.settle();
    let digest = read(net.p(reviewer), &standing.digest, Digest::read).unwrap();
    assert_eq!(digest.months["2026-12"].counts[&Count::Overdue], 0);
    let by_member = act(net.p(member), NOW, &standing.digest, None, |e, _| {
        digest::update(e, 0, "2026-12", &digest::Month::default())
    });
    assert!(by_member.is_err(), "it is the committee's");
}

/// `DINH_FULL=1` makes it 500 branches.
#[test]
fn a_list_of_many_branches_opens_from_what_is_on_the_device() {
    let many = if std::env::var_os("DINH_FULL").is_some() { 500 } else { 20 };
    let mut net = Net::branch(&[]);
    let reviewer = 0;
    let request = net.p(reviewer).join_request();
    let mut update_bytes = 0;
    for i in 0..many {
        let mut secretary = crate::pair_common::phone_of(1_000 + i);
        let branch = secretary.found_branch(&root(), who(1), "máy").unwrap();
        secretary.admit_device(branch, who(9), Role::Reviewer, request.clone(), "máy").unwrap();
        let standing = branch::set_up(&mut secretary, NOW, branch, &format!("Chi bộ thôn số {i}")).unwrap();
        let month = |round| digest::Month {
            state: Some("consulting".to_owned()),
            counts: Count::ALL.into_iter().map(|count| (count, round + i)).collect(),
            updated_at: None,
        };
        let update = |secretary: &mut _, round| {
            act(secretary, NOW, &standing.digest, None, |e, _| {
                digest::update(e, 1_790_000_000_000, "2026-12", &month(round))
            })
            .unwrap();
        };
        update(&mut secretary, 1);
        let invitation = secretary.invitation(branch).unwrap();
        let peer = net.relay.connect(&mut secretary);
        net.relay.settle(&mut [(&mut secretary, peer)]);
        if i == 0 {
            let before = net.relay.log.len();
            update(&mut secretary, 2);
            net.relay.settle(&mut [(&mut secretary, peer)]);
            update_bytes = net.relay.log.values().skip(before).map(|item| item.len()).sum();
        }
        net.relay.hub.handle_disconnected(NOW.mono, peer);
        net.p(reviewer).join(&invitation).unwrap();
    }
    net.off(reviewer);
    net.on(reviewer);
    net.tend();
    let cold = Instant::now();
    let found = keep::list(net.p(reviewer)).unwrap();
    let cold = cold.elapsed();
    assert_eq!(found.len(), many as usize);
    assert!(found.iter().all(|(_, digest)| digest.months["2026-12"].counts.len() == Count::ALL.len()));
    let warm = Instant::now();
    keep::list(net.p(reviewer)).unwrap();
    println!(
        "{many} branches: list read in {cold:?}, again in {:?}; one update of all eight numbers is {update_bytes} bytes",
        warm.elapsed()
    );
}
