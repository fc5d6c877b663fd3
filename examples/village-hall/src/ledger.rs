//! The account of what phones confirmed as saved, and the search for it in the documents at the end.
//!
//! An edit that a phone confirmed is *lost* unless its own mark is in the final document, or the mark was overwritten by
//! another edit of the meeting that is itself accounted for. Nothing an engine claims counts: only what its documents
//! hold.
//!
//! Of a phone that was removed from the branch the opposite holds from then on: nothing that it writes may be in
//! anybody's documents. Such an edit is *shut out*, or else it *leaked*.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::action::{Action, Path};

/// Most forms of one text that are tried, so that many replacements in one paragraph stay cheap.
const FORMS_MAX: usize = 64;

/// Every edit that was sent to a phone.
#[derive(Clone, Debug, Default)]
pub struct Ledger {
    edits: BTreeMap<u32, Edit>,
}

#[derive(Clone, Debug)]
struct Edit {
    phone: usize,
    action: Action,
    /// The values that the phone saw before a `Set`; known once it confirmed.
    replaced: Vec<Value>,
    saved: bool,
    /// Made on a phone that was not in the branch any more.
    shut_out: bool,
}

/// The final state of a document on one phone, as far as the ledger needs it.
pub trait Final {
    /// The document; `None` when this phone lacks it.
    fn document(&self, doc: &str) -> Option<&Value>;
    /// The winner and its conflicts at a field.
    fn values(&self, doc: &str, path: &Path) -> &[Value];
}

/// An edit that was confirmed and is not there, or that is there and should not be.
#[derive(Clone, Debug, PartialEq)]
pub struct Lost {
    /// Step of the script.
    pub step: u32,
    /// The phone that confirmed it.
    pub phone: usize,
    /// The edit.
    pub action: Action,
}

impl Ledger {
    /// An edit is about to be sent. It may be saved even if the phone dies before it can say so.
    pub fn sent(&mut self, step: u32, phone: usize, action: &Action) {
        self.edits.entry(step).or_insert(Edit {
            phone,
            action: action.clone(),
            replaced: Vec::new(),
            saved: false,
            shut_out: false,
        });
    }

    /// An edit is about to be sent to a phone that was removed. Its action is [`Action::Append`] or [`Action::Insert`],
    /// whose marks nobody else makes.
    pub fn sent_to_removed(&mut self, step: u32, phone: usize, action: &Action) {
        self.sent(step, phone, action);
        if let Some(edit) = self.edits.get_mut(&step) {
            edit.shut_out = true;
        }
    }

    /// How many edits were made on removed phones.
    #[must_use]
    pub fn shut_out_count(&self) -> u64 {
        self.edits.values().filter(|edit| edit.shut_out).count() as u64
    }

    /// The edits of removed phones that this copy shows all the same.
    #[must_use]
    pub fn leaked(&self, copy: &impl Final) -> Vec<Lost> {
        self.pick(|edit| edit.shut_out && self.present(edit, copy))
    }

    /// The edits that count.
    fn counting(&self) -> impl Iterator<Item = (&u32, &Edit)> {
        self.edits.iter().filter(|(_, edit)| !edit.shut_out)
    }

    fn pick(&self, wanted: impl Fn(&Edit) -> bool) -> Vec<Lost> {
        let named = |(step, edit): (&u32, &Edit)| Lost {
            step: *step,
            phone: edit.phone,
            action: edit.action.clone(),
        };
        self.edits.iter().filter(|(_, edit)| wanted(edit)).map(named).collect()
    }

    /// The phone confirmed that the edit is on its disk.
    pub fn saved(&mut self, step: u32, replaced: Vec<Value>) {
        if let Some(edit) = self.edits.get_mut(&step) {
            edit.saved = true;
            edit.replaced = replaced;
        }
    }

    /// The phone found nothing to edit.
    pub fn skipped(&mut self, step: u32) {
        self.edits.remove(&step);
    }

    /// How many edits were confirmed.
    #[must_use]
    pub fn saved_count(&self) -> u64 {
        self.counting().filter(|(_, edit)| edit.saved).count() as u64
    }

    /// How many edits these phones confirmed.
    #[must_use]
    pub fn saved_on(&self, phones: &BTreeSet<usize>) -> u64 {
        self.counting().filter(|(_, edit)| edit.saved && phones.contains(&edit.phone)).count() as u64
    }

    /// The fields whose values the search needs, with all their conflicts.
    #[must_use]
    pub fn fields(&self) -> BTreeSet<(String, Path)> {
        let field = |(_, edit): (&u32, &Edit)| match &edit.action {
            Action::Set { doc, path, .. } => Some((doc.clone(), path.clone())),
            _ => None,
        };
        self.counting().filter_map(field).collect()
    }

    /// The confirmed edits to documents that `reads` names which are missing from this copy.
    #[must_use]
    pub fn lost(&self, copy: &impl Final, reads: impl Fn(&str) -> bool) -> Vec<Lost> {
        self.pick(|edit| {
            edit.saved && !edit.shut_out && reads(edit.action.doc()) && !self.present(edit, copy)
        })
    }

    fn present(&self, edit: &Edit, copy: &impl Final) -> bool {
        let Some(document) = copy.document(edit.action.doc()) else { return false };
        match &edit.action {
            Action::Append { doc, list, entry } => {
                let id = entry.get("id").and_then(Value::as_str).unwrap_or_default();
                let Some(found) = list.id(id).find(document) else { return false };
                entry.iter().all(|(key, value)| {
                    let path = list.id(id).key(key);
                    found.get(key) == Some(value) || self.touched(doc, &path)
                })
            }
            Action::Type { doc, path, text } | Action::Insert { doc, path, text } => {
                self.text_present(doc, path, text, document)
            }
            Action::Replace { doc, path, with, .. } => self.text_present(doc, path, with, document),
            Action::Set { doc, path, value } => {
                let mut seen = BTreeSet::new();
                self.value_present(doc, path, value, edit.phone, copy, &mut seen)
            }
        }
    }

    /// Whether some edit of the meeting changes this place, so that an entry need not look as it did when appended.
    fn touched(&self, doc: &str, place: &Path) -> bool {
        self.counting().any(|(_, edit)| match &edit.action {
            Action::Type { doc: other, path, .. }
            | Action::Insert { doc: other, path, .. }
            | Action::Replace { doc: other, path, .. }
            | Action::Set { doc: other, path, .. } => other == doc && path == place,
            Action::Append { doc: other, list, .. } => other == doc && list == place,
        })
    }

    /// Whether a text holds `mark`, or what replacements of the meeting make of it.
    fn text_present(&self, doc: &str, path: &Path, mark: &str, document: &Value) -> bool {
        let Some(text) = path.find(document).and_then(Value::as_str) else { return false };
        let replacements: Vec<(&str, &str)> = self
            .counting()
            .filter_map(|(_, edit)| match &edit.action {
                Action::Replace { doc: other, path: place, find, with } if other == doc && place == path => {
                    Some((find.as_str(), with.as_str()))
                }
                _ => None,
            })
            .collect();
        let mut forms = vec![mark.to_owned()];
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
        doc: &str,
        path: &Path,
        value: &Value,
        phone: usize,
        copy: &impl Final,
        seen: &mut BTreeSet<u32>,
    ) -> bool {
        if copy.values(doc, path).contains(value) {
            return true;
        }
        self.counting().any(|(step, later)| {
            let Action::Set { doc: other, path: place, value: with } = &later.action else { return false };
            if other != doc || place != path || with == value {
                return false;
            }
            // A phone that died before it could confirm still wrote after its own earlier edits, and perhaps over what
            // it had received; only the former is certain, so only that is accepted.
            let overwrote = later.replaced.contains(value) || (!later.saved && later.phone == phone);
            overwrote && seen.insert(*step) && self.value_present(doc, path, with, later.phone, copy, seen)
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    struct Copy(Value, Vec<Value>);

    impl Final for Copy {
        fn document(&self, doc: &str) -> Option<&Value> {
            (doc == "d").then_some(&self.0)
        }
        fn values(&self, _: &str, _: &Path) -> &[Value] {
            &self.1
        }
    }

    fn path(text: &str) -> Path {
        text.parse().unwrap()
    }

    fn replace(find: &str, with: &str) -> Action {
        Action::Replace { doc: "d".into(), path: path("text"), find: find.into(), with: with.into() }
    }

    fn set(value: &str) -> Action {
        Action::Set { doc: "d".into(), path: path("due"), value: json!(value) }
    }

    fn ledger(actions: &[(usize, Action)]) -> Ledger {
        let mut ledger = Ledger::default();
        for (step, (phone, action)) in (0..).zip(actions) {
            ledger.sent(step, *phone, action);
            ledger.saved(step, vec![]);
        }
        ledger
    }

    fn lost(ledger: &Ledger, document: Value, values: &[&str]) -> Vec<u32> {
        let copy = Copy(document, values.iter().map(|value| json!(value)).collect());
        ledger.lost(&copy, |_| true).into_iter().map(|lost| lost.step).collect()
    }

    #[test]
    fn text_is_lost_unless_it_stands_or_was_replaced() {
        let ledger = ledger(&[(0, replace("a", "bc")), (1, replace("c", "x"))]);
        assert_eq!(lost(&ledger, json!({"text": "bx"}), &[]), [0u32; 0]);
        assert_eq!(lost(&ledger, json!({"text": "bc"}), &[]), [1]);
        assert_eq!(lost(&ledger, json!({"text": "b"}), &[]), [0, 1]);
        assert_eq!(lost(&ledger, json!({}), &[]), [0, 1]);
    }

    #[test]
    fn a_replacement_that_holds_its_own_phrase_ends() {
        let ledger = ledger(&[(0, replace("tháng", "tháng 02"))]);
        assert_eq!(lost(&ledger, json!({"text": "trong tháng 02."}), &[]), [0u32; 0]);
        assert_eq!(lost(&ledger, json!({"text": "trong tháng."}), &[]), [0]);
    }

    #[test]
    fn a_value_is_lost_unless_it_stands_conflicts_or_was_seen_by_who_overwrote_it() {
        let mut account = ledger(&[(0, set("10")), (1, set("12"))]);
        assert_eq!(lost(&account, json!({}), &["12", "10"]), [0u32; 0], "a conflict keeps both");
        assert_eq!(lost(&account, json!({}), &["12"]), [0], "the other vanished");
        account.sent(2, 0, &set("11"));
        account.saved(2, vec![json!("12"), json!("10")]);
        assert_eq!(lost(&account, json!({}), &["11"]), [0u32; 0], "resolved by somebody who saw both");
        assert_eq!(lost(&account, json!({}), &["x"]), [0, 1, 2]);
    }

    #[test]
    fn an_unconfirmed_edit_is_not_owed_but_may_explain() {
        let mut account = ledger(&[(0, set("10"))]);
        account.sent(1, 0, &set("11"));
        assert_eq!(account.saved_count(), 1);
        assert_eq!(lost(&account, json!({}), &["11"]), [0u32; 0], "the same phone wrote later");
        let mut account = ledger(&[(0, set("10"))]);
        account.sent(1, 5, &set("11"));
        assert_eq!(
            lost(&account, json!({}), &["11"]),
            [0],
            "another phone's unconfirmed edit explains nothing"
        );
    }

    #[test]
    fn what_a_removed_phone_writes_is_not_owed_and_must_not_be_there() {
        let insert = |text: &str| Action::Insert { doc: "d".into(), path: path("text"), text: text.into() };
        let mut account = ledger(&[(0, insert("before."))]);
        account.sent_to_removed(1, 0, &insert("after."));
        account.saved(1, vec![]);
        account.sent_to_removed(2, 0, &insert("never confirmed."));
        let leaked = |document: Value| {
            account.leaked(&Copy(document, vec![])).into_iter().map(|edit| edit.step).collect::<Vec<_>>()
        };
        assert_eq!((account.saved_count(), account.shut_out_count()), (1, 2));
        assert_eq!(account.saved_on(&BTreeSet::from([0])), 1);
        assert_eq!(lost(&account, json!({"text": "before."}), &[]), [0u32; 0]);
        assert_eq!(
            lost(&account, json!({"text": "after."}), &[]),
            [0],
            "what came before the removal is owed"
        );
        assert_eq!(leaked(json!({"text": "before."})), [0u32; 0]);
        assert_eq!(leaked(json!({"text": "before. after."})), [1]);
        assert_eq!(leaked(json!({"text": "never confirmed."})), [2]);
    }

    #[test]
    fn entries_are_checked_field_by_field_except_where_others_edit() {
        let entry = json!({"id": "e", "by": "m", "text": ""}).as_object().cloned().unwrap();
        let append = Action::Append { doc: "d".into(), list: path("list"), entry };
        let typed = Action::Type { doc: "d".into(), path: path("list/#e/text"), text: "lời".into() };
        let account = ledger(&[(0, append.clone()), (0, typed)]);
        let there = |by: &str, text: &str| json!({"list": [{"id": "e", "by": by, "text": text}]});
        assert_eq!(lost(&account, there("m", "lời"), &[]), [0u32; 0]);
        assert_eq!(lost(&account, there("m", ""), &[]), [1]);
        assert_eq!(lost(&account, there("x", "lời"), &[]), [0]);
        assert_eq!(lost(&account, json!({"list": []}), &[]), [0, 1]);
        let copy = Copy(json!({}), vec![]);
        assert!(
            account.lost(&copy, |_| false).is_empty(),
            "a phone owes nothing of documents it may not read"
        );
    }
}
