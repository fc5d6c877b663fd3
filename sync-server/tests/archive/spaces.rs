//! Spaces that go from one log to another.

use std::fs;
use std::path::Path;

use dinh_proto::ids::SpaceId;
use dinh_proto::item::Item;
use dinh_server::archive::{self, ArchiveError, Exported, Imported};

use crate::hub_common::{Branch, committee, draft, village};
use crate::make::*;

fn export(data: &Path, space: SpaceId, all: bool, output: &Path) -> Result<Exported, ArchiveError> {
    archive::export(data, space, all, output, WALL_MS, &mut |_| {})
}

fn import(data: &Path, from: &Path) -> Result<Imported, ArchiveError> {
    let mut name = epoch(0);
    getrandom::fill(&mut name.0).unwrap();
    archive::import(data, from, name, &mut |_| {})
}

fn branch_of(items: &[Item]) -> SpaceId {
    items[0].header().space
}

#[test]
fn a_branch_moves_to_another_relay_and_the_second_time_nothing_is_taken() {
    let items = history(120);
    let branch = branch_of(&items);
    let source = data_with(&items);
    append(source.path(), 2, &[]);
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    let one = export(source.path(), village(), false, &at("one")).unwrap();
    assert_eq!((one.branch, one.spaces), (branch, vec![village()]));
    let charter = export(source.path(), branch, false, &at("charter")).unwrap();
    assert_eq!((charter.items, charter.spaces.len()), (8, 0));
    let all = export(source.path(), branch, true, &at("all")).unwrap();
    assert_eq!((all.items, all.spaces.len()), (items.len() as u64, 2));
    for name in ["one", "charter", "all"] {
        let found = verify_from(&at(name));
        assert!(found.problems.is_empty(), "{name}: {}", problems(&found));
    }
    // Another relay with another branch, and then piece by piece.
    let target = tempfile::tempdir().unwrap();
    append(target.path(), 70, &[]);
    let first = import(target.path(), &at("one")).unwrap();
    assert_eq!((first.items + first.snapshots_left_out, first.were_there), (one.items, 0));
    assert_eq!(first.snapshots_left_out, 6, "they say how far they go by places of the other log");
    let second = import(target.path(), &at("all")).unwrap();
    assert_eq!(second.were_there, first.items);
    let third = import(target.path(), &at("all")).unwrap();
    assert_eq!((third.items, third.were_there), (0, items.len() as u64 - 6));
    let found = verify_data(target.path());
    assert!(found.problems.is_empty(), "{}", problems(&found));
    assert_eq!((found.counts.items, found.counts.chains), (items.len() as u64 - 6, 4));
    let mut there = items_of(target.path());
    there.sort();
    let mut expected: Vec<_> =
        items.iter().filter(|i| i.header().n().is_some()).map(|i| i.bytes().clone()).collect();
    expected.sort();
    assert_eq!(there, expected);
    // Into a log of the same history snapshots go too, as far as it goes.
    let older = data_with(&items[..items.len() - 1]);
    let back = import(older.path(), &at("all")).unwrap();
    assert_eq!((back.items, back.were_there, back.snapshots_left_out), (1, items.len() as u64 - 6, 5));
    assert_eq!(items_of(older.path()), bytes_of(&items));
    let older = data_with(&items[..100]);
    let back = import(older.path(), &at("all")).unwrap();
    assert_eq!((back.items, back.were_there, back.snapshots_left_out), (32, 96, 6));
}

#[test]
fn what_contradicts_the_log_is_named_and_nothing_is_taken() {
    let items = history(40);
    let branch = branch_of(&items);
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("branch");
    export(data_with(&items).path(), branch, true, &file).unwrap();
    // A device whose store was copied wrote something else under the same number.
    let mut forked = Branch::new();
    let mut others = forked.records.clone();
    others.push(forked.member.run(village(), draft(), b"otherwise"));
    let target = data_with(&others);
    let before = items_of(target.path());
    let error = import(target.path(), &file).unwrap_err();
    let member = forked.member.key.public().id();
    let told = error.to_string();
    assert!(
        told.contains("the log has another item as number 1") && told.contains(&member.to_string()),
        "{told}"
    );
    assert_eq!(items_of(target.path()), before);
    // A file of the wrong kind, a damaged one, a space that nobody made.
    let whole = dir.path().join("backup");
    fs::write(&whole, backup_of(target.path())).unwrap();
    let told = import(target.path(), &whole).unwrap_err().to_string();
    assert!(told.contains("dinh-relay restore takes it"), "{told}");
    let output = run(&["restore", "--from", text(&file), "--data", text(&dir.path().join("new"))]);
    assert!(stderr(&output).contains("import-space takes them"), "{}", stderr(&output));
    let mut bytes = fs::read(&file).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&file, bytes).unwrap();
    assert!(matches!(import(target.path(), &file), Err(ArchiveError::Damaged { .. })));
    assert_eq!(items_of(target.path()), before);
    let told = export(target.path(), SpaceId([9; 16]), false, &dir.path().join("none")).unwrap_err();
    assert!(told.to_string().contains("0909"), "{told}");
    assert!(!dir.path().join("none").exists());
}

#[test]
fn a_space_of_another_branch_is_refused() {
    use dinh_proto::charter::record::{Role, found};
    use dinh_proto::ids::DocId;
    use dinh_proto::item::Kind;
    use dinh_proto::item::Place;
    use dinh_proto::keys::SignKey;

    use crate::hub_common::{Phone, plain_space};
    // The same device founds a second branch, and makes a space in it that the first branch has here.
    let mut phone = Phone::new(1);
    let (id, genesis) = found(&SignKey::from_seed(&[98; 32]), phone.certificate(Role::Secretary));
    let place = Place::Chain { n: 1, prev: [0; 16] };
    let genesis = phone.sign_at(Kind::Charter, id, DocId::default(), place, &genesis);
    phone.continue_after(id, &genesis);
    let audience = dinh_proto::charter::record::Audience::Everyone;
    let space = phone.record(id, &plain_space(21, audience));
    let source = data_with(&[genesis, space]);
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("second");
    assert_eq!(export(source.path(), id, true, &file).unwrap().spaces, vec![committee()]);
    let target = data_with(&history(10));
    let before = items_of(target.path());
    let told = import(target.path(), &file).unwrap_err().to_string();
    let first = branch_of(&history(1)).to_string();
    assert!(told.contains(&committee().to_string()) && told.contains(&first), "{told}");
    assert_eq!(items_of(target.path()), before);
}
