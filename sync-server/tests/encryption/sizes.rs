//! Padded threads, and what encryption costs.

use dinh_core::path;
use dinh_core::replica::SpaceOptions;
use dinh_proto::charter::record::{Audience, Role, Writers};
use dinh_proto::item::{ITEM_OVERHEAD_BYTES, Kind, RawItem};
use dinh_proto::limits::PADDED_STEP;

use crate::pair_common::net::{Net, member};
use crate::pair_common::{NOW, key, parsed};

#[test]
fn a_padded_thread_is_closed_to_all_but_its_readers() {
    // 1: deputy, 2: the committee member who is asked, 3: who asks, 4: another member.
    let mut net = Net::branch(&[Role::Deputy, Role::Committee, Role::Member, Role::Member]);
    let branch = net.branch;
    let options = SpaceOptions { history: false, padded: true };
    let audience = Audience::Members(vec![member(2), member(3)]);
    let space = net.p(3).create_space_with(branch, audience, options).unwrap();
    let thread = net.p(3).create_document(space, Writers::All).unwrap();
    net.p(3).edit(NOW, &thread, None, |e| e.put_text(&path!["text"])).unwrap();
    net.settle();
    let mut lengths = 0;
    for n in 0..60usize {
        let by = [2, 3][n % 2];
        let words = "ý kiến ".repeat(1 + n * n / 7);
        net.p(by).edit(NOW, &thread, None, |e| e.set_text(&path!["text"], &words)).unwrap();
        net.settle();
        lengths += words.len();
    }
    let text = |net: &mut Net, i: usize| net.p(i).view(&thread, |v| v.text(&path!["text"])).ok().flatten();
    assert!(text(&mut net, 2).is_some() && text(&mut net, 2) == text(&mut net, 3));
    let items = parsed(&net.relay.log);
    let of_thread: Vec<&RawItem> = items.iter().filter(|i| i.header().space == space).collect();
    assert!(of_thread.len() >= 60);
    let mut sizes: Vec<usize> = of_thread.iter().map(|i| i.as_bytes().len() - ITEM_OVERHEAD_BYTES).collect();
    let odd = sizes.iter().filter(|s| **s % PADDED_STEP != 0 || **s == 0).count();
    assert_eq!(odd, 0);
    sizes.sort_unstable();
    sizes.dedup();
    // Nobody else is handed it, and nobody else opens it: not with all keys of the others, nor without any.
    let mut opened = 0;
    for seed in [1u8, 2, 5] {
        let handed = net.relay.ear(&key(seed)).items;
        let of_space = |b: &&bytes::Bytes| RawItem::parse((*b).clone()).unwrap().header().space == space;
        assert_eq!(handed.iter().filter(of_space).count(), 0, "device of seed {seed}");
        let keys = crate::epochs::keys_of(&key(seed), branch, &items);
        assert!(!keys.contains_key(&space) && !keys.is_empty());
        opened += of_thread
            .iter()
            .filter(|i| keys.values().flatten().any(|k| k.open(&(**i).clone().trust(), true).is_ok()))
            .count();
        let node = usize::from(seed) - 1;
        assert_eq!(text(&mut net, node).unwrap_or_default(), "");
    }
    assert_eq!(opened, 0);
    let readers = crate::epochs::keys_of(&key(3), branch, &items);
    let all = of_thread
        .iter()
        .filter(|i| readers[&space].iter().any(|k| k.open(&(**i).clone().trust(), true).is_ok()));
    assert_eq!(all.count(), of_thread.len());
    println!(
        "padded thread: {} items of {lengths} bytes of text, {odd} not a multiple of 512, sizes {sizes:?}; 3 strangers open {opened}",
        of_thread.len()
    );
}

#[test]
fn what_a_run_of_sixteen_changes_costs() {
    let mut net = Net::branch(&[Role::Member]);
    let branch = net.branch;
    let space = net.p(0).create_space(branch, Audience::Everyone).unwrap();
    let doc = net.p(0).create_document(space, Writers::All).unwrap();
    net.p(0).edit(NOW, &doc, None, |e| e.put_text(&path!["text"])).unwrap();
    net.settle();
    net.put_text(1, &doc, "Chi bộ thôn Đông họp thường kỳ. ");
    net.off(1);
    // As a person types: a word or a few at a pause, here and there a correction or a tick in a list.
    let words = [
        "Đồng chí ",
        "bí thư ",
        "khai mạc. ",
        "Có mặt ",
        "ba mươi hai ",
        "đảng viên. ",
        "Nội dung: ",
        "bàn về ",
        "đường ",
        "nông thôn ",
        "mới, ",
        "nước sạch ",
        "và ",
        "quỹ ",
        "khuyến học. ",
        "Biểu quyết: ",
    ];
    let mut plain = 0;
    for word in words {
        let end = net.p(1).view(&doc, |v| v.text(&path!["text"])).unwrap().unwrap().chars().count();
        net.p(1).edit(NOW, &doc, None, |e| e.splice_text(&path!["text"], end, 0, word)).unwrap();
        plain += word.len();
    }
    let before = net.relay.log.len();
    net.meet(&[1]);
    let new: Vec<RawItem> = parsed(&net.relay.log).split_off(before);
    let runs: Vec<&RawItem> = new.iter().filter(|i| i.header().kind == Kind::Run).collect();
    assert_eq!(runs.len(), 1);
    assert_eq!(runs[0].header().count, 16);
    let bytes = runs[0].as_bytes().len();
    let overhead = bytes.saturating_sub(plain);
    println!(
        "16 changes in one item: {bytes} bytes, {:.1} a change; {plain} bytes of text, so {overhead} more, {:.1} a change; header and signature {ITEM_OVERHEAD_BYTES}",
        bytes as f64 / 16.0,
        overhead as f64 / 16.0
    );
    assert!(bytes <= 16 * 64, "{bytes} bytes");
}
