//! The end of a meeting: what every phone holds, against what was confirmed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::PoisonError;

use serde_json::Value;
use tokio::time::Instant;

use super::{Hall, Outcome, Survey, survey};
use crate::act::{Doc, Room};
use crate::cast::Fixtures;
use crate::ledger::{Final, Lost, Wanted, holds};
use crate::link::Link;
use crate::marks::Place;
use crate::phone::look::SealSeen;
use crate::plain::Phrases;
use crate::protocol::{Command, Look, Reply, Seen};
use crate::render::render;

impl Hall<'_> {
    /// Asks every phone for everything it holds and compares it with what was confirmed.
    pub(super) async fn account(&mut self, started: Instant) -> Outcome {
        while let Ok(news) = self.news.try_recv() {
            self.note(Some(news));
        }
        let all = self.members();
        let survey = survey(&self.phones, &all, true).await;
        let copies = self.copies(&survey).await;
        let (lost, undelivered) = self.missing(&copies);
        for one in lost.iter().take(5) {
            self.report.faults.push(format!("lost: step {} of phone {}: {:?}", one.step, one.phone, one.act));
        }
        for one in self.leaked(&copies) {
            self.report.leaked += 1;
            self.report.faults.push(format!(
                "nobody may have this: step {} of phone {}: {:?}",
                one.step, one.phone, one.act
            ));
        }
        // What a removed phone wrote while it was in the branch was acknowledged before it was removed.
        let settled = survey.iter().filter(|(_, (status, _))| status.pending == 0).map(|(phone, _)| *phone);
        let settled: BTreeSet<usize> = settled.chain(self.gone.iter().copied()).collect();
        let all_held = || survey.values().flat_map(|(_, held)| held);
        let documents: BTreeSet<&str> = all_held().map(|(_, id, _)| id.as_str()).collect();
        let pairs: BTreeSet<(&str, Option<&str>)> =
            all_held().map(|(_, id, hash)| (id.as_str(), hash.as_deref())).collect();
        // Hashes are what an engine says; contents are what people read. Both must agree.
        let names: BTreeSet<&Doc> = all_held().map(|(doc, ..)| doc).collect();
        let same = names.into_iter().all(|doc| {
            let readers = all.iter().filter(|phone| self.reads(**phone, doc));
            let mut contents =
                readers.map(|phone| copies.get(phone).and_then(|copy| copy.documents.get(doc)));
            let first = contents.next().flatten();
            first.is_some() && contents.all(|content| content == first)
        });
        let why = self.differences(&survey, &all, true);
        self.report.converged = why.is_empty() && same && self.waiting.is_empty();
        if !self.report.converged && self.report.faults.is_empty() {
            let waiting = self.waiting.len();
            self.fault::<()>(format!(
                "not converged: equal contents: {same}, unanswered acts: {waiting}. {why}"
            ));
        }
        let (documents, pairs) = (documents.len(), pairs.len());
        self.search_relay(&copies);
        self.look_at_seals(&all).await;
        self.look_for_strangers(&survey, &copies).await;
        self.look_at_numbers().await;
        let (papers, files) = self.papers().await;
        let report = &mut self.report;
        report.documents = documents;
        report.distinct_documents_hashes = pairs;
        report.lost = lost.len() as u64;
        report.undelivered = undelivered;
        report.edits = self.ledger.saved_count();
        report.shut_out = self.ledger.count(Wanted::ShutOut);
        report.unconfirmed = self.waiting.len() as u64;
        report.acked = self.ledger.saved_on(&settled);
        report.items = survey.values().map(|(status, _)| status.items).max().unwrap_or(0);
        for traffic in self.links.iter().map(Link::traffic) {
            report.bytes_up += traffic.bytes_up;
            report.bytes_down += traffic.bytes_down;
            report.connections += traffic.connections;
        }
        report.total_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
        *self.surveys.lock().unwrap_or_else(PoisonError::into_inner) = survey;
        Outcome { report: self.report.clone(), papers, files }
    }

    /// Confirmed acts that no copy shows, and how many some copies show and others do not.
    fn missing(&self, copies: &BTreeMap<usize, Copy>) -> (Vec<Lost>, u64) {
        let mut missing: BTreeMap<u32, (Lost, usize)> = BTreeMap::new();
        for (phone, copy) in copies {
            for one in self.ledger.lost(copy, |doc| self.reads(*phone, doc)) {
                missing.entry(one.step).or_insert((one, 0)).1 += 1;
            }
        }
        let all = missing.len();
        let nowhere = |(one, times): (Lost, usize)| {
            let holders = copies.keys().filter(|phone| self.reads(**phone, &one.doc)).count();
            (times == holders).then_some(one)
        };
        let lost: Vec<Lost> = missing.into_values().filter_map(nowhere).collect();
        let undelivered = (all - lost.len()) as u64;
        (lost, undelivered)
    }

    /// What removed phones wrote and any copy shows, each once.
    fn leaked(&self, copies: &BTreeMap<usize, Copy>) -> Vec<Lost> {
        let all = copies.values().flat_map(|copy| self.ledger.leaked(copy));
        all.map(|one| (one.step, one)).collect::<BTreeMap<u32, Lost>>().into_values().collect()
    }

    /// Searches the relay's directory for what phones hold in plain text: names, and the words of every document.
    fn search_relay(&mut self, copies: &BTreeMap<usize, Copy>) {
        let mut phrases = Phrases::default();
        self.cast.people.iter().for_each(|person| phrases.add(&person.name));
        for copy in copies.values() {
            copy.documents.values().for_each(|document| phrases.add_document(document));
        }
        match phrases.search(&self.config.directory.join("relay")) {
            Ok(search) => {
                self.report.relay_files = search.files;
                self.report.relay_bytes = search.bytes;
                self.report.relay_phrases = phrases.len() as u64;
                self.report.relay_hits = search.hits;
                for found in search.found {
                    self.report.faults.push(format!("the relay can read {found}"));
                }
                if search.files == 0 || phrases.is_empty() {
                    self.report.faults.push("there was nothing to search at the relay".into());
                }
            }
            Err(error) => self.report.faults.push(format!("the relay's directory cannot be read: {error}")),
        }
    }

    async fn copies(&self, survey: &Survey) -> BTreeMap<usize, Copy> {
        let fields = self.ledger.fields();
        let mut copies: BTreeMap<usize, Copy> = BTreeMap::new();
        let mut asked: BTreeMap<&Doc, Vec<usize>> = BTreeMap::new();
        for (phone, (_, held)) in survey {
            held.iter().for_each(|(doc, ..)| asked.entry(doc).or_default().push(*phone));
        }
        for (doc, phones) in asked {
            let dump = Command::Dump { doc: doc.clone(), sealed: false };
            for (phone, reply) in self.ask_all(phones.iter().map(|p| (*p, dump.clone())).collect()).await {
                let Reply::Dump { value } = reply else { continue };
                copies.entry(phone).or_default().documents.insert(doc.clone(), value);
            }
            for place in fields.get(doc).into_iter().flatten() {
                let ask = Command::Values { doc: doc.clone(), place: place.clone() };
                for (phone, reply) in self.ask_all(phones.iter().map(|p| (*p, ask.clone())).collect()).await {
                    let Reply::Values { values } = reply else { continue };
                    let values = values.into_iter().map(|(value, _)| value).collect();
                    let copy = copies.entry(phone).or_default();
                    copy.values.insert((doc.clone(), place.clone()), values);
                }
            }
        }
        copies
    }

    /// On every phone of the branch both seals must be valid and the same, and the same changes be listed as late.
    async fn look_at_seals(&mut self, phones: &[usize]) {
        let mut seen: Vec<Vec<SealSeen>> = Vec::new();
        for phone in phones.iter().filter(|phone| !self.cast.people[**phone].is_reviewer()) {
            if let Some(Reply::Seen(Seen::Seals(seals))) = self.ask(*phone, Command::Look(Look::Seals)).await
            {
                self.report.seals_looked_at += 1;
                let is_valid = seals.len() == 2 && seals.iter().all(|seal| seal.verified == "valid");
                self.report.seals_valid += u32::from(is_valid);
                let late = seals.iter().flat_map(|seal| &seal.late);
                self.report.late_listed += u32::from(late.clone().any(|l| l.member == self.script.late));
                self.report.late_changes = late.count() as u64;
                seen.push(seals);
            }
        }
        let Some(first) = seen.first() else { return };
        if seen.iter().any(|other| other != first) {
            self.report.faults.push("phones do not agree about the seals or what came late".into());
        }
        let of = |doc: Doc| first.iter().find(|seal| seal.doc == doc);
        self.report.seals =
            [Doc::Resolution, Doc::Minutes].into_iter().filter_map(of).map(|s| s.content.clone()).collect();
        if let Some((later, first)) = of(Doc::Minutes).zip(of(Doc::Resolution))
            && later.previous != [first.hash.clone()]
        {
            self.report.faults.push("the minutes' seal does not follow the resolution's".into());
        }
    }

    /// No phone may have anything of a document that is not for it, whether or not an index names it there.
    async fn look_for_strangers(&mut self, survey: &Survey, copies: &BTreeMap<usize, Copy>) {
        let all: BTreeMap<String, Doc> = survey
            .values()
            .flat_map(|(_, held)| held.iter().map(|(doc, id, _)| (id.clone(), doc.clone())))
            .collect();
        // A meeting that broke off before anybody said anything in confidence lacks it everywhere.
        let was_whole = self.report.faults.is_empty();
        let ask = Command::Sees { ids: all.keys().cloned().collect() };
        let phones: Vec<usize> = survey.keys().copied().collect();
        for (phone, reply) in self.ask_all(phones.iter().map(|p| (*p, ask.clone())).collect()).await {
            let Reply::Sees { ids } = reply else { continue };
            let person = self.cast.people[phone].clone();
            for doc in ids.iter().filter_map(|id| all.get(id)) {
                self.report.seen_documents += 1;
                if !person.reads(&doc.room()) {
                    self.report.strangers += 1;
                    self.report.faults.push(format!("{} has {doc}", person.name));
                }
            }
            if person.is_reviewer() {
                let own = ids
                    .iter()
                    .filter_map(|id| all.get(id))
                    .filter(|doc| matches!(doc, Doc::Round(_) | Doc::Digest));
                self.report.reviewer_rounds = own.filter(|doc| matches!(doc, Doc::Round(_))).count();
            }
            let has = copies
                .get(&phone)
                .is_some_and(|copy| copy.documents.values().any(|d| holds(d, &self.script.secret)));
            let may = person.reads(&Room::ToCommittee(self.script.asker.clone()));
            self.report.secret_readers += u32::from(has && may);
            if has && !may || may && !has && was_whole {
                let how = if has {
                    "has the words that were said in confidence"
                } else {
                    "lacks a thread that is for it"
                };
                self.report.faults.push(format!("{} {how}", person.name));
            }
        }
    }

    async fn look_at_numbers(&mut self) {
        let recorder = self.cast.phone_of("m04").unwrap_or(1);
        if let Some(Reply::Seen(Seen::Numbers(numbers))) =
            self.ask(recorder, Command::Look(Look::Numbers)).await
        {
            self.report.roll = (numbers.present, numbers.total);
            self.report.hands = numbers
                .motions
                .iter()
                .find_map(|(title, r)| r.filter(|_| title.contains("Nghị quyết")))
                .map(|(yes, no, base, _)| (yes, no, base));
            self.report.phones_voted = numbers.phones;
            self.report.states = (numbers.resolution.clone(), numbers.minutes.clone());
        }
    }

    /// The papers as they were sealed: for the terminal, and as files.
    async fn papers(&self) -> (String, BTreeMap<String, String>) {
        let fixtures = Fixtures::load();
        let names = |id: &str| fixtures.name(id).unwrap_or_else(|| id.to_owned());
        let recorder = self.cast.phone_of("m04").unwrap_or(1);
        let mut papers = Vec::new();
        for doc in [Doc::Minutes, Doc::Resolution] {
            if let Some(Reply::Dump { value }) = self.ask(recorder, Command::Dump { doc, sealed: true }).await
            {
                papers.push(render(&value, &names));
            }
        }
        let files = match self.ask(recorder, Command::Look(Look::Papers)).await {
            Some(Reply::Seen(Seen::Papers(papers))) => papers.files,
            _ => BTreeMap::new(),
        };
        (papers.join("\n\n"), files)
    }
}

/// One phone's documents and contested fields at the end.
#[derive(Debug, Default)]
struct Copy {
    documents: BTreeMap<Doc, Value>,
    values: BTreeMap<(Doc, Place), Vec<Value>>,
}

impl Final for Copy {
    fn document(&self, doc: &Doc) -> Option<&Value> {
        self.documents.get(doc).filter(|value| !value.is_null())
    }

    fn values(&self, doc: &Doc, place: &Place) -> &[Value] {
        self.values.get(&(doc.clone(), place.clone())).map_or(&[], Vec::as_slice)
    }
}
