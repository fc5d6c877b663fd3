//! Whether it went well: what each device received against what was acknowledged, the relay's metrics against the devices' own
//! counts, and whether the relay's memory grew.

use std::collections::BTreeMap;
use std::time::Duration;

use dinh_proto::ids::{ItemId, Seq, SpaceId};
use serde::Serialize;

use super::branch::Stored;
use super::counts::Counts;
use super::device::Device;

/// A relay may hand items to a connection for so long after its device dropped it.
const NOTICES_WITHIN: Duration = Duration::from_secs(1);
/// What the relay's memory may grow by in the second half, as a part of its mean.
const GROWTH_MAX: f64 = 0.05;

/// Received against acknowledged, over all devices.
#[derive(Debug, Default, Serialize)]
pub(super) struct Received {
    /// Items that a device should have received and did not.
    pub(super) lost: u64,
    /// Items that came twice.
    pub(super) repeated: u64,
    /// Items that nobody was told are stored.
    pub(super) unknown: u64,
}

type Truth = BTreeMap<SpaceId, Vec<Stored>>;

/// Looks at everything that every device received.
pub(super) fn received(devices: &[Device], truth: &Truth) -> Received {
    let mut all = Received::default();
    for device in devices {
        let stored = truth.get(&device.branch.id).map_or(&[][..], Vec::as_slice);
        let from = device.status.began_at.map_or(Seq(0), |cursor| cursor.seq);
        let own = |s: &Stored| s.author == device.id;
        compare(&mut all, stored.iter().filter(|s| s.seq > from), own, device.got.clone());
    }
    all
}

fn compare<'a>(
    all: &mut Received,
    stored: impl Iterator<Item = &'a Stored>,
    own: impl Fn(&Stored) -> bool,
    mut got: Vec<(Seq, ItemId)>,
) {
    got.sort_unstable();
    let before = got.len();
    got.dedup();
    all.repeated += (before - got.len()) as u64;
    let mut got: BTreeMap<Seq, ItemId> = got.into_iter().collect();
    for stored in stored {
        match got.remove(&stored.seq) {
            Some(id) if id == stored.id => {}
            Some(_) => all.unknown += 1,
            // What it wrote itself comes back only if it lost the connection over which it was put.
            None if own(stored) => {}
            None => all.lost += 1,
        }
    }
    all.unknown += got.len() as u64;
}

/// Items that the relay may have counted as delivered and that were on the way when a connection dropped.
pub(super) fn on_the_way(counts: &Counts, truth: &Truth) -> u64 {
    let lost = counts.drops().into_iter().map(|drop| {
        let stored = truth.get(&drop.branch).map_or(&[][..], Vec::as_slice);
        let may = |s: &&Stored| {
            s.seq > drop.cursor && s.author != drop.device && s.signed <= drop.at + NOTICES_WITHIN
        };
        stored.iter().filter(may).count() as u64
    });
    lost.sum()
}

/// One number of the relay against what the devices counted.
#[derive(Debug, Serialize)]
pub(super) struct Check {
    pub(super) metric: String,
    /// What the relay says.
    pub(super) relay: u64,
    /// What it may say.
    pub(super) least: u64,
    pub(super) most: u64,
}

impl Check {
    pub(super) fn is_right(&self) -> bool {
        (self.least..=self.most).contains(&self.relay)
    }
}

/// The relay's page before and after, and what it must say.
pub(super) fn checks(
    counts: &Counts,
    before: &BTreeMap<String, f64>,
    after: &BTreeMap<String, f64>,
    connected: u64,
    on_the_way: u64,
) -> Vec<Check> {
    let value = |page: &BTreeMap<String, f64>, name: &str| page.get(name).copied().unwrap_or_default();
    let grown = |name: &str| (value(after, name) - value(before, name)).max(0.0) as u64;
    let sum = |family: &str| {
        let names = after.keys().filter(|name| name.split('{').next() == Some(family));
        names.map(|name| grown(name)).sum::<u64>()
    };
    let check = |metric: &str, relay, least, most| Check { metric: metric.to_owned(), relay, least, most };
    let same = |metric: &str, relay, counted| check(metric, relay, counted, counted);
    let (connects, acked, received) = (counts.connects.get(), counts.acked.get(), counts.received.get());
    let mut checks = vec![
        same(
            "connections",
            value(after, "connections") as u64,
            value(before, "connections") as u64 + connected,
        ),
        same("connections_total", grown("connections_total"), connects),
        same("disconnections_total", grown("disconnections_total"), connects - connected.min(connects)),
        same("connections_refused_total", sum("connections_refused_total"), counts.turned_away.get()),
        same("items_stored_total", grown("items_stored_total"), acked),
        same("log_head", grown("log_head"), acked),
        same("commit_items_sum", grown("commit_items_sum"), acked),
        same("log_appended_bytes_total", grown("log_appended_bytes_total"), counts.acked_bytes.get()),
        check("items_delivered_total", grown("items_delivered_total"), received, received + on_the_way),
        check("received_bytes_total", grown("received_bytes_total"), 1, counts.sent_bytes.get()),
        check("sent_bytes_total", grown("sent_bytes_total"), counts.received_bytes.get(), u64::MAX),
        same("closes_total", sum("closes_total"), counts.closed.get()),
    ];
    // A device cannot tell whether its second offer was the one that was stored: `Duplicate` counts as an acknowledgement.
    let duplicates = grown("rejects_total{code=\"Duplicate\"}");
    checks.push(check("rejects_total{code=\"Duplicate\"}", duplicates, 0, counts.offered_again.get()));
    let rejects: u64 = counts.rejects().values().sum();
    // What is refused over a connection that was dropped, its device does not hear.
    let (others, most) = (sum("rejects_total") - duplicates, rejects + counts.offered_again.get());
    checks.push(check("rejects_total, other codes", others, rejects, most));
    checks
}

/// The relay's memory over the second half of the time.
#[derive(Debug, Default, Serialize)]
pub(super) struct Memory {
    pub(super) mean_kib: f64,
    pub(super) max_kib: u64,
    pub(super) last_kib: u64,
    /// By least squares.
    pub(super) slope_kib_per_minute: f64,
    /// The slope over the whole second half.
    pub(super) growth_kib: f64,
    pub(super) growth_max_kib: f64,
}

impl Memory {
    /// Samples are seconds and KiB. `None` if there are too few.
    pub(super) fn of(samples: &[(f64, u64)]) -> Option<Self> {
        let half = &samples[samples.len() / 2..];
        let [(first, _), .., (last, last_kib)] = half else { return None };
        let n = half.len() as f64;
        let mean = |f: &dyn Fn(&(f64, u64)) -> f64| half.iter().map(f).sum::<f64>() / n;
        let (mean_s, mean_kib) = (mean(&|s| s.0), mean(&|s| s.1 as f64));
        let covariance = mean(&|s| (s.0 - mean_s) * (s.1 as f64 - mean_kib));
        let slope = covariance / mean(&|s| (s.0 - mean_s).powi(2)).max(f64::EPSILON);
        Some(Self {
            mean_kib,
            max_kib: samples.iter().map(|s| s.1).max().unwrap_or_default(),
            last_kib: *last_kib,
            slope_kib_per_minute: slope * 60.0,
            growth_kib: slope * (last - first),
            growth_max_kib: mean_kib * GROWTH_MAX,
        })
    }

    pub(super) fn is_flat(&self) -> bool {
        self.growth_kib <= self.growth_max_kib
    }
}

#[cfg(test)]
mod tests {
    use dinh_proto::ids::DeviceId;

    use super::*;

    fn stored(seq: u64, author: u8) -> Stored {
        let (seq, id, author) = (Seq(seq), ItemId([seq as u8; 32]), DeviceId([author; 16]));
        Stored { seq, id, author, signed: Duration::ZERO }
    }

    #[test]
    fn what_is_missing_repeated_or_not_known_is_found() {
        let truth: Vec<Stored> = (1..=4).map(|seq| stored(seq, if seq == 2 { 9 } else { 1 })).collect();
        let got = |seqs: &[u64]| seqs.iter().map(|seq| (Seq(*seq), ItemId([*seq as u8; 32]))).collect();
        let of = |got: Vec<(Seq, ItemId)>| {
            let mut all = Received::default();
            compare(&mut all, truth.iter(), |s| s.author == DeviceId([9; 16]), got);
            (all.lost, all.repeated, all.unknown)
        };
        assert_eq!(of(got(&[1, 3, 4])), (0, 0, 0));
        assert_eq!(of(got(&[1, 2, 3, 4])), (0, 0, 0));
        assert_eq!(of(got(&[1, 4])), (1, 0, 0));
        assert_eq!(of(got(&[1, 3, 3, 4])), (0, 1, 0));
        assert_eq!(of(got(&[1, 3, 4, 5])), (0, 0, 1));
        assert_eq!(
            of(vec![(Seq(1), ItemId([1; 32])), (Seq(3), ItemId([7; 32])), (Seq(4), ItemId([4; 32]))]),
            (0, 0, 1)
        );
    }

    #[test]
    fn memory_that_grows_is_not_flat() {
        let of = |grows: f64| {
            let samples: Vec<_> =
                (0..100).map(|i| (f64::from(i) * 5.0, (100_000.0 + grows * f64::from(i)) as u64)).collect();
            Memory::of(&samples).unwrap()
        };
        assert!(of(0.0).is_flat());
        assert!(of(50.0).is_flat());
        let leak = of(400.0);
        assert!(!leak.is_flat());
        assert!((leak.slope_kib_per_minute - 4_800.0).abs() < 100.0, "{leak:?}");
    }

    #[test]
    fn a_number_that_differs_by_one_is_a_difference() {
        let counts = Counts::default();
        counts.acked.add(7);
        counts.received.add(5);
        let page = |stored: f64, delivered: f64| {
            [("items_stored_total", stored), ("items_delivered_total", delivered)]
                .map(|(n, v)| (n.to_owned(), v))
                .into()
        };
        let wrong = |page| {
            let checks = checks(&counts, &BTreeMap::new(), &page, 0, 2);
            let wrong = checks.into_iter().filter(|c| !c.is_right()).map(|c| c.metric);
            wrong.filter(|m| m.starts_with("items")).collect::<Vec<_>>()
        };
        assert!(wrong(page(7.0, 5.0)).is_empty());
        assert!(wrong(page(7.0, 7.0)).is_empty());
        assert_eq!(wrong(page(6.0, 8.0)), ["items_stored_total", "items_delivered_total"]);
        assert_eq!(wrong(page(8.0, 4.0)), ["items_stored_total", "items_delivered_total"]);
    }
}
