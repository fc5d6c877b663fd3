//! Plays whole meetings in real processes: with the real engine and relay, which must lose nothing; and with a toy engine
//! that can be told to lose, diverge or die, which the account must notice. `-- phones=N` plays one real meeting of that
//! size with every fault.

#![allow(clippy::unwrap_used, reason = "a test")]

mod toy;

use std::ffi::OsString;
use std::time::Duration;

use village_hall::orchestrator::{self, Config, Outcome};
use village_hall::phone;
use village_hall::process::Programs;
use village_hall::screen::Screen;
use village_hall::story::Options;

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    match arguments.get(1).map(String::as_str) {
        Some("toy-relay") => runtime.block_on(toy::relay(&arguments[3])),
        Some(role) if role.starts_with("toy-phone") => runtime.block_on(async {
            let input = tokio::io::BufReader::new(tokio::io::stdin());
            phone::serve(&mut toy::Toy::new(), input, tokio::io::stdout()).await.unwrap();
            std::process::exit(0);
        }),
        _ => runtime.block_on(tests(&arguments)),
    }
}

async fn tests(arguments: &[String]) {
    if arguments.iter().any(|argument| argument == "--list") {
        return;
    }
    if let Some(phones) = arguments.iter().find_map(|argument| argument.strip_prefix("phones=")) {
        let every = Options { kill_relay: true, kill_phones: true, ..options(phones.parse().unwrap()) };
        let report = play(every, Engine::Real).await.report;
        assert!(report.is_good(), "{report:#?}");
        return;
    }
    a_meeting_with_every_fault_loses_nothing().await;
    the_smallest_meeting().await;
    an_engine_that_forgets_is_found_out().await;
    an_engine_that_diverges_is_found_out().await;
    an_engine_that_dies_is_found_out().await;
    a_relay_that_lets_removed_phones_in_is_found_out().await;
}

async fn a_meeting_with_every_fault_loses_nothing() {
    for seed in [1, 2] {
        let every = Options { seed, kill_relay: true, kill_phones: true, ..options(7) };
        let outcome = play(every, Engine::Real).await;
        let report = &outcome.report;
        assert!(report.is_good(), "{report:#?}");
        assert_eq!((report.lost, report.unconfirmed), (0, 0));
        assert_eq!(report.acked, report.edits);
        assert_eq!(report.distinct_documents_hashes, report.documents);
        assert!(report.edits > 100 && report.relay_kills == 2 && report.phone_kills >= 3);
        assert_eq!((report.removed_phones, report.admitted_phones), (2, 1));
        assert!(report.shut_out >= 9 && report.leaked == 0);
        assert!(
            report.relay_hits == 0
                && report.relay_phrases > 1_000
                && report.relay_bytes > report.bytes_up / 2
        );
        assert!(report.heal_ms.is_some() && report.bytes_up > 0 && report.bytes_down > report.bytes_up);
        let words = outcome.papers.split_whitespace().collect::<Vec<_>>().join(" ");
        for expected in ["1.500.000 đồng mỗi hộ", "trước ngày 25/12", "đọc lại biên bản", "Ma Văn Đoàn"]
        {
            assert!(words.contains(expected), "{expected} is missing from\n{}", outcome.papers);
        }
    }
}

async fn the_smallest_meeting() {
    let outcome = play(options(2), Engine::Real).await;
    assert!(outcome.report.is_good(), "{:#?}", outcome.report);
}

async fn an_engine_that_forgets_is_found_out() {
    let report = play(options(4), Engine::Toy("forget")).await.report;
    assert!(report.lost >= 1 && !report.is_good(), "{report:#?}");
    assert!(
        report.shut_out > 0 && report.leaked == 0,
        "the toy's relay shuts removed phones out: {report:#?}"
    );
}

async fn an_engine_that_diverges_is_found_out() {
    let report = play(options(4), Engine::Toy("deaf")).await.report;
    assert!(!report.converged && !report.is_good(), "{report:#?}");
    assert!(report.undelivered > 0 && report.lost == 0, "what is somewhere is not lost: {report:#?}");
}

async fn a_relay_that_lets_removed_phones_in_is_found_out() {
    let report = play(options(4), Engine::Toy("leak")).await.report;
    assert!(report.converged && report.lost == 0, "nothing else is wrong: {report:#?}");
    assert!(report.leaked == report.shut_out && report.leaked > 0 && !report.is_good(), "{report:#?}");
    // The toy's relay keeps everything in plain text, too.
    assert!(
        report.relay_hits > 100 && report.faults.iter().any(|fault| fault.contains("the relay can read"))
    );
}

async fn an_engine_that_dies_is_found_out() {
    let report = play(options(4), Engine::Toy("crash")).await.report;
    assert!(
        !report.is_good() && report.faults.iter().any(|fault| fault.contains("ended by itself")),
        "{report:#?}"
    );
}

fn options(phones: usize) -> Options {
    Options { phones, seed: 1, cut_minutes: 50, minute_ms: 30, kill_relay: false, kill_phones: false }
}

#[derive(Clone, Copy, PartialEq)]
enum Engine {
    /// The program itself.
    Real,
    /// This test's binary as phones and relay, with a fault.
    Toy(&'static str),
}

impl Engine {
    fn programs(self) -> Programs {
        match self {
            Self::Real => Programs {
                executable: env!("CARGO_BIN_EXE_village-hall").into(),
                phone: vec!["phone".into()],
                relay: vec!["relay".into()],
            },
            // The environment cannot be changed safely in a process with threads: `env` sets it for the children.
            Self::Toy(fault) => {
                let this: OsString = std::env::current_exe().unwrap().into();
                let set: OsString = format!("TOY_FAULT={fault}").into();
                Programs {
                    executable: "/usr/bin/env".into(),
                    phone: vec![set.clone(), this.clone(), "toy-phone".into()],
                    relay: vec![set, this, "toy-relay".into()],
                }
            }
        }
    }
}

async fn play(options: Options, engine: Engine) -> Outcome {
    let directory = tempfile::tempdir().unwrap();
    let config = Config {
        options,
        programs: engine.programs(),
        directory: directory.path().to_owned(),
        converge_timeout: Duration::from_secs(if engine == Engine::Real { 40 } else { 3 }),
    };
    let mut log = Vec::new();
    let outcome = orchestrator::run(&config, &mut Screen::new(&mut log, false)).await.unwrap();
    let log = String::from_utf8(log).unwrap();
    println!("{}", outcome.report.to_json());
    if engine == Engine::Real {
        assert!(
            log.contains("21:20 —"),
            "the meeting was not played to its end:\n{log}\n{:#?}",
            outcome.report
        );
    }
    outcome
}
