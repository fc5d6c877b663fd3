//! What the index costs: memory is bounded here, time is only measured.
//! `cargo test --release -p dinh-text --test search_cost -- --ignored --nocapture`

use dinh_text::search::Index;

const DOCS: usize = 140;
const DOC_BYTES: usize = 8 * 1024;

/// Documents of 8 KB, each of the sample's lines in an order of its own.
fn branch_year() -> Vec<String> {
    let lines: Vec<&str> = include_str!("../testdata/village.txt").lines().collect();
    let mut seed = 1_u64;
    let mut next = move || {
        // A linear congruential generator (Knuth's MMIX constants): the same texts in every run.
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(seed >> 33).expect("31 bits")
    };
    (0..DOCS)
        .map(|doc| {
            let mut text = format!("Biên bản số {doc}/BB-CB\n");
            while text.len() < DOC_BYTES {
                text.push_str(lines[next() % lines.len()]);
                text.push('\n');
            }
            text
        })
        .collect()
}

fn indexed(texts: &[String]) -> Index<u32, u8> {
    let mut index = Index::new();
    for (doc, text) in (0..).zip(texts) {
        index.update(doc, 0, text);
    }
    index
}

#[test]
fn memory_per_byte_of_text() {
    let texts = branch_year();
    let bytes: usize = texts.iter().map(String::len).sum();
    let memory = indexed(&texts).memory_bytes();
    let per_byte_percent = memory * 100 / bytes;
    println!("{DOCS} documents, {bytes} bytes of text, {memory} bytes of index: {per_byte_percent} % ");
    assert!(per_byte_percent < 220);
}

#[test]
#[ignore = "a measurement: run in release with --nocapture"]
fn time_of_a_search() {
    use std::time::Instant;
    let texts = branch_year();
    let bytes: usize = texts.iter().map(String::len).sum();
    let begin = Instant::now();
    let index = indexed(&texts);
    println!("indexed {bytes} bytes in {:?}", begin.elapsed());
    let mut index = index;
    let begin = Instant::now();
    index.update(7, 0, &texts[8]);
    println!("one document again in {:?}", begin.elapsed());
    for query in [
        "khuoi lan",
        "nghị quyết tháng 12",
        "đảng viên",
        "d",
        "chi bo thon na man",
        "đồng chí Hoàng Văn Thiết",
        "zzz",
    ] {
        let mut times: Vec<_> = (0..50)
            .map(|_| {
                let begin = Instant::now();
                let hits = index.search(query);
                (begin.elapsed(), hits.len())
            })
            .collect();
        times.sort();
        println!("{query:>26}: {:4} hits, median {:?}, worst {:?}", times[25].1, times[25].0, times[49].0);
    }
}
