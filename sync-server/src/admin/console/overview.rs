//! The first page: whether all is well, and how it went.

use axum::response::Html;
use axum::routing::get;
use axum::{Extension, Router};
use maud::{Markup, html};

use super::super::api::{self, Stats};
use super::super::history::Sample;
use super::super::{AdminShared, OpenRelay, Visitor};
use super::chart::{Chart, Line};
use super::format::{ago, bytes, decimal, duration, latency, number, short, utc};
use super::layout::{self, Tab, tile};
use super::text::{Lang, Texts};
use crate::driver::wall_time;
use crate::hub::Durations;

/// After that long without a backup the operator is told.
pub(super) const BACKUP_AGE_MAX_MS: u64 = 2 * 86_400_000;

pub(super) fn routes() -> Router<AdminShared> {
    Router::new().route("/", get(overview))
}

async fn overview(shared: OpenRelay, Extension(visitor): Extension<Visitor>) -> Html<String> {
    let stats = api::stats(&shared);
    let now = Sample::of(&shared.driver.stats(), wall_time());
    let (hour, day) = {
        let history = shared.history();
        (history.hour(now), history.day(now))
    };
    let lang = visitor.lang;
    let body = html! {
        (state(lang, &stats))
        section.tiles { (tiles(lang, &stats)) }
        section.charts { (charts(lang, &stats, &hour, &day)) }
    };
    layout::page(&visitor, Tab::Overview, body)
}

fn state(lang: Lang, stats: &Stats) -> Markup {
    let t = lang.texts();
    html! {
        @match &stats.unready {
            None if stats.read_only => p.state.bad role="alert" { (t.read_only) },
            None => p.state.good { (t.ready) },
            Some(why) => p.state.bad role="alert" { (t.unready) ": " (why) },
        }
    }
}

fn tiles(lang: Lang, stats: &Stats) -> Markup {
    let t = lang.texts();
    let backup = match &stats.last_backup {
        None => t.none_known.to_owned(),
        Some(backup) => ago(lang, stats.now_ms, backup.at_ms),
    };
    let file = stats.log_file_bytes.map(|n| format!("{} {}", bytes(lang, n as f64), t.in_file));
    let free = stats.storage_free_bytes.map(|n| format!("{} {}", bytes(lang, n as f64), t.free));
    let size: Vec<String> = [file, free].into_iter().flatten().collect();
    let running = stats.now_ms.saturating_sub(stats.started_ms) as f64 / 1e3;
    html! {
        (tile(t.spaces, &number(lang, stats.spaces), &format!("{} {}", number(lang, stats.branches), t.branches)))
        (tile(t.items, &number(lang, stats.log_head), &format!("{} {}", t.epoch, short(&stats.log_epoch))))
        (tile(t.size, &bytes(lang, stats.log_bytes as f64), &size.join(" · ")))
        (tile(t.memory, &stats.resident_bytes.map_or("–".to_owned(), |n| bytes(lang, n as f64)), ""))
        (tile(t.traffic_tile, &bytes(lang, stats.received_bytes as f64), &format!("{} · {} {}", t.received, bytes(lang, stats.sent_bytes as f64), t.sent)))
        (tile(t.running, &duration(lang, running), &format!("{} {}", t.since, utc(stats.started_ms))))
        (tile(t.rejects, &number(lang, stats.refused), &format!("{} {}", number(lang, stats.lately.refused), t.rejects_lately)))
        (tile(t.last_backup, &backup, ""))
    }
}

/// What changed from each sample to the next.
fn changes(samples: &[Sample], f: impl Fn(&Sample, &Sample) -> Option<f64>) -> Vec<(u64, Option<f64>)> {
    samples.windows(2).map(|pair| (pair[1].at.0, f(&pair[0], &pair[1]))).collect()
}

fn quantiles(samples: &[Sample], of: fn(&Sample) -> &Durations, t: &Texts) -> [Line; 2] {
    [(t.p50, 0.5), (t.p99, 0.99)].map(|(name, share)| Line {
        name,
        points: changes(samples, |before, now| {
            of(now).since(of(before)).quantile(share).map(|d| d.as_secs_f64())
        }),
    })
}

fn charts(lang: Lang, stats: &Stats, hour: &[Sample], day: &[Sample]) -> Markup {
    let t = lang.texts();
    let began =
        |samples: &[Sample]| ago(lang, stats.now_ms, samples.first().map_or(stats.now_ms, |s| s.at.0));
    let rate = |of: fn(&Sample) -> u64| {
        changes(hour, move |before, now| {
            Some(of(now).saturating_sub(of(before)) as f64 / now.seconds_since(before))
        })
    };
    let chart = |title, now, lines, from_zero, samples| Chart {
        title,
        now,
        lines,
        from_zero,
        began: began(samples),
        ends: t.now,
    };
    let per_second = |n: f64| format!("{}{}", decimal(lang, n), t.per_second);
    let lately = &stats.lately;
    let seconds = |share: Option<f64>| share.map_or("–".to_owned(), |s| latency(lang, s));
    let both = |p50, p99| format!("{} / {}", seconds(p50), seconds(p99));

    let connections =
        [Line { name: "", points: hour.iter().map(|s| (s.at.0, Some(s.connections as f64))).collect() }];
    let items = [
        Line { name: t.received, points: rate(|s| s.items_in) },
        Line { name: t.sent, points: rate(|s| s.items_out) },
    ];
    let acks = quantiles(hour, |s| &s.acks, t);
    let fan_out = quantiles(hour, |s| &s.fan_out, t);
    let rejects = [Line { name: "", points: rate(|s| s.rejects) }];
    let storage =
        [Line { name: "", points: day.iter().map(|s| (s.at.0, Some(s.log_bytes as f64))).collect() }];
    let items_now = format!(
        "{} / {}",
        decimal(lang, lately.items_stored_per_second),
        per_second(lately.items_delivered_per_second)
    );
    html! {
        (chart(t.connections, number(lang, stats.connections), &connections, true, hour).draw(|n| decimal(lang, n)))
        (chart(t.items, items_now, &items, true, hour).draw(per_second))
        (chart(t.ack_time, both(lately.ack_p50_seconds, lately.ack_p99_seconds), &acks, true, hour).draw(|n| latency(lang, n)))
        (chart(t.fan_out_time, both(lately.fan_out_p50_seconds, lately.fan_out_p99_seconds), &fan_out, true, hour).draw(|n| latency(lang, n)))
        (chart(t.rejects, per_second(lately.refused as f64 / lately.seconds), &rejects, true, hour).draw(per_second))
        (chart(t.storage, bytes(lang, stats.log_bytes as f64), &storage, false, day).draw(|n| bytes(lang, n)))
    }
}
