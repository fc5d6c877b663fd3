//! The deterministic simulator: production replicas, hub and log under virtual time, with links, disks and
//! processes that fail, and checkers that know everything.
//!
//! `cargo sim` runs the scenarios and 200 seeds, each twice, and compares the hashes of what happened.
//! `SIM_SEED=n` runs one seed; with `SIM_TRACE=1` it tells what happens. `SIM_RUNS=n` and `SIM_FIRST=n` choose the
//! seeds. Built with the feature `canary`, `DINH_CANARY=all` (or a name of `canaries.rs`) checks that bugs planted on
//! purpose are found.

mod bounds;
#[cfg(feature = "canary")]
mod canaries;
mod checks;
mod claims;
mod faults;
mod hall;
mod hostile;
mod model;
mod net;
mod options;
mod phone;
mod privacy;
mod relay;
mod removal;
mod scenarios;
mod spy;
mod starts;
mod truth;
mod workload;
mod world;

use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use dinh_server::hub::PeerId;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

use options::Options;
use world::{Happening, SECOND, Totals, World};

/// The hub's name for a connection.
fn hub_peer(conn: u64) -> PeerId {
    PeerId(conn)
}

fn hub_conn(peer: PeerId) -> u64 {
    peer.0
}

thread_local! {
    /// Where and why this thread panicked last.
    static PANIC: RefCell<String> = const { RefCell::new(String::new()) };
}

struct Outcome {
    hash: [u8; 32],
    totals: Totals,
}

fn options_of(seed: u64) -> Options {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut opts = Options::draw(&mut rng);
    if !FOUND_BEFORE.contains(&seed) {
        opts.draw_more(&mut rng);
    }
    if FOUND_APART.contains(&seed) {
        opts.hall_gap = 0;
    }
    if !FOUND_BEFORE.contains(&seed) && hostile::is_in(seed) && opts.removals == 0 {
        opts.hostile = true;
        opts.phones_max += 3;
    }
    opts
}

/// One seed, from the founding of the branch to the last check.
fn run_world(seed: u64, tracing: bool) -> Outcome {
    let mut world = World::new(seed, options_of(seed), tracing);
    world.found();
    world.after(1, Happening::Act);
    world.after(1, Happening::Fault);
    world.after(1, Happening::Meet);
    while world.actions_left > 0 && world.step() {}
    let rest = world.between((0, 30 * SECOND));
    world.run_for(rest);
    world.finish();
    Outcome { hash: world.trace_hash(), totals: world.totals }
}

/// Runs something; a panic becomes its message.
fn guarded<T>(f: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(f)).map_err(|_| PANIC.with(|p| p.borrow().clone()))
}

/// Runs a seed twice.
fn judge(seed: u64) -> Result<Totals, String> {
    let first = guarded(|| run_world(seed, false))?;
    let second = guarded(|| run_world(seed, false)).map_err(|e| format!("only in the second run: {e}"))?;
    if first.hash == second.hash {
        Ok(first.totals)
    } else {
        Err("not deterministic: two runs of this seed differ".to_owned())
    }
}

fn number(name: &str, otherwise: u64) -> u64 {
    match std::env::var(name) {
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("{name} must be a number, not {text:?}")),
        Err(_) => otherwise,
    }
}

/// Seeds that once found a bug. They are run with every batch of seeds.
const FOUND: &[u64] = &[
    336, 982, 1_079, 1_354, 1_623, 2_217, 2_821, 3_472, 4_028, 6_465, 8_656, 8_896, 9_408, 12_180, 13_028,
    14_882, 17_511, 20_559, 21_285, 22_387, 22_518, 24_699, 25_688,
];

/// The same, from when phones did not meet where rights are taken: in theirs they still do not.
const FOUND_APART: &[u64] = &[320, 521, 649, 928];

/// The same, from when there were no removals and no model in the worlds: theirs still have none.
const FOUND_BEFORE: &[u64] = &[351, 802, 840, 850, 903, 1_102, 1_575];

fn found() -> impl Iterator<Item = &'static u64> {
    FOUND.iter().chain(FOUND_APART).chain(FOUND_BEFORE)
}

fn main() -> ExitCode {
    std::panic::set_hook(Box::new(|info| {
        let text = info.to_string();
        PANIC.with(|p| *p.borrow_mut() = text);
    }));
    if std::env::var("SIM_SEED").is_ok() {
        return one_seed(number("SIM_SEED", 0));
    }
    let first = number("SIM_FIRST", 1);
    let runs = number("SIM_RUNS", if cfg!(debug_assertions) { 10 } else { 200 });
    #[cfg(feature = "canary")]
    if let Ok(name) = std::env::var("DINH_CANARY") {
        return canaries::run(&name, first);
    }
    let failed_scenarios = run_scenarios();
    let (passed, failed) = run_seeds(first, runs);
    println!("sim: {passed} passed, {} failed", failed + failed_scenarios);
    if failed + failed_scenarios == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn one_seed(seed: u64) -> ExitCode {
    let tracing = number("SIM_TRACE", 0) == 1;
    if tracing {
        // What the nodes log, between the lines of the trace: `RUST_LOG=dinh_core=debug`.
        let filter = tracing_subscriber::EnvFilter::from_default_env();
        tracing_subscriber::fmt().with_env_filter(filter).without_time().with_writer(std::io::stdout).init();
    }
    println!("{:#?}", options_of(seed));
    let outcome = if tracing { guarded(|| run_world(seed, true)).map(|o| o.totals) } else { judge(seed) };
    match outcome {
        Ok(totals) => {
            println!("{totals:?}");
            println!("sim: 1 passed, 0 failed");
            ExitCode::SUCCESS
        }
        Err(error) => {
            println!("seed {seed}: {error}");
            println!("sim: 0 passed, 1 failed");
            ExitCode::FAILURE
        }
    }
}

fn run_scenarios() -> u64 {
    let only = std::env::var("SIM_SCENARIO").ok();
    let tracing = number("SIM_TRACE", 0) == 1;
    let mut failed = 0;
    for (name, story) in scenarios::ALL {
        if only.as_ref().is_some_and(|only| !name.contains(only.as_str())) {
            continue;
        }
        match guarded(|| story(tracing)) {
            Ok(()) => println!("scenario {name}: ok"),
            Err(error) => {
                failed += 1;
                println!("scenario {name}: FAILED: {error}");
            }
        }
    }
    failed
}

/// All seeds from `first`, and those that once found a bug, on all cores. Returns how many passed and failed.
fn run_seeds(first: u64, runs: u64) -> (u64, u64) {
    let began = Instant::now();
    let mut seeds: Vec<u64> = (first..first + runs).collect();
    if runs > 0 {
        seeds.extend(found().filter(|seed| !(first..first + runs).contains(*seed)));
    }
    let next = AtomicUsize::new(0);
    let sum = Mutex::new((Totals::default(), 0_u64, Vec::<(u64, String)>::new()));
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..cores {
            scope.spawn(|| {
                while let Some(seed) = seeds.get(next.fetch_add(1, Ordering::Relaxed)).copied() {
                    let outcome = judge(seed);
                    let mut sum = sum.lock().expect("no thread panics while it holds this");
                    match outcome {
                        Ok(totals) => {
                            sum.0.add(&totals);
                            sum.1 += 1;
                        }
                        Err(error) => {
                            println!("seed {seed} FAILED: {error}");
                            println!("  options: {:?}", options_of(seed));
                            println!("  again: SIM_SEED={seed} SIM_TRACE=1 cargo sim");
                            sum.2.push((seed, error));
                        }
                    }
                }
            });
        }
    });
    let (totals, passed, failures) = sum.into_inner().expect("no thread panics while it holds this");
    let seconds = began.elapsed().as_secs_f64();
    if runs > 0 {
        println!(
            "{} seeds in {seconds:.1} s ({:.1} seeds/s, each run twice), {:.0} virtual hours",
            seeds.len(),
            seeds.len() as f64 / seconds,
            totals.virtual_us as f64 / 3.6e9
        );
        println!(
            "seeds {first}..={}, and those that found something: {:?}",
            first + runs - 1,
            found().collect::<Vec<_>>()
        );
        println!("{}", totals.summary());
        println!("most that waited: {}", totals.marks.summary());
        println!("worst memory: {} MiB, {cores} worlds at once", bounds::memory_kib() / 1_024);
    }
    if !failures.is_empty() {
        let mut seeds: Vec<u64> = failures.iter().map(|(seed, _)| *seed).collect();
        seeds.sort_unstable();
        println!("failed seeds: {seeds:?}");
    }
    (passed, failures.len() as u64)
}

impl Totals {
    fn add(&mut self, other: &Self) {
        self.virtual_us += other.virtual_us;
        self.edits += other.edits;
        self.items += other.items;
        self.frames += other.frames;
        self.faults.iter_mut().zip(other.faults).for_each(|(sum, n)| *sum += n);
        self.mismatches += other.mismatches;
        self.refused += other.refused;
        self.recoveries += other.recoveries;
        self.snapshots_made += other.snapshots_made;
        self.snapshots_used += other.snapshots_used;
        self.reconciles += other.reconciles;
        self.presence += other.presence;
        self.meetings += other.meetings;
        self.hall_frames += other.hall_frames;
        self.cuts.iter_mut().zip(other.cuts).for_each(|(sum, n)| *sum += n);
        self.refused_deeds += other.refused_deeds;
        self.acts.iter_mut().zip(other.acts).for_each(|(sum, n)| *sum += n);
        self.acts_refused += other.acts_refused;
        self.seals_checked += other.seals_checked;
        self.late += other.late;
        self.marks.add(&other.marks);
        self.heal_us_max = self.heal_us_max.max(other.heal_us_max);
    }

    fn summary(&self) -> String {
        let acts: Vec<String> =
            self.acts.iter().zip(model::ACTS).map(|(n, name)| format!("{n} {name}")).collect();
        let faults: Vec<String> =
            self.faults.iter().zip(faults::NAMES).map(|(n, name)| format!("{n} {name}")).collect();
        format!(
            "{} edits, {} items, {} frames, {} presences; {} meetings of phones, {} frames there; {} snapshots made, {} used; {} reconciles, {} mismatches, \
             {} recoveries; slowest healing {} s\nrights taken: {} devices and {} members removed, {} roles changed, {} \
             readers taken off; {} looks for what was done after it, nothing of it found\nacts of the model: {}; {} \
             refused where they were made; {} looks at seals, {} changes late\nfaults: {}",
            self.edits,
            self.items,
            self.frames,
            self.presence,
            self.meetings,
            self.hall_frames,
            self.snapshots_made,
            self.snapshots_used,
            self.reconciles,
            self.mismatches,
            self.recoveries,
            self.heal_us_max / SECOND,
            self.cuts[0],
            self.cuts[1],
            self.cuts[2],
            self.cuts[3],
            self.refused_deeds,
            acts.join(", "),
            self.acts_refused,
            self.seals_checked,
            self.late,
            faults.join(", ")
        )
    }
}
