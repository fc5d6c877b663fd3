//! The other pages: lists, and what is to be known of one thing.

use axum::extract::{Form, Path, Query, State};
use axum::http::StatusCode;
use axum::response::{Html, IntoResponse, Redirect, Response};
use axum::routing::{get, post};
use axum::{Extension, Json, Router};
use dinh_proto::error::RejectCode;
use maud::{Markup, html};
use serde::Deserialize;

use super::super::api::{self, Asked, List};
use super::super::history::refused;
use super::super::lists::{ConnectionOrder, SpaceOrder};
use super::super::policy;
use super::super::{AdminShared, OpenRelay, Visitor};
use super::format::{ago, bytes, duration, number, short, utc};
use super::layout::{self, Tab, facts};
use super::overview::BACKUP_AGE_MAX_MS;
use super::text::{Lang, meaning};

pub(super) fn routes() -> Router<AdminShared> {
    Router::new()
        .route("/connections", get(connections))
        .route("/spaces", get(spaces))
        .route("/spaces/{id}", get(space))
        .route("/devices", get(devices))
        .route("/devices/{id}/suspend", post(suspend))
        .route("/devices/{id}/resume", post(resume))
        .route("/rejects", get(rejects))
        .route("/backups", get(backups))
        .route("/configuration", get(configuration))
}

pub(super) async fn not_found(Extension(visitor): Extension<Visitor>) -> Response {
    let body = html! { p.card { (visitor.lang.texts().not_found) } };
    (StatusCode::NOT_FOUND, layout::page(&visitor, Tab::Overview, body)).into_response()
}

/// The heading of a list, and by what it can be ordered.
fn heading(lang: Lang, tab: Tab, total: usize, orders: &[(&str, &str, bool)]) -> Markup {
    let t = lang.texts();
    html! {
        div.heading {
            h1 { (tab.name(t)) " " span.quiet { (number(lang, total as u64)) } }
            @if !orders.is_empty() {
                div.orders {
                    span.quiet { (t.sorted) ":" }
                    @for (name, href, is_chosen) in orders {
                        a href=(href) aria-current=[is_chosen.then_some("true")] { (name) }
                    }
                }
            }
        }
    }
}

fn pager<T>(lang: Lang, list: &List<T>, href: impl Fn(usize) -> String) -> Markup {
    let t = lang.texts();
    html! {
        @if list.pages > 1 {
            div.pager {
                @if list.page > 1 {
                    a href=(href(list.page - 1)) rel="prev" { "← " (t.previous) }
                }
                span { (t.page) " " (list.page) " " (t.of) " " (list.pages) }
                @if list.page < list.pages {
                    a href=(href(list.page + 1)) rel="next" { (t.next) " →" }
                }
            }
        }
    }
}

/// A table that is a list of cards where there is no room for one: each cell says what it is.
fn table(columns: &[&str], rows: Vec<Vec<Markup>>, empty: &str) -> Markup {
    html! {
        @if rows.is_empty() {
            p.card.quiet { (empty) }
        } @else {
            table.card {
                thead { tr { @for column in columns { th { (column) } } } }
                tbody {
                    @for row in &rows {
                        tr {
                            @for (column, cell) in columns.iter().zip(row) {
                                td data-label=(column) { span { (cell) } }
                            }
                        }
                    }
                }
            }
        }
    }
}

/// The beginning of an id; all of it for whoever points at it.
fn id(id: &str) -> Markup {
    html! { code title=(id) { (short(id)) } }
}

async fn connections(
    shared: OpenRelay,
    Extension(visitor): Extension<Visitor>,
    Query(asked): Query<Asked<ConnectionOrder>>,
) -> Html<String> {
    let (lang, t) = (visitor.lang, visitor.lang.texts());
    let list = api::connection_list(&shared, &asked).await;
    let orders = [
        (t.order_lag, "lag", ConnectionOrder::Lag),
        (t.order_newest, "newest", ConnectionOrder::Newest),
        (t.order_oldest, "oldest", ConnectionOrder::Oldest),
        (t.order_bytes, "bytes", ConnectionOrder::Bytes),
    ];
    let links = orders.map(|(name, value, order)| (name, format!("?sort={value}"), order == asked.sort));
    let links: Vec<_> = links.iter().map(|(name, href, chosen)| (*name, href.as_str(), *chosen)).collect();
    let sort = orders.iter().find(|(_, _, order)| *order == asked.sort).map_or("lag", |(_, value, _)| *value);
    let row = |c: &api::Connection| {
        vec![
            match &c.device {
                Some(device) => id(device),
                None => html! { span.quiet { (t.not_greeted) } },
            },
            html! { (c.address) },
            html! { (duration(lang, c.seconds)) },
            html! { span.warn[c.lag > 0] { (number(lang, c.lag)) " " (t.lag_items) } },
            html! { (bytes(lang, c.received_bytes as f64)) " / " (bytes(lang, c.sent_bytes as f64)) },
            html! { (bytes(lang, c.queue_bytes as f64)) },
            html! { (number(lang, c.spaces as u64)) },
            html! { code { "conn=" (c.conn) } },
        ]
    };
    let columns = [t.device, t.address, t.connected_for, t.lag, t.traffic, t.queue, t.spaces, t.in_log];
    let body = html! {
        (heading(lang, Tab::Connections, list.total, &links))
        (table(&columns, list.rows.iter().map(row).collect(), t.nothing))
        (pager(lang, &list, |page| format!("?sort={sort}&page={page}")))
    };
    layout::page(&visitor, Tab::Connections, body)
}

async fn spaces(
    shared: OpenRelay,
    Extension(visitor): Extension<Visitor>,
    Query(asked): Query<Asked<SpaceOrder>>,
) -> Html<String> {
    let (lang, t) = (visitor.lang, visitor.lang.texts());
    let list = api::space_list(&shared, &asked).await;
    let by_size = asked.sort == SpaceOrder::Size;
    let links = [(t.order_size, "?sort=size", by_size), (t.order_activity, "?sort=activity", !by_size)];
    let sort = if by_size { "size" } else { "activity" };
    let now_ms = crate::driver::wall_time().0;
    let row = |space: &api::Space| {
        vec![
            html! { a href={ "/spaces/" (space.id) } { (id(&space.id)) } },
            html! { (id(&space.branch)) },
            html! { (number(lang, space.items)) },
            html! { (bytes(lang, space.bytes as f64)) },
            html! { (number(lang, space.subscribers as u64)) },
            activity(lang, now_ms, space),
        ]
    };
    let columns = [t.space, t.branch, t.items, t.size, t.subscribers, t.last_activity];
    let body = html! {
        (heading(lang, Tab::Spaces, list.total, &links))
        (table(&columns, list.rows.iter().map(row).collect(), t.nothing))
        (pager(lang, &list, |page| format!("?sort={sort}&page={page}")))
    };
    layout::page(&visitor, Tab::Spaces, body)
}

fn activity(lang: Lang, now_ms: u64, space: &api::Space) -> Markup {
    let t = lang.texts();
    html! {
        @match space.last_ms {
            Some(at) => span title=(utc(at)) { (ago(lang, now_ms, at)) },
            None if space.items == 0 => span.quiet { "–" },
            None => span.quiet { (t.before_start) },
        }
    }
}

fn known(lang: Lang, count: Option<usize>) -> String {
    count.map_or_else(|| "–".to_owned(), |count| number(lang, count as u64))
}

async fn space(
    shared: OpenRelay,
    Extension(visitor): Extension<Visitor>,
    Path(name): Path<String>,
) -> Response {
    let (lang, t) = (visitor.lang, visitor.lang.texts());
    let Some(more) = api::find_space(&shared, &name).await else {
        return not_found(Extension(visitor)).await;
    };
    let space = &more.space;
    let now_ms = crate::driver::wall_time().0;
    let is_charter = space.id == space.branch;
    let mut rows = vec![
        (t.branch, html! { code { (space.branch) } }),
        (t.items, html! { (number(lang, space.items)) }),
        (t.size, html! { (bytes(lang, space.bytes as f64)) }),
        (t.writers, html! { (known(lang, more.chains)) }),
        (t.subscribers, html! { (number(lang, space.subscribers as u64)) }),
        (t.last_activity, activity(lang, now_ms, space)),
        (t.last_place, html! { (number(lang, space.last_place)) }),
    ];
    let document =
        |d: &api::Document| vec![html! { code { (d.id) } }, html! { (bytes(lang, d.bytes as f64)) }];
    if !is_charter {
        rows.insert(3, (t.documents, html! { (known(lang, space.documents)) }));
    }
    let body = html! {
        div.heading { h1 { (t.space) " " code { (space.id) } } }
        @if is_charter {
            p.quiet { (t.charter_space) }
        }
        (facts(&rows))
        @if !is_charter {
            h2 { (t.largest_documents) }
            (table(&[t.documents, t.size], more.largest_documents.iter().map(document).collect(), t.nothing))
        }
        h2 { (t.connected_devices) }
        (table(&[t.device], more.connected_devices.iter().map(|d| vec![html! { code { (d) } }]).collect(), t.nothing))
    };
    layout::page(&visitor, Tab::Spaces, body).into_response()
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct PageOnly {
    page: usize,
}

async fn devices(
    shared: OpenRelay,
    Extension(visitor): Extension<Visitor>,
    Query(asked): Query<PageOnly>,
) -> Html<String> {
    let (lang, t) = (visitor.lang, visitor.lang.texts());
    let list = api::device_list(&shared, asked.page).await;
    let row = |device: &api::Device| {
        vec![
            html! { code.long { (device.id) } },
            html! { (number(lang, device.branches as u64)) },
            html! { (number(lang, device.connections as u64)) },
            suspension(&visitor, device),
        ]
    };
    let body = html! {
        (heading(lang, Tab::Devices, list.total, &[]))
        p.quiet { (t.devices_intro) }
        (table(&[t.device, t.branch, t.connections, t.state], list.rows.iter().map(row).collect(), t.nothing))
        (pager(lang, &list, |page| format!("?page={page}")))
    };
    layout::page(&visitor, Tab::Devices, body)
}

/// Whether it is suspended, and the form that changes that for whoever may.
fn suspension(visitor: &Visitor, device: &api::Device) -> Markup {
    let t = visitor.lang.texts();
    let (action, name) = if device.suspended { ("resume", t.resume) } else { ("suspend", t.suspend) };
    html! {
        @if device.suspended {
            span.bad { (t.suspended) " " }
        }
        @if let Some(token) = &visitor.form_token {
            form.inline method="post" action={ "/devices/" (device.id) "/" (action) } {
                input type="hidden" name="form_token" value=(token);
                @if !device.suspended {
                    input name="reason" maxlength="200" required placeholder=(t.reason) aria-label=(t.reason);
                }
                button { (name) }
            }
        }
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Decision {
    reason: String,
}

async fn suspend(
    relay: OpenRelay,
    id: Path<String>,
    Form(decision): Form<Decision>,
) -> Result<Redirect, policy::Refusal> {
    if decision.reason.trim().is_empty() {
        return Err((StatusCode::BAD_REQUEST, "say why\n".to_owned()));
    }
    let _done = policy::suspend_device(relay, id, Json(policy::Reason { reason: decision.reason })).await?;
    Ok(Redirect::to("/devices"))
}

async fn resume(relay: OpenRelay, id: Path<String>) -> Result<Redirect, policy::Refusal> {
    let _done = policy::resume_device(relay, id).await?;
    Ok(Redirect::to("/devices"))
}

async fn rejects(shared: OpenRelay, Extension(visitor): Extension<Visitor>) -> Html<String> {
    let (lang, t) = (visitor.lang, visitor.lang.texts());
    let stats = shared.driver.stats();
    let counts = &stats.rejects;
    let row = |code: &RejectCode| {
        let n = counts.get(code).copied().unwrap_or_default();
        vec![
            html! { code { (code.name()) } },
            html! { span.quiet[n == 0] { (number(lang, n)) } },
            html! { (meaning(lang, *code)) },
        ]
    };
    let mut codes = RejectCode::ALL.to_vec();
    codes.sort_by_key(|code| std::cmp::Reverse(counts.get(code).copied().unwrap_or_default()));
    let body = html! {
        (heading(lang, Tab::Rejects, refused(&stats) as usize, &[]))
        p.quiet { (t.rejects_intro) }
        div.text { (table(&[t.code, t.count, t.meaning], codes.iter().map(row).collect(), t.nothing)) }
    };
    layout::page(&visitor, Tab::Rejects, body)
}

async fn backups(shared: OpenRelay, Extension(visitor): Extension<Visitor>) -> Html<String> {
    let (lang, t) = (visitor.lang, visitor.lang.texts());
    let stats = api::stats(&shared);
    let body = html! {
        div.heading { h1 { (t.backups) } }
        @match &stats.last_backup {
            None => p.state.bad { (t.backup_none) },
            Some(backup) => {
                @if stats.now_ms.saturating_sub(backup.at_ms) > BACKUP_AGE_MAX_MS {
                    p.state.bad { (t.backup_warn) }
                }
                (facts(&[
                    (t.last_backup, html! { (ago(lang, stats.now_ms, backup.at_ms)) " · " (utc(backup.at_ms)) }),
                    (t.in_log, html! { (t.backup_upto) " " (number(lang, backup.place)) }),
                    (t.items, html! { (number(lang, stats.log_head.saturating_sub(backup.place))) " " (t.backup_after) }),
                ]))
            }
        }
        p { (t.backup_how) }
        pre.card { "dinh-relay backup --help" }
    };
    layout::page(&visitor, Tab::Backups, body)
}

async fn configuration(
    State(shared): State<AdminShared>,
    Extension(visitor): Extension<Visitor>,
) -> Html<String> {
    let t = visitor.lang.texts();
    let text = shared.configuration.borrow().clone();
    let body = html! {
        div.heading { h1 { (t.configuration) } }
        p.quiet { (t.configuration_intro) }
        pre.card { (text) }
    };
    layout::page(&visitor, Tab::Configuration, body)
}
