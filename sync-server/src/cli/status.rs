//! `dinh-relay status`.

use std::path::PathBuf;
use std::process::ExitCode;

use super::ask::{ask, bytes, duration, json};
use crate::admin::api::Stats;

pub(super) const EXAMPLE: &str = "Examples:\n  dinh-relay status --data /var/lib/dinh\n  \
    dinh-relay status --data /var/lib/dinh --json\n\n\
    Rates and times are of the last five minutes. Fails if no relay runs there.";

#[derive(Debug, clap::Args)]
pub(super) struct Status {
    /// The data directory of the relay.
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    /// One line of JSON.
    #[arg(long)]
    json: bool,
}

pub(super) fn status(args: &Status) -> ExitCode {
    ask(&args.data, async |relay| {
        let stats: Stats = relay.get("/api/v1/stats").await?;
        if args.json { json(&stats) } else { Ok(text(&stats)) }
    })
}

fn text(stats: &Stats) -> String {
    let ms = |seconds: Option<f64>| seconds.map_or("-".to_owned(), |s| format!("{:.1} ms", s * 1e3));
    let lately = &stats.lately;
    let state = match &stats.unready {
        Some(why) => why.clone(),
        None if stats.read_only => "read-only: free space on the volume of the data directory".to_owned(),
        None => "ready".to_owned(),
    };
    let rows = [
        ("state", state),
        ("version", stats.version.clone()),
        ("running for", duration(stats.now_ms.saturating_sub(stats.started_ms))),
        ("connections", stats.connections.to_string()),
        ("branches, spaces", format!("{}, {}", stats.branches, stats.spaces)),
        ("items in the log", stats.log_head.to_string()),
        ("bytes of items", bytes(stats.log_bytes)),
        ("bytes of the file", stats.log_file_bytes.map_or("-".to_owned(), bytes)),
        ("free on the volume", stats.storage_free_bytes.map_or("-".to_owned(), bytes)),
        ("resident memory", stats.resident_bytes.map_or("-".to_owned(), bytes)),
        ("items in", format!("{:.1}/s", lately.items_stored_per_second)),
        ("items out", format!("{:.1}/s", lately.items_delivered_per_second)),
        ("ack, 50 % and 99 %", format!("{}, {}", ms(lately.ack_p50_seconds), ms(lately.ack_p99_seconds))),
        (
            "fan-out, 50 % and 99 %",
            format!("{}, {}", ms(lately.fan_out_p50_seconds), ms(lately.fan_out_p99_seconds)),
        ),
        ("refused items", format!("{} lately, {} in all", lately.refused, stats.refused)),
        (
            "last backup",
            stats.last_backup.as_ref().map_or("none known".to_owned(), |backup| {
                format!(
                    "{} ago, up to place {}",
                    duration(stats.now_ms.saturating_sub(backup.at_ms)),
                    backup.place
                )
            }),
        ),
    ];
    rows.map(|(name, value)| format!("{name:<24}{value}\n")).concat()
}
