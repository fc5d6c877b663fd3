//! The account of what phones confirmed as saved, and the search for it in the documents at the end.
//!
//! An act that a phone confirmed is *lost* unless its own marks are in the final document, or were overwritten by
//! another act of the meeting that is itself accounted for. Nothing an engine claims counts: only what its documents
//! hold.
//!
//! Of a phone that was removed from the branch the opposite holds from then on, and of what somebody tries who may not: nothing of
//! it may be in anybody's documents. Such an act is *shut out* or *denied*, or else it *leaked*.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::act::{Act, Doc};
use crate::marks::{self, Mark, Place};

/// Most forms of one text that are tried, so that many replacements in one paragraph stay cheap.
const FORMS_MAX: usize = 64;

/// Everything that phones were told to do.
#[derive(Clone, Debug, Default)]
pub struct Ledger {
    entries: BTreeMap<u32, Entry>,
}

/// Whether an act is to be there in the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// If it was confirmed.
    There,
    /// Never: the phone was removed.
    ShutOut,
    /// Never: its member may not.
    Denied,
}

#[derive(Clone, Debug)]
struct Entry {
    phone: usize,
    act: Act,
    doc: Doc,
    marks: Vec<Mark>,
    /// The values that the phone saw before it wrote a field; known once it confirmed.
    replaced: Vec<Value>,
    saved: bool,
    wanted: Wanted,
}

/// The final state of one phone, as far as the ledger needs it.
pub trait Final {
    /// The document; `None` when this phone lacks it.
    fn document(&self, doc: &Doc) -> Option<&Value>;
    /// The winner and its conflicts at a field.
    fn values(&self, doc: &Doc, place: &Place) -> &[Value];
}

/// An act that was confirmed and is not there, or that is there and should not be.
#[derive(Clone, Debug, PartialEq)]
pub struct Lost {
    /// Step of the script.
    pub step: u32,
    /// The phone that confirmed it.
    pub phone: usize,
    /// The document that it writes.
    pub doc: Doc,
    /// The act.
    pub act: Act,
}

impl Ledger {
    /// An act is about to be sent. It may be saved even if the phone dies before it can say so. `by`: whose phone it is, by the
    /// roster's id.
    pub fn sent(&mut self, step: u32, phone: usize, by: &str, act: &Act, wanted: Wanted) {
        let (doc, marks) = marks::of(act, by);
        let entry = Entry { phone, act: act.clone(), doc, marks, replaced: Vec::new(), saved: false, wanted };
        self.entries.entry(step).or_insert(entry);
    }

    /// The phone confirmed that the act is on its disk.
    pub fn saved(&mut self, step: u32, replaced: Vec<Value>) {
        if let Some(entry) = self.entries.get_mut(&step) {
            entry.saved = true;
            entry.replaced = replaced;
        }
    }

    /// The phone found nothing to do.
    pub fn skipped(&mut self, step: u32) {
        self.entries.remove(&step);
    }

    /// How many acts are never to be there for this reason.
    #[must_use]
    pub fn count(&self, wanted: Wanted) -> u64 {
        self.entries.values().filter(|entry| entry.wanted == wanted).count() as u64
    }

    /// Whether an act was to be denied.
    #[must_use]
    pub fn is_to_be_denied(&self, step: u32) -> bool {
        self.entries.get(&step).is_some_and(|entry| entry.wanted == Wanted::Denied)
    }

    /// What this copy shows and nobody should have.
    #[must_use]
    pub fn leaked(&self, copy: &impl Final) -> Vec<Lost> {
        self.pick(|entry| entry.wanted != Wanted::There && self.present(entry, copy))
    }

    /// The acts that count.
    fn counting(&self) -> impl Iterator<Item = (&u32, &Entry)> {
        self.entries.iter().filter(|(_, entry)| entry.wanted == Wanted::There)
    }

    fn pick(&self, wanted: impl Fn(&Entry) -> bool) -> Vec<Lost> {
        let named = |(step, entry): (&u32, &Entry)| Lost {
            step: *step,
            phone: entry.phone,
            doc: entry.doc.clone(),
            act: entry.act.clone(),
        };
        self.entries.iter().filter(|(_, entry)| wanted(entry)).map(named).collect()
    }

    /// How many acts were confirmed.
    #[must_use]
    pub fn saved_count(&self) -> u64 {
        self.counting().filter(|(_, entry)| entry.saved).count() as u64
    }

    /// How many acts these phones confirmed.
    #[must_use]
    pub fn saved_on(&self, phones: &BTreeSet<usize>) -> u64 {
        self.counting().filter(|(_, entry)| entry.saved && phones.contains(&entry.phone)).count() as u64
    }

    /// The fields whose values the search needs, with all their conflicts, by document.
    #[must_use]
    pub fn fields(&self) -> BTreeMap<Doc, BTreeSet<Place>> {
        let mut fields: BTreeMap<Doc, BTreeSet<Place>> = BTreeMap::new();
        for entry in self.entries.values() {
            for mark in &entry.marks {
                if let Mark::Says(place, _) = mark {
                    fields.entry(entry.doc.clone()).or_default().insert(place.clone());
                }
            }
        }
        fields
    }

    /// The confirmed acts on documents that `reads` names which are missing from this copy.
    #[must_use]
    pub fn lost(&self, copy: &impl Final, reads: impl Fn(&Doc) -> bool) -> Vec<Lost> {
        self.pick(|entry| {
            entry.saved && entry.wanted == Wanted::There && reads(&entry.doc) && !self.present(entry, copy)
        })
    }

    fn present(&self, entry: &Entry, copy: &impl Final) -> bool {
        let Some(document) = copy.document(&entry.doc) else { return false };
        entry.marks.iter().all(|mark| match mark {
            Mark::There(place) => find(document, place).is_some(),
            Mark::Words(place, words) | Mark::Instead(place, _, words) => {
                self.words_present(&entry.doc, place, words, document)
            }
            Mark::Among(place, words) => find(document, place).is_some_and(|all| holds(all, words)),
            Mark::Says(place, value) => {
                self.value_present(&entry.doc, place, value, entry.phone, copy, &mut BTreeSet::new())
            }
        })
    }

    /// Whether a text holds words, or what replacements of the meeting make of them.
    fn words_present(&self, doc: &Doc, place: &Place, words: &str, document: &Value) -> bool {
        let Some(text) = find(document, place).and_then(Value::as_str) else { return false };
        let replacements: Vec<(&str, &str)> = self
            .counting()
            .filter(|(_, entry)| entry.doc == *doc)
            .flat_map(|(_, entry)| &entry.marks)
            .filter_map(|mark| match mark {
                Mark::Instead(other, find, with) if other == place => Some((find.as_str(), with.as_str())),
                _ => None,
            })
            .collect();
        let mut forms = vec![words.to_owned()];
        let mut next = 0;
        while let Some(form) = forms.get(next).cloned() {
            if text.contains(&form) {
                return true;
            }
            for (find, with) in &replacements {
                // A replacement that holds its own phrase would apply for ever.
                let changed = form.replacen(find, with, 1);
                if form.contains(find)
                    && !form.contains(with)
                    && forms.len() < FORMS_MAX
                    && !forms.contains(&changed)
                {
                    forms.push(changed);
                }
            }
            next += 1;
        }
        false
    }

    /// Whether a value stands at a field, or was causally overwritten by a value of which the same holds.
    fn value_present(
        &self,
        doc: &Doc,
        place: &Place,
        value: &Value,
        phone: usize,
        copy: &impl Final,
        seen: &mut BTreeSet<u32>,
    ) -> bool {
        if copy.values(doc, place).contains(value) {
            return true;
        }
        self.counting().filter(|(_, later)| later.doc == *doc).any(|(step, later)| {
            let with = later.marks.iter().find_map(|mark| match mark {
                Mark::Says(other, with) if other == place && with != value => Some(with),
                _ => None,
            });
            let Some(with) = with else { return false };
            // A phone that died before it could confirm still wrote after its own earlier acts, and perhaps over what
            // it had received; only the former is certain, so only that is accepted.
            let overwrote = later.replaced.contains(value) || (!later.saved && later.phone == phone);
            overwrote && seen.insert(*step) && self.value_present(doc, place, with, later.phone, copy, seen)
        })
    }
}

/// What stands at a place of a document.
#[must_use]
pub fn find<'a>(document: &'a Value, place: &[String]) -> Option<&'a Value> {
    place.iter().try_fold(document, |here, key| here.as_object()?.get(key))
}

/// Whether words stand anywhere in a document.
#[must_use]
pub fn holds(document: &Value, words: &str) -> bool {
    match document {
        Value::String(text) => text.contains(words),
        Value::Array(list) => list.iter().any(|value| holds(value, words)),
        Value::Object(map) => map.values().any(|value| holds(value, words)),
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::act::New;

    struct Copy(Value, Vec<Value>);

    impl Final for Copy {
        fn document(&self, doc: &Doc) -> Option<&Value> {
            (*doc == Doc::Resolution).then_some(&self.0)
        }
        fn values(&self, _: &Doc, _: &Place) -> &[Value] {
            &self.1
        }
    }

    fn replace(find: &str, with: &str) -> Act {
        Act::Replace { doc: Doc::Resolution, block: "b".into(), find: find.into(), with: with.into() }
    }

    fn clause(text: &str) -> Act {
        Act::Clause { doc: Doc::Resolution, block: "b".into(), text: text.into() }
    }

    fn set(value: &str) -> Act {
        Act::SetDue { task: "t".into(), due: value.into() }
    }

    fn ledger(acts: &[(usize, Act)]) -> Ledger {
        let mut ledger = Ledger::default();
        for (step, (phone, act)) in (0..).zip(acts) {
            ledger.sent(step, *phone, "m01", act, Wanted::There);
            ledger.saved(step, vec![]);
        }
        ledger
    }

    fn block(text: &str) -> Value {
        json!({"blocks": {"b": {"text": text}}})
    }

    fn lost(ledger: &Ledger, document: Value, values: &[&str]) -> Vec<u32> {
        let copy = Copy(document, values.iter().map(|value| json!(value)).collect());
        ledger.lost(&copy, |_| true).into_iter().map(|lost| lost.step).collect()
    }

    #[test]
    fn text_is_lost_unless_it_stands_or_was_replaced() {
        let ledger = ledger(&[(0, replace("a", "bc")), (1, replace("c", "x"))]);
        assert_eq!(lost(&ledger, block("bx"), &[]), [0u32; 0]);
        assert_eq!(lost(&ledger, block("bc"), &[]), [1]);
        assert_eq!(lost(&ledger, block("b"), &[]), [0, 1]);
        assert_eq!(lost(&ledger, json!({}), &[]), [0, 1]);
    }

    #[test]
    fn a_replacement_that_holds_its_own_phrase_ends() {
        let ledger = ledger(&[(0, replace("tháng", "tháng 02"))]);
        assert_eq!(lost(&ledger, block("trong tháng 02."), &[]), [0u32; 0]);
        assert_eq!(lost(&ledger, block("trong tháng."), &[]), [0]);
    }

    #[test]
    fn a_value_is_lost_unless_it_stands_conflicts_or_was_seen_by_who_overwrote_it() {
        let mut account = ledger(&[(0, set("10")), (1, set("12"))]);
        assert_eq!(lost(&account, json!({}), &["12", "10"]), [0u32; 0], "a conflict keeps both");
        assert_eq!(lost(&account, json!({}), &["12"]), [0], "the other vanished");
        account.sent(2, 0, "m01", &set("11"), Wanted::There);
        account.saved(2, vec![json!("12"), json!("10")]);
        assert_eq!(lost(&account, json!({}), &["11"]), [0u32; 0], "resolved by somebody who saw both");
        assert_eq!(lost(&account, json!({}), &["x"]), [0, 1, 2]);
    }

    #[test]
    fn an_unconfirmed_act_is_not_owed_but_may_explain() {
        let mut account = ledger(&[(0, set("10"))]);
        account.sent(1, 0, "m01", &set("11"), Wanted::There);
        assert_eq!(account.saved_count(), 1);
        assert_eq!(lost(&account, json!({}), &["11"]), [0u32; 0], "the same phone wrote later");
        let mut account = ledger(&[(0, set("10"))]);
        account.sent(1, 5, "m02", &set("11"), Wanted::There);
        assert_eq!(
            lost(&account, json!({}), &["11"]),
            [0],
            "another phone's unconfirmed act explains nothing"
        );
    }

    #[test]
    fn what_a_removed_phone_writes_or_somebody_may_not_is_not_owed_and_must_not_be_there() {
        let mut account = ledger(&[(0, clause("before."))]);
        account.sent(1, 0, "m01", &clause("after."), Wanted::ShutOut);
        account.saved(1, vec![]);
        account.sent(2, 0, "m01", &clause("not allowed."), Wanted::Denied);
        let leaked = |text: &str| {
            account.leaked(&Copy(block(text), vec![])).into_iter().map(|lost| lost.step).collect::<Vec<_>>()
        };
        assert_eq!((account.saved_count(), account.count(Wanted::ShutOut)), (1, 1));
        assert!(account.is_to_be_denied(2) && !account.is_to_be_denied(1));
        assert_eq!(lost(&account, block("before."), &[]), [0u32; 0]);
        assert_eq!(lost(&account, block("after."), &[]), [0], "what came before the removal is owed");
        assert_eq!(leaked("before."), [0u32; 0]);
        assert_eq!(leaked("before. after."), [1]);
        assert_eq!(leaked("not allowed."), [2]);
    }

    #[test]
    fn what_has_an_id_is_looked_for_by_it() {
        let new = New { at: 5, seed: [1; 16] };
        let suggest = Act::Suggest { new, block: "b".into(), find: "x".into(), with: "y".into() };
        let account = ledger(&[(0, suggest)]);
        assert_eq!(lost(&account, json!({"suggestions": {new.id(): {}}}), &[]), [0u32; 0]);
        assert_eq!(lost(&account, json!({"suggestions": {"another": {}}}), &[]), [0]);
        let copy = Copy(json!({}), vec![]);
        assert!(
            account.lost(&copy, |_| false).is_empty(),
            "a phone owes nothing of documents it may not read"
        );
    }
}
