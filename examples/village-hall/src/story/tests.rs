use super::*;

fn options(phones: usize, seed: u64) -> Options {
    Options { phones, seed, cut_minutes: 50, minute_ms: 100, kill_relay: true, kill_phones: true }
}

fn play(phones: usize, seed: u64) -> (Cast, Vec<Step>) {
    let fixtures = Fixtures::load();
    let cast = Cast::new(&fixtures, phones);
    let steps = script(&fixtures, &cast, &options(phones, seed));
    (cast, steps)
}

#[test]
fn the_same_seed_gives_the_same_script_and_another_another() {
    assert_eq!(play(12, 7).1, play(12, 7).1);
    assert_ne!(play(12, 7).1, play(12, 8).1);
}

#[test]
fn every_phone_edits_while_the_wifi_is_gone_whatever_the_size() {
    for phones in [2, 3, 4, 5, 12, 14, 40] {
        let (mut cast, steps) = play(phones, 3);
        let options = options(phones, 3);
        let (from, until) = (clock_ms("19:50", &options), clock_ms("20:40", &options));
        for phone in 0..phones {
            let edits = steps
                .iter()
                .filter(|step| (from..until).contains(&step.at_ms))
                .filter(|step| matches!(&step.what, What::Edit { phone: by, .. } if *by == phone))
                .count();
            assert!(edits >= 2, "phone {phone} of {phones} makes {edits} edits");
        }
        for step in &steps {
            if let What::Admit { owner } = step.what {
                cast.add_phone_of(owner);
            }
            if let What::Edit { phone, action } = &step.what {
                assert!(cast.readers(action.doc()).contains(phone), "{phone} may not write {}", action.doc());
            }
        }
    }
}

#[test]
fn marks_are_unique() {
    let (_, steps) = play(40, 11);
    let mut marks = BTreeSet::new();
    for step in &steps {
        let mark = match &step.what {
            What::Edit { action: Action::Append { doc, list, entry }, .. } => {
                format!("{doc} {list} {}", entry["id"])
            }
            What::Edit { action: Action::Insert { doc, path, text }, .. } => {
                format!("{doc} {path} {text}")
            }
            _ => continue,
        };
        assert!(marks.insert(mark.clone()), "{mark} twice");
    }
    assert!(marks.len() > 200);
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
        assert!(![0, cast.late_phone(), cast.phone_of("m04"), removed[0].0].contains(&removed[1].0));
        let edits = |phone: usize, since: u64| {
            let by = |step: &&Step| {
                step.at_ms >= since && matches!(&step.what, What::Edit { phone: by, .. } if *by == phone)
            };
            steps.iter().filter(by).count()
        };
        for (phone, _, since) in &removed {
            assert!(edits(*phone, *since) >= 4, "phone {phone}");
            assert!(edits(*phone, 0) > edits(*phone, *since), "phone {phone} wrote before too");
        }
        assert!(edits(12, 0) >= 3, "the new phone takes part");
    }
    let departures = |phones| {
        let steps = play(phones, 1).1;
        steps.iter().filter(|step| matches!(step.what, What::Remove { .. })).count()
    };
    assert_eq!([2, 3, 4, 5].map(departures), [0, 0, 1, 2]);
}

#[test]
fn time_never_runs_backwards_and_the_cut_stretches() {
    let (_, steps) = play(12, 1);
    assert!(steps.windows(2).all(|pair| pair[0].at_ms <= pair[1].at_ms && pair[0].id < pair[1].id));
    let long = Options { cut_minutes: 100, ..options(12, 1) };
    assert_eq!(clock_ms("20:40", &long) - clock_ms("19:50", &long), 10_000);
    assert_eq!(clock_ms("21:15", &long) - clock_ms("20:40", &long), 3_500);
}

#[test]
fn phones_that_die_come_back_and_the_late_one_is_healed_last() {
    let (cast, steps) = play(14, 5);
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
    assert_eq!(last, Some(vec![cast.late_phone()]));
}
