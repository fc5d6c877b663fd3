//! Mutations of honest changes: nothing panics outside the sandbox, and what the rules let through is good on every
//! phone, in every order.

mod gate_common;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use dinh_core::document::{ChangeHash, Document};
use dinh_core::gate::{GateError, Past, Refusal, judge_change};
use dinh_core::proto::pack::RawChange;
use gate_common::document::Node;
use gate_common::{
    Pool, Rng, Session, chunk, contents, edit_once, encode, mutate_bytes, mutate_change, quiet, scaled,
};

/// Everything in a document, and whether it loads as it was saved.
fn seen(doc: &Document) -> String {
    let loaded = Document::load(&doc.save(), doc.actor()).expect("a saved document loads");
    assert_eq!(loaded.heads(), doc.heads());
    let node = Node::read(doc);
    // By its text: a number that is none is not equal to itself.
    let text = format!("{node:?}");
    assert_eq!(text, format!("{:?}", Node::read(&loaded)));
    text
}

fn document_of(changes: &[&Vec<u8>]) -> (Document, Past) {
    let (mut doc, mut past) = (Document::new([77; 16]), Past::new());
    for raw in changes {
        let admitted = judge_change(raw, &mut past).expect("judged the same wherever it comes");
        doc.apply(vec![admitted.change]).expect("complete");
    }
    (doc, past)
}

#[derive(Default)]
struct Tally {
    inputs: u64,
    accepted: u64,
    panicked_inside: u64,
    refused_again: u64,
    verdicts: BTreeMap<String, u64>,
    slowest: Duration,
}

impl Tally {
    fn report(&self, what: &str) {
        println!(
            "{what}: {} inputs, {} accepted and good in 3 orders, {} of the refused asked of a larger past: same rule, {} panics, all of them inside the sandbox; slowest {:?}",
            self.inputs, self.accepted, self.refused_again, self.panicked_inside, self.slowest
        );
        self.verdicts.iter().for_each(|(verdict, n)| println!("  {verdict:<16} {n}"));
    }
}

/// One session's changes, and the past before each.
struct Bed {
    changes: Vec<(ChangeHash, Vec<u8>)>,
    pasts: Vec<Past>,
    pool: Pool,
}

impl Bed {
    fn new(seed: u64) -> Self {
        let changes = Session::run(seed, 24).merge().changes();
        let mut past = Past::new();
        let mut pasts = Vec::new();
        for (_, raw) in &changes {
            pasts.push(past.clone());
            judge_change(raw, &mut past).expect("honest");
        }
        let pool = Pool::new(&changes);
        Self { changes, pasts, pool }
    }

    fn judge(&self, at: usize, raw: &[u8], tally: &mut Tally, rng: &mut Rng) {
        tally.inputs += 1;
        let mut past = self.pasts[at].clone();
        let begin = Instant::now();
        let verdict = judge_change(raw, &mut past);
        tally.slowest = tally.slowest.max(begin.elapsed());
        let name = match &verdict {
            Ok(_) => "accepted".to_owned(),
            Err(GateError::Rule(refusal)) => refusal.name().to_owned(),
            Err(error) if error.is_panic() => {
                tally.panicked_inside += 1;
                "panicked".to_owned()
            }
            Err(GateError::Missing(_)) => "missing".to_owned(),
            Err(GateError::Pack(_)) => "no chunk".to_owned(),
            Err(other) => panic!("{other}"),
        };
        *tally.verdicts.entry(name).or_default() += 1;
        match verdict {
            Ok(_) if raw == self.changes[at].1 => {}
            Ok(_) => {
                tally.accepted += 1;
                self.check_orders(at, &raw.to_vec(), rng);
            }
            // Nothing stays of what was refused.
            Err(error) => {
                assert_eq!((past.len(), past.ops()), (self.pasts[at].len(), self.pasts[at].ops()));
                if let GateError::Rule(refusal) = &error
                    && refusal.name().starts_with("G5")
                    && rng.chance(4)
                {
                    tally.refused_again += 1;
                    self.check_refusal(at, raw, refusal);
                }
            }
        }
    }

    /// What comes after the honest change and does not build on it, when a mutated one stands in its place.
    fn rest(&self, at: usize, raw: &[u8]) -> Vec<&Vec<u8>> {
        let mut gone = vec![self.changes[at].0];
        let mut rest = Vec::new();
        // The mutated one may have become another actor's, who then has this number already.
        let mutated = RawChange::parse(raw).expect("read by the gate").actor;
        for (hash, later) in &self.changes[at + 1..] {
            let change = automerge::Change::try_from(&later[..]).expect("honest");
            let lost = change.deps().iter().any(|d| gone.contains(&ChangeHash::from(*d)));
            if lost || change.actor_id().to_bytes() == mutated {
                gone.push(*hash);
            } else {
                rest.push(later);
            }
        }
        rest
    }

    /// Who has more than the change's past refuses it by the same rule: also if that holds what it names.
    fn check_refusal(&self, at: usize, raw: &[u8], refusal: &Refusal) {
        let mut past = self.pasts[at].clone();
        for later in self.rest(at, raw) {
            judge_change(later, &mut past).expect("honest");
        }
        let again = judge_change(raw, &mut past).map(drop);
        assert_eq!(again, Err(GateError::Rule(refusal.clone())));
    }

    fn check_orders(&self, at: usize, raw: &Vec<u8>, rng: &mut Rng) {
        let rest = self.rest(at, raw);
        let before: Vec<&Vec<u8>> = self.changes[..at].iter().map(|(_, raw)| raw).collect();
        let first = [&before[..], &[raw], &rest].concat();
        let last = [&before[..], &rest, &[raw]].concat();
        let (doc, _) = document_of(&first);
        let value = seen(&doc);
        let (mut doc, _) = document_of(&last);
        assert_eq!(seen(&doc), value, "first or last");
        let cut = rng.below(rest.len() + 1);
        let middle = [&before[..], &rest[..cut], &[raw], &rest[cut..]].concat();
        let (mut other, past) = document_of(&middle);
        assert_eq!(seen(&other), value, "first or in the middle");
        // Honest people go on with it.
        other.set_actor([78; 16]);
        let (at, mut past) = (doc.heads(), past);
        for _ in 0..3 {
            edit_once(&mut other, rng);
        }
        let mut new = Vec::new();
        for (_, raw) in other.changes_raw(&at) {
            new.push(judge_change(&raw, &mut past).expect("honest").change);
        }
        doc.apply(new).expect("complete");
        assert_eq!(seen(&doc), seen(&other));
    }
}

/// Mutated changes, a bed for each hundred.
fn run(inputs: u64, seed: u64, mutate: impl Fn(&Bed, usize, &mut Rng) -> Option<Vec<u8>>) -> Tally {
    let mut tally = Tally::default();
    let mut bed = Bed::new(seed);
    let mut round = 0;
    while tally.inputs < inputs {
        let mut rng = Rng::new(seed ^ (round << 20));
        if round % 100 == 99 {
            bed = Bed::new(seed + round);
        }
        round += 1;
        if round % 100_000 == 0 {
            println!("  {} inputs, {} accepted so far", tally.inputs, tally.accepted);
        }
        let at = rng.below(bed.changes.len());
        let Some(raw) = mutate(&bed, at, &mut rng) else { continue };
        bed.judge(at, &raw, &mut tally, &mut rng);
    }
    tally
}

/// Bar 7, the bytes.
#[test]
fn changes_with_mutated_bytes_do_no_harm() {
    quiet();
    let tally = run(scaled(20_000, 1_000_000), 1, |bed, at, rng| {
        let other = &bed.changes[rng.below(bed.changes.len())].1;
        Some(chunk(&mutate_bytes(contents(&bed.changes[at].1), contents(other), rng)))
    });
    tally.report("mutated bytes");
    assert!(tally.verdicts.len() > 10);
}

/// Bar 7, the operations.
#[test]
fn well_formed_changes_with_mutated_fields_do_no_harm() {
    quiet();
    let tally = run(scaled(10_000, 1_000_000), 2, |bed, at, rng| {
        let honest = automerge::Change::try_from(&bed.changes[at].1[..]).expect("honest").decode();
        encode(mutate_change(&honest, &bed.pool, rng))
    });
    tally.report("mutated fields");
    assert!(tally.accepted * 50 > tally.inputs, "too few get so far as to be tried: {}", tally.accepted);
}
