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
    /// Edits that phones confirmed as saved on their disk.
    pub edits: u64,
    /// Edits that removed phones tried after their removal. They are not among `edits`.
    pub shut_out: u64,
    /// Of these, how many are on anybody's phone. A run with any is not good.
    pub leaked: u64,
    /// Edits to which there was nothing to do, for instance because a phrase had been replaced by somebody else.
    pub skipped: u64,
    /// Edits of the script that no phone ever confirmed. A run with any is not converged.
    pub unconfirmed: u64,
    /// Items that the phone which reads every space holds at the end.
    pub items: u64,
    /// Bytes that the links delivered to the relay, WebSocket framing included.
    pub bytes_up: u64,
    /// Bytes that the links delivered to phones.
    pub bytes_down: u64,
    /// TCP connections that phones made.
    pub connections: u64,
    /// Confirmed edits on phones whose outbox is empty at the end: the relay has acknowledged them as durable.
    pub acked: u64,
    /// Confirmed edits whose mark no copy of the document holds.
    pub lost: u64,
    /// Confirmed edits whose mark some copies hold and others, which ought to, do not. A run with any is not good.
    pub undelivered: u64,
    /// Files in the relay's directory, all of which were searched for plain text.
    pub relay_files: u64,
    /// Their bytes.
    pub relay_bytes: u64,
    /// Phrases that were searched for: members' names, pairs of words of every document.
    pub relay_phrases: u64,
    /// Places where one stands. A run with any is not good.
    pub relay_hits: u64,
    /// Every phone of the branch holds equal copies of all it may read, nothing is pending and every edit was answered.
    pub converged: bool,
    /// Number of documents.
    pub documents: usize,
    /// Distinct pairs of a document and a hash of its heads over all phones: equal to `documents` when converged.
    pub distinct_documents_hashes: usize,
    /// Longest time that one call into a phone's engine took for an edit, in milliseconds.
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
        let wrong = self.lost + self.undelivered + self.leaked + self.relay_hits;
        self.converged && wrong == 0 && self.faults.is_empty()
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
            "edits saved",
            format!("{} ({} skipped, {} unconfirmed)", self.edits, self.skipped, self.unconfirmed),
        );
        line("acknowledged by relay", format!("{}", self.acked));
        line("lost", format!("{} ({} undelivered)", self.lost, self.undelivered));
        line(
            "shut out",
            format!(
                "{} edits of {} removed phones ({} leaked)",
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
        line("slowest edit", format!("{:.1} ms", self.edit_ms_max));
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
        assert!(!Report { faults: vec!["x".into()], ..good.clone() }.is_good());
        assert!(good.to_text().contains("Không mất gì"));
    }
}
