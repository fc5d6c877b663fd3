//! Who takes part, with which phone, and which documents exist for which audience.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

/// Fewest phones a meeting can be played with.
pub const PHONES_MIN: usize = 2;
/// Most phones a meeting can be played with: the members and the invented names of the roster.
pub const PHONES_MAX: usize = 40;

/// One phone and the member who holds it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Person {
    /// Member id, as in the roster.
    pub member: String,
    /// Full name.
    pub name: String,
    /// Role in the branch: `secretary`, `deputy_secretary`, `committee_member`, `recorder` or `member`.
    pub role: String,
}

/// An audience inside the branch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Space {
    /// `branch`, `committee` or `thread`.
    pub name: String,
    /// The phones (indexes) whose members read and write it.
    pub phones: Vec<usize>,
}

/// A document of the meeting before anybody edits it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Document {
    /// Name, unique in the meeting.
    pub name: String,
    /// Name of its space.
    pub space: String,
    /// The phone that creates it.
    pub creator: usize,
    /// What it holds at first; fields named [`crate::action::TEXT_KEY`] are collaborative text.
    pub content: Value,
}

/// Everybody and everything before the meeting opens.
#[derive(Clone, Debug, PartialEq)]
pub struct Cast {
    /// One for each phone.
    pub people: Vec<Person>,
    /// The audiences.
    pub spaces: Vec<Space>,
    /// The documents.
    pub documents: Vec<Document>,
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
    /// Casts `phones` phones, held between [`PHONES_MIN`] and [`PHONES_MAX`].
    #[must_use]
    pub fn new(fixtures: &Fixtures, phones: usize) -> Self {
        let phones = phones.clamp(PHONES_MIN, PHONES_MAX);
        let people = people(fixtures, phones);
        let mut cast = Self { people, spaces: Vec::new(), documents: Vec::new() };
        cast.spaces = vec![
            Space { name: "branch".into(), phones: (0..phones).collect() },
            Space { name: "committee".into(), phones: cast.phones_of(&["m01", "m02", "m03"]) },
            Space { name: "thread".into(), phones: cast.phones_of(&["m13", "m01", "m02", "m03"]) },
        ];
        cast.documents = cast.documents(fixtures);
        cast
    }

    /// The phone with which a member takes part: their own, or the one that stands in when there are few phones. The
    /// committee folds onto the secretary's, everybody else onto the other phones.
    #[must_use]
    pub fn phone_of(&self, member: &str) -> usize {
        if let Some(index) = self.people.iter().position(|person| person.member == member) {
            return index;
        }
        if matches!(member, "m01" | "m02" | "m03") {
            return 0;
        }
        let number: usize = member.trim_start_matches(|c: char| !c.is_ascii_digit()).parse().unwrap_or(0);
        1 + number % (self.people.len() - 1)
    }

    /// A further phone of the person who holds `phone`, who reads the same spaces with it. Returns its index, the next
    /// one.
    pub fn add_phone_of(&mut self, phone: usize) -> usize {
        let new = self.people.len();
        self.people.push(self.people[phone].clone());
        for space in self.spaces.iter_mut().filter(|space| space.phones.contains(&phone)) {
            space.phones.push(new);
        }
        new
    }

    /// The phone that is last to come back.
    #[must_use]
    pub fn late_phone(&self) -> usize {
        self.people.iter().position(|person| person.member == "m14").unwrap_or(self.people.len() - 1)
    }

    /// The space of that name.
    ///
    /// # Panics
    /// If there is none: space names are fixed in this module.
    #[must_use]
    pub fn space(&self, name: &str) -> &Space {
        self.spaces.iter().find(|space| space.name == name).expect("documents name spaces that exist")
    }

    /// The phones that hold a document.
    #[must_use]
    pub fn readers(&self, document: &str) -> &[usize] {
        self.documents
            .iter()
            .find(|known| known.name == document)
            .map_or(&[], |known| &self.space(&known.space).phones)
    }

    /// The given name, which is the last syllable, of who holds a phone.
    #[must_use]
    pub fn short_name(&self, phone: usize) -> &str {
        self.people.get(phone).and_then(|person| person.name.rsplit(' ').next()).unwrap_or("?")
    }

    fn phones_of(&self, members: &[&str]) -> Vec<usize> {
        let mut phones: Vec<usize> = members.iter().map(|member| self.phone_of(member)).collect();
        phones.sort_unstable();
        phones.dedup();
        phones
    }

    fn documents(&self, fixtures: &Fixtures) -> Vec<Document> {
        let mut documents = vec![
            self.document("minutes", "branch", "m04", blank_minutes(&fixtures.minutes)),
            self.document("resolution", "branch", "m01", fixtures.resolution.clone()),
            self.document("attendance", "branch", "m04", blank_attendance(&fixtures.attendance)),
        ];
        for thread in fixtures.feedback.as_array().into_iter().flatten() {
            let id = thread["doc_id"].as_str().unwrap_or_default().replace("fb-", "feedback-");
            // Only the confidential report has a narrower audience; the reserved opinion is written in the meeting.
            let space = if thread["kind"] == "confidential_report" { "thread" } else { "branch" };
            let mut content = thread.clone();
            if thread["kind"] == "reserved_opinion" {
                content["messages"] = json!([]);
                content["events"] = json!([]);
            }
            let author = thread["author"].as_str().unwrap_or("m01").to_owned();
            documents.push(self.document(&id, space, &author, content));
        }
        documents.push(self.document(
            "committee-notes",
            "committee",
            "m01",
            fixtures.pool["committee_notes"].clone(),
        ));
        documents
    }

    fn document(&self, name: &str, space: &str, creator: &str, content: Value) -> Document {
        Document { name: name.into(), space: space.into(), creator: self.phone_of(creator), content }
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
            let recorder = fixtures.minutes["recorder"] == member.as_str();
            let role = if recorder { "recorder".into() } else { field(&value, "role") };
            Person { name: field(&value, "name"), member, role }
        })
        .collect()
}

/// The minutes as they are convened: header, agenda and section headings; nothing has been said yet.
fn blank_minutes(finished: &Value) -> Value {
    let mut blank = finished.clone();
    for section in blank["sections"].as_array_mut().into_iter().flatten() {
        section["blocks"] = json!([]);
    }
    for list in ["votes", "assignments", "remarks"] {
        blank[list] = json!([]);
    }
    blank["ended_at"] = Value::Null;
    blank["transitions"] =
        finished["transitions"].as_array().into_iter().flatten().take(2).cloned().collect();
    for signature in blank["signatures"].as_array_mut().into_iter().flatten() {
        signature["id"] = signature["role"].clone();
    }
    identify(&mut blank["transitions"]);
    blank
}

/// The roll before anybody was marked.
fn blank_attendance(finished: &Value) -> Value {
    let mut blank = finished.clone();
    let entries: Map<String, Value> = finished["entries"]
        .as_object()
        .into_iter()
        .flatten()
        .map(|(member, _)| (member.clone(), json!({"member": member, "mark": null})))
        .collect();
    blank["entries"] = Value::Object(entries);
    blank["check_ins"] = json!([]);
    blank
}

fn identify(list: &mut Value) {
    for (index, entry) in list.as_array_mut().into_iter().flatten().enumerate() {
        entry["id"] = json!(format!("e{index}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_size_is_cast_with_every_role() {
        let fixtures = Fixtures::load();
        for phones in PHONES_MIN..=PHONES_MAX {
            let cast = Cast::new(&fixtures, phones);
            assert_eq!(cast.people.len(), phones);
            let mut names: Vec<_> = cast.people.iter().map(|person| &person.name).collect();
            names.sort();
            names.dedup();
            assert_eq!(names.len(), phones, "names are distinct");
            for member in ["m01", "m02", "m04", "m07", "m14", "m13", "u01", "x40"] {
                assert!(cast.phone_of(member) < phones);
            }
            assert_ne!(cast.phone_of("m01"), cast.phone_of("m04"));
            assert_ne!(cast.late_phone(), 0, "the secretary's phone is not the late one");
            for document in &cast.documents {
                assert!(cast.readers(&document.name).contains(&document.creator), "{}", document.name);
            }
            assert!(cast.space("committee").phones.len() < phones, "not everybody is in the committee");
        }
    }

    #[test]
    fn a_new_phone_reads_what_its_owner_reads() {
        let mut cast = Cast::new(&Fixtures::load(), 12);
        let before = cast.clone();
        let new = cast.add_phone_of(cast.phone_of("m02"));
        assert_eq!((new, cast.phone_of("m02")), (12, before.phone_of("m02")));
        assert_eq!(cast.people[new].member, "m02");
        for space in &cast.spaces {
            assert_eq!(
                space.phones.contains(&new),
                before.space(&space.name).phones.contains(&before.phone_of("m02"))
            );
        }
    }

    #[test]
    fn the_blank_minutes_hold_no_speech() {
        let fixtures = Fixtures::load();
        let blank = blank_minutes(&fixtures.minutes);
        assert!(!blank.to_string().contains("giải phóng mặt bằng"));
        assert_eq!(blank["sections"].as_array().unwrap().len(), 7);
    }
}
