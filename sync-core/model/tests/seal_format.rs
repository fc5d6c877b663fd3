//! The bytes that a seal's hashes are over, made here by hand from the format in `seal.rs`: another program can check a seal.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod village;

use dinh_core::document::{Expand, Value};
use dinh_core::path;
use dinh_model::resolution::{self, SCHEMA};
use dinh_model::seal::{Seal, content_hash};
use dinh_proto::charter::record::{Role, Writers};
use sha2::{Digest, Sha256};
use village::{SECRETARY, Village};

#[derive(Default)]
struct Bytes(Vec<u8>);

impl Bytes {
    fn tag(mut self, tag: u8) -> Self {
        self.0.push(tag);
        self
    }

    fn len(mut self, len: usize) -> Self {
        self.0.extend(u32::try_from(len).unwrap().to_le_bytes());
        self
    }

    fn raw(mut self, bytes: &[u8]) -> Self {
        self.0.extend(bytes);
        self
    }

    fn text(self, text: &str) -> Self {
        self.len(text.len()).raw(text.as_bytes())
    }

    fn hash(&self) -> String {
        Sha256::digest(&self.0).iter().map(|b| format!("{b:02x}")).collect()
    }
}

#[test]
fn the_content_of_a_document() {
    let mut village = Village::new(&[Role::Member]);
    let doc = village.create(SECRETARY, Writers::All, &SCHEMA);
    village.act(SECRETARY, &doc, |e, _| {
        resolution::create(e, &SCHEMA, "2026-12", &[("symbol", "NQ/CB")])?;
        let block = [("order".to_owned(), Value::from("80")), ("text".to_owned(), Value::text("hòa bình"))];
        e.put(&path!["blocks", "b1"], Value::Map(block.into()))?;
        e.mark(&path!["blocks", "b1", "text"], 0..3, "bold", true, Expand::Both)?;
        e.put(&path!["recipients", "x"], Value::List(vec![Value::Uint(7), Value::Int(-1), Value::Null]))
    });
    let keys = ["recipients", "blocks", "header", "nothing there"];
    let made = village.phones[SECRETARY].view(&doc, |view| content_hash(view, &keys)).unwrap();
    let made: String = made.iter().map(|b| format!("{b:02x}")).collect();
    let expected = Bytes::default()
        .raw(b"dinh/sel1\0")
        // Keys ascend.
        .text("blocks")
        .tag(10)
        .len(1)
        .text("b1")
        .tag(10)
        .len(2)
        .text("order")
        .tag(6)
        .text("80")
        .text("text")
        .tag(9)
        .text("h\u{f2}a b\u{ec}nh")
        .len(1)
        .len(0)
        .len(3)
        .text("bold")
        .tag(2)
        .text("header")
        .tag(10)
        .len(1)
        .text("symbol")
        .tag(6)
        .text("NQ/CB")
        .text("recipients")
        .tag(10)
        .len(1)
        .text("x")
        .tag(11)
        .len(3)
        .tag(4)
        .raw(&7_u64.to_le_bytes())
        .tag(3)
        .raw(&(-1_i64).to_le_bytes())
        .tag(0);
    assert_eq!(made, expected.hash());
}

#[test]
fn the_hash_of_a_seal() {
    let seal = Seal {
        document: "d".into(),
        schema: SCHEMA.name.into(),
        heads: vec!["aa".into(), "bb".into()],
        content: "cc".into(),
        at: 1_790_000_000_000,
        number: Some("23".into()),
        by: "ee".into(),
        previous: Vec::new(),
    };
    let expected = Bytes::default()
        .raw(b"dinh/slh1\0")
        .tag(10)
        .len(8)
        .text("at")
        .tag(8)
        .raw(&1_790_000_000_000_i64.to_le_bytes())
        .text("by")
        .tag(6)
        .text("ee")
        .text("content")
        .tag(6)
        .text("cc")
        .text("document")
        .tag(6)
        .text("d")
        .text("heads")
        .tag(11)
        .len(2)
        .tag(6)
        .text("aa")
        .tag(6)
        .text("bb")
        .text("number")
        .tag(6)
        .text("23")
        .text("previous")
        .tag(11)
        .len(0)
        .text("schema")
        .tag(6)
        .text("dinh.resolution/1");
    assert_eq!(seal.hash(), expected.hash());
    // It does not change: what is sealed today is checked in years.
    assert_eq!(seal.hash(), "a3ce9918f1b706c5d77925ab2c27bbb50db1b836d52b300f911e266f36c559c6");
}
