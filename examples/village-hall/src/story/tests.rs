use super::*;
use crate::marks::{self, Mark};

fn options(phones: usize, seed: u64) -> Options {
    Options { phones, seed, cut_minutes: 50, minute_ms: 100, kill_relay: true, kill_phones: true }
}

fn play(phones: usize, seed: u64) -> (Cast, Vec<Step>) {
    let fixtures = Fixtures::load();
    let cast = Cast::new(&fixtures, phones);
    let steps = script(&fixtures, &cast, &options(phones, seed)).steps;
    (cast, steps)
}

fn by(step: &Step, who: usize) -> bool {
    matches!(&step.what, What::Act { phone, .. } if *phone == who)
}

#[test]
fn the_same_seed_gives_the_same_script_and_another_another() {
    assert_eq!(play(12, 7).1, play(12, 7).1);
    assert_ne!(play(12, 7).1, play(12, 8).1);
}

#[test]
fn every_phone_acts_while_the_wifi_is_gone_and_within_its_audience_whatever_the_size() {
    for phones in [4, 5, 7, 12, 14, 40] {
        let (mut cast, steps) = play(phones, 3);
        let options = options(phones, 3);
        let (from, until) = (clock::moment("19:50", &options).ms, clock::moment("20:40", &options).ms);
        for phone in 0..phones {
            let acts = steps.iter().filter(|s| (from..until).contains(&s.at_ms) && by(s, phone)).count();
            assert!(acts >= 2, "phone {phone} of {phones} acts {acts} times");
        }
        for step in &steps {
            if let What::Admit { owner } = step.what {
                cast.add_phone_of(owner);
            }
            if let What::Act { phone, act, .. } = &step.what {
                let (doc, _) = marks::of(act, &cast.people[*phone].member);
                assert!(cast.reads(*phone, &doc.room()), "{phone} may not write {doc}: {act:?}");
            }
        }
    }
}

#[test]
fn marks_are_unique() {
    let (cast, steps) = play(40, 11);
    let mut seen = BTreeSet::new();
    for step in &steps {
        let What::Act { phone, act, .. } = &step.what else { continue };
        // Reading a second round, or bringing the digest up to date once more, is the same as the first time.
        if matches!(**act, Act::HasRead { .. } | Act::UpdateDigest) {
            continue;
        }
        let by = cast.people.get(*phone).map_or("new", |person| person.member.as_str());
        let (doc, marks) = marks::of(act, by);
        assert!(!marks.is_empty(), "{act:?}");
        for mark in marks.iter().filter(|mark| matches!(mark, Mark::There(_) | Mark::Words(..))) {
            assert!(seen.insert(format!("{doc} {mark:?}")), "{mark:?} twice");
        }
    }
    assert!(seen.len() > 400, "{}", seen.len());
}

#[test]
fn one_phone_is_lost_and_one_member_leaves_and_both_go_on_writing() {
    for seed in 0..20 {
        let (cast, steps) = play(12, seed);
        let removed: Vec<(usize, Departure, u64)> = steps
            .iter()
            .filter_map(|step| match step.what {
                What::Remove { phone, departure } => Some((phone, departure, step.at_ms)),
                _ => None,
            })
            .collect();
        assert_eq!(removed.len(), 2);
        assert_eq!((removed[0].1, removed[1].1), (Departure::Lost, Departure::Left));
        assert!(![0, 1, 3, removed[0].0, cast.reviewer()].contains(&removed[1].0));
        let acts =
            |phone: usize, since: u64| steps.iter().filter(|s| s.at_ms >= since && by(s, phone)).count();
        for (phone, _, since) in &removed {
            assert!(acts(*phone, *since) >= 4, "phone {phone}");
            assert!(acts(*phone, 0) > acts(*phone, *since), "phone {phone} wrote before too");
        }
        assert!(acts(13, 0) >= 3, "the new phone takes part");
    }
    let departures = |phones| {
        let steps = play(phones, 1).1;
        steps.iter().filter(|step| matches!(step.what, What::Remove { .. })).count()
    };
    assert_eq!([4, 5, 12].map(departures), [1, 2, 2]);
}

#[test]
fn time_never_runs_backwards() {
    let (_, steps) = play(12, 1);
    assert!(steps.windows(2).all(|pair| pair[0].at_ms <= pair[1].at_ms && pair[0].id < pair[1].id));
}

#[test]
fn phones_that_die_come_back_and_the_late_one_is_healed_last() {
    let (_, steps) = play(14, 5);
    let mut dead = BTreeSet::new();
    for step in &steps {
        match step.what {
            What::KillPhone(phone) => drop(dead.insert(phone)),
            What::RestartPhone(phone) => {
                assert!(dead.remove(&phone), "{phone} restarts without having died")
            }
            _ => {}
        }
    }
    assert!(dead.is_empty());
    let last = steps.iter().rev().find_map(|step| match &step.what {
        What::Link { phones, event: LinkEvent::Heal } => Some(phones.clone()),
        _ => None,
    });
    assert_eq!(last, Some(vec![3]), "the late one's");
}
