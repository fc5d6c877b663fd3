//! The summary of a meeting: one JSON line for machines, a few lines for people.

use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

/// What came out of a meeting. Field names are stable: scripts read them.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// Number of phones at the beginning.
    pub phones: usize,
    /// Phones that were removed in the course of the meeting: a lost one, a member's who left.
    pub removed_phones: u32,
    /// Phones that were admitted in the course of the meeting.
    pub admitted_phones: u32,
    /// Seed of the script.
    pub seed: u64,
    /// Acts that phones confirmed as saved on their disk.
    pub edits: u64,
    /// Acts that removed phones tried after their removal. They are not among `edits`.
    pub shut_out: u64,
    /// Acts that phones refused because their members may not. They are not among `edits`.
    pub denied: u64,
    /// Of what was shut out or denied, how much is on anybody's phone. A run with any is not good.
    pub leaked: u64,
    /// Acts to which there was nothing to do, for instance because a phrase had been replaced by somebody else.
    pub skipped: u64,
    /// Acts of the script that no phone ever confirmed. A run with any is not converged.
    pub unconfirmed: u64,
    /// Items that the phone which reads every space holds at the end.
    pub items: u64,
    /// Bytes that the links delivered to the relay, WebSocket framing included.
    pub bytes_up: u64,
    /// Bytes that the links delivered to phones.
    pub bytes_down: u64,
    /// TCP connections that phones made.
    pub connections: u64,
    /// Confirmed acts on phones whose outbox is empty at the end: the relay has acknowledged them as durable.
    pub acked: u64,
    /// Confirmed acts whose mark no copy of the document holds.
    pub lost: u64,
    /// Confirmed acts whose mark some copies hold and others, which ought to, do not. A run with any is not good.
    pub undelivered: u64,
    /// Files in the relay's directory, all of which were searched for plain text.
    pub relay_files: u64,
    /// Their bytes.
    pub relay_bytes: u64,
    /// Phrases that were searched for: members' names, pairs of words of every document.
    pub relay_phrases: u64,
    /// Places where one stands. A run with any is not good.
    pub relay_hits: u64,
    /// Every phone of the branch holds equal copies of all it may read, nothing is pending and every act was answered.
    pub converged: bool,
    /// Number of documents.
    pub documents: usize,
    /// Distinct pairs of a document and a hash of its heads over all phones: equal to `documents` when converged.
    pub distinct_documents_hashes: usize,
    /// Phones of the branch on which seals were looked at.
    pub seals_looked_at: u32,
    /// Of these, on how many both seals are valid. A run with fewer is not good.
    pub seals_valid: u32,
    /// The content hashes of the sealed resolution and the sealed minutes.
    pub seals: Vec<String>,
    /// Phones that list the late phone's changes as late. A run with fewer than `seals_looked_at` is not good.
    pub late_listed: u32,
    /// How many changes came too late.
    pub late_changes: u64,
    /// Phones that have the words that were said to the committee in confidence, all of which may.
    pub secret_readers: u32,
    /// Documents that phones have anything of, over all phones.
    pub seen_documents: u64,
    /// Of these, how many are not for the phone that has them. A run with any is not good.
    pub strangers: u64,
    /// Frozen rounds that the reviewer has.
    pub reviewer_rounds: usize,
    /// Members who were there, and members on the roster.
    pub roll: (u32, u32),
    /// The count by hands about the resolution: for, against, base.
    pub hands: Option<(u32, u32, u32)>,
    /// The votes on the phones: for, against, neither.
    pub phones_voted: Option<(u32, u32, u32)>,
    /// Where the resolution and the minutes stand.
    pub states: (String, String),
    /// Longest time that one call into a phone's library took for an act, in milliseconds.
    pub edit_ms_max: f64,
    /// From the last event of the return after the cut (Wi-Fi back on the last phone of the hall, or a killed relay or
    /// phone started again) to equal copies on all of them, in milliseconds. `null` when that never came.
    pub heal_ms: Option<u64>,
    /// Times the relay was killed.
    pub relay_kills: u32,
    /// Times a phone was killed.
    pub phone_kills: u32,
    /// The whole run, in milliseconds.
    pub total_ms: u64,
    /// What went wrong, for people.
    pub faults: Vec<String>,
}

impl Report {
    /// Whether the process may exit with 0.
    #[must_use]
    pub fn is_good(&self) -> bool {
        let wrong = self.lost + self.undelivered + self.leaked + self.relay_hits + self.strangers;
        let sealed = self.seals_valid == self.seals_looked_at && self.late_listed == self.seals_looked_at;
        self.converged && wrong == 0 && sealed && self.faults.is_empty()
    }

    fn votes(&self) -> String {
        let (present, total) = self.roll;
        let hands =
            self.hands.map_or("none".into(), |(yes, no, base)| format!("{yes} for, {no} against, of {base}"));
        let phones =
            self.phones_voted.map_or("none".into(), |(yes, no, _)| format!("{yes} for, {no} against"));
        format!("{present} of {total} present; by hands {hands}; on phones {phones}")
    }

    /// One line of JSON.
    ///
    /// # Panics
    /// Never: the fields are numbers, strings and booleans.
    #[must_use]
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).expect("plain fields serialise")
    }

    /// For people, several lines.
    #[must_use]
    pub fn to_text(&self) -> String {
        let mut text = String::new();
        let verdict = if self.is_good() {
            "Không mất gì. · Nothing was lost."
        } else {
            "CÓ LỖI. · SOMETHING WENT WRONG."
        };
        // Writing to a String cannot fail.
        let _ = writeln!(text, "── Tổng kết · Summary ── {verdict}");
        let mut line = |name: &str, value: String| {
            let _ = writeln!(text, "   {name:<28} {value}");
        };
        line("phones", format!("{} (seed {})", self.phones, self.seed));
        line(
            "acts saved",
            format!("{} ({} skipped, {} unconfirmed)", self.edits, self.skipped, self.unconfirmed),
        );
        line("acknowledged by relay", format!("{}", self.acked));
        line("lost", format!("{} ({} undelivered)", self.lost, self.undelivered));
        line(
            "shut out",
            format!(
                "{} acts of {} removed phones ({} leaked)",
                self.shut_out, self.removed_phones, self.leaked
            ),
        );
        line(
            "relay reads",
            format!(
                "{} of {} names and phrases, in {} files, {}",
                self.relay_hits,
                self.relay_phrases,
                self.relay_files,
                kb(self.relay_bytes)
            ),
        );
        line("denied", format!("{} acts of people who may not", self.denied));
        let n = self.seals_looked_at;
        line("roll / votes", self.votes());
        line("stand at", format!("resolution {}, minutes {}", self.states.0, self.states.1));
        line("seals valid", format!("on {} of {n} phones", self.seals_valid));
        for (name, hash) in ["  resolution", "  minutes"].iter().zip(&self.seals) {
            line(name, format!("{}…", hash.get(..32).unwrap_or(hash)));
        }
        line("late edits listed", format!("{} on {} of {n} phones", self.late_changes, self.late_listed));
        line(
            "confidential thread",
            format!("on {} phones: the committee's and its author's", self.secret_readers),
        );
        line(
            "not theirs",
            format!(
                "{} of {} documents on phones; the reviewer has {} rounds and the digest",
                self.strangers, self.seen_documents, self.reviewer_rounds
            ),
        );
        line("items", format!("{}", self.items));
        line("kills (-9)", format!("relay {}, phones {}", self.relay_kills, self.phone_kills));
        line(
            "bytes up / down",
            format!("{} / {} in {} connections", kb(self.bytes_up), kb(self.bytes_down), self.connections),
        );
        line(
            "documents / distinct copies",
            format!("{} / {}", self.documents, self.distinct_documents_hashes),
        );
        line("slowest act", format!("{:.1} ms", self.edit_ms_max));
        let heal = self.heal_ms.map_or("never".into(), |ms| format!("{ms} ms after the Wi-Fi came back"));
        line("everybody equal", heal);
        line("took", format!("{:.1} s", self.total_ms as f64 / 1000.0));
        for fault in &self.faults {
            line("fault", fault.clone());
        }
        text
    }
}

fn kb(bytes: u64) -> String {
    format!("{:.1} kB", bytes as f64 / 1000.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_json_line_has_what_scripts_read() {
        let line = Report { converged: true, ..Report::default() }.to_json();
        assert!(!line.contains('\n'));
        let value: serde_json::Value = serde_json::from_str(&line).unwrap();
        for field in [
            "phones",
            "edits",
            "items",
            "bytes_up",
            "bytes_down",
            "acked",
            "lost",
            "converged",
            "distinct_documents_hashes",
            "edit_ms_max",
            "heal_ms",
            "removed_phones",
            "admitted_phones",
            "shut_out",
            "leaked",
            "relay_files",
            "relay_bytes",
            "relay_hits",
            "denied",
            "seals_valid",
            "late_listed",
            "strangers",
        ] {
            assert!(value.get(field).is_some(), "{field}");
        }
    }

    #[test]
    fn only_a_clean_run_is_good() {
        let good = Report { converged: true, ..Report::default() };
        assert!(good.is_good());
        assert!(!Report { converged: false, ..good.clone() }.is_good());
        assert!(!Report { undelivered: 1, ..good.clone() }.is_good());
        assert!(!Report { lost: 1, ..good.clone() }.is_good());
        assert!(!Report { leaked: 1, ..good.clone() }.is_good());
        assert!(!Report { relay_hits: 1, ..good.clone() }.is_good());
        assert!(!Report { strangers: 1, ..good.clone() }.is_good());
        assert!(!Report { seals_looked_at: 2, seals_valid: 1, late_listed: 2, ..good.clone() }.is_good());
        assert!(!Report { seals_looked_at: 2, seals_valid: 2, late_listed: 1, ..good.clone() }.is_good());
        assert!(!Report { faults: vec!["x".into()], ..good.clone() }.is_good());
        assert!(good.to_text().contains("Không mất gì"));
    }
}
