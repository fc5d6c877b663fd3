//! `dinh-relay permit`, `devices`, and `spaces suspend|resume`.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

use clap::{Args, Subcommand};
use dinh_proto::ids::{DeviceId, SpaceId};
use dinh_proto::limits;
use dinh_proto::permit::{Permit, PermitId};
use dinh_proto::time::{Timestamp, WallTime};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{complain, say};
use crate::admin::client::AdminClient;
use crate::admin::policy::Reason;
use crate::archive::LOG_FILE;
use crate::desk::{self, Done, IssueRequest, Wish, id16};
use crate::hub::{DeviceView, Effect, HubConfig, LimitsView, Loaded, PermitView, PolicyView};
use crate::identity;
use crate::server::{self, Opened};

const DAY_MS: u64 = 24 * 3_600 * 1_000;

pub(super) const PERMIT_EXAMPLE: &str = "Examples:\n  dinh-relay permit issue --data /var/lib/dinh --expires 30d\n  \
    dinh-relay permit admit 0f3c…(32 digits) --data /var/lib/dinh\n\n\
    A relay asks for permits when its configuration says admission.mode = \"permit\". Whoever founds a branch puts the permit at the end \
    of the relay's address: ws://HOST:4480/dinh/v1#KEY.PERMIT. Whoever has a permit may use it: hand it over like a key.";
pub(super) const DEVICES_EXAMPLE: &str = "Examples:\n  dinh-relay devices list --data /var/lib/dinh\n  \
    dinh-relay devices suspend 0f3c…(32 digits) --reason \"stolen\" --data /var/lib/dinh\n\n\
    A suspended device is disconnected at once and let in no more; it keeps everything and tries again now and then. What it wrote and others \
    bring is taken: whether somebody may write is for the branch to say, which can remove the device.";

/// Where the relay keeps its things, and how it is answered.
#[derive(Debug, Clone, Args)]
pub(super) struct At {
    /// The relay's data directory. The relay may be running: then it is asked.
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    /// Prints JSON, with names that stay the same.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Subcommand)]
pub(super) enum PermitCommand {
    /// Makes a permit to found branches, and prints it.
    #[command(
        after_help = "Example:\n  dinh-relay permit issue --data /var/lib/dinh --space-bytes 104857600 --expires 2027-01-31"
    )]
    Issue(Issue),
    /// Lists permits that were issued, used or revoked here, and the branches that were admitted.
    #[command(after_help = "Example:\n  dinh-relay permit list --data /var/lib/dinh")]
    List(At),
    /// Says what a permit allows; fails if it is damaged or not signed by the operator that it names.
    #[command(after_help = "Example:\n  dinh-relay permit show dinh-permit:… ")]
    Show {
        /// The permit.
        token: String,
        /// Prints JSON.
        #[arg(long)]
        json: bool,
    },
    /// Lets nobody found a branch with a permit any more. Branches that were founded with it stay.
    #[command(after_help = "Example:\n  dinh-relay permit revoke 5d41…(32 digits) --data /var/lib/dinh")]
    Revoke {
        /// Its id, as `permit list` and `permit show` print it.
        id: String,
        #[command(flatten)]
        at: At,
    },
    /// Lets a branch be founded here without a permit, or says what one that is here may take.
    #[command(
        after_help = "Example:\n  dinh-relay permit admit 0f3c…(32 digits) --data /var/lib/dinh --documents 5000"
    )]
    Admit {
        /// Its id, as the app of its secretary shows it.
        branch: String,
        #[command(flatten)]
        limits: Limits,
        #[command(flatten)]
        at: At,
    },
    /// Prints the public key of this relay's operator: for admission.operator_keys of other relays.
    #[command(after_help = "Example:\n  dinh-relay permit key --data /var/lib/dinh")]
    Key {
        /// The relay's data directory. The relay may be running.
        #[arg(long, value_name = "DIR")]
        data: PathBuf,
    },
}

/// What one branch may take; without it the relay's own limits hold.
#[derive(Debug, Clone, Args)]
pub(super) struct Limits {
    /// Bytes of everything in each of its spaces.
    #[arg(long, value_name = "BYTES", value_parser = bytes)]
    space_bytes: Option<u64>,
    /// Bytes of the changes of each of its documents.
    #[arg(long, value_name = "BYTES", value_parser = bytes)]
    document_bytes: Option<u64>,
    /// Its documents.
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u64).range(1..))]
    documents: Option<u64>,
    /// Bytes of its charter: who is in it, its documents and keys.
    #[arg(long, value_name = "BYTES", value_parser = bytes)]
    charter_bytes: Option<u64>,
}

impl Limits {
    fn view(&self) -> LimitsView {
        let Self { space_bytes, document_bytes, documents, charter_bytes } = *self;
        LimitsView { document_bytes, space_bytes, documents, charter_bytes }
    }
}

/// As in the configuration: less than the largest item could never be put, and devices would offer it for ever.
fn bytes(text: &str) -> Result<u64, String> {
    let least = limits::ITEM_PAYLOAD_BYTES_MAX as u64 + 1_024;
    let bytes: u64 = text.parse().map_err(|e| format!("{e}"))?;
    if bytes < least {
        Err(format!("is less than one item may have: give at least {least}"))
    } else {
        Ok(bytes)
    }
}

#[derive(Debug, Clone, Args)]
pub(super) struct Issue {
    /// How many branches may be founded with it.
    #[arg(long, value_name = "NUMBER", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    branches: u32,
    /// Only this branch may be founded with it.
    #[arg(long, value_name = "ID", conflicts_with = "branches")]
    branch: Option<String>,
    /// Only this device may found with it.
    #[arg(long, value_name = "ID")]
    device: Option<String>,
    /// Good on every relay that has this operator's key in admission.operator_keys. Each counts by itself.
    #[arg(long)]
    any_relay: bool,
    /// Until when: a day (2027-01-31, its end in UTC) or how long from now (30d, 12h). Without it, until it is used up or revoked.
    #[arg(long, value_name = "WHEN")]
    expires: Option<String>,
    #[command(flatten)]
    limits: Limits,
    #[command(flatten)]
    at: At,
}

#[derive(Debug, Subcommand)]
pub(super) enum DevicesCommand {
    /// Lists devices that are connected, suspended, or named by a branch.
    #[command(after_help = "Example:\n  dinh-relay devices list --data /var/lib/dinh")]
    List(At),
    /// Says what is known of one device.
    #[command(after_help = "Example:\n  dinh-relay devices show 0f3c…(32 digits) --data /var/lib/dinh")]
    Show {
        /// Its id.
        device: String,
        #[command(flatten)]
        at: At,
    },
    /// Disconnects a device at once and lets it in no more.
    #[command(after_help = DEVICES_EXAMPLE)]
    Suspend {
        /// Its id.
        device: String,
        /// Why: for yourself. It is kept with the decision and told nobody.
        #[arg(long, value_name = "TEXT")]
        reason: String,
        #[command(flatten)]
        at: At,
    },
    /// Lets a device in again. Its app comes back within twenty minutes, or as soon as somebody opens it.
    #[command(after_help = "Example:\n  dinh-relay devices resume 0f3c…(32 digits) --data /var/lib/dinh")]
    Resume {
        /// Its id.
        device: String,
        #[command(flatten)]
        at: At,
    },
}

/// Takes nothing new in a space, or in a whole branch; it can be read.
#[derive(Debug, Args)]
pub(super) struct SuspendSpace {
    /// The id of the space; of a branch: in all of its spaces.
    space: String,
    /// Why: for yourself. It is kept with the decision and told nobody.
    #[arg(long, value_name = "TEXT")]
    reason: String,
    #[command(flatten)]
    at: At,
}

/// Takes what is new again.
#[derive(Debug, Args)]
pub(super) struct ResumeSpace {
    /// The id of the space, or of the branch.
    space: String,
    #[command(flatten)]
    at: At,
}

pub(super) fn permit(command: &PermitCommand) -> ExitCode {
    finish(match command {
        PermitCommand::Issue(issue) => issue.run(),
        PermitCommand::List(at) => {
            desk(at, |desk| desk.policy()).and_then(|view| tell(at, &view, policy_text))
        }
        PermitCommand::Show { token, json } => show_permit(token, *json),
        PermitCommand::Revoke { id, at } => {
            let wish = || Ok(Wish::RevokePermit { id: PermitId(id16(id, "permit")?) });
            let told = |done: &Done| match done.changed {
                true => format!("permit {} is revoked", done.id),
                false => format!("permit {} is revoked; nothing was known of it here", done.id),
            };
            decide(at, wish, told)
        }
        PermitCommand::Admit { branch, limits, at } => {
            let limits = limits.view();
            let wish = || Ok(Wish::AdmitBranch { branch: SpaceId(id16(branch, "branch")?), limits });
            decide(at, wish, |done| format!("branch {} is admitted", done.id))
        }
        PermitCommand::Key { data } => match identity::load_operator(data) {
            Ok(key) => Ok(desk::operator_of(&key).to_string()),
            Err(error) => Err(error.to_string()),
        },
    })
}

pub(super) fn devices(command: &DevicesCommand) -> ExitCode {
    finish(match command {
        DevicesCommand::List(at) => desk(at, |desk| desk.devices(None))
            .and_then(|views| tell(at, &views, |views| devices_text(views))),
        DevicesCommand::Show { device, at } => {
            let id = id16(device, "device").map(DeviceId);
            let views = id.and_then(|id| desk(at, |desk| desk.devices(Some(&id))));
            views.and_then(|views| match &views[..] {
                [view] => tell(at, view, |_| devices_text(&views)),
                _ => Err("the relay answers what this program does not understand".to_owned()),
            })
        }
        DevicesCommand::Suspend { device, reason, at } => {
            let reason = reason.clone();
            let wish = || Ok(Wish::SuspendDevice { device: DeviceId(id16(device, "device")?), reason });
            decide(at, wish, |done| format!("device {} is suspended", done.id))
        }
        DevicesCommand::Resume { device, at } => {
            let wish = || Ok(Wish::ResumeDevice { device: DeviceId(id16(device, "device")?) });
            decide(at, wish, resumed)
        }
    })
}

pub(super) fn suspend_space(SuspendSpace { space, reason, at }: &SuspendSpace) -> ExitCode {
    let wish = || Ok(Wish::SuspendSpace { space: SpaceId(id16(space, "space")?), reason: reason.clone() });
    finish(decide(at, wish, |done| format!("{} is suspended", done.id)))
}

pub(super) fn resume_space(ResumeSpace { space, at }: &ResumeSpace) -> ExitCode {
    let wish = || Ok(Wish::ResumeSpace { space: SpaceId(id16(space, "space")?) });
    finish(decide(at, wish, resumed))
}

fn resumed(done: &Done) -> String {
    match done.changed {
        true => format!("{} is suspended no more", done.id),
        false => format!("{} was not suspended", done.id),
    }
}

fn finish(told: Result<String, String>) -> ExitCode {
    match told {
        Ok(text) => {
            say(text.trim_end());
            ExitCode::SUCCESS
        }
        Err(why) => complain(why),
    }
}

fn tell<T: Serialize>(at: &At, value: &T, text: impl FnOnce(&T) -> String) -> Result<String, String> {
    if at.json { serde_json::to_string_pretty(value).map_err(|e| e.to_string()) } else { Ok(text(value)) }
}

impl Issue {
    fn run(&self) -> Result<String, String> {
        let expires_ms = self.expires.as_deref().map(|text| until(text, wall_time())).transpose()?;
        let request = IssueRequest {
            branches: self.branch.is_none().then_some(self.branches),
            branch: self.branch.clone(),
            device: self.device.clone(),
            any_relay: self.any_relay,
            expires_ms,
            limits: self.limits.view(),
        };
        let done = desk(&self.at, |desk| desk.issue(&request))?;
        tell(&self.at, &done, |done| done.token.clone().unwrap_or_default())
    }
}

fn show_permit(token: &str, json: bool) -> Result<String, String> {
    let permit: Permit = token.parse().map_err(|e| format!("{e}"))?;
    let view = PermitView::of(&permit);
    if json { serde_json::to_string_pretty(&view).map_err(|e| e.to_string()) } else { Ok(permit_text(&view)) }
}

/// Does a wish, and says what became of it.
fn decide(
    at: &At,
    wish: impl FnOnce() -> Result<Wish, String>,
    told: impl FnOnce(&Done) -> String,
) -> Result<String, String> {
    let wish = wish()?;
    desk(at, |desk| desk.decide(&wish)).and_then(|done| tell(at, &done, told))
}

/// Where decisions are made: by the relay that runs, or in its file.
enum Desk {
    Running(AdminClient, tokio::runtime::Runtime),
    Stopped(Box<Opened>),
}

/// Opens the desk, does one thing and closes it.
fn desk<T>(at: &At, f: impl FnOnce(&mut Desk) -> Result<T, String>) -> Result<T, String> {
    let mut desk = Desk::open(&at.data)?;
    let done = f(&mut desk)?;
    if let Desk::Stopped(opened) = desk {
        opened.log.close().map_err(|e| e.to_string())?;
    }
    Ok(done)
}

impl Desk {
    fn open(data: &Path) -> Result<Self, String> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|e| format!("no runtime: {e}"))?;
        if let Some(client) = runtime.block_on(AdminClient::of(data)).map_err(|e| e.to_string())? {
            return Ok(Self::Running(client, runtime));
        }
        if !data.join(LOG_FILE).exists() {
            let data = data.display();
            return Err(format!(
                "there is no relay in {data}: give its --data directory, or start it there once with dinh-relay serve --data {data}"
            ));
        }
        let mut opened = server::open(data, HubConfig::default()).map_err(|e| e.to_string())?;
        opened.hub.set_wall_time(wall_time());
        Ok(Self::Stopped(Box::new(opened)))
    }

    fn policy(&self) -> Result<PolicyView, String> {
        match self {
            Self::Stopped(opened) => Ok(opened.hub.policy_view()),
            Self::Running(client, runtime) => get(client, runtime, "/api/v1/policy"),
        }
    }

    fn devices(&mut self, one: Option<&DeviceId>) -> Result<Vec<DeviceView>, String> {
        match (self, one) {
            (Self::Stopped(opened), _) => {
                for branch in one.map(|device| opened.hub.cold_branches(device)).unwrap_or_default() {
                    let stored = opened.log.space(branch).map_err(|e| e.to_string())?;
                    opened.hub.offer(Timestamp(0), branch, Loaded::new(branch, stored));
                }
                Ok(opened.hub.device_views(Timestamp(0), one))
            }
            (Self::Running(client, runtime), None) => get(client, runtime, "/api/v1/devices"),
            (Self::Running(client, runtime), Some(device)) => {
                get(client, runtime, &format!("/api/v1/devices/{device}")).map(|view| vec![view])
            }
        }
    }

    fn issue(&mut self, request: &IssueRequest) -> Result<Done, String> {
        match self {
            Self::Running(client, runtime) => {
                runtime.block_on(client.post("/api/v1/permits", request)).map_err(|e| e.to_string())
            }
            Self::Stopped(opened) => {
                let wish = request.wish(opened.public)?;
                in_file(opened, &wish)
            }
        }
    }

    fn decide(&mut self, wish: &Wish) -> Result<Done, String> {
        let (client, runtime) = match self {
            Self::Running(client, runtime) => (client, runtime),
            Self::Stopped(opened) => return in_file(opened, wish),
        };
        let none = serde_json::json!(null);
        let reason = |reason: &str| serde_json::json!(Reason { reason: reason.to_owned() });
        let (path, body) = match wish {
            Wish::SuspendDevice { device, reason: why } => (format!("devices/{device}/suspend"), reason(why)),
            Wish::ResumeDevice { device } => (format!("devices/{device}/resume"), none),
            Wish::SuspendSpace { space, reason: why } => (format!("spaces/{space}/suspend"), reason(why)),
            Wish::ResumeSpace { space } => (format!("spaces/{space}/resume"), none),
            Wish::AdmitBranch { branch, limits } => {
                (format!("branches/{branch}/admit"), serde_json::json!(limits))
            }
            Wish::RevokePermit { id } => (format!("permits/{id}/revoke"), none),
            Wish::IssuePermit { .. } => unreachable!("`issue` asks for these: the relay draws their ids"),
        };
        runtime.block_on(client.post(&format!("/api/v1/{path}"), &body)).map_err(|e| e.to_string())
    }
}

fn get<T: DeserializeOwned>(
    client: &AdminClient,
    runtime: &tokio::runtime::Runtime,
    path: &str,
) -> Result<T, String> {
    runtime.block_on(client.get(path)).map_err(|e| e.to_string())
}

/// In the file of a relay that does not run; durable when this returns.
fn in_file(opened: &mut Opened, wish: &Wish) -> Result<Done, String> {
    let done =
        desk::apply(&mut opened.hub, Timestamp(0), &opened.operator, wish).map_err(|e| e.to_string())?;
    let mut rows = Vec::new();
    while let Some(effect) = opened.hub.poll_effect() {
        if let Effect::Remember { rows: decided } = effect {
            rows.extend(decided);
        }
    }
    opened.log.write_operator_rows(&rows).map_err(|e| e.to_string())?;
    Ok(done)
}

#[allow(clippy::disallowed_methods, reason = "a driver: the operator's clock")]
fn wall_time() -> WallTime {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    WallTime(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

/// A day, which ends in UTC, or how long from now.
fn until(text: &str, now: WallTime) -> Result<u64, String> {
    let bad = || {
        format!(
            "--expires {text:?} is no time: write a day that is to come (2027-01-31) or how long (30d, 12h)"
        )
    };
    let text = text.trim();
    let from_now = |number: &str, each: u64| {
        let span = number.parse::<u64>().ok().filter(|n| *n > 0).and_then(|n| n.checked_mul(each));
        span.and_then(|span| now.0.checked_add(span)).ok_or_else(bad)
    };
    if let Some(days) = text.strip_suffix('d') {
        return from_now(days, DAY_MS);
    }
    if let Some(hours) = text.strip_suffix('h') {
        return from_now(hours, DAY_MS / 24);
    }
    let parts: Vec<u64> = text.split('-').map_while(|part| part.parse().ok()).collect();
    let [year @ 1_970..=9_999, month @ 1..=12, day @ 1..=31] = parts[..] else { return Err(bad()) };
    let days = days_since_1970(year, month, day);
    // A day that the month does not have is another one's.
    if day_of(days) != (year, month, day) {
        return Err(bad());
    }
    Some((days + 1) * DAY_MS).filter(|at| *at > now.0).ok_or_else(bad)
}

/// Of the Gregorian calendar, by years that begin in March: the leap day is their last.
fn days_since_1970(year: u64, month: u64, day: u64) -> u64 {
    let year = if month <= 2 { year - 1 } else { year };
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    365 * year + year / 4 - year / 100 + year / 400 + of_year - 719_468
}

/// The same backwards.
fn day_of(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let (era, of_era) = (days / 146_097, days % 146_097);
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * march + 2) / 5 + 1;
    let month = if march < 10 { march + 3 } else { march - 9 };
    (era * 400 + year + u64::from(month <= 2), month, day)
}

fn time_text(ms: u64) -> String {
    let (year, month, day) = day_of(ms / DAY_MS);
    let minutes = ms % DAY_MS / 60_000;
    format!("{year:04}-{month:02}-{day:02} {:02}:{:02} UTC", minutes / 60, minutes % 60)
}

fn limits_text(limits: &LimitsView) -> String {
    let all = [
        ("bytes in a space", limits.space_bytes),
        ("bytes in a document", limits.document_bytes),
        ("documents", limits.documents),
        ("bytes of charter", limits.charter_bytes),
    ];
    let set = all.into_iter().filter_map(|(what, limit)| Some(format!("{} {what}", limit?)));
    let set: Vec<String> = set.collect();
    if set.is_empty() { "the relay's own limits".to_owned() } else { set.join(", ") }
}

fn permit_text(permit: &PermitView) -> String {
    let mut text = format!("permit {}\n", permit.id);
    let mut line = |what: &str, value: String| {
        // A string takes everything.
        let _ = writeln!(text, "  {what:<10}{value}");
    };
    match permit.branches {
        Some(branches) => line("branches", format!("{} of {branches} founded", permit.used_by.len())),
        None => line("branches", "not known: only its id was revoked here".to_owned()),
    }
    permit.used_by.iter().for_each(|branch| line("", branch.clone()));
    let named = [
        ("branch", &permit.branch),
        ("device", &permit.device),
        ("relay", &permit.relay),
        ("operator", &permit.operator),
    ];
    named.into_iter().for_each(|(what, value)| value.iter().for_each(|value| line(what, value.clone())));
    permit.expires_ms.into_iter().for_each(|at| line("expires", time_text(at)));
    permit.revoked_ms.into_iter().for_each(|at| line("revoked", time_text(at)));
    line("limits", limits_text(&permit.limits));
    text
}

fn policy_text(view: &PolicyView) -> String {
    let mut text: String = view.permits.iter().map(permit_text).collect();
    for admitted in &view.admitted {
        let by = admitted.permit.as_ref().map_or("by hand".to_owned(), |id| format!("by permit {id}"));
        let founded = if admitted.founded { "" } else { ", not founded yet" };
        let (at, limits) = (time_text(admitted.at_ms), limits_text(&admitted.limits));
        let _ = writeln!(
            text,
            "branch {}\n  admitted  {at} {by}{founded}\n  limits    {limits}",
            admitted.branch
        );
    }
    for space in &view.suspended_spaces {
        let (at, reason) = (time_text(space.suspended.at_ms), &space.suspended.reason);
        let _ = writeln!(text, "space {}\n  suspended {at}: {reason}", space.space);
    }
    if text.is_empty() { "no permits, and no branch was admitted".to_owned() } else { text }
}

fn devices_text(views: &[DeviceView]) -> String {
    let mut text = String::new();
    for view in views {
        let _ = writeln!(text, "device {}", view.device);
        for connection in &view.connections {
            let address = connection.address.as_deref().unwrap_or("an address that is not known");
            let _ = writeln!(text, "  connected for {} s from {address}", connection.seconds);
        }
        if let Some(suspended) = &view.suspended {
            let _ = writeln!(text, "  suspended {}: {}", time_text(suspended.at_ms), suspended.reason);
        }
        view.branches.iter().for_each(|branch| {
            let _ = writeln!(text, "  in branch {branch}");
        });
    }
    if text.is_empty() { "no devices".to_owned() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_count_as_in_the_calendar() {
        for (days, date) in
            [(0, (1970, 1, 1)), (59, (1970, 3, 1)), (11_016, (2000, 2, 29)), (20_819, (2027, 1, 1))]
        {
            assert_eq!((days_since_1970(date.0, date.1, date.2), day_of(days)), (days, date));
        }
        assert!((0..80_000).all(|days| {
            let (year, month, day) = day_of(days);
            days_since_1970(year, month, day) == days
        }));
        assert_eq!(time_text(20_849 * DAY_MS + 61_000), "2027-01-31 00:01 UTC");
    }

    #[test]
    fn a_permit_ends_with_its_day_or_after_its_time_and_not_in_the_past() {
        let now = WallTime(20_819 * DAY_MS + 5);
        assert_eq!(until("2027-01-01", now), Ok(20_820 * DAY_MS));
        assert_eq!(until("30d", now), Ok(now.0 + 30 * DAY_MS));
        assert_eq!(until("12h", now), Ok(now.0 + DAY_MS / 2));
        for bad in
            ["2026-12-31", "2027-02-29", "2027-13-01", "2027-1", "0d", "-1d", "soon", "", "99999999999999d"]
        {
            assert!(until(bad, now).unwrap_err().contains("2027-01-31"), "{bad}");
        }
    }
}
