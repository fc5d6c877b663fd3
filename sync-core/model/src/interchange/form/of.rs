//! Forms of documents.

use std::collections::{BTreeMap, BTreeSet};

use dinh_core::document::{Path, Value};
use dinh_core::path;
use dinh_proto::ids::MemberId;
use serde::Serialize;

use super::{Form, FormBlock, FormMotion, FormResult, FormSection, Locale, Row};
use crate::attendance::Attendance;
use crate::feedback::Thread;
use crate::field::{Fields, Register, member};
use crate::interchange::export::rfc3339;
use crate::lifecycle::Folded;
use crate::minutes::{Minutes, Motion, method_name};
use crate::notice::Notice;
use crate::outline::Outline;
use crate::resolution::{self, Resolution};
use crate::review::Review;
use crate::roster::{Person, Roster};
use crate::task::Task;
use crate::vote::{Exclusion, Threshold};

impl Form {
    /// Of any document, by the schema that it names. `locale` says what it does not say itself.
    #[must_use]
    pub fn read(fields: &Fields<'_, '_>, locale: &Locale<'_>) -> Self {
        let to = To { fields, locale };
        let schema = fields.string(&path!["schema"]).get().cloned().unwrap_or_default();
        let mut form = match schema.split('/').next().unwrap_or_default() {
            "dinh.minutes" => to.minutes(),
            "dinh.resolution" | "dinh.resolution-open" => to.resolution(),
            "dinh.attendance" => to.attendance(),
            "dinh.feedback" => to.feedback(),
            "dinh.tasks" => to.tasks(),
            "dinh.review" => to.review(),
            "dinh.notice" => to.notice(),
            "dinh.roster" => to.roster(),
            _ => to.other(),
        };
        form.fields.insert("schema".to_owned(), schema);
        for (key, register) in to.registers("header") {
            form.header.extend(register.get().map(|text| (key, text.clone())));
        }
        form
    }

    /// Adds who was at the meeting: the numbers against a roster, and everybody's mark.
    pub fn attend(
        &mut self,
        attendance: &Attendance,
        people: &BTreeMap<MemberId, Person>,
        excluding: &BTreeSet<Exclusion>,
        locale: &Locale<'_>,
    ) {
        self.numbers =
            numbers(&serde_json::to_value(attendance.summary(people, excluding)).unwrap_or_default());
        let entries = people.iter().map(|(id, person)| {
            let mut row = attended(attendance, id, locale);
            row.insert("name".to_owned(), person.name.clone());
            row.insert("post".to_owned(), person.post.clone());
            row.insert("standing".to_owned(), word(&person.standing));
            row
        });
        let guests = attendance.entries.keys().filter(|id| !people.contains_key(id));
        let guests = guests.map(|id| attended(attendance, id, locale));
        self.lists.insert("entries".to_owned(), entries.chain(guests).collect());
    }
}

/// What was marked of somebody.
fn attended(attendance: &Attendance, id: &MemberId, locale: &Locale<'_>) -> Row {
    let mut row = Row::from([("name".to_owned(), (locale.name)(id))]);
    let Some(entry) = attendance.entries.get(id) else { return row };
    let mut put = |key: &str, text: Option<String>| row.extend(text.map(|text| (key.to_owned(), text)));
    put("mark", entry.mark.get().map(word));
    put("reason", entry.reason.get().cloned());
    put("late_at", entry.late_at.get().map(|at| time(*at, locale)));
    put("left_at", entry.left_at.get().map(|at| time(*at, locale)));
    put("checked_in", entry.checked_in.get().map(|c| time(c.at, locale)));
    row
}

/// By the clock on the wall, to the minute.
fn time(at: i64, locale: &Locale<'_>) -> String {
    let local = at.saturating_add(i64::from(locale.utc_offset_minutes) * 60_000);
    rfc3339(local).and_then(|text| text.get(..16).map(str::to_owned)).unwrap_or_default()
}

/// The word that a document has for something.
fn word(of: &impl Serialize) -> String {
    serde_json::to_value(of).ok().and_then(|v| v.as_str().map(str::to_owned)).unwrap_or_default()
}

fn state<S: Serialize + Copy + Ord>(life: &Folded<S>) -> String {
    life.status.state().map_or_else(|| "disputed".to_owned(), |state| word(&state))
}

/// The counts of a summary, as it was frozen.
fn numbers(summary: &serde_json::Value) -> BTreeMap<String, u64> {
    let all = summary.as_object().into_iter().flatten();
    let mut found: BTreeMap<String, u64> =
        all.filter_map(|(key, value)| Some((key.clone(), value.as_u64()?))).collect();
    found.extend(summary["base"]["count"].as_u64().map(|base| ("base".to_owned(), base)));
    found
}

struct To<'a, 'f, 'd> {
    fields: &'a Fields<'f, 'd>,
    locale: &'a Locale<'a>,
}

impl To<'_, '_, '_> {
    fn name(&self, id: &MemberId) -> String {
        (self.locale.name)(id)
    }

    fn time(&self, at: i64) -> String {
        time(at, self.locale)
    }

    fn registers(&self, map: &str) -> Vec<(String, Register<String>)> {
        let keys = self.fields.view().keys(&path![map]).into_iter();
        keys.map(|key| (key.clone(), self.fields.string(&path![map, key]))).collect()
    }

    /// A value as a line: members by name, several after commas.
    fn line(&self, value: &Value) -> Option<String> {
        Some(match value {
            Value::Str(text) | Value::Text(text) => match member(text) {
                Some(id) => self.name(&id),
                None => text.clone(),
            },
            Value::Bool(flag) => if *flag { "yes" } else { "no" }.to_owned(),
            Value::Int(n) => n.to_string(),
            Value::Uint(n) => n.to_string(),
            Value::F64(n) => n.to_string(),
            Value::Timestamp(at) => self.time(*at),
            Value::List(list) => list.iter().filter_map(|v| self.line(v)).collect::<Vec<_>>().join(", "),
            Value::Null | Value::Bytes(_) | Value::Map(_) => return None,
        })
    }

    /// The things of a map by key, each a map of lines, or a line alone, which is its `text`.
    fn rows(&self, map: &str) -> Vec<Row> {
        let row = |key: String| {
            let at = path![map, key];
            match self.fields.view().get(&at)? {
                Value::Map(inner) => {
                    let line = |(key, value): (&String, &Value)| Some((key.clone(), self.line(value)?));
                    Some(inner.iter().filter_map(line).collect())
                }
                value => Some(Row::from([("text".to_owned(), self.line(&value)?)])),
            }
        };
        let mut rows: Vec<Row> = self.fields.view().keys(&path![map]).into_iter().filter_map(row).collect();
        rows.sort_by(|a, b| a.get("order").cmp(&b.get("order")));
        rows
    }

    fn lists(&self, names: &[&str]) -> BTreeMap<String, Vec<Row>> {
        names.iter().map(|name| ((*name).to_owned(), self.rows(name))).collect()
    }

    /// Those of the root's values that are lines, without the ones that name things of other documents.
    fn lines(&self, keys: &[&str]) -> Row {
        let line = |key: &&str| {
            let value = self.fields.view().get(&path![*key])?;
            Some(((*key).to_owned(), self.line(&value)?))
        };
        keys.iter().filter_map(line).collect()
    }

    fn sections(&self, outline: &Outline) -> Vec<FormSection> {
        let block = |b: &crate::outline::Block| {
            let mut fields = Row::new();
            fields.extend(b.language.get().map(|text| ("language".to_owned(), text.clone())));
            fields.extend(b.interpreter.get().map(|id| ("interpreter".to_owned(), self.name(id))));
            FormBlock {
                kind: b.kind.get().cloned().unwrap_or_default(),
                speaker: b.speaker.get().map(|id| self.name(id)).unwrap_or_default(),
                text: b.text.clone(),
                fields,
            }
        };
        let section = |s: &crate::outline::Section| FormSection {
            heading: s.heading.clone(),
            fields: Row::new(),
            blocks: s.blocks.iter().map(block).collect(),
        };
        outline.sections.iter().map(section).collect()
    }

    fn minutes(&self) -> Form {
        let minutes = Minutes::read(self.fields);
        let frozen = minutes.attendance.get().and_then(|text| serde_json::from_str(text).ok());
        let mut fields =
            self.lines(&["period", "kind", "venue", "chair", "recorder", "started_at", "ended_at"]);
        fields.insert("state".to_owned(), state(&minutes.life));
        Form {
            kind: "minutes".to_owned(),
            fields,
            sections: self.sections(&minutes.outline),
            lists: self.lists(&["agenda", "guests", "decisions", "assignments"]),
            numbers: frozen.map(|summary| numbers(&summary)).unwrap_or_default(),
            motions: minutes.motions.iter().map(motion).collect(),
            is_sealed: minutes.seals.get().is_some(),
            is_draft: minutes.seals.get().is_none(),
            ..Form::default()
        }
    }

    fn resolution(&self) -> Form {
        use resolution::state::State;
        let found = Resolution::read(self.fields);
        let mut fields = self.lines(&["period", "number", "enacting_clause"]);
        fields.insert("round".to_owned(), found.round.to_string());
        fields.insert("state".to_owned(), state(&found.life));
        for key in ["authority", "title", "signer"] {
            let line = self.fields.view().get(&path!["signature", key]).and_then(|v| self.line(&v));
            fields.extend(line.map(|line| (key.to_owned(), line)));
        }
        let issued = [State::Issued, State::InForce, State::Completed, State::Superseded, State::Revoked];
        Form {
            kind: "resolution".to_owned(),
            fields,
            sections: self.sections(&found.outline),
            lists: self.lists(&["legal_bases", "recipients", "assignments"]),
            is_sealed: found.seals.get().is_some(),
            is_draft: !found.life.status.state().is_some_and(|s| issued.contains(&s)),
            ..Form::default()
        }
    }

    fn attendance(&self) -> Form {
        let found = Attendance::read(self.fields);
        let rows = found.entries.keys().map(|id| attended(&found, id, self.locale)).collect();
        Form {
            kind: "attendance".to_owned(),
            lists: BTreeMap::from([("entries".to_owned(), rows)]),
            ..Form::default()
        }
    }

    fn feedback(&self) -> Form {
        let thread = |t: Thread| {
            let mut fields = Row::from([
                ("kind".to_owned(), t.kind.name().to_owned()),
                ("author".to_owned(), self.name(&t.author)),
                ("state".to_owned(), state(&t.life)),
            ]);
            fields.extend(t.due.map(|due| ("due".to_owned(), due)));
            let block = |m: &crate::feedback::Message| {
                let mut fields = Row::from([("at".to_owned(), self.time(m.at))]);
                fields.extend(m.on_behalf_of.map(|id| ("on_behalf_of".to_owned(), self.name(&id))));
                fields.insert("language".to_owned(), m.language.clone());
                FormBlock { kind: String::new(), speaker: self.name(&m.by), text: m.text.clone(), fields }
            };
            FormSection { heading: t.title, fields, blocks: t.messages.iter().map(block).collect() }
        };
        Form {
            kind: "feedback".to_owned(),
            fields: self.lines(&["audience"]),
            sections: Thread::read_all(self.fields).into_iter().map(thread).collect(),
            ..Form::default()
        }
    }

    fn tasks(&self) -> Form {
        let task = |t: Task| {
            let owners = t.owners.get().into_iter().flatten();
            let owners: Vec<String> = owners.filter_map(|k| member(k)).map(|id| self.name(&id)).collect();
            let mut fields = Row::from([("owners".to_owned(), owners.join(", "))]);
            fields.extend(t.due.get().map(|due| ("due".to_owned(), due.clone())));
            fields.extend(t.status.get().map(|status| ("status".to_owned(), word(status))));
            let block = |p: &crate::task::Progress| {
                let mut fields = Row::from([("at".to_owned(), self.time(p.at))]);
                fields.extend(p.percent.map(|n| ("percent".to_owned(), n.to_string())));
                FormBlock { kind: String::new(), speaker: self.name(&p.by), text: p.text.clone(), fields }
            };
            let blocks = t.progress.iter().map(block).collect();
            FormSection { heading: t.title.get().cloned().unwrap_or_default(), fields, blocks }
        };
        Form {
            kind: "tasks".to_owned(),
            sections: Task::read_all(self.fields).into_iter().map(task).collect(),
            ..Form::default()
        }
    }

    fn review(&self) -> Form {
        let found = Review::read(self.fields);
        let mut rounds: BTreeMap<u32, Vec<FormBlock>> = BTreeMap::new();
        for c in &found.comments {
            let mut fields = Row::from([("at".to_owned(), self.time(c.at))]);
            fields.extend(c.quote.as_ref().map(|(_, quote)| ("quote".to_owned(), quote.clone())));
            let block = FormBlock {
                kind: word(&c.severity),
                speaker: self.name(&c.by),
                text: c.text.clone(),
                fields,
            };
            rounds.entry(c.round).or_default().push(block);
        }
        let section = |(round, blocks): (u32, Vec<FormBlock>)| FormSection {
            heading: round.to_string(),
            fields: Row::new(),
            blocks,
        };
        Form {
            kind: "review".to_owned(),
            fields: Row::from([("state".to_owned(), state(&found.life))]),
            sections: rounds.into_iter().map(section).collect(),
            ..Form::default()
        }
    }

    fn notice(&self) -> Form {
        let found = Notice::read(self.fields);
        let row = |(id, at): (&MemberId, &Register<i64>)| {
            let mut row = Row::from([("name".to_owned(), self.name(id))]);
            row.extend(at.get().map(|at| ("at".to_owned(), self.time(*at))));
            row
        };
        let mut fields = self.lines(&["title", "until"]);
        fields.insert("text".to_owned(), found.text.clone());
        Form {
            kind: "notice".to_owned(),
            fields,
            lists: BTreeMap::from([("entries".to_owned(), found.read.iter().map(row).collect())]),
            ..Form::default()
        }
    }

    fn roster(&self) -> Form {
        let found = Roster::read(self.fields);
        let row = |person: &Person| {
            let yes = |flag: bool| if flag { "yes" } else { "" }.to_owned();
            Row::from([
                ("name".to_owned(), person.name.clone()),
                ("post".to_owned(), person.post.clone()),
                ("standing".to_owned(), word(&person.standing)),
                ("exempt".to_owned(), yes(person.is_exempt)),
                ("away".to_owned(), yes(person.is_away)),
            ])
        };
        let mut fields = Row::new();
        fields.extend(found.authority.get().map(|text| ("authority".to_owned(), text.clone())));
        fields.extend(found.at.get().map(|at| ("at".to_owned(), self.time(*at))));
        Form {
            kind: "roster".to_owned(),
            fields,
            lists: BTreeMap::from([("entries".to_owned(), found.shown().values().map(row).collect())]),
            ..Form::default()
        }
    }

    /// Everything, place by place.
    fn other(&self) -> Form {
        let mut values = Vec::new();
        let root = self.fields.view().get(&Path::root()).unwrap_or_else(Value::map);
        self.flatten(&Path::root(), &root, &mut values);
        Form {
            kind: "other".to_owned(),
            lists: BTreeMap::from([("values".to_owned(), values)]),
            ..Form::default()
        }
    }

    fn flatten(&self, at: &Path, value: &Value, out: &mut Vec<Row>) {
        match value {
            Value::Map(map) => {
                for (key, inner) in map {
                    let key = member(key).map_or_else(|| key.clone(), |id| self.name(&id));
                    self.flatten(&at.join(key), inner, out);
                }
            }
            Value::List(list) if list.iter().any(|v| !v.is_scalar()) => {
                list.iter().enumerate().for_each(|(i, inner)| self.flatten(&at.join(i), inner, out));
            }
            value => out.extend(
                self.line(value)
                    .map(|text| Row::from([("path".to_owned(), at.to_string()), ("text".to_owned(), text)])),
            ),
        }
    }
}

fn motion(motion: &Motion) -> FormMotion {
    let result = |v: &crate::minutes::Vote| FormResult {
        method: method_name(v.method).to_owned(),
        yes: v.tally.yes,
        no: v.tally.no,
        abstain: v.tally.abstain,
        base: v.base,
        ballots: v.ballots.map(|b| (b.issued, b.returned, b.valid)),
        carried: v.carried,
    };
    FormMotion {
        title: motion.title.get().cloned().unwrap_or_default(),
        two_thirds: motion.threshold == Threshold::TwoThirds,
        result: motion.result().map(result),
    }
}
