//! What the gate costs: a change, a signature, and the check on a copy in a document of 10,000 changes. Measurements;
//! run with `--release -- --ignored --nocapture`. And bars 6 and 10: the worst inputs stay within time and memory.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod gate_common;

use std::time::{Duration, Instant};

use dinh_core::document::{Document, Value};
use dinh_core::gate::{GateError, Past, judge_change};
use dinh_core::path;
use dinh_core::proto::keys::DeviceKey;
use gate_common::{chunk, contents, quiet, scaled};

/// A text typed by three people: changes, each after what it builds on.
fn typed(changes: usize) -> Vec<Vec<u8>> {
    let mut phones: Vec<Document> = (1..=3).map(|a| Document::new([a; 16])).collect();
    phones[0]
        .edit::<_, dinh_core::document::EditError>(1_700_000_000, None, |e| {
            e.put(&path!["t"], Value::text(""))
        })
        .unwrap();
    let mut all: Vec<Vec<u8>> = phones[0].changes_raw(&[]).into_iter().map(|(_, raw)| raw).collect();
    let base: Vec<_> = all.iter().map(|raw| gate_common::document::parse(raw)).collect();
    phones[1..].iter_mut().for_each(|p| drop(p.apply(base.clone()).unwrap()));
    while all.len() < changes {
        // Each writes twenty pieces, then all have all.
        let mut new = Vec::new();
        for (i, phone) in phones.iter_mut().enumerate() {
            for n in 0..20 {
                let at = phone.view().text_len(&path!["t"]);
                let piece = ["họp ", "chi bộ", " lúc 7", " giờ. "][(n + i) % 4];
                let (_, change) = phone
                    .edit::<_, dinh_core::document::EditError>(1_700_000_000, None, |e| {
                        e.splice_text(&path!["t"], at.saturating_sub(n % 3), 0, piece)
                    })
                    .unwrap();
                new.push(change.unwrap().raw);
            }
        }
        for phone in &mut phones {
            phone.apply(new.iter().map(|raw| gate_common::document::parse(raw)).collect()).unwrap();
        }
        all.extend(new);
    }
    all
}

fn per(time: Duration, n: usize) -> String {
    format!("{:.1} µs", time.as_secs_f64() * 1e6 / n as f64)
}

#[test]
#[ignore = "a measurement"]
fn cost_of_the_gate_and_of_a_signature() {
    for n in [1_000, 10_000] {
        let changes = typed(n);
        let mut past = Past::new();
        let begin = Instant::now();
        let mut judged: Vec<automerge::Change> =
            changes.iter().map(|raw| judge_change(raw, &mut past).unwrap().change).collect();
        let rules = begin.elapsed();
        let last = judged.split_off(judged.len() - 16);
        let mut doc = Document::new([9; 16]);
        let begin = Instant::now();
        doc.apply(judged).unwrap();
        let apply = begin.elapsed();
        let heads = doc.heads();
        let begin = Instant::now();
        let mut copy = doc.clone();
        let cloned = begin.elapsed();
        let begin = Instant::now();
        copy.apply(last.clone()).unwrap();
        let batch = begin.elapsed();
        let begin = Instant::now();
        let given = copy.changes_raw(&heads).len();
        let rebuilt = begin.elapsed();
        let begin = Instant::now();
        let saved = copy.save();
        let save = begin.elapsed();
        let begin = Instant::now();
        let loaded = Document::load(&saved, [9; 16]).unwrap();
        let load = begin.elapsed();
        assert_eq!((given, loaded.heads()), (16, copy.heads()));
        println!(
            "{} changes, {} operations: rules {} a change; past {} bytes an operation; apply all {apply:?}",
            changes.len(),
            past.ops(),
            per(rules, changes.len()),
            past.memory() / past.ops()
        );
        println!(
            "  a batch of 16: copy {cloned:?}, apply {batch:?}, give back {rebuilt:?}; full: save {save:?}, load {load:?} ({} bytes)",
            saved.len()
        );
    }
    let key = DeviceKey::from_seed(&[1; 32]);
    let public = key.public();
    let signature = key.sign(b"test", &[1; 32]);
    let begin = Instant::now();
    let good = (0..500).filter(|_| public.verify(b"test", &[1; 32], &signature)).count();
    println!("a signature: {}", per(begin.elapsed(), good));
}

fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|l| l.starts_with("VmHWM")).unwrap_or_default().to_owned();
    line.split_whitespace().nth(1).and_then(|kb| kb.parse().ok()).unwrap_or_default()
}

/// Bars 6 and 10: every number of a change replaced by numbers at which things break, every place cut and doubled.
#[test]
fn numbers_at_which_things_break_cost_neither_time_nor_memory() {
    quiet();
    let changes = gate_common::Session::run(3, 24).merge().changes();
    let mut past = Past::new();
    let mut pasts = Vec::new();
    for (_, raw) in &changes {
        pasts.push(past.clone());
        judge_change(raw, &mut past).unwrap();
    }
    let numbers: Vec<Vec<u8>> = [7, 14, 16, 17, 20, 24, 28, 31, 32, 33, 48, 62, 63]
        .iter()
        .flat_map(|bits| [1u64 << bits, (1 << bits) - 1])
        .chain([u64::MAX])
        .map(|n| {
            let mut out = Vec::new();
            dinh_core::proto::codec::Write::put_uleb(&mut out, n);
            out
        })
        .collect();
    let (before, mut slowest, mut inputs, mut accepted, mut panicked) =
        (resident(), Duration::ZERO, 0u64, 0, 0);
    let wanted = scaled(20_000, 500_000);
    let mut times = Vec::new();
    // Every place of every change in turn, from the ends.
    'all: for turn in 0.. {
        for ((_, raw), past) in changes.iter().zip(&pasts) {
            let whole = contents(raw);
            let at = whole.len() - 1 - turn % whole.len();
            for number in &numbers {
                let mut bytes = whole.to_vec();
                bytes.splice(at..=at, number.iter().copied());
                let raw = chunk(&bytes);
                let mut past = past.clone();
                let begin = Instant::now();
                let verdict = judge_change(&raw, &mut past);
                let time = begin.elapsed();
                slowest = slowest.max(time);
                times.push(time);
                inputs += 1;
                match verdict {
                    Ok(_) => accepted += 1,
                    Err(error) if error.is_panic() => panicked += 1,
                    Err(GateError::Rule(_) | GateError::Pack(_) | GateError::Missing(_)) => {}
                    Err(error) => panic!("{error}"),
                }
                if inputs == wanted {
                    break 'all;
                }
            }
        }
    }
    let grown = resident() - before;
    times.sort();
    let most = times[times.len() * 9_999 / 10_000];
    println!(
        "{inputs} inputs: {accepted} accepted, {panicked} panics inside the sandbox; 99.99 % within {most:?}, slowest {slowest:?}; peak memory grew by {grown} KiB"
    );
    let limit = Duration::from_millis(if cfg!(debug_assertions) { 50 } else { 5 });
    assert!(most < limit, "{most:?}");
    assert!(grown < 24 << 10, "{grown} KiB");
}

/// The deepest nesting that is accepted, on a stack of the size that platforms give to threads.
#[test]
fn the_deepest_document_fits_a_small_stack() {
    let run = || {
        let mut doc = Document::new([1; 16]);
        for depth in 1..=31 {
            let steps = vec!["a"; depth];
            let at = steps.iter().fold(dinh_core::document::Path::root(), |p, s| p.join(*s));
            doc.edit::<_, dinh_core::document::EditError>(0, None, |e| e.put_map(&at)).unwrap();
        }
        let (mut past, mut other) = (Past::new(), Document::new([2; 16]));
        for (_, raw) in doc.changes_raw(&[]) {
            other.apply(vec![judge_change(&raw, &mut past).unwrap().change]).unwrap();
        }
        assert_eq!(other.view().get(&path![]), doc.view().get(&path![]));
        assert_eq!(Document::load(&other.save(), [3; 16]).unwrap().heads(), doc.heads());
    };
    // Without optimisation a frame takes several times as much.
    let bytes = if cfg!(debug_assertions) { 4 << 20 } else { 512 << 10 };
    std::thread::Builder::new().stack_size(bytes).spawn(run).unwrap().join().unwrap();
}
