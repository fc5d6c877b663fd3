//! Patches tell the whole story: a plain model that only ever sees patches equals the document after any edits, merges
//! and failures, on every replica.

mod document_common;

use dinh_core::document::{Document, EditError, Value};
use dinh_core::path;
use proptest::prelude::*;

use document_common::{Node, Op, base, commit, ops, pull, run};

#[derive(Clone, Debug)]
enum Step {
    Edit(usize, Vec<Op>),
    Fail(usize, Vec<Op>),
    Pull(usize, usize),
    Reload(usize),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0..3_usize, ops()).prop_map(|(who, ops)| Step::Edit(who, ops)),
        1 => (0..3_usize, ops()).prop_map(|(who, ops)| Step::Fail(who, ops)),
        3 => (0..3_usize, 0..3_usize).prop_map(|(from, to)| Step::Pull(from, to)),
        1 => (0..3_usize).prop_map(Step::Reload),
    ]
}

fn check(doc: &Document, model: &Node) -> Result<(), TestCaseError> {
    prop_assert_eq!(&Node::read(doc), model);
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, ..ProptestConfig::default() })]

    #[test]
    fn a_view_that_follows_patches_equals_the_document(steps in proptest::collection::vec(step(), 1..24)) {
        let first = base(1);
        let mut docs = vec![first.clone()];
        for actor in [2, 3] {
            docs.push(Document::load(&first.save(), [actor; 16]).expect("saved by ourselves"));
        }
        let mut models: Vec<_> = docs.iter().map(|doc| {
            let mut model = Node::new();
            model.apply(&doc.diff(&[], &doc.heads()).expect("its own heads"));
            model
        }).collect();
        let mut heads: Vec<_> = vec![docs[0].heads()];
        for step in &steps {
            match step {
                Step::Edit(who, ops) => {
                    if let Some(change) = commit(&mut docs[*who], ops) {
                        models[*who].apply(&change.patches);
                        heads.push(vec![change.hash]);
                    }
                    check(&docs[*who], &models[*who])?;
                }
                Step::Fail(who, ops) => {
                    let doc = &mut docs[*who];
                    let before = doc.save();
                    let failed: Result<((), _), _> = doc.edit(0, None, |edit| {
                        for op in ops { run(edit, op)?; }
                        Err(EditError::Root)
                    });
                    prop_assert_eq!(failed.err(), Some(EditError::Root));
                    prop_assert_eq!(doc.save(), before);
                    check(doc, &models[*who])?;
                }
                Step::Pull(from, to) if from != to => {
                    let source = docs[*from].clone();
                    let patches = pull(&source, &mut docs[*to]);
                    models[*to].apply(&patches);
                    check(&docs[*to], &models[*to])?;
                }
                Step::Pull(..) => {}
                Step::Reload(who) => {
                    let reloaded = Document::load(&docs[*who].save(), [*who as u8 + 1; 16]).expect("saved by ourselves");
                    prop_assert_eq!(reloaded.heads(), docs[*who].heads());
                    for actor in [[1; 16], [2; 16], [3; 16]] {
                        prop_assert_eq!(reloaded.actor_tip(&actor), docs[*who].actor_tip(&actor));
                    }
                    docs[*who] = reloaded;
                    check(&docs[*who], &models[*who])?;
                }
            }
        }
        // Everybody gets everything, and all agree.
        for (from, to) in [(1, 0), (2, 0), (0, 1), (0, 2)] {
            let source = docs[from].clone();
            let patches = pull(&source, &mut docs[to]);
            models[to].apply(&patches);
        }
        for (doc, model) in docs.iter().zip(&models) {
            prop_assert_eq!(doc.heads(), docs[0].heads());
            prop_assert_eq!(doc.view().get(&path![]), docs[0].view().get(&path![]));
            check(doc, model)?;
        }
        // A difference between any two moments leads from one to the other.
        let doc = &docs[0];
        heads.push(doc.heads());
        for pair in heads.windows(2) {
            let past = doc.view_at(&pair[0]).expect("known").get(&path![]);
            let mut model = Node::new();
            model.apply(&doc.diff(&[], &pair[0]).expect("known"));
            prop_assert_eq!(Some(plain(&model)), past);
            model.apply(&doc.diff(&pair[0], &pair[1]).expect("known"));
            prop_assert_eq!(Some(plain(&model)), doc.view_at(&pair[1]).expect("known").get(&path![]));
        }
        let mut model = Node::new();
        for pair in [vec![], heads[0].clone(), doc.heads()].windows(2) {
            model.apply(&doc.diff(&pair[0], &pair[1]).expect("known"));
        }
        check(doc, &model)?;
    }
}

fn plain(node: &Node) -> Value {
    match node {
        Node::Scalar(value) => value.clone(),
        Node::Map(map) => Value::Map(map.iter().map(|(key, (_, node))| (key.clone(), plain(node))).collect()),
        Node::List(list) => Value::List(list.iter().map(|(_, node)| plain(node)).collect()),
        Node::Text(units, _) => Value::Text(String::from_utf16(units).expect("no pair is cut")),
    }
}
