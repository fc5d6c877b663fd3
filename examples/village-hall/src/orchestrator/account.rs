//! The end of a meeting: what every phone holds, against what was confirmed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::PoisonError;

use serde_json::Value;
use tokio::time::Instant;

use super::{Hall, Outcome, survey};
use crate::action::Path;
use crate::cast::Fixtures;
use crate::ledger::{Final, Lost};
use crate::link::Link;
use crate::plain::Phrases;
use crate::protocol::{Command, Reply};
use crate::render::render;

impl Hall<'_> {
    /// Asks every phone for everything it holds and compares it with what was confirmed.
    pub(super) async fn account(&mut self, started: Instant) -> Outcome {
        while let Ok(news) = self.news.try_recv() {
            self.note(Some(news));
        }
        let all = self.members();
        let survey = survey(&self.phones, &all).await;
        let copies = self.copies(&all).await;
        let (lost, undelivered) = self.missing(&copies);
        for one in lost.iter().take(5) {
            self.report
                .faults
                .push(format!("lost: step {} of phone {}: {:?}", one.step, one.phone, one.action));
        }
        for one in self.leaked(&copies) {
            self.report.leaked += 1;
            self.report.faults.push(format!(
                "a removed phone's edit is there: step {} of phone {}: {:?}",
                one.step, one.phone, one.action
            ));
        }
        // What a removed phone wrote while it was in the branch was acknowledged before it was removed.
        let settled = survey.iter().filter(|(_, (status, _))| status.pending == 0).map(|(phone, _)| *phone);
        let settled: BTreeSet<usize> = settled.chain(self.gone.iter().copied()).collect();
        let pairs: BTreeSet<&(String, Option<String>)> =
            survey.values().flat_map(|(_, hashes)| hashes).collect();
        // Hashes are what an engine says; contents are what people read. Both must agree.
        let same = self.cast.documents.iter().all(|document| {
            let mut contents = self
                .cast
                .readers(&document.name)
                .iter()
                .filter(|phone| all.contains(*phone))
                .map(|phone| copies.get(phone).and_then(|copy| copy.documents.get(&document.name)));
            let first = contents.next().flatten();
            first.is_some() && contents.all(|content| content == first)
        });
        let why = self.differences(&survey, &all);
        self.report.converged = why.is_empty() && same && self.waiting.is_empty();
        if !self.report.converged && self.report.faults.is_empty() {
            let waiting = self.waiting.len();
            self.fault::<()>(format!(
                "not converged: equal contents: {same}, unanswered edits: {waiting}. {why}"
            ));
        }
        self.search_relay(&copies);
        let report = &mut self.report;
        report.distinct_documents_hashes = pairs.len();
        report.lost = lost.len() as u64;
        report.undelivered = undelivered;
        report.edits = self.ledger.saved_count();
        report.shut_out = self.ledger.shut_out_count();
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
        Outcome { report: self.report.clone(), papers: self.papers(&copies) }
    }

    /// Confirmed edits that no copy shows, and how many some copies show and others do not.
    fn missing(&self, copies: &BTreeMap<usize, Copy>) -> (Vec<Lost>, u64) {
        let mut missing: BTreeMap<u32, (Lost, usize)> = BTreeMap::new();
        for (phone, copy) in copies {
            for one in self.ledger.lost(copy, |doc| self.reads(*phone, doc)) {
                missing.entry(one.step).or_insert((one, 0)).1 += 1;
            }
        }
        let all = missing.len();
        let nowhere = |(one, times): (Lost, usize)| {
            let holders = copies.keys().filter(|phone| self.reads(**phone, one.action.doc())).count();
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

    async fn copies(&self, phones: &[usize]) -> BTreeMap<usize, Copy> {
        let fields = self.ledger.fields();
        let mut copies = BTreeMap::new();
        for document in &self.cast.documents {
            let doc = &document.name;
            let readers: Vec<usize> =
                phones.iter().copied().filter(|phone| self.reads(*phone, doc)).collect();
            let dumps = readers.iter().map(|phone| (*phone, Command::Dump { doc: doc.clone() })).collect();
            for (phone, reply) in self.ask_all(dumps).await {
                let Reply::Dump { value } = reply else { continue };
                let copy: &mut Copy = copies.entry(phone).or_default();
                copy.documents.insert(doc.clone(), value);
            }
            for (_, path) in fields.iter().filter(|(name, _)| name == doc) {
                let ask = |phone: &usize| (*phone, Command::Values { doc: doc.clone(), path: path.clone() });
                for (phone, reply) in self.ask_all(readers.iter().map(ask).collect()).await {
                    let Reply::Values { values } = reply else { continue };
                    let copy: &mut Copy = copies.entry(phone).or_default();
                    copy.values.insert((doc.clone(), path.clone()), values);
                }
            }
        }
        copies
    }

    fn papers(&self, copies: &BTreeMap<usize, Copy>) -> String {
        let names = |id: &str| {
            let person = self.cast.people.iter().find(|person| person.member == id);
            person
                .map(|person| person.name.clone())
                .or_else(|| Fixtures::load().name(id))
                .unwrap_or_else(|| id.into())
        };
        let Some(copy) = copies.get(&self.cast.phone_of("m04")) else { return String::new() };
        let papers = ["minutes", "resolution"].iter().filter_map(|name| copy.documents.get(*name));
        papers.map(|paper| render(paper, &names)).collect::<Vec<_>>().join("\n\n")
    }
}

/// One phone's documents and contested fields at the end.
#[derive(Debug, Default)]
struct Copy {
    documents: BTreeMap<String, Value>,
    values: BTreeMap<(String, Path), Vec<Value>>,
}

impl Final for Copy {
    fn document(&self, doc: &str) -> Option<&Value> {
        self.documents.get(doc).filter(|value| !value.is_null())
    }

    fn values(&self, doc: &str, path: &Path) -> &[Value] {
        self.values.get(&(doc.to_owned(), path.clone())).map_or(&[], Vec::as_slice)
    }
}
