//! Who takes part, with which phone, and who reads what.

use std::collections::BTreeMap;

use dinh_model::roster::{Person as OnRoster, Standing};
use dinh_proto::charter::record::Role;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::act::Room;

/// Fewest members' phones a meeting can be played with: the secretary's, the recorder's, a member's, and one that comes late.
pub const PHONES_MIN: usize = 4;
/// Most members' phones a meeting can be played with: the members and the invented names of the roster.
pub const PHONES_MAX: usize = 40;

/// One phone and who holds it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Person {
    /// Member id, as in the roster.
    pub member: String,
    /// Full name.
    pub name: String,
    /// Role in the branch: `secretary`, `deputy_secretary`, `committee_member`, `recorder`, `member`, `probationary` or `reviewer`.
    pub role: String,
}

impl Person {
    /// The role in the charter.
    #[must_use]
    pub fn role(&self) -> Role {
        match self.role.as_str() {
            "secretary" => Role::Secretary,
            "deputy_secretary" => Role::Deputy,
            "committee_member" => Role::Committee,
            "probationary" => Role::Probationary,
            "reviewer" => Role::Reviewer,
            _ => Role::Member,
        }
    }

    /// Whether this is one of the committee, officers among it.
    #[must_use]
    pub fn is_committee(&self) -> bool {
        matches!(self.role(), Role::Secretary | Role::Deputy | Role::Committee)
    }

    /// Whether this is the reviewer of the upper body, who is no member.
    #[must_use]
    pub fn is_reviewer(&self) -> bool {
        self.role() == Role::Reviewer
    }

    /// Whether an audience's documents are for this person.
    #[must_use]
    pub fn reads(&self, room: &Room) -> bool {
        match room {
            Room::Branch => !self.is_reviewer(),
            Room::Committee => self.is_committee(),
            Room::Oversight => self.is_committee() || self.is_reviewer(),
            Room::ToCommittee(member) => self.is_committee() || self.member == *member,
            Room::ToUpper(member) => self.is_reviewer() || self.member == *member,
        }
    }
}

/// Everybody who holds a phone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cast {
    /// One for each phone: members, then the reviewer, then phones that are admitted in the course of the story.
    pub people: Vec<Person>,
    /// How many phones members hold at the beginning.
    pub members: usize,
}

/// The invented papers of the meeting, parsed.
#[derive(Clone, Debug)]
pub struct Fixtures {
    /// The branch and its members.
    pub roster: Value,
    /// The finished minutes, from which the recorder's typing is taken.
    pub minutes: Value,
    /// Draft round 3 of the resolution.
    pub resolution: Value,
    /// The roll.
    pub attendance: Value,
    /// Threads of feedback.
    pub feedback: Value,
    /// What A, B, C and D edit while the Wi-Fi is gone.
    pub offline_edits: Value,
    /// Sentences from which extra edits are drawn.
    pub pool: Value,
}

impl Fixtures {
    /// Parses the fixtures that are compiled in.
    ///
    /// # Panics
    /// If a fixture is not JSON, which the tests exclude.
    #[must_use]
    pub fn load() -> Self {
        let parse = |text: &str| serde_json::from_str(text).expect("fixtures are JSON");
        Self {
            roster: parse(include_str!("../fixtures/roster.json")),
            minutes: parse(include_str!("../fixtures/minutes.json")),
            resolution: parse(include_str!("../fixtures/resolution-draft.json")),
            attendance: parse(include_str!("../fixtures/attendance.json")),
            feedback: parse(include_str!("../fixtures/feedback-threads.json")),
            offline_edits: parse(include_str!("../fixtures/offline-edits.json")),
            pool: parse(include_str!("../fixtures/pool.json")),
        }
    }

    /// A member's full name.
    #[must_use]
    pub fn name(&self, member: &str) -> Option<String> {
        let lists = ["members", "extra_members", "upper_watchers"];
        let mut all = lists.iter().flat_map(|list| self.roster[list].as_array().into_iter().flatten());
        all.find(|known| known["id"] == member).and_then(|known| known["name"].as_str()).map(str::to_owned)
    }
}

impl Cast {
    /// Casts `phones` members' phones, held between [`PHONES_MIN`] and [`PHONES_MAX`], and the reviewer's.
    #[must_use]
    pub fn new(fixtures: &Fixtures, phones: usize) -> Self {
        let members = phones.clamp(PHONES_MIN, PHONES_MAX);
        let mut people = people(fixtures, members);
        let reviewer = &fixtures.roster["upper_watchers"][0];
        let field = |key: &str| reviewer[key].as_str().unwrap_or_default().to_owned();
        people.push(Person { member: field("id"), name: field("name"), role: "reviewer".into() });
        Self { people, members }
    }

    /// A member's first phone, if there is one.
    #[must_use]
    pub fn phone_of(&self, member: &str) -> Option<usize> {
        self.people.iter().position(|person| person.member == member)
    }

    /// The reviewer's phone.
    #[must_use]
    pub const fn reviewer(&self) -> usize {
        self.members
    }

    /// A further phone of the person who holds `phone`. Returns its index, the next one.
    pub fn add_phone_of(&mut self, phone: usize) -> usize {
        self.people.push(self.people[phone].clone());
        self.people.len() - 1
    }

    /// Whether a phone is to have the documents of an audience.
    #[must_use]
    pub fn reads(&self, phone: usize, room: &Room) -> bool {
        self.people.get(phone).is_some_and(|person| person.reads(room))
    }

    /// The given name, which is the last syllable, of who holds a phone.
    #[must_use]
    pub fn short_name(&self, phone: usize) -> &str {
        self.people.get(phone).and_then(|person| person.name.rsplit(' ').next()).unwrap_or("?")
    }
}

impl Fixtures {
    /// The roster as the body that keeps the records has it: the branch's members, and the invented ones who hold a phone.
    #[must_use]
    pub fn people(&self, cast: &Cast) -> BTreeMap<String, OnRoster> {
        let each = |list: &str| self.roster[list].as_array().cloned().unwrap_or_default();
        let holds = |id: &str| cast.phone_of(id).is_some();
        let person = |value: &Value| {
            let field = |key: &str| value[key].as_str().unwrap_or_default();
            let standing =
                if field("status") == "probationary" { Standing::Probationary } else { Standing::Official };
            let found = OnRoster {
                name: field("name").to_owned(),
                post: field("role").to_owned(),
                standing,
                is_exempt: field("presence_class") == "exempt",
                is_away: field("presence_class") == "temporarily_away",
                language: field("first_language").to_owned(),
                has_phone: holds(field("id")),
            };
            (field("id").to_owned(), found)
        };
        let extra = each("extra_members").into_iter().filter(|v| v["id"].as_str().is_some_and(holds));
        each("members").iter().map(person).chain(extra.map(|v| person(&v))).collect()
    }
}

fn people(fixtures: &Fixtures, phones: usize) -> Vec<Person> {
    let roster = &fixtures.roster;
    let member = |id: &str| {
        roster["members"].as_array().into_iter().flatten().find(|member| member["id"] == id).cloned()
    };
    let listed =
        roster["phone_order"].as_array().into_iter().flatten().filter_map(Value::as_str).filter_map(member);
    let extra = roster["extra_members"].as_array().into_iter().flatten().cloned();
    let field = |value: &Value, key: &str| value[key].as_str().unwrap_or_default().to_owned();
    listed
        .chain(extra)
        .take(phones)
        .map(|value| {
            let member = field(&value, "id");
            let role = match field(&value, "status").as_str() {
                "probationary" => "probationary".into(),
                _ if fixtures.minutes["recorder"] == member.as_str() => "recorder".into(),
                _ => field(&value, "role"),
            };
            Person { name: field(&value, "name"), member, role }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_size_is_cast_with_every_role() {
        let fixtures = Fixtures::load();
        for phones in PHONES_MIN..=PHONES_MAX {
            let cast = Cast::new(&fixtures, phones);
            assert_eq!((cast.people.len(), cast.members), (phones + 1, phones));
            let mut names: Vec<_> = cast.people.iter().map(|person| &person.name).collect();
            names.sort();
            names.dedup();
            assert_eq!(names.len(), phones + 1, "names are distinct");
            assert_eq!([0, 1, 2, 3], ["m01", "m04", "m07", "m14"].map(|m| cast.phone_of(m).unwrap()));
            assert!(cast.people[cast.reviewer()].is_reviewer());
            let people = fixtures.people(&cast);
            assert_eq!(people.len(), 19 + phones.saturating_sub(14));
            assert_eq!(people.values().filter(|p| !p.standing.is_official()).count(), 1);
        }
    }

    #[test]
    fn audiences_are_what_they_are_for() {
        let mut cast = Cast::new(&Fixtures::load(), 12);
        let new = cast.add_phone_of(cast.phone_of("m13").unwrap());
        let readers = |room: Room| (0..cast.people.len()).filter(|p| cast.reads(*p, &room)).count();
        assert_eq!((new, readers(Room::Branch), readers(Room::Committee)), (13, 13, 3));
        assert_eq!(readers(Room::Oversight), 4);
        assert_eq!(readers(Room::ToCommittee("m13".into())), 5, "both phones of the member");
        assert_eq!(readers(Room::ToUpper("m13".into())), 3);
    }
}
