//! Plays whole meetings in real processes: as they are, which must lose nothing; and with phones or a relay that do something wrong on
//! purpose, which the account must notice. `-- phones=N` plays one meeting of that size with every fault of links and power.

#![allow(clippy::unwrap_used, reason = "a test")]

use std::time::Duration;

use village_hall::orchestrator::{self, Config, Outcome};
use village_hall::process::Programs;
use village_hall::screen::Screen;
use village_hall::story::Options;

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(tests(&arguments));
}

async fn tests(arguments: &[String]) {
    if arguments.iter().any(|argument| argument == "--list") {
        return;
    }
    if let Some(phones) = arguments.iter().find_map(|argument| argument.strip_prefix("phones=")) {
        let every = Options { kill_relay: true, kill_phones: true, ..options(phones.parse().unwrap()) };
        let report = play(every, None).await.report;
        assert!(report.is_good(), "{report:#?}");
        return;
    }
    a_meeting_with_every_fault_loses_nothing().await;
    the_smallest_meeting().await;
    a_phone_that_forgets_is_found_out().await;
    a_phone_that_hears_nothing_is_found_out().await;
    a_phone_that_dies_is_found_out().await;
    a_removal_that_is_not_done_is_found_out().await;
    a_relay_that_knows_a_name_is_found_out().await;
}

async fn a_meeting_with_every_fault_loses_nothing() {
    for seed in [1, 2] {
        let every = Options { seed, kill_relay: true, kill_phones: true, ..options(7) };
        let outcome = play(every, None).await;
        let report = &outcome.report;
        assert!(report.is_good(), "{report:#?}");
        assert_eq!((report.lost, report.unconfirmed), (0, 0));
        assert_eq!(report.acked, report.edits);
        assert_eq!(report.distinct_documents_hashes, report.documents);
        assert!(report.edits > 180 && report.relay_kills == 2 && report.phone_kills >= 3, "{report:#?}");
        assert_eq!((report.removed_phones, report.admitted_phones), (2, 1));
        assert!(report.shut_out >= 9 && report.denied >= 4 && report.leaked == 0);
        assert!(
            report.relay_hits == 0
                && report.relay_phrases > 1_000
                && report.relay_bytes > report.bytes_up / 2
        );
        assert!(report.heal_ms.is_some() && report.bytes_up > 0 && report.bytes_down > report.bytes_up);
        // Seven phones: one lost and replaced, one left.
        assert_eq!((report.seals_looked_at, report.seals_valid, report.late_listed), (6, 6, 6));
        assert_eq!((report.seals.len(), report.strangers, report.reviewer_rounds), (2, 0, 2));
        assert!(report.late_changes > 0 && report.secret_readers >= 2 && report.seen_documents > 100);
        assert_eq!((report.roll, report.hands), ((15, 19), Some((13, 1, 15))));
        assert_eq!(report.states, ("in_force".into(), "signed".into()));
        let words = outcome.papers.split_whitespace().collect::<Vec<_>>().join(" ");
        for expected in
            ["1.500.000 đồng mỗi hộ", "trước ngày 25/12", "đọc lại biên bản", "Ma Văn Đoàn", "Số 01-NQ/CB"]
        {
            assert!(words.contains(expected), "{expected} is missing from\n{}", outcome.papers);
        }
        assert!(
            !words.contains("khởi công trong tháng 02 năm 2027"),
            "what came late is not in the sealed papers"
        );
        assert_eq!(outcome.files.len(), 2);
        assert!(outcome.files["nghi-quyet.html"].contains("1.500.000 đồng mỗi hộ"));
    }
}

async fn the_smallest_meeting() {
    let outcome = play(options(4), None).await;
    assert!(outcome.report.is_good(), "{:#?}", outcome.report);
}

async fn a_phone_that_forgets_is_found_out() {
    let report = play(options(4), Some("forget")).await.report;
    assert!(report.lost >= 1 && !report.is_good(), "{report:#?}");
}

async fn a_phone_that_hears_nothing_is_found_out() {
    let report = play(options(4), Some("deaf")).await.report;
    assert!(!report.converged && !report.is_good(), "{report:#?}");
}

async fn a_removal_that_is_not_done_is_found_out() {
    let report = play(options(4), Some("keep")).await.report;
    assert!(report.lost == 0 && report.leaked > 0 && !report.is_good(), "{report:#?}");
}

async fn a_relay_that_knows_a_name_is_found_out() {
    let report = play(options(4), Some("tells")).await.report;
    assert!(report.converged && report.lost == 0, "nothing else is wrong: {report:#?}");
    assert!(report.relay_hits > 0 && report.faults[0].contains("the relay can read"), "{report:#?}");
}

async fn a_phone_that_dies_is_found_out() {
    let report = play(options(4), Some("crash")).await.report;
    assert!(
        !report.is_good() && report.faults.iter().any(|fault| fault.contains("ended by itself")),
        "{report:#?}"
    );
}

fn options(phones: usize) -> Options {
    Options { phones, seed: 1, cut_minutes: 50, minute_ms: 30, kill_relay: false, kill_phones: false }
}

/// The program itself, with one thing wrong on purpose.
fn programs(fault: Option<&str>) -> Programs {
    let (mut phone, mut relay) = (vec!["phone".into()], vec!["relay".into()]);
    match fault {
        Some("tells") => relay.extend(["--tells".into(), "Hoàng Văn Thiết".into()]),
        Some(fault) => phone.extend(["--fault".into(), fault.into()]),
        None => {}
    }
    Programs { executable: env!("CARGO_BIN_EXE_village-hall").into(), phone, relay }
}

async fn play(options: Options, fault: Option<&str>) -> Outcome {
    let directory = tempfile::tempdir().unwrap();
    let config = Config {
        options,
        programs: programs(fault),
        directory: directory.path().to_owned(),
        converge_timeout: Duration::from_secs(if fault == Some("deaf") { 6 } else { 60 }),
    };
    let mut log = Vec::new();
    let outcome = orchestrator::run(&config, &mut Screen::new(&mut log, false)).await.unwrap();
    let log = String::from_utf8(log).unwrap();
    println!("{fault:?}: {}", outcome.report.to_json());
    if fault.is_none() {
        assert!(
            log.contains("06/12 18:00 —"),
            "the meeting was not played to its end:\n{log}\n{:#?}",
            outcome.report
        );
    }
    outcome
}
