//! One document of each kind, of an invented branch (testdata/), made by the commands of the model on phones with a relay.

use std::collections::{BTreeMap, BTreeSet};

use dinh_core::document::Value;
use dinh_core::gate::rights::Schema;
use dinh_core::path;
use dinh_model::attendance::{self, Mark, Way};
use dinh_model::digest::{self, Month};
use dinh_model::feedback::{self, NewThread};
use dinh_model::field::{Fields, Writers as FieldWriters};
use dinh_model::index::{self, Entry, Purpose};
use dinh_model::interchange::form::{Form, Locale};
use dinh_model::minutes::{self, Count, Kind, NewMinutes, parts};
use dinh_model::outline::{self, Put};
use dinh_model::resolution::{self, NewAssignment};
use dinh_model::review::{self, NewComment, Severity};
use dinh_model::roster::{self, Person, Source, Standing};
use dinh_model::vote::{self, Ballots, Exclusion, Method, Tally, Threshold};
use dinh_model::votebox::{self, Choice};
use dinh_model::{notice, task};
use dinh_proto::charter::record::{Audience, Role, Writers};
use dinh_proto::ids::{DocId, MemberId};
use serde_json::Value as Json;

use crate::village::{RECORDER, SECRETARY, Village, who};

const MEMBER: usize = 2;
const REVIEWER: usize = 3;
/// 2026-12-03, 19:30 in Vietnam.
const OPENED: i64 = 1_796_301_000_000;

pub(crate) struct Branch {
    pub village: Village,
    pub documents: BTreeMap<&'static str, DocId>,
    pub names: BTreeMap<MemberId, String>,
    people: BTreeMap<MemberId, Person>,
    /// What becomes of each text on its way in.
    twist: fn(&str) -> String,
}

fn data(name: &str) -> Json {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata").join(name);
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

/// Those who have the phones.
fn id(key: &str) -> MemberId {
    match key {
        "m01" => who(SECRETARY),
        "m04" => who(RECORDER),
        "m02" => who(MEMBER),
        "u01" => who(REVIEWER),
        other => who(other[1..].parse::<usize>().unwrap() + 10),
    }
}

fn text<'j>(json: &'j Json, key: &str) -> &'j str {
    json[key].as_str().unwrap_or_default()
}

fn items<'j>(json: &'j Json, key: &str) -> &'j [Json] {
    json[key].as_array().map_or(&[], Vec::as_slice)
}

impl Branch {
    pub(crate) fn new(twist: fn(&str) -> String) -> Self {
        let mut village = Village::new(&[Role::Committee, Role::Member, Role::Reviewer]);
        village.sync();
        let all = data("people.json");
        let (mut people, mut names) = (BTreeMap::new(), BTreeMap::new());
        for one in items(&all, "members").iter().chain(items(&all, "watchers")) {
            names.insert(id(text(one, "id")), twist(text(one, "name")));
        }
        for one in items(&all, "members") {
            let is_official = text(one, "status") == "official";
            let person = Person {
                name: twist(text(one, "name")),
                post: if text(one, "id") == "m01" { "Bí thư".to_owned() } else { String::new() },
                standing: if is_official { Standing::Official } else { Standing::Probationary },
                is_exempt: text(one, "presence") == "exempt",
                is_away: text(one, "presence") == "temporarily_away",
                language: String::new(),
                has_phone: true,
            };
            people.insert(id(text(one, "id")), person);
        }
        let mut branch = Self { village, documents: BTreeMap::new(), names, people, twist };
        branch.roster();
        branch.attendance(&all);
        branch.minutes();
        branch.resolution();
        branch.feedback();
        branch.others();
        branch.village.sync();
        branch
    }

    fn say(&self, text: &str) -> String {
        (self.twist)(text)
    }

    fn create(&mut self, name: &'static str, schema: &Schema) -> DocId {
        let doc = self.village.create(SECRETARY, Writers::All, schema);
        self.documents.insert(name, doc);
        doc
    }

    fn roster(&mut self) {
        let doc = self.create("roster", &roster::SCHEMA);
        let source = Source { authority: self.say("Ban Tổ chức"), at: OPENED };
        let people = self.people.clone();
        self.village.act(SECRETARY, &doc, |e, _| {
            roster::create(e)?;
            roster::import(e, &source, &people)
        });
    }

    fn attendance(&mut self, all: &Json) {
        let doc = self.create("attendance", &attendance::SCHEMA);
        self.village.act(SECRETARY, &doc, |e, _| attendance::create(e, "m1"));
        for one in items(all, "members") {
            let member = id(text(one, "id"));
            let mark = Mark::ALL.into_iter().find(|m| serde_json::to_value(m).unwrap() == one["mark"]);
            let reason = self.say(text(one, "reason"));
            self.village.act(SECRETARY, &doc, |e, me| {
                if mark == Some(Mark::Present) {
                    attendance::check_in(e, me, &member, Way::Qr)?;
                }
                attendance::mark(e, &member, mark)?;
                let given = !text(one, "reason").is_empty();
                if given { attendance::give_reason(e, &member, &reason) } else { Ok(()) }
            });
        }
    }

    fn write_sections(&mut self, i: usize, doc: &DocId, json: &Json) {
        for section in items(json, "sections") {
            let heading = self.say(text(section, "heading"));
            let at = self.village.act(i, doc, |e, me| outline::add_section(e, me, &heading, Put::Last));
            for block in items(section, "blocks") {
                let words = self.say(text(block, "text"));
                let speaker = block["speaker"].as_str().map(id);
                let made = self.village.act(i, doc, |e, me| {
                    outline::add_block(e, me, &at, text(block, "kind"), &words, speaker.as_ref(), Put::Last)
                });
                if let (Some(through), Some(speaker)) = (block["interpreter"].as_str(), speaker) {
                    let language = text(block, "spoken_lang");
                    self.village.act(i, doc, |e, _| {
                        outline::set_speaker(e, &made, &speaker, Some(language), Some(&id(through)))
                    });
                }
            }
        }
    }

    fn header(&self, json: &Json) -> Vec<(String, String)> {
        let map = json["header"].as_object().unwrap();
        let fixed = |key: &str| key == "doc_date";
        map.iter()
            .map(|(k, v)| (k.clone(), v.as_str().unwrap_or_default().to_owned()))
            .map(|(k, v)| if fixed(&k) { (k, v) } else { (k, self.say(&v)) })
            .collect()
    }

    fn minutes(&mut self) {
        let json = data("minutes.json");
        let doc = self.create("minutes", &minutes::SCHEMA);
        let header = self.header(&json);
        let header: Vec<(&str, &str)> = header.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
        let new =
            NewMinutes { meeting: "m1", period: text(&json, "period"), kind: Kind::Regular, header: &header };
        self.village.act(SECRETARY, &doc, |e, _| minutes::create(e, &new));
        self.village.phones[SECRETARY].name_recorder(doc, who(RECORDER)).unwrap();
        self.village.sync();
        let attendance = self.documents["attendance"];
        let (people, excluding) = (self.people.clone(), BTreeSet::from(Exclusion::ORDINARY));
        let found = self.village.attendance(RECORDER, &attendance);
        let summary = found.summary(&people, &excluding);
        let venue = self.say(text(&json, "venue"));
        let chair = id(text(&json, "chair"));
        self.village.act(SECRETARY, &doc, |e, _| parts::set_chair(e, &chair));
        let agenda: Vec<(String, MemberId)> = items(&json, "agenda")
            .iter()
            .map(|a| (self.say(text(a, "title")), id(text(a, "presenter"))))
            .collect();
        let guest = self.say("Đảng ủy viên");
        self.village.act(RECORDER, &doc, |e, me| {
            minutes::set(e, &path!["venue"], venue.as_str())?;
            parts::set_recorder(e, &who(RECORDER))?;
            minutes::set(e, &path!["started_at"], Value::Timestamp(OPENED))?;
            minutes::set(e, &path!["ended_at"], Value::Timestamp(OPENED + 6_300_000))?;
            parts::freeze_attendance(e, &summary)?;
            parts::add_guest(e, me, &id("u01").to_string(), &guest, "")?;
            agenda.iter().try_for_each(|(title, presenter)| {
                parts::add_item(e, me, title, Some(presenter), Put::Last).map(|_| ())
            })
        });
        self.write_sections(RECORDER, &doc, &json);
        self.votes(&doc, &json, &vote::base(&people, &found.marks(), &excluding));
        for a in items(&json, "assignments") {
            let task = self.say(text(a, "task"));
            let owners: Vec<MemberId> = items(a, "owners").iter().map(|o| id(o.as_str().unwrap())).collect();
            let new = NewAssignment { task: &task, owners: &owners, quantity: "", due: text(a, "due") };
            self.village.act(RECORDER, &doc, |e, me| parts::assign(e, me, &new));
        }
        let decision = self.say("Thông qua Nghị quyết tháng 12.");
        self.village.act(RECORDER, &doc, |e, me| parts::add_decision(e, me, &decision, None));
    }

    fn votes(&mut self, doc: &DocId, json: &Json, base: &vote::Base) {
        for v in items(json, "votes") {
            let title = self.say(text(v, "motion"));
            let motion = self.village.act(RECORDER, doc, |e, me| {
                minutes::move_motion(e, me, &title, Threshold::MoreThanHalf, None)
            });
            let n = |json: &Json, key: &str| json[key].as_u64().unwrap() as u32;
            let (tally, ballots) = (&v["tally"], &v["ballots"]);
            let is_secret = text(v, "method") == "secret_ballot";
            let count = Count {
                motion: &motion,
                method: if is_secret { Method::SecretBallot } else { Method::ShowOfHands },
                base,
                threshold: Threshold::MoreThanHalf,
                tally: Tally { yes: n(tally, "for"), no: n(tally, "against"), abstain: n(tally, "abstain") },
                ballots: is_secret.then(|| Ballots {
                    issued: n(ballots, "issued"),
                    returned: n(ballots, "returned"),
                    valid: n(ballots, "valid"),
                }),
            };
            let counted = self.village.act(RECORDER, doc, |e, me| minutes::record_count(e, me, &count));
            self.village.sync();
            self.village.act(SECRETARY, doc, |e, me| minutes::confirm_count(e, me, &counted));
        }
        let title = self.say("Chưa biểu quyết");
        self.village.act(RECORDER, doc, |e, me| {
            minutes::move_motion(e, me, &title, Threshold::TwoThirds, None).map(|_| ())
        });
        self.village.sync();
    }

    fn resolution(&mut self) {
        let json = data("resolution.json");
        let doc = self.create("resolution", &resolution::SCHEMA);
        let header = self.header(&json);
        let header: Vec<(&str, &str)> = header.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
        self.village.act(SECRETARY, &doc, |e, _| {
            resolution::create(e, &resolution::SCHEMA, text(&json, "period"), &header)
        });
        self.write_sections(SECRETARY, &doc, &json);
        let say = |t: &Json| self.say(t.as_str().unwrap());
        let bases: Vec<String> = items(&json, "legal_bases").iter().map(say).collect();
        let recipients: Vec<String> = items(&json, "recipients").iter().map(say).collect();
        let clause = self.say(text(&json, "enacting_clause"));
        let signature = &json["signature"];
        self.village.act(SECRETARY, &doc, |e, me| {
            for basis in &bases {
                resolution::parts::add_legal_basis(e, me, basis)?;
            }
            for one in &recipients {
                resolution::parts::add_recipient(e, me, one)?;
            }
            let (authority, title) = (text(signature, "authority"), text(signature, "title"));
            resolution::parts::set_signature(e, authority, title, &id(text(signature, "signer")))?;
            resolution::parts::set_enacting_clause(e, &clause)
        });
        for a in items(&json, "assignments") {
            let owners: Vec<MemberId> = items(a, "owners").iter().map(|o| id(o.as_str().unwrap())).collect();
            let (task, quantity) = (self.say(text(a, "task")), self.say(text(a, "quantity")));
            let new =
                NewAssignment { task: &task, owners: &owners, quantity: &quantity, due: text(a, "due") };
            self.village.act(SECRETARY, &doc, |e, me| resolution::assign(e, me, &new));
        }
        let round = [("heads", "h")];
        for (kind, data) in [
            ("committee_review", &[][..]),
            ("consulting", &round[..]),
            ("drafting", &[][..]),
            ("consulting", &round[..]),
            ("drafting", &[][..]),
            ("consulting", &round[..]),
        ] {
            let data: Vec<(&'static str, Value)> = data.iter().map(|(k, v)| (*k, Value::from(*v))).collect();
            self.village.act(SECRETARY, &doc, |e, me| resolution::step(e, me, kind, data));
        }
    }

    fn feedback(&mut self) {
        let doc = self.create("feedback", &feedback::SCHEMA);
        self.village.act(SECRETARY, &doc, |e, _| feedback::create(e, "branch"));
        self.village.sync();
        let title = self.say("Mức huy động làm đường");
        let question = self.say("Hộ đông con đóng thế nào?\nXin chi ủy trả lời.");
        let new = NewThread {
            kind: feedback::Kind::Question,
            title: &title,
            text: &question,
            language: "vi",
            subject: None,
            on_behalf_of: Some(&id("m06")),
        };
        let thread = self.village.act(MEMBER, &doc, |e, me| feedback::submit(e, me, &new));
        self.village.sync();
        let answer = self.say("Thu theo hộ; hộ nghèo góp ngày công.");
        self.village.act(SECRETARY, &doc, |e, me| feedback::say(e, me, &thread, &answer, "vi", None));
    }

    fn others(&mut self) {
        let doc = self.create("tasks", &task::SCHEMA);
        let (title, done) = (self.say("Vận động 04 hộ"), self.say("Đã gặp hai hộ."));
        self.village.act(SECRETARY, &doc, |e, _| task::create(e));
        let given = self.village.act(SECRETARY, &doc, |e, me| {
            task::give(e, me, &title, &[id("m02"), id("m06")], "2026-12-15", "x")
        });
        self.village.sync();
        self.village.act(MEMBER, &doc, |e, me| task::report(e, me, &given, Some(50), &done));

        // The upper body's.
        let branch = self.village.branch;
        let both = Audience::Members(vec![who(SECRETARY), who(REVIEWER)]);
        let space = self.village.phones[SECRETARY].create_space(branch, both).unwrap();
        self.village.sync();
        let phone = &mut self.village.phones[REVIEWER];
        let doc = phone.create_document_with(space, Writers::All, review::SCHEMA.name).unwrap();
        self.documents.insert("review", doc);
        self.village.act(REVIEWER, &doc, |e, _| review::create(e, "x"));
        self.village.sync();
        self.village.act(SECRETARY, &doc, |e, me| review::step(e, me, "requested", 2));
        self.village.sync();
        let (quote, remark) = (self.say("khởi công trong tháng"), self.say("Nêu rõ số mét đường, số hộ."));
        let new = NewComment {
            round: 2,
            severity: Severity::MustFix,
            quote: Some(("b", &quote)),
            answers: None,
            text: &remark,
        };
        self.village.act(REVIEWER, &doc, |e, me| review::comment(e, me, &new));

        let doc = self.create("notice", &notice::SCHEMA);
        let (title, words) =
            (self.say("Lịch sinh hoạt tháng 12"), self.say("19 giờ 30, ngày 03/12.\nMang theo tài liệu."));
        self.village.act(SECRETARY, &doc, |e, _| notice::create(e, &title, &words, Some("2026-12-03")));
        self.village.sync();
        self.village.act(MEMBER, &doc, |e, me| notice::has_read(e, me));

        let doc = self.create("votebox", &votebox::SCHEMA);
        let title = self.say("Thông qua chương trình");
        self.village.act(SECRETARY, &doc, |e, _| votebox::create(e));
        let asked = self.village.act(SECRETARY, &doc, |e, me| votebox::ask(e, me, &title));
        self.village.sync();
        self.village.act(MEMBER, &doc, |e, me| votebox::cast(e, me, &asked, Choice::Yes));

        let doc = self.create("digest", &digest::SCHEMA);
        let month = Month {
            state: Some("open".to_owned()),
            counts: BTreeMap::from([(digest::Count::Round, 3)]),
            updated_at: None,
        };
        let name = self.say("Chi bộ thôn Nà Mận");
        self.village.act(SECRETARY, &doc, |e, me| {
            digest::create(e, &name)?;
            digest::update(e, me.now, "2026-12", &month).map(|_| ())
        });

        let doc = self.create("index", &index::SCHEMA);
        let listed = self.documents["minutes"].to_string();
        self.village.act(SECRETARY, &doc, |e, me| {
            index::create(e, Purpose::Branch, None)?;
            let (period, kind) = (Some("2026-12"), Some("regular"));
            index::list(e, me, &listed, &Entry { schema: "dinh.minutes/1", period, kind, of: None })
        });
    }

    /// The form of a document, with the attendance list where there is one.
    pub(crate) fn form(&mut self, name: &str) -> Form {
        let names = self.names.clone();
        let called = |id: &MemberId| names.get(id).cloned().unwrap_or_else(|| "?".to_owned());
        let locale = Locale { name: &called, utc_offset_minutes: 420 };
        let doc = self.documents[name];
        let writers = FieldWriters::default();
        let view = |village: &mut Village| {
            village.phones[SECRETARY].view(&doc, |v| Form::read(&Fields::new(v, &writers), &locale)).unwrap()
        };
        let mut form = view(&mut self.village);
        if ["minutes", "attendance"].contains(&name) {
            let attendance = self.documents["attendance"];
            let found = self.village.attendance(SECRETARY, &attendance);
            form.attend(&found, &self.people, &Exclusion::ORDINARY.into(), &locale);
        }
        form
    }
}
