//! Who is at a meeting. The recorder's mark decides; that a member checked in is evidence.

use std::collections::{BTreeMap, BTreeSet};

use dinh_core::document::{Edit, EditError, Path, Value};
use dinh_core::gate::rights::{How, Rule, Schema, Step, Who};
use dinh_core::path;
use dinh_proto::ids::MemberId;
use serde::{Deserialize, Serialize};

use crate::field::{Fields, Register, put_register, time};
use crate::me::Me;
use crate::roster::Person;
use crate::vote::{self, Base, Exclusion};

const KEEPERS: Who = Who::RECORDER.or(Who::OFFICERS);

/// Who writes what. One map for each field, by member: two phones write one member's fields at the same time.
pub static SCHEMA: Schema = Schema {
    name: "dinh.attendance/1",
    rules: &[
        Rule::new(&[Step::Key("schema")], Who::CREATOR, How::Once),
        Rule::new(&[Step::Key("meeting")], Who::CREATOR, How::Once),
        Rule::new(&[Step::Key("checked_in"), Step::Own, Step::Rest], Who::EVERYBODY, How::Free),
        Rule::new(&[Step::Key("checked_in"), Step::Any, Step::Rest], KEEPERS, How::Free),
        Rule::new(&[Step::Key("mark"), Step::Rest], KEEPERS, How::Free),
        Rule::new(&[Step::Key("reason"), Step::Rest], KEEPERS, How::Free),
        Rule::new(&[Step::Key("late_at"), Step::Rest], KEEPERS, How::Free),
        Rule::new(&[Step::Key("left_at"), Step::Rest], KEEPERS, How::Free),
    ],
    others: KEEPERS,
    seal: None,
};

/// How somebody checked in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Way {
    /// A code in the hall was scanned.
    Qr,
    /// A button.
    Tap,
    /// A voice.
    Audio,
}

impl Way {
    const ALL: [Self; 3] = [Self::Qr, Self::Tap, Self::Audio];

    /// Its name in documents.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Qr => "qr",
            Self::Tap => "tap",
            Self::Audio => "audio",
        }
    }
}

/// What the recorder marked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mark {
    /// Here.
    Present,
    /// Absent with a reason that was accepted.
    Excused,
    /// Absent without.
    Unexcused,
    /// Freed from meetings, and not here.
    Exempt,
    /// A member of this branch that is elsewhere for a time.
    TemporarilyAway,
    /// A member of another branch that is here for a time.
    TemporarilyHere,
}

impl Mark {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::Present,
        Self::Excused,
        Self::Unexcused,
        Self::Exempt,
        Self::TemporarilyAway,
        Self::TemporarilyHere,
    ];

    /// Its name in documents.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Present => "present",
            Self::Excused => "excused",
            Self::Unexcused => "unexcused",
            Self::Exempt => "exempt",
            Self::TemporarilyAway => "temporarily_away",
            Self::TemporarilyHere => "temporarily_here",
        }
    }
}

/// That somebody checked in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct CheckIn {
    /// When, by that phone's clock.
    pub at: i64,
    /// How.
    pub way: Way,
}

impl CheckIn {
    fn read(value: &Value) -> Option<Self> {
        let Value::Map(fields) = value else { return None };
        let way = fields.get("way")?.as_str()?;
        Some(Self { at: time(fields.get("at")?)?, way: Way::ALL.into_iter().find(|w| w.name() == way)? })
    }
}

/// One person.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Entry {
    /// That it checked in, or was checked in by a keeper.
    pub checked_in: Register<CheckIn>,
    /// What the recorder marked.
    pub mark: Register<Mark>,
    /// Why it is absent, as far as the branch may know.
    pub reason: Register<String>,
    /// When it came, if late.
    pub late_at: Register<i64>,
    /// When it left, if early.
    pub left_at: Register<i64>,
}

/// Who is at a meeting, as it stands now.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Attendance {
    /// Everybody of whom something is said.
    pub entries: BTreeMap<MemberId, Entry>,
}

/// The numbers that minutes give, frozen into them at the reading back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Summary {
    /// Everybody on the roster.
    pub total: u32,
    /// Of them, full members.
    pub official: u32,
    /// Of them, on probation.
    pub probationary: u32,
    /// Full members here.
    pub present_official: u32,
    /// Members on probation here.
    pub present_probationary: u32,
    /// Of other branches, here.
    pub present_temporarily: u32,
    /// Absent with a reason.
    pub excused: u32,
    /// Absent without.
    pub unexcused: u32,
    /// Freed, and not here.
    pub exempt: u32,
    /// Elsewhere for a time.
    pub away: u32,
    /// On the roster and not marked.
    pub unmarked: u32,
    /// Whom votes are counted against.
    pub base: Base,
}

const FIELDS: [&str; 5] = ["checked_in", "mark", "reason", "late_at", "left_at"];

fn of(field: &str, member: &MemberId) -> Path {
    path![field, member.to_string()]
}

impl Attendance {
    /// Reads it.
    #[must_use]
    pub fn read(fields: &Fields<'_, '_>) -> Self {
        let all: BTreeSet<MemberId> =
            FIELDS.iter().flat_map(|field| fields.members(&path![*field])).collect();
        let mark = |value: &Value| {
            let name = value.as_str()?;
            Mark::ALL.into_iter().find(|mark| mark.name() == name)
        };
        let entry = |id: MemberId| {
            let entry = Entry {
                checked_in: fields.register(&of("checked_in", &id), CheckIn::read),
                mark: fields.register(&of("mark", &id), mark),
                reason: fields.string(&of("reason", &id)),
                late_at: fields.time(&of("late_at", &id)),
                left_at: fields.time(&of("left_at", &id)),
            };
            (id, entry)
        };
        Self { entries: all.into_iter().map(entry).collect() }
    }

    /// What is marked, where something is.
    #[must_use]
    pub fn marks(&self) -> BTreeMap<MemberId, Mark> {
        self.entries.iter().filter_map(|(id, entry)| Some((*id, *entry.mark.get()?))).collect()
    }

    /// Who checked in and is not marked: whom the recorder has to look at.
    pub fn unconfirmed(&self) -> impl Iterator<Item = &MemberId> {
        let open = |(_, e): &(&MemberId, &Entry)| e.checked_in.get().is_some() && e.mark.get().is_none();
        self.entries.iter().filter(open).map(|(id, _)| id)
    }

    /// The numbers, against a roster.
    #[must_use]
    pub fn summary(&self, people: &BTreeMap<MemberId, Person>, excluding: &BTreeSet<Exclusion>) -> Summary {
        let marks = self.marks();
        let number = |f: &dyn Fn(&MemberId, &Person) -> bool| {
            u32::try_from(people.iter().filter(|(id, p)| f(id, p)).count()).unwrap_or(u32::MAX)
        };
        let marked = |mark: Mark| number(&|id, _| marks.get(id) == Some(&mark));
        let guests =
            marks.iter().filter(|(id, m)| **m == Mark::TemporarilyHere && !people.contains_key(id)).count();
        Summary {
            total: number(&|_, _| true),
            official: number(&|_, p| p.standing.is_official()),
            probationary: number(&|_, p| !p.standing.is_official()),
            present_official: number(&|id, p| {
                p.standing.is_official() && marks.get(id) == Some(&Mark::Present)
            }),
            present_probationary: number(&|id, p| {
                !p.standing.is_official() && marks.get(id) == Some(&Mark::Present)
            }),
            present_temporarily: u32::try_from(guests).unwrap_or(u32::MAX),
            excused: marked(Mark::Excused),
            unexcused: marked(Mark::Unexcused),
            exempt: marked(Mark::Exempt),
            away: marked(Mark::TemporarilyAway),
            unmarked: number(&|id, _| !marks.contains_key(id)),
            base: vote::base(people, &marks, excluding),
        }
    }
}

/// Makes the empty document of a meeting.
///
/// # Errors
/// If it is not empty, or this device may not.
pub fn create(edit: &mut Edit<'_>, meeting: &str) -> Result<(), EditError> {
    edit.put(&path!["schema"], SCHEMA.name)?;
    edit.put(&path!["meeting"], meeting)?;
    FIELDS.iter().try_for_each(|field| edit.put_map(&path![*field]))
}

/// Says that this device's member is here, or, by a keeper, that somebody is. Saying it twice changes nothing.
///
/// # Errors
/// If this device may not.
pub fn check_in(edit: &mut Edit<'_>, me: &Me, member: &MemberId, way: Way) -> Result<(), EditError> {
    let place = of("checked_in", member);
    if edit.view().get(&place).is_some() {
        return Ok(());
    }
    let fields = [("at".to_owned(), Value::Timestamp(me.now)), ("way".to_owned(), Value::from(way.name()))];
    edit.put(&place, Value::Map(fields.into()))
}

/// Marks somebody. `None` takes the mark back.
///
/// # Errors
/// If this device may not.
pub fn mark(edit: &mut Edit<'_>, member: &MemberId, mark: Option<Mark>) -> Result<(), EditError> {
    let place = of("mark", member);
    match mark {
        Some(mark) => put_register(edit, &place, mark.name()),
        None if edit.view().get(&place).is_some() => edit.delete(&place),
        None => Ok(()),
    }
}

/// Says why somebody is absent, as far as the branch may know it.
///
/// # Errors
/// If this device may not.
pub fn give_reason(edit: &mut Edit<'_>, member: &MemberId, reason: &str) -> Result<(), EditError> {
    put_register(edit, &of("reason", member), reason)
}

/// Says when somebody came late, or left early: milliseconds since 1970.
///
/// # Errors
/// If this device may not.
pub fn give_times(
    edit: &mut Edit<'_>,
    member: &MemberId,
    late_at: Option<i64>,
    left_at: Option<i64>,
) -> Result<(), EditError> {
    for (field, at) in [("late_at", late_at), ("left_at", left_at)] {
        if let Some(at) = at {
            put_register(edit, &of(field, member), Value::Timestamp(at))?;
        }
    }
    Ok(())
}
