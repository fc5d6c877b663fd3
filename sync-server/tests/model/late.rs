//! What becomes of what came too late.

use dinh_core::document::Value;
use dinh_model::access::act;
use dinh_model::branch;
use dinh_model::index::Entry;
use dinh_model::late;
use dinh_model::outline::{self, Put};
use dinh_model::resolution::{self, OPEN_SCHEMA, Resolution};
use dinh_model::seal::{self, NewSeal};
use dinh_model::suggestion::Place;
use dinh_proto::charter::record::{Role, Writers};
use dinh_proto::ids::DocId;

use crate::pair_common::NOW;
use crate::pair_common::net::{Net, member as who};

const SECRETARY: usize = 0;
const LATE: usize = 1;
const TEXT: &str = "Trồng hoa hai bên đường.";

fn draft(net: &mut Net, place: &branch::Place, period: &str) -> (DocId, String) {
    let entry = Entry { schema: OPEN_SCHEMA.name, period: Some(period), ..Entry::default() };
    let mut block = String::new();
    let doc = branch::create(net.p(SECRETARY), NOW, place, Writers::All, &entry, |e, me| {
        resolution::create(e, &OPEN_SCHEMA, period, &[])?;
        let section = outline::add_section(e, me, "III", Put::Last)?;
        block = outline::add_block(e, me, &section, "item", TEXT, None, Put::Last)?;
        Ok(())
    });
    (doc.unwrap(), block)
}

#[test]
fn a_late_proposal_goes_on_as_a_suggestion_for_the_next_document() {
    let mut net = Net::branch(&[Role::Committee]);
    let branch = net.branch;
    let standing = branch::set_up(net.p(SECRETARY), NOW, branch, "Chi bộ").unwrap();
    let (old, block) = draft(&mut net, &standing.members, "2026-12");
    let (next, next_block) = draft(&mut net, &standing.members, "2027-01");
    net.tend();
    net.off(LATE);
    let (text, new) = (outline::text_of(&block), TEXT.replace("hoa", "hoa và cây xanh"));
    act(net.p(LATE), NOW, &old, None, |e, _| e.set_text(&text, &new)).unwrap();
    let section = net.p(LATE).view(&old, |v| v.keys(&dinh_core::path!["sections"]).remove(0)).unwrap();
    act(net.p(LATE), NOW, &old, None, |e, me| {
        outline::add_block(e, me, &section, "item", "Thêm một việc.", None, Put::Last)
    })
    .unwrap();
    let heads = net.p(SECRETARY).document(&old, |d| d.heads()).unwrap();
    let name = old.to_string();
    let seal = NewSeal { document: &name, schema: &OPEN_SCHEMA, heads: &heads, number: None, previous: &[] };
    act(net.p(SECRETARY), NOW, &old, None, |e, me| seal::seal(e, me, &seal)).unwrap();
    net.on(LATE);
    net.tend();
    let found = late::of(net.p(SECRETARY), &old, &OPEN_SCHEMA).unwrap();
    assert_eq!(found, late::of(net.p(LATE), &old, &OPEN_SCHEMA).unwrap());
    assert_eq!(found.len(), 2, "{found:?}");
    let (changed, added) = (&found[0], &found[1]);
    assert_eq!((changed.before.as_str(), changed.after.as_str()), (TEXT, new.as_str()));
    assert_eq!((added.before.as_str(), added.after.as_str()), ("", "Thêm một việc."), "not its order");
    assert_eq!(changed.by.unwrap().member, who(LATE));
    // The new block has no place in the next draft, the changed one has.
    let refused = late::into_suggestion(net.p(SECRETARY), NOW, &old, added, &next, &next_block);
    assert!(refused.unwrap_err().to_string().contains("choose another"));
    let id = late::into_suggestion(net.p(SECRETARY), NOW, &old, changed, &next, &next_block).unwrap();
    let thread = late::into_feedback(net.p(SECRETARY), NOW, &old, added, &standing.feedback).unwrap();
    net.tend();
    let resolution = dinh_model::access::read(net.p(LATE), &next, Resolution::read).unwrap();
    let suggestion = &resolution.suggestions[0];
    assert_eq!((suggestion.id.as_str(), suggestion.proposed.as_str()), (id.as_str(), new.as_str()));
    let place = net.p(LATE).view(&next, |view| suggestion.place(view)).unwrap();
    assert!(matches!(place, Place::Here(_)));
    let became: Vec<_> =
        late::of(net.p(LATE), &old, &OPEN_SCHEMA).unwrap().into_iter().map(|p| p.became).collect();
    assert_eq!(became, [Some(format!("{next}#{id}")), Some(format!("{}#{thread}", standing.feedback))]);
    // What was adopted is as it was, and whoever knows of the seal changes nothing of it.
    let refused = act(net.p(LATE), NOW, &old, None, |e, _| {
        e.put(&dinh_core::path!["enacting_clause"], Value::from("x"))
    });
    assert!(refused.unwrap_err().to_string().contains("sealed"));
}
