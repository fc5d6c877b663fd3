//! `dinh-relay spaces`.

use std::path::PathBuf;
use std::process::ExitCode;

use super::ask::{ask, bytes, duration, json};
use crate::admin::api::{List, Space, SpaceMore};
use crate::admin::client::{AdminClient, AskError};
use crate::driver::wall_time;

pub(super) const LIST_EXAMPLE: &str =
    "Example:\n  dinh-relay spaces list --data /var/lib/dinh --sort activity";
pub(super) const SHOW_EXAMPLE: &str =
    "Example:\n  dinh-relay spaces show 00112233445566778899aabbccddeeff --data /var/lib/dinh";

#[derive(Debug, clap::Args)]
pub(super) struct ListSpaces {
    /// The data directory of the relay.
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    /// What comes first: the largest, or the one with the newest item.
    #[arg(long, value_enum, default_value_t = Sort::Size)]
    sort: Sort,
    /// Which page, from 1.
    #[arg(long, default_value_t = 1)]
    page: usize,
    /// One line of JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
pub(super) struct ShowSpace {
    /// 32 hexadecimal digits.
    #[arg(value_name = "SPACE")]
    space: String,
    /// The data directory of the relay.
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    /// One line of JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Sort {
    Size,
    Activity,
}

pub(super) fn list(args: &ListSpaces) -> ExitCode {
    ask(&args.data, async |relay| listed(args, &relay).await)
}

pub(super) fn show(args: &ShowSpace) -> ExitCode {
    ask(&args.data, async |relay| shown(args, &relay).await)
}

async fn listed(args: &ListSpaces, relay: &AdminClient) -> Result<String, AskError> {
    let sort = match args.sort {
        Sort::Size => "size",
        Sort::Activity => "activity",
    };
    let list: List<Space> = relay.get(&format!("/api/v1/spaces?sort={sort}&page={}", args.page)).await?;
    if args.json {
        return json(&list);
    }
    let row = |space: &Space| {
        let Space { id, branch, items, bytes: size, subscribers, .. } = space;
        format!("{id}  {branch}  {items:>9}  {:>9}  {subscribers:>9}  {}\n", bytes(*size), activity(space))
    };
    let head = format!(
        "{:<32}  {:<32}  {:>9}  {:>9}  {:>9}  last activity\n",
        "space", "branch", "items", "size", "connected"
    );
    let rows: String = list.rows.iter().map(row).collect();
    Ok(format!("{head}{rows}page {} of {}, {} spaces", list.page, list.pages, list.total))
}

async fn shown(args: &ShowSpace, relay: &AdminClient) -> Result<String, AskError> {
    let space = &args.space;
    // It becomes a part of a path.
    if space.is_empty() || !space.bytes().all(|b| b.is_ascii_hexdigit()) {
        return Err(AskError::Refused(format!("{space:?} is no space: one has 32 hexadecimal digits")));
    }
    let more: SpaceMore = relay.get(&format!("/api/v1/spaces/{space}")).await?;
    if args.json {
        return json(&more);
    }
    let rows = [
        ("space", more.space.id.clone()),
        ("branch", more.space.branch.clone()),
        ("items", more.space.items.to_string()),
        ("bytes", bytes(more.space.bytes)),
        ("documents", known(more.space.documents)),
        ("writers", known(more.chains)),
        ("connected", more.space.subscribers.to_string()),
        ("last activity", activity(&more.space)),
        ("newest place", more.space.last_place.to_string()),
    ];
    let documents =
        more.largest_documents.iter().map(|d| format!("document      {}  {}\n", d.id, bytes(d.bytes)));
    Ok(rows.map(|(name, value)| format!("{name:<14}{value}\n")).concat() + &documents.collect::<String>())
}

fn known(count: Option<usize>) -> String {
    count.map_or_else(|| "-".to_owned(), |count| count.to_string())
}

fn activity(space: &Space) -> String {
    match space.last_ms {
        Some(at) => format!("{} ago", duration(wall_time().0.saturating_sub(at))),
        None if space.items == 0 => "-".to_owned(),
        None => "before the start".to_owned(),
    }
}
