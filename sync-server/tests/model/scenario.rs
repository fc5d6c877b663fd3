//! `hall-without-wifi`: four phones with their files on disk, the real relay, real sockets; the steps and what must come of them
//! are in `sync-core/model/testdata/offline-scenario.json`.

#![allow(clippy::disallowed_methods, reason = "tests wait")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::{Duration, Instant};

use dinh_core::client::{Client, ClientConfig, RelayUrl, StoreKey};
use dinh_core::replica::LinkState;
use dinh_model::attendance::{self, Mark};
use dinh_model::book::{self, Page};
use dinh_model::branch::{self, Standing};
use dinh_model::client::Documents;
use dinh_model::field::{Fields, Writers};
use dinh_model::index::Entry;
use dinh_model::late::{self, Proposal};
use dinh_model::lifecycle::Status;
use dinh_model::minutes::{self, Count, Kind, Minutes, NewMinutes};
use dinh_model::outline::{self, Outline, Put};
use dinh_model::resolution::state::State;
use dinh_model::resolution::{self, NewAssignment, OPEN_SCHEMA, Resolution, Voted, heads_text};
use dinh_model::roster::{self, Person, Roster, Source};
use dinh_model::seal::{self, Seal, Verified};
use dinh_model::vote::{self, Exclusion, Method, Tally, Threshold};
use dinh_proto::charter::record::{Role, Writers as MayWrite};
use dinh_proto::ids::{DocId, MemberId, SpaceId};
use dinh_proto::keys::{DeviceKey, SignKey};
use dinh_server::{Running, Server, ServerConfig};
use serde_json::Value as Json;

const PATIENCE: Duration = Duration::from_secs(60);

fn fixture(name: &str) -> Json {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../sync-core/model/testdata").join(name);
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

fn s(json: &Json) -> &str {
    json.as_str().unwrap()
}

/// `m07` is the seventh member.
fn member(id: &str) -> MemberId {
    MemberId([id[1..].parse().unwrap(); 16])
}

/// A phone, as the scenario calls it.
struct Phone {
    documents: Documents,
    is_online: bool,
}

struct Hall {
    relay: Running,
    url: RelayUrl,
    phones: BTreeMap<String, Phone>,
    branch: SpaceId,
    standing: Standing,
    resolution: DocId,
    minutes: DocId,
    /// Keys of blocks and assignments by their names in the fixture.
    keys: BTreeMap<String, String>,
    text_at_seal: String,
    seal: Option<Seal>,
    directory: tempfile::TempDir,
}

async fn open(directory: &Path, seed: u8) -> Client {
    let file = |end: &str| directory.join(format!("{seed}.{end}"));
    let keys = (DeviceKey::from_seed(&[seed; 32]), StoreKey::new([seed; 32]));
    let mut config = ClientConfig::new(file("redb"), file("marker"), keys.0, keys.1);
    config.replica.schemas = dinh_model::SCHEMAS;
    Client::open(config).await.unwrap()
}

fn people() -> BTreeMap<MemberId, Person> {
    let fixture = fixture("roster.json");
    let person = |m: &Json| {
        let standing = match s(&m["status"]) {
            "probationary" => roster::Standing::Probationary,
            _ => roster::Standing::Official,
        };
        let person = Person {
            name: s(&m["name"]).to_owned(),
            post: s(&m["role"]).to_owned(),
            standing,
            is_exempt: s(&m["presence_class"]) == "exempt",
            is_away: s(&m["presence_class"]) == "temporarily_away",
            language: s(&m["first_language"]).to_owned(),
            has_phone: m["has_smartphone"].as_bool().unwrap(),
        };
        (member(s(&m["id"])), person)
    };
    fixture["members"].as_array().unwrap().iter().map(person).collect()
}

impl Hall {
    /// The branch with its phones, and the draft that everybody has.
    async fn new(scenario: &Json) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let relay =
            Server::start(ServerConfig::new(directory.path().join("relay"), "127.0.0.1:0".parse().unwrap()));
        let relay = relay.await.unwrap();
        let url = format!("ws://{}/dinh/v1#{}", relay.local_addr(), relay.public());
        let url = RelayUrl::parse(&url).unwrap();
        let mut phones = BTreeMap::new();
        let mut branch = None;
        for (n, replica) in scenario["replicas"].as_array().unwrap().iter().enumerate() {
            let Some(id) = replica["member"].as_str() else { continue };
            let client = open(directory.path(), n as u8 + 1).await;
            match branch {
                None => {
                    let root = SignKey::from_seed(&[99; 32]);
                    branch = Some(client.found_branch(root, member(id), "máy").await.unwrap());
                }
                Some(branch) => {
                    let first: &Phone = &phones["A"];
                    let first = first.documents.client();
                    let request = client.join_request();
                    first.admit_device(branch, member(id), Role::Member, request, "máy").await.unwrap();
                    client.join(first.invitation(branch).await.unwrap()).await.unwrap();
                }
            }
            let phone = Phone { documents: Documents::new(client), is_online: false };
            phones.insert(s(&replica["id"]).to_owned(), phone);
        }
        let branch = branch.unwrap();
        let secretary = phones["A"].documents.clone();
        let set_up = move |r: &mut _, now| branch::set_up(r, now, branch, "Chi bộ thôn Nà Mận");
        let standing = secretary.run(set_up).await.unwrap();
        let source = Source { authority: "Ban Tổ chức".into(), at: 0 };
        secretary.act(standing.roster, move |e, _| roster::import(e, &source, &people())).await.unwrap();
        let (resolution, minutes) = (DocId::default(), DocId::default());
        let keys = BTreeMap::new();
        let text_at_seal = String::new();
        let mut hall = Self {
            relay,
            url,
            phones,
            branch,
            standing,
            resolution,
            minutes,
            keys,
            text_at_seal,
            seal: None,
            directory,
        };
        hall.draft().await;
        hall
    }

    fn documents(&self, phone: &str) -> &Documents {
        &self.phones[phone].documents
    }

    /// The resolution of the fixture, which all members may edit, and the minutes in which it is voted on.
    async fn draft(&mut self) {
        let fixture = fixture("resolution-draft.json");
        let members = self.standing.members;
        let make = move |r: &mut _, now| {
            let entry = Entry { schema: OPEN_SCHEMA.name, period: Some("2026-12"), ..Entry::default() };
            let mut keys = BTreeMap::new();
            let doc = branch::create(r, now, &members, MayWrite::All, &entry, |e, me| {
                resolution::create(e, &OPEN_SCHEMA, "2026-12", &[("symbol", "NQ/CB")])?;
                for section in fixture["sections"].as_array().unwrap() {
                    let key = outline::add_section(e, me, s(&section["heading"]), Put::Last)?;
                    for b in section["blocks"].as_array().unwrap() {
                        let (kind, text) = (s(&b["kind"]), s(&b["text"]));
                        let block = outline::add_block(e, me, &key, kind, text, None, Put::Last)?;
                        keys.insert(s(&b["id"]).to_owned(), block);
                    }
                }
                for a in fixture["assignments"].as_array().unwrap() {
                    let owners: Vec<MemberId> =
                        a["owners"].as_array().unwrap().iter().map(|id| member(s(id))).collect();
                    let new = NewAssignment {
                        task: s(&a["task"]),
                        owners: &owners,
                        quantity: s(&a["quantity"]),
                        due: s(&a["due"]),
                    };
                    keys.insert(s(&a["id"]).to_owned(), resolution::assign(e, me, &new)?);
                }
                Ok(())
            })?;
            // Who keeps the record of the draft in the hall sets days too.
            r.name_recorder(doc, member("m04"))?;
            let entry = Entry {
                schema: minutes::SCHEMA.name,
                period: Some("2026-12"),
                kind: Some(Kind::Regular.name()),
                ..Entry::default()
            };
            let new = NewMinutes { meeting: "m", period: "2026-12", kind: Kind::Regular, header: &[] };
            let minutes =
                branch::create(r, now, &members, MayWrite::All, &entry, |e, _| minutes::create(e, &new))?;
            r.name_recorder(minutes, member("m04"))?;
            let entry =
                Entry { schema: attendance::SCHEMA.name, period: Some("2026-12"), ..Entry::default() };
            let attendance =
                branch::create(r, now, &members, MayWrite::All, &entry, |e, _| attendance::create(e, "m"))?;
            Ok((doc, minutes, attendance, keys))
        };
        let attendance;
        (self.resolution, self.minutes, attendance, self.keys) = self.documents("A").run(make).await.unwrap();
        let marks = attendance_marks();
        let mark = self.documents("A").act(attendance, move |e, _| {
            marks.iter().try_for_each(|(id, mark)| attendance::mark(e, id, Some(*mark)))
        });
        mark.await.unwrap();
        let act = self.documents("A").act(self.resolution, |e, me| {
            let heads = || ("heads", "3".into());
            resolution::step(e, me, "committee_review", [])?;
            resolution::step(e, me, "consulting", [heads()])?;
            resolution::step(e, me, "tabled", [heads(), ("meeting", "m".into())])
        });
        act.await.unwrap();
    }

    async fn read(&self, phone: &str) -> Resolution {
        self.documents(phone).read(self.resolution, Resolution::read).await.unwrap()
    }

    async fn block(&self, phone: &str, name: &str) -> String {
        let outline = self.read(phone).await.outline;
        outline.block(&self.keys[name]).unwrap().text.clone()
    }

    /// Takes all other phones off the relay and waits until these have the same.
    async fn connect(&mut self, online: &BTreeSet<String>) {
        for (name, phone) in &mut self.phones {
            phone.is_online = online.contains(name);
            let relay = phone.is_online.then(|| self.url.clone());
            phone.documents.client().set_relay(relay);
        }
        for phone in self.phones.values().filter(|p| !p.is_online) {
            let mut status = phone.documents.client().status();
            let offline = status.wait_for(|s| s.link == LinkState::Offline);
            tokio::time::timeout(PATIENCE, offline).await.unwrap().unwrap();
        }
        let deadline = Instant::now() + PATIENCE;
        while !online.is_empty() {
            let mut hashes = BTreeSet::new();
            let mut synced = true;
            for phone in self.phones.values().filter(|p| p.is_online) {
                let client = phone.documents.client();
                for doc in [self.resolution, self.minutes, self.standing.members.index] {
                    hashes.insert((doc, client.document_hash(doc).await.ok()));
                }
                synced &= client.status().borrow().is_synced();
            }
            if synced && hashes.len() == 3 && hashes.iter().all(|(_, hash)| hash.is_some()) {
                return;
            }
            assert!(Instant::now() < deadline, "{online:?} do not converge");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    async fn replace(&self, phone: &str, step: &Json) {
        let text = self.block(phone, s(&step["block"])).await;
        let new = text.replacen(s(&step["find"]), s(&step["with"]), 1);
        assert_ne!(new, text, "{step}");
        let at = outline::text_of(&self.keys[s(&step["block"])]);
        self.documents(phone).act(self.resolution, move |e, _| e.set_text(&at, &new)).await.unwrap();
    }

    /// The recorder writes the count down, the chair confirms it, and the resolution is adopted by it.
    async fn adopt(&mut self, vote: &Json) {
        let number = |key: &str| u32::try_from(vote[key].as_u64().unwrap()).unwrap();
        let (a, b) = (self.documents("A").clone(), self.documents("B").clone());
        // The due day that two set: the secretary was shown both, and decides.
        let task = self.keys["t1"].clone();
        a.act(self.resolution, move |e, _| resolution::set_due(e, &task, "2026-12-12")).await.unwrap();
        let roster = a.read(self.standing.roster, Roster::read).await.unwrap();
        let base = vote::base(&roster.shown(), &attendance_marks(), &Exclusion::ORDINARY.into());
        assert_eq!(base.count, number("base"));
        let heads = a.document(self.resolution, |d| heads_text(&d.heads())).await.unwrap();
        let (doc, heads_of_motion) = (self.resolution, heads.clone());
        let motion = b.act(self.minutes, move |e, me| {
            let subject = Some((&doc, heads_of_motion.as_str()));
            minutes::move_motion(e, me, "Thông qua nghị quyết", Threshold::MoreThanHalf, subject)
        });
        let motion = motion.await.unwrap();
        let tally = Tally { yes: number("for"), no: number("against"), abstain: 0 };
        let id = motion.clone();
        let counted = b.act(self.minutes, move |e, me| {
            let count = Count {
                motion: &id,
                method: Method::ShowOfHands,
                base: &base,
                threshold: Threshold::MoreThanHalf,
                tally,
                ballots: None,
            };
            minutes::record_count(e, me, &count)
        });
        let counted = counted.await.unwrap();
        self.connect(&["A", "B", "C"].map(str::to_owned).into()).await;
        let id = counted.clone();
        a.act(self.minutes, move |e, me| minutes::confirm_count(e, me, &id)).await.unwrap();
        let found = a.read(self.minutes, Minutes::read).await.unwrap();
        let result = found.motions.iter().find(|m| m.id == motion).and_then(|m| m.result()).unwrap();
        assert!(result.carried);
        let result = result.clone();
        let decided = a.act(self.resolution, move |e, me| {
            resolution::step(e, me, "amended_on_floor", [("heads", heads.as_str().into())])?;
            resolution::decide(
                e,
                me,
                &Voted { heads: &heads, vote: &result, threshold: Threshold::MoreThanHalf },
            )
        });
        decided.await.unwrap();
        let found = self.read("A").await;
        assert_eq!(found.life.status, Status::In(State::Adopted), "{:?}", found.life.not_counted);
    }

    async fn issue(&mut self, number: &str) {
        let a = self.documents("A").clone();
        let given = number.to_owned();
        a.act(self.resolution, move |e, me| resolution::issue(e, me, &given, "2026-12-05")).await.unwrap();
        self.text_at_seal = self.read("A").await.outline.plain();
        let (members, doc) = (self.standing.members, self.resolution);
        let sealed = a.run(move |r, now| book::seal(r, now, &members, &doc)).await.unwrap();
        // Once more finds it sealed.
        assert_eq!(a.run(move |r, now| book::seal(r, now, &members, &doc)).await.unwrap(), sealed);
        self.seal = Some(sealed);
    }

    /// What a phone makes of the seal: whether it holds, and the text that it froze.
    async fn sealed(&self, documents: &Documents) -> (Verified, String) {
        let found = self.seal.clone().unwrap();
        let read = documents.document(self.resolution, move |d| {
            let heads: Vec<_> = d.history().into_iter().map(|c| c.hash).collect();
            let heads: Vec<_> = heads.into_iter().filter(|h| found.heads.contains(&h.to_string())).collect();
            let view = d.view_at(&heads).unwrap();
            let writers = Writers::default();
            let plain = Outline::read(&Fields::new(&view, &writers)).plain();
            (seal::verify(d, &found, &OPEN_SCHEMA).unwrap(), plain)
        });
        read.await.unwrap()
    }

    async fn late(&self, documents: &Documents) -> Vec<Proposal> {
        let doc = self.resolution;
        documents.run(move |r, _| late::of(r, &doc, &OPEN_SCHEMA)).await.unwrap()
    }
}

fn attendance_marks() -> BTreeMap<MemberId, Mark> {
    let fixture = fixture("attendance.json");
    let entries = fixture["entries"].as_object().unwrap();
    let mark = |entry: &Json| Mark::ALL.into_iter().find(|m| m.name() == s(&entry["mark"])).unwrap();
    entries.iter().map(|(id, entry)| (member(id), mark(entry))).collect()
}

fn groups(step: &Json) -> BTreeSet<String> {
    let groups = step["groups"].as_array().unwrap();
    let with_relay = groups.iter().filter(|group| group.as_array().unwrap().contains(&"R".into()));
    let names = with_relay.flat_map(|group| group.as_array().unwrap().iter().map(|name| s(name).to_owned()));
    names.filter(|name| name != "R").collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hall_without_wifi() {
    let scenario = fixture("offline-scenario.json");
    let mut hall = Hall::new(&scenario).await;
    let mut steps = 0;
    for step in scenario["steps"].as_array().unwrap() {
        let on = step["on"].as_str().unwrap_or_default();
        match s(&step["do"]) {
            "sync_all" => hall.connect(&["A", "B", "C", "D"].map(str::to_owned).into()).await,
            "partition" => hall.connect(&groups(step)).await,
            "heal" => {
                hall.connect(&groups(step)).await;
                if s(&step["t"]).starts_with("2026-12-03T20:40") {
                    check_healed(&hall, &scenario["expect"]["after_20_40"]).await;
                } else {
                    check_sealed(&hall, &scenario["expect"]["after_12_06"]).await;
                }
            }
            "replace_text" => hall.replace(on, step).await,
            "set_assignment_due" => {
                let (task, due) = (hall.keys[s(&step["assignment"])].clone(), s(&step["due"]).to_owned());
                let act =
                    hall.documents(on).act(hall.resolution, move |e, _| resolution::set_due(e, &task, &due));
                act.await.unwrap();
            }
            "adopt" => hall.adopt(&step["vote"]).await,
            "issue" => hall.issue(&step["number"].to_string()).await,
            other => panic!("{other} is not played here"),
        }
        steps += 1;
    }
    println!("{steps} steps on {} phones and a relay", hall.phones.len());
    for phone in hall.phones.values() {
        phone.documents.client().clone().shutdown().await.unwrap();
    }
    hall.relay.shutdown().await.unwrap();
}

async fn check_healed(hall: &Hall, expect: &Json) {
    for phone in expect["converged"].as_array().unwrap().iter().map(s).filter(|name| *name != "R") {
        for block in ["r3b2", "r3b3", "r2b1"] {
            let wanted = s(&expect[format!("{block}_contains")]);
            let text = hall.block(phone, block).await;
            assert!(text.contains(wanted), "{phone} {block}: {text}");
        }
        let found = hall.read(phone).await;
        let task = found.assignments.iter().find(|a| a.id == hall.keys["t1"]).unwrap();
        assert!(task.due.is_contested(), "{phone}: both are shown");
        let both: BTreeSet<&str> = task.due.all().iter().map(|w| w.value.as_str()).collect();
        let conflict = &expect["conflicts"][0]["values"];
        assert_eq!(both, conflict.as_array().unwrap().iter().map(s).collect(), "{phone}");
        let by: BTreeSet<MemberId> = task.due.all().iter().filter_map(|w| w.by).map(|w| w.member).collect();
        assert_eq!(by, [member("m01"), member("m04")].into(), "with who wrote them");
    }
}

async fn check_sealed(hall: &Hall, expect: &Json) {
    assert_eq!(expect["sealed_text_unchanged"], true);
    // A phone that was never there has it all from the relay.
    let late_comer = open(hall.directory.path(), 50).await;
    let secretary = hall.documents("A").clone();
    let admitted = secretary.client().admit_device(
        hall.branch,
        member("m05"),
        Role::Member,
        late_comer.join_request(),
        "máy",
    );
    admitted.await.unwrap();
    late_comer.join(secretary.client().invitation(hall.branch).await.unwrap()).await.unwrap();
    late_comer.set_relay(Some(hall.url.clone()));
    let hash = secretary.client().document_hash(hall.resolution).await.unwrap();
    let deadline = Instant::now() + PATIENCE;
    while late_comer.document_hash(hall.resolution).await.ok() != Some(hash) {
        assert!(Instant::now() < deadline, "the relay brings a new phone the document");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let mut said = BTreeSet::new();
    let valid_on: Vec<&str> = expect["seal_valid_on"].as_array().unwrap().iter().map(s).collect();
    for name in valid_on {
        let documents =
            if name == "R" { Documents::new(late_comer.clone()) } else { hall.documents(name).clone() };
        let (verified, text) = hall.sealed(&documents).await;
        assert_eq!(verified, Verified::Valid, "{name}");
        assert_eq!(text, hall.text_at_seal, "{name}: the sealed text, byte for byte");
        let (members, doc) = (hall.standing.members, hall.resolution);
        let book = documents.run(move |r, _| book::check(r, &members)).await.unwrap();
        assert_eq!(book, [(doc, Page::Valid)], "{name}");
        let late = hall.late(&documents).await;
        let wanted = &expect["late_edits"][0];
        assert_eq!(late.len(), 1, "{name}: {late:?}");
        assert_eq!(late[0].block(), Some(hall.keys[s(&wanted["block"])].as_str()), "{name}");
        assert!(late[0].after.contains("tháng 02 năm 2027"), "{name}");
        assert_eq!(late[0].by.map(|by| by.member), Some(member("m14")), "{name}");
        said.insert((late[0].change.clone(), late[0].before.clone(), late[0].after.clone()));
    }
    assert_eq!(said.len(), 1, "all list the same");
    // The committee answers it: a thread in its author's name.
    let (doc, threads, proposal) =
        (hall.resolution, hall.standing.feedback, hall.late(&secretary).await.remove(0));
    let thread = secretary.run(move |r, now| late::into_feedback(r, now, &doc, &proposal, &threads));
    let thread = thread.await.unwrap();
    let became = hall.late(&secretary).await.remove(0).became;
    assert_eq!(became, Some(format!("{threads}#{thread}")));
    late_comer.shutdown().await.unwrap();
    let read = |documents: Documents| async move {
        documents.read(threads, dinh_model::feedback::Thread::read_all).await.unwrap()
    };
    assert_eq!(read(secretary).await[0].author, member("m14"));
}
