//! What a run found, for people and as JSON.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;

use super::counts::Quantiles;
use super::verdict::{Check, Memory, Received};

/// How long the parts took, and the processors meanwhile.
#[derive(Debug, Default, Serialize)]
pub(super) struct Times {
    pub(super) founding_s: f64,
    pub(super) connecting_s: f64,
    pub(super) load_s: f64,
    /// From the outage until 98 % of the devices that had been connected were back; 0 if that was not seen.
    pub(super) outage_s: f64,
    pub(super) draining_s: f64,
    /// Processor time during the load; nothing if the process is not on this machine.
    pub(super) relay_cpu_s: Option<f64>,
    pub(super) bench_cpu_s: Option<f64>,
}

/// Names carry units; latencies are milliseconds.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    pub(super) devices: usize,
    pub(super) spaces: usize,
    pub(super) minutes: f64,
    pub(super) items_per_second: f64,
    pub(super) connects_per_second: f64,
    pub(super) seed: u64,
    pub(super) connects: u64,
    pub(super) drops: usize,
    pub(super) items_written: u64,
    pub(super) items_acknowledged: u64,
    pub(super) items_delivered: u64,
    pub(super) own_items_back: u64,
    pub(super) offered_again: u64,
    pub(super) rejects: BTreeMap<&'static str, u64>,
    pub(super) errors: u64,
    pub(super) first_errors: Vec<String>,
    pub(super) received: Received,
    /// From dialling to `Welcome`.
    pub(super) connecting: Quantiles,
    /// From `put` to the acknowledgement over the same connection, of devices that read at once.
    pub(super) ack: Quantiles,
    pub(super) ack_in_outage: Quantiles,
    /// From signing to receiving, to devices that were caught up and read at once.
    pub(super) delivery: Quantiles,
    /// Nothing if the load was too short, or the relay is elsewhere.
    pub(super) memory: Option<Memory>,
    pub(super) memory_samples: Vec<(f64, u64)>,
    pub(super) times: Times,
    pub(super) checks: Vec<Check>,
}

impl Report {
    pub(super) fn is_good(&self) -> bool {
        self.failures().is_empty()
    }

    fn failures(&self) -> Vec<String> {
        let mut all = Vec::new();
        if self.errors > 0 {
            all.push(format!("{} errors", self.errors));
        }
        if !self.rejects.is_empty() {
            all.push("items were refused".to_owned());
        }
        let Received { lost, repeated, unknown } = self.received;
        if lost + repeated + unknown > 0 {
            all.push(format!("{lost} items lost, {repeated} repeated, {unknown} not known"));
        }
        let wrong = self.checks.iter().filter(|check| !check.is_right());
        all.extend(wrong.map(|check| format!("the relay's {} is not what was counted", check.metric)));
        if self.memory.as_ref().is_some_and(|memory| !memory.is_flat()) {
            all.push("the relay's memory grows".to_owned());
        }
        all
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Times { load_s, .. } = self.times;
        let per_second = |n: u64| n as f64 / load_s.max(f64::EPSILON);
        writeln!(f)?;
        writeln!(
            f,
            "devices            {} in {} spaces, {:.0} s of load",
            self.devices, self.spaces, load_s
        )?;
        writeln!(f, "connections        {} made, {} dropped on purpose", self.connects, self.drops)?;
        writeln!(f, "items written      {} ({:.1}/s)", self.items_written, per_second(self.items_written))?;
        writeln!(f, "items acknowledged {} with the branches' past", self.items_acknowledged)?;
        writeln!(
            f,
            "items delivered    {}; live {:.0}/s; {} own ones came back",
            self.items_delivered,
            per_second(self.delivery.count as u64),
            self.own_items_back
        )?;
        let Received { lost, repeated, unknown } = self.received;
        writeln!(f, "received           {lost} lost, {repeated} repeated, {unknown} not known")?;
        writeln!(f, "errors             {}; refused {:?}", self.errors, self.rejects)?;
        for words in &self.first_errors {
            writeln!(f, "  {words}")?;
        }
        let head = ["milliseconds", "count", "p50", "p90", "p99", "p99.9", "max"];
        let [name, count, rest @ ..] = head;
        write!(f, "\n{name:<18} {count:>9}")?;
        rest.iter().try_for_each(|of| write!(f, " {of:>9}"))?;
        writeln!(f)?;
        for (name, q) in [
            ("connect to welcome", &self.connecting),
            ("put to ack", &self.ack),
            ("  in the outage", &self.ack_in_outage),
            ("write to delivery", &self.delivery),
        ] {
            writeln!(
                f,
                "{name:<18} {:>9} {:>9.1} {:>9.1} {:>9.1} {:>9.1} {:>9.1}",
                q.count, q.p50, q.p90, q.p99, q.p999, q.max
            )?;
        }
        if let Some(memory) = &self.memory {
            writeln!(
                f,
                "\nrelay's memory     {:.1} MiB at the end, {:.1} MiB at most; second half: mean {:.1} MiB, {:+.1} KiB/min, {:+.0} KiB in \
                 all (at most {:.0} KiB)",
                memory.last_kib as f64 / 1024.0,
                memory.max_kib as f64 / 1024.0,
                memory.mean_kib / 1024.0,
                memory.slope_kib_per_minute,
                memory.growth_kib,
                memory.growth_max_kib
            )?;
        }
        for (name, cpu) in
            [("relay's processor  ", self.times.relay_cpu_s), ("this one's         ", self.times.bench_cpu_s)]
        {
            if let Some(cpu) = cpu {
                writeln!(f, "{name}{:.1} % of one core", 100.0 * cpu / load_s.max(f64::EPSILON))?;
            }
        }
        writeln!(f, "\n{:<36} {:>14}   counted here", "metric", "relay")?;
        for check in &self.checks {
            let counted = match (check.least, check.most) {
                (least, most) if least == most => least.to_string(),
                (least, u64::MAX) => format!("{least} or more"),
                (least, most) => format!("{least} to {most}"),
            };
            let verdict = if check.is_right() { "" } else { "  DIFFERS" };
            writeln!(f, "{:<36} {:>14}   {counted}{verdict}", check.metric, check.relay)?;
        }
        let failures = self.failures();
        if failures.is_empty() {
            write!(f, "\nsoak: passed")
        } else {
            write!(f, "\nsoak: FAILED: {}", failures.join("; "))
        }
    }
}
