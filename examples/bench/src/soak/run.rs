//! A run under way: who is told what when, and what is measured meanwhile.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use dinh_proto::ids::{Seq, SpaceId};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::Options;
use super::branch::{Branch, Stored};
use super::counts::Counts;
use super::device::{Device, Orders, Part, Phase, Status, World};
use super::founding::found_branches;
use super::relay::{Relay, usage};
use super::report::{Report, Times};
use super::verdict::{self, Memory};

const SAMPLE_EVERY: Duration = Duration::from_secs(5);
const PROGRESS_EVERY: Duration = Duration::from_secs(10);
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// What connecting and ending may take beyond their rates before the run is given up.
const PATIENCE: Duration = Duration::from_secs(120);
/// The pages that warm the connections up come spread over this time, so that they do not decide about latencies.
const PAGES_WITHIN: Duration = Duration::from_secs(20);
/// Load after which something can be said about memory.
const MEMORY_AFTER: Duration = Duration::from_secs(60);
/// The outage comes after this part of the load: then what it does to memory is not in the second half.
const OUTAGE_AFTER: f64 = 0.3;

pub(super) struct Run {
    options: Options,
    seed: u64,
    world: Arc<World>,
    orders: watch::Sender<Orders>,
    branches: Vec<Arc<Branch>>,
    statuses: Vec<Arc<Status>>,
    devices: JoinSet<Device>,
    /// The relay's metrics.
    before: BTreeMap<String, f64>,
    /// Seconds of load and the relay's memory then, KiB.
    memory: Vec<(f64, u64)>,
    times: Times,
    /// Acknowledgements that came during the outage.
    in_outage: Range<usize>,
}

impl Run {
    /// Founds the branches, and starts devices that do not connect yet.
    pub(super) async fn prepare(options: &Options, relay: &Relay, seed: u64) -> Result<Self, String> {
        let Options { devices, spaces, churn, slow, new, .. } = *options;
        let (rate, storm) = (options.rate.unwrap_or_default(), options.storm.unwrap_or_default());
        println!(
            "soak: {devices} devices in {spaces} spaces, {:.1} minutes, {rate:.1} items/s, {storm:.1} connects/s, {churn} % drop in a \
             minute, {slow} % slow, {new} % new, seed {seed}",
            options.minutes
        );
        let before = relay.metrics().await?;
        let world = Arc::new(World {
            relay: relay.address.clone(),
            counts: Counts::default(),
            began: Instant::now(),
            write_every: Duration::from_secs_f64(devices as f64 / rate),
            drop_every: (churn > 0.0).then(|| Duration::from_secs_f64(60.0 * 100.0 / churn)),
            connects_per_second: storm,
        });
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let sizes = (spaces, devices / spaces, options.past * 1_000_000 / spaces);
        let mut founded = found_branches(&world, sizes, &mut rng).await?;
        let founding = world.began.elapsed();
        println!(
            "soak: {} items of their past stored in {:.1} s",
            world.counts.acked.get(),
            founding.as_secs_f64()
        );
        let (orders, ordered) = watch::channel(Orders { phase: Phase::Connect, storms: 0, pages: 0 });
        let mut run = Self {
            options: options.clone(),
            seed,
            branches: founded.iter().map(|(branch, _)| branch.clone()).collect(),
            world,
            orders,
            statuses: Vec::new(),
            devices: JoinSet::new(),
            before,
            memory: Vec::new(),
            times: Times { founding_s: founding.as_secs_f64(), ..Times::default() },
            in_outage: 0..0,
        };
        let began = Instant::now();
        // One of each branch, then another of each: all branches come alive together.
        for number in 0..devices {
            let (branch, authors) = &mut founded[number % spaces];
            let author = authors.pop().ok_or("a branch has too few members")?;
            let is =
                |percent: f64, rng: &mut ChaCha8Rng| f64::from(rng.next_u32() % 10_000) < percent * 100.0;
            let part = Part {
                number,
                is_slow: is(slow, &mut rng),
                is_new: is(new, &mut rng),
                page_after: (number < spaces).then(|| PAGES_WITHIN.mul_f64(number as f64 / spaces as f64)),
                began,
            };
            let own = ChaCha8Rng::seed_from_u64(rng.next_u64());
            let device = Device::new(run.world.clone(), (branch.clone(), author), own, ordered.clone(), part);
            run.statuses.push(device.status.clone());
            run.devices.spawn(device.run());
        }
        Ok(run)
    }

    /// Until all have connected for the first time and have everything.
    pub(super) async fn connect(&mut self, relay: &Relay) -> Result<(), String> {
        let began = Instant::now();
        let storm = self.options.devices as f64 / self.options.storm.unwrap_or(1.0);
        let mut progress = began + PROGRESS_EVERY;
        while self.caught_up() < self.statuses.len() {
            tokio::time::sleep(LOOK_EVERY).await;
            if Instant::now() > progress {
                progress += PROGRESS_EVERY;
                self.say("connecting", relay);
            }
            if began.elapsed() > PATIENCE + Duration::from_secs_f64(storm) {
                let words = self.world.counts.words().join("\n  ");
                return Err(format!(
                    "{} of {} devices have connected\n  {words}",
                    self.caught_up(),
                    self.statuses.len()
                ));
            }
        }
        self.times.connecting_s = began.elapsed().as_secs_f64();
        println!("soak: all connected and caught up after {:.1} s", self.times.connecting_s);
        Ok(())
    }

    /// The load itself.
    pub(super) async fn load(&mut self, relay: &Relay) {
        self.orders.send_modify(|orders| (orders.phase, orders.pages) = (Phase::Write, 1));
        let (began, whole) = (Instant::now(), Duration::from_secs_f64(self.options.minutes * 60.0));
        let (cpu, own_cpu) = (relay.usage().map(|u| u.cpu_s), usage(std::process::id()).map(|u| u.cpu_s));
        let mut outage: Option<(Instant, usize)> = None;
        let (mut sample, mut progress) = (began, began + PROGRESS_EVERY);
        while began.elapsed() < whole {
            tokio::time::sleep(LOOK_EVERY).await;
            let now = Instant::now();
            if now >= sample {
                sample += SAMPLE_EVERY;
                self.memory.extend(relay.usage().map(|usage| (began.elapsed().as_secs_f64(), usage.rss_kib)));
            }
            if now >= progress {
                progress += PROGRESS_EVERY;
                self.say(&format!("{:3.0} s", began.elapsed().as_secs_f64()), relay);
            }
            match outage {
                None if began.elapsed() > whole.mul_f64(OUTAGE_AFTER) => {
                    println!("soak: outage: every other device loses its connection");
                    self.in_outage.start = self.world.counts.acks.len();
                    outage = Some((now, self.caught_up()));
                    self.orders.send_modify(|orders| orders.storms += 1);
                }
                // Those who come and go by themselves are always missing.
                Some((at, were))
                    if self.times.outage_s == 0.0
                        && at.elapsed() > Duration::from_secs(2)
                        && self.caught_up() * 100 >= were * 98 =>
                {
                    self.times.outage_s = at.elapsed().as_secs_f64();
                    self.in_outage.end = self.world.counts.acks.len();
                    self.orders.send_modify(|orders| orders.pages += 1);
                    println!(
                        "soak: 98 % of those connected before are back {:.1} s after the outage",
                        self.times.outage_s
                    );
                }
                _ => {}
            }
        }
        self.times.load_s = began.elapsed().as_secs_f64();
        let since = |now: Option<f64>, then: Option<f64>| now.zip(then).map(|(now, then)| now - then);
        self.times.relay_cpu_s = since(relay.usage().map(|u| u.cpu_s), cpu);
        self.times.bench_cpu_s = since(usage(std::process::id()).map(|u| u.cpu_s), own_cpu);
    }

    /// Waits until everything is where it belongs, and judges.
    pub(super) async fn judge(mut self, relay: &Relay) -> Result<Report, String> {
        self.orders.send_modify(|orders| orders.phase = Phase::Drain);
        let began = Instant::now();
        while !self.is_settled() && began.elapsed() < PATIENCE {
            tokio::time::sleep(LOOK_EVERY).await;
        }
        self.times.draining_s = began.elapsed().as_secs_f64();
        // The relay counts a connection that was dropped as ended when it hears of it.
        tokio::time::sleep(Duration::from_secs(1)).await;
        let after = relay.metrics().await?;
        let connected = self.caught_up() as u64;
        self.orders.send_modify(|orders| orders.phase = Phase::Stop);
        let mut devices = Vec::with_capacity(self.statuses.len());
        while let Some(device) = self.devices.join_next().await {
            devices.push(device.map_err(|e| format!("a device: {e}"))?);
        }
        let truth = self.truth();
        let counts = &self.world.counts;
        let checks =
            verdict::checks(counts, &self.before, &after, connected, verdict::on_the_way(counts, &truth));
        Ok(Report {
            devices: self.options.devices,
            spaces: self.options.spaces,
            minutes: self.options.minutes,
            items_per_second: self.options.rate.unwrap_or_default(),
            connects_per_second: self.options.storm.unwrap_or_default(),
            seed: self.seed,
            connects: counts.connects.get(),
            drops: counts.drops().len(),
            items_written: counts.written.get(),
            items_acknowledged: counts.acked.get(),
            items_delivered: counts.received.get(),
            own_items_back: counts.own_back.get(),
            offered_again: counts.offered_again.get(),
            rejects: counts.rejects(),
            errors: counts.errors.get(),
            first_errors: counts.words(),
            received: verdict::received(&devices, &truth),
            connecting: counts.connecting.quantiles(0..counts.connecting.len()),
            ack: counts.acks.quantiles(0..counts.acks.len()),
            ack_in_outage: counts.acks.quantiles(self.in_outage.clone()),
            delivery: counts.deliveries.quantiles(0..counts.deliveries.len()),
            memory: Memory::of(&self.memory).filter(|_| self.times.load_s >= MEMORY_AFTER.as_secs_f64()),
            memory_samples: self.memory,
            times: self.times,
            checks,
        })
    }

    fn caught_up(&self) -> usize {
        self.statuses.iter().filter(|status| status.is_caught_up()).count()
    }

    fn truth(&self) -> BTreeMap<SpaceId, Vec<Stored>> {
        self.branches.iter().map(|branch| (branch.id, branch.truth())).collect()
    }

    /// All are connected, all items are acknowledged, and everyone has those of the others.
    fn is_settled(&self) -> bool {
        if !self.statuses.iter().all(|status| status.is_caught_up() && status.is_answered()) {
            return false;
        }
        let truth = self.truth();
        self.statuses.iter().all(|status| {
            let stored = truth.get(&status.branch).map_or(&[][..], Vec::as_slice);
            let from = status.began_at.map_or(Seq(0), |cursor| cursor.seq);
            let theirs = stored.iter().filter(|s| s.seq > from && s.author != status.device);
            theirs.count() as u64 <= status.others()
        })
    }

    fn say(&self, when: &str, relay: &Relay) {
        let counts = &self.world.counts;
        let ack = counts.acks.quantiles(0..counts.acks.len());
        println!(
            "soak: {when}: {} connected, {} connects, {} acked, {} delivered, ack p50 {:.1} ms p99 {:.1} ms, relay {} MiB, {} errors",
            self.caught_up(),
            counts.connects.get(),
            counts.acked.get(),
            counts.received.get(),
            ack.p50,
            ack.p99,
            relay.usage().map_or(0, |usage| usage.rss_kib / 1024),
            counts.errors.get(),
        );
    }
}
