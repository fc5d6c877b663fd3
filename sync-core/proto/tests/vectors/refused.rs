//! Vectors that must be refused, each made from one that is accepted.

use dinh_proto::channel::Channel;
use dinh_proto::codec::Write;
use dinh_proto::item::{HEADER_BYTES, ITEM_OVERHEAD_BYTES};
use dinh_proto::keys::{DeviceKey, RelayKey};
use sha2::{Digest, Sha256};

use super::catalogue::{CHALLENGE, Catalogue, MEMBER, ROOT_SEED, SECRETARY, channels};
use super::sealed;

pub(crate) fn add(c: &mut Catalogue) {
    items(c);
    records(c);
    packs(c);
    messages(c);
    frames(c);
    sealed::refused(c);
}

fn key(seed: &[u8; 32]) -> DeviceKey {
    DeviceKey::from_seed(seed)
}

/// The item with a changed header, signed again.
fn resigned(item: &[u8], domain: &[u8], change: impl FnOnce(&mut [u8])) -> Vec<u8> {
    let mut bytes = item.to_vec();
    change(&mut bytes[..HEADER_BYTES]);
    let id = Sha256::new_with_prefix(b"dinh/hdr1\0").chain_update(&bytes[..HEADER_BYTES]).finalize();
    bytes[HEADER_BYTES..ITEM_OVERHEAD_BYTES].copy_from_slice(&key(&SECRETARY).sign(domain, &id));
    bytes
}

fn flipped(bytes: &[u8], at: usize) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    bytes[at] ^= 1;
    bytes
}

fn items(c: &mut Catalogue) {
    let run = c.get("item-run").bytes.clone();
    let record = c.get("item-record").bytes.clone();
    let snapshot = c.get("item-snapshot").bytes.clone();
    let member = key(&MEMBER).public().id();
    let mut add = |name, code, about, bytes| c.refuse("item-run", name, code, about, bytes);
    let longer = [&run[..], &[0]].concat();
    add("empty", "Malformed", "no byte", Vec::new());
    add("cut-header", "Malformed", "the header is cut short", run[..HEADER_BYTES - 1].to_vec());
    add("cut-signature", "Malformed", "the signature is cut short", run[..ITEM_OVERHEAD_BYTES - 1].to_vec());
    add("cut-payload", "Malformed", "the payload is cut short", run[..run.len() - 1].to_vec());
    add("trailing", "Malformed", "a byte follows the payload", longer);
    add("payload-flipped", "Malformed", "the payload has not its hash", flipped(&run, ITEM_OVERHEAD_BYTES));
    add("signature-flipped", "BadSignature", "a bit of the signature", flipped(&run, HEADER_BYTES));
    add("header-flipped", "BadSignature", "a bit of the charter tag, not signed again", flipped(&run, 102));

    let set = |item: &[u8], change: fn(&mut [u8])| resigned(item, b"dinh/itm1\0", change);
    add("domain", "BadSignature", "signed under another domain", resigned(&run, b"dinh/chn1\0", |_| {}));
    let named = resigned(&run, b"dinh/itm1\0", |h| h[36..52].copy_from_slice(&member.0));
    add("another-author", "BadSignature", "well signed, in another device's name", named);
    add("version", "Malformed", "item version 2", set(&run, |h| h[0] = 2));
    add("kind", "Malformed", "item kind 4", set(&run, |h| h[1] = 4));
    add("codec", "Malformed", "codec 0 in a run", set(&run, |h| h[2] = 0));
    add("reserved", "Malformed", "the reserved byte is 1", set(&run, |h| h[3] = 1));
    add("n-zero", "Malformed", "n is 0 and it is no snapshot", set(&run, |h| h[60] = 0));
    add("link-before-first", "Malformed", "n is 1 and there is a link", set(&run, |h| h[64] = 1));
    add("no-link", "Malformed", "n is 2 and there is no link", set(&run, |h| h[60] = 2));
    add("no-document", "Malformed", "a run without a document", set(&run, |h| h[20..36].fill(0)));
    add("first-seq-zero", "Malformed", "a run from change 0", set(&run, |h| h[80..84].fill(0)));
    add(
        "seq-overflow",
        "Malformed",
        "first seq + count is over 32 bits",
        set(&run, |h| h[80..84].fill(0xff)),
    );
    add("count-zero", "Malformed", "a run of no change", set(&run, |h| h[84..86].fill(0)));
    add("count-limit", "TooLarge", "a run of 1,025 changes", set(&run, |h| (h[84], h[85]) = (1, 4)));
    let long = 1_000_001u32.to_le_bytes();
    let bytes = resigned(&run, b"dinh/itm1\0", |h| h[118..122].copy_from_slice(&long));
    add("payload-limit", "TooLarge", "a payload of 1,000,001 bytes is announced", bytes);
    let long = 65_537u32.to_le_bytes();
    let bytes = resigned(&record, b"dinh/itm1\0", |h| h[118..122].copy_from_slice(&long));
    add("record-limit", "TooLarge", "a charter record of 65,537 bytes is announced", bytes);
    add("record-document", "Malformed", "a charter record of a document", set(&record, |h| h[20] = 1));
    add("record-commitment", "Malformed", "a charter record with a commitment", set(&record, |h| h[86] = 1));
    add("record-key-epoch", "Malformed", "a charter record with a key epoch", set(&record, |h| h[110] = 1));
    add("no-key-epoch", "Malformed", "a run that is not encrypted", set(&run, |h| h[110..118].fill(0)));
    add("no-commitment", "Malformed", "a run without commitment", set(&run, |h| h[86..102].fill(0)));
    let bare = set(&snapshot, |h| h[86..102].fill(0));
    add("snapshot-no-commitment", "Malformed", "a snapshot without commitment", bare);
    add("sealed-elsewhere", "DoesNotOpen", "the payload is another document's", set(&run, |h| h[20] ^= 1));
    add("another-key", "WrongKey", "encrypted under another key", set(&run, |h| h[110] ^= 1));
    add("snapshot-n", "Malformed", "a snapshot in a chain", set(&snapshot, |h| h[60] = 1));
    add("snapshot-count", "Malformed", "a snapshot with a count", set(&snapshot, |h| h[84] = 1));
}

fn records(c: &mut Catalogue) {
    let genesis = c.get("record-genesis").bytes.clone();
    let device = c.get("record-device").bytes.clone();
    let members = c.get("record-space-members").bytes.clone();
    let document = c.get("record-document").bytes.clone();
    let grant = c.get("record-grant").bytes.clone();
    let removal = c.get("record-removal").bytes.clone();
    let upper = c.get("record-upper").bytes.clone();
    let request = c.get("join-request").bytes.clone();
    // What the root key signs is everything before its signature.
    let resigned = |change: fn(&mut [u8])| {
        let mut bytes = genesis.clone();
        let end = bytes.len() - 64;
        change(&mut bytes[..end]);
        let signature = key(&ROOT_SEED).sign(b"dinh/gen1\0", &bytes[..end]);
        bytes[end..].copy_from_slice(&signature);
        bytes
    };
    let with = |bytes: &[u8], at: usize, value: u8| {
        let mut bytes = bytes.to_vec();
        bytes[at] = value;
        bytes
    };
    let mut add = |name, about, bytes| c.refuse("record-genesis", name, "Malformed", about, bytes);
    add("empty", "no byte", Vec::new());
    add("type", "record type 17", with(&document, 0, 17));
    add("trailing", "a byte follows", [&document[..], &[0]].concat());
    add("cut", "cut short", document[..20].to_vec());
    add("rules", "rules version 2", resigned(|b| b[1] = 2));
    add("root-signature", "not signed by the root key", flipped(&genesis, genesis.len() - 1));
    add("root-weak", "a root key of small order", resigned(|b| b[3..35].fill(0)));
    add("role", "role 9", with(&device, 17, 9));
    add("algorithm", "key algorithm 2", with(&device, 18, 2));
    add("weak-key", "a device key of small order", {
        let mut bytes = device.clone();
        bytes[19..51].fill(0);
        bytes
    });
    // Behind the proof stands what was seen: one chain.
    add("proof", "the device did not sign for its key", flipped(&device, device.len() - 30));
    add("name-limit", "a sealed name of 129 bytes", {
        [&device[..115], &[0x81, 0x01], &[7; 129], &device[116 + 97..]].concat()
    });
    add("space-flags", "space flags 4", with(&members, 17, 4));
    add("audience", "audience 2", with(&members, 18, 2));
    add("members-order", "members not in order", {
        let mut bytes = members.clone();
        bytes[20..36].fill(0xff);
        bytes
    });
    add("members-twice", "a member twice", {
        let mut bytes = members.clone();
        bytes.copy_within(20..36, 36);
        bytes
    });
    add("writers", "writers 4", with(&document, 33, 4));
    add("generation", "generation 0", with(&grant, 33, 0));
    add("reason", "reason 4", with(&removal, 17, 4));
    add("mark-n", "a mark at item 0", with(&removal, 59, 0));
    add("marks-order", "marks not in order", with(&removal, 19, 0xff));
    add("upper", "a flag of 2", with(&upper, 5, 2));
    let mut add = |name, about, bytes| c.refuse("join-request", name, "Malformed", about, bytes);
    add("algorithm", "key algorithm 2", with(&request, 0, 2));
    add("trailing", "a byte follows", [&request[..], &[0]].concat());
}

fn packs(c: &mut Catalogue) {
    let plain = c.get("pack-plain").bytes.clone();
    let deflated = c.get("pack-deflated").bytes.clone();
    let split = c.get("pack-split").bytes.clone();
    assert_eq!((plain[0], deflated[0], split[0]), (0x10, 0x11, 0x12), "the packs have each form");
    let mut add = |name, about, bytes| c.refuse("pack-plain", name, "Malformed", about, bytes);
    add("empty", "no byte", Vec::new());
    add("version", "pack version 2", [&[0x20][..], &plain[1..]].concat());
    add("form", "form 3", [&[0x13][..], &plain[1..]].concat());
    add("cut", "cut short", plain[..plain.len() - 1].to_vec());
    add("trailing", "a byte follows", [&plain[..], &[0]].concat());
    add("count", "more changes announced than there are", [&[0x10, 2][..], &plain[2..]].concat());
    add("non-minimal", "a number in two bytes that fits one", [&[0x10, 0x81, 0][..], &plain[2..]].concat());
    add("changes-limit", "1,025 changes announced", [&[0x10, 0x81, 0x08][..], &plain[2..]].concat());
    add("actor-index", "an actor beyond the next new one", [&[0x10, 1, 2][..], &plain[3..]].concat());
    let mut add = |name, about, bytes| c.refuse("pack-deflated", name, "Malformed", about, bytes);
    add("deflated-trailing", "a byte follows the deflate stream", [&deflated[..], &[0]].concat());
    let mut longer = vec![0x11, deflated[1]];
    longer.put_uleb(2_000_000);
    longer.extend(&deflated[4..]);
    add("deflated-limit", "2,000,000 unpacked bytes announced", longer);
    add("split-cut", "the last part is cut short", split[..split.len() - 1].to_vec());
    add("split-trailing", "a byte follows the last part", [&split[..], &[0]].concat());
}

fn framed(body: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    out.put_blob(body);
    out
}

fn messages(c: &mut Catalogue) {
    let body = |c: &Catalogue, name: &str| {
        let bytes = &c.get(name).bytes;
        // Lengths below 128 take one byte, below 16,384 two.
        bytes[if bytes[0] < 0x80 { 1 } else { 2 }..].to_vec()
    };
    let hello = body(c, "message-hello");
    let items = body(c, "message-items-log");
    let reject = body(c, "message-reject-malformed");
    let sums = body(c, "message-caught-up-sums");
    let with = |bytes: &[u8], at: usize, value: u8| {
        let mut bytes = bytes.to_vec();
        bytes[at] = value;
        framed(&bytes)
    };
    let swapped = |bytes: &[u8], at: usize, each: usize| {
        let mut bytes = bytes.to_vec();
        let (a, b) = bytes[at..at + 2 * each].split_at_mut(each);
        a.swap_with_slice(b);
        framed(&bytes)
    };
    let spaces = |a: u8, b: u8| framed(&[&[11, 2][..], &[a; 16], &[b; 16]].concat());
    let mut add = |name, code, about, bytes| c.refuse("message-ping", name, code, about, bytes);
    let invalid = "InvalidMessage";
    add("empty", invalid, "a message of no byte", vec![0]);
    add("length-limit", invalid, "a length of 1,048,577", vec![0x81, 0x80, 0x40]);
    add("length-non-minimal", invalid, "a length of 1 in two bytes", vec![0x81, 0, 14]);
    add("type-0", "Incompatible", "type 0", vec![1, 0]);
    add("type-17", "Incompatible", "type 17, which may not be skipped", vec![1, 17]);
    add("trailing", invalid, "a byte follows the body", vec![2, 14, 0]);
    add("cut", invalid, "a body that is cut short", framed(&hello[..hello.len() - 1]));
    add("flag", invalid, "a flag that is 2", with(&hello, 1, 2));
    add("number-non-minimal", invalid, "credit 0 in two bytes", framed(&[13, 0x80, 0]));
    add("number-overflow", invalid, "credit over 64 bits", framed(&[&[13][..], &[0xff; 9], &[2]].concat()));
    add("count-beyond", invalid, "a list that is longer than its message", framed(&[11, 100]));
    add("count-limit", invalid, "16,385 spaces", framed(&[11, 0x81, 0x80, 1]));
    add("unsorted", invalid, "spaces not in order", spaces(2, 1));
    add("repeated", invalid, "a space twice", spaces(1, 1));
    add("sums-unsorted", invalid, "sums not in order of space", swapped(&sums, 4, 32));
    add("scope", invalid, "scope 3", with(&items, 1, 3));
    add("item-beyond-upto", invalid, "an item after the place that the message reaches", {
        // `upto` 400 becomes 300; the second item is at 301.
        let mut bytes = items.clone();
        (bytes[2], bytes[3]) = (0xac, 0x02);
        framed(&bytes)
    });
    add("item-short", invalid, "fewer bytes than an item has", framed(&[3, 2, 0, 1, 1, 1, 9]));
    add("item-limit", invalid, "an item of 1,000,219 bytes", framed(&[5, 1, 0, 0x9b, 0x86, 0x3d]));
    add("reject-code", invalid, "reject code 0", with(&reject, 34, 0));
    add("detail-not-utf8", invalid, "a detail that is not UTF-8", with(&reject, reject.len() - 1, 0xff));
    let detail = [&[16, 0, 0, 0, 0, 0, 0xc9, 1][..], &[b'a'; 201]].concat();
    add("detail-limit", invalid, "a detail of 201 bytes", framed(&detail));
    add("close-code", invalid, "close code 10", framed(&[16, 10, 0, 0, 0, 0, 0]));
    let mut presence = vec![12];
    presence.extend([0; 32]);
    presence.put_blob(&[0; 4_097]);
    add("presence-limit", invalid, "presence of 4,097 bytes", framed(&presence));
    let mut permit = vec![0x81];
    permit.put_blob(&[0; 257]);
    add("permit-limit", invalid, "a permit of 257 bytes", framed(&permit));
    add("partial", "", "a message that is not whole yet: wait", vec![5, 14]);

    let mut add = |name, code, about, bytes| c.refuse("ranges-some", name, code, about, bytes);
    add("adjacent", invalid, "two ranges that are one", vec![2, 1, 0, 1, 0]);
    add("zero", invalid, "a range from 0", vec![1, 0, 0]);
    add("overflow", invalid, "a range over 32 bits", vec![1, 1, 0xff, 0xff, 0xff, 0xff, 0x0f]);
    add("limit", invalid, "1,025 ranges", vec![0x81, 0x08, 1, 0]);
    add("trailing", invalid, "a byte follows", vec![0, 0]);
}

fn frames(c: &mut Catalogue) {
    let device = c.get("frame-device-first").bytes.clone();
    let relay = c.get("frame-relay-first").bytes.clone();
    let second = c.get("frame-device-second").bytes.clone();
    let with = |bytes: &[u8], at: usize, value: u8| {
        let mut bytes = bytes.to_vec();
        bytes[at] = value;
        bytes
    };
    let weak = |bytes: &[u8]| {
        let mut bytes = bytes.to_vec();
        bytes[5..37].fill(0);
        bytes
    };
    let (bad, invalid, incompatible) = ("BadHandshake", "InvalidMessage", "Incompatible");
    let mut add = |name, code, about, bytes| c.refuse("frame-device-first", name, code, about, bytes);
    add("empty", invalid, "no byte", Vec::new());
    add("magic", invalid, "another magic", with(&device, 0, b'd'));
    add("version", incompatible, "protocol version 2", with(&device, 3, 2));
    add("kind-0", incompatible, "channel kind 0", with(&device, 4, 0));
    add("kind-refusal", incompatible, "a refusal by a device", with(&device, 4, 0xff));
    add("ephemeral", bad, "a bit of the ephemeral key", flipped(&device, 36));
    add("weak-key", bad, "an ephemeral key of small order", weak(&device));
    add("static", bad, "a bit of the static key", flipped(&device, 50));
    add("payload", bad, "a bit of the keys and messages", flipped(&device, 110));
    add("tag", bad, "a bit of the last tag", flipped(&device, device.len() - 1));
    add("cut", bad, "the last byte is missing", device[..device.len() - 1].to_vec());
    add("cut-keys", bad, "nothing after the static key", device[..85].to_vec());
    add("trailing", bad, "a byte follows", [&device[..], &[0]].concat());
    let mut challenge = CHALLENGE;
    challenge.0[0] ^= 1;
    let mut again = Vec::new();
    channels(challenge).0.seal(b"", &mut again);
    add("another-challenge", bad, "made for another connection", again);
    let wrong = RelayKey::from_seed(&MEMBER).public();
    let mut again = Vec::new();
    Channel::device(&key(&SECRETARY), &wrong, CHALLENGE, [4; 32]).seal(b"", &mut again);
    add("another-relay", bad, "to a relay with another key", again);
    let mut add = |name, code, about, bytes| c.refuse("frame-relay-first", name, code, about, bytes);
    add("magic", invalid, "another magic", with(&relay, 2, 0));
    add("version", incompatible, "protocol version 0", with(&relay, 3, 0));
    add("kind-0", incompatible, "channel kind 0", with(&relay, 4, 0));
    add("weak-key", bad, "an ephemeral key of small order", weak(&relay));
    add("payload", bad, "a bit of the messages", flipped(&relay, 60));
    add("cut", bad, "the last byte is missing", relay[..relay.len() - 1].to_vec());
    let mut add = |name, code, about, bytes| c.refuse("frame-device-second", name, code, about, bytes);
    let misbehaved = "Misbehaved";
    add("second-flipped", misbehaved, "a bit of a transport message", flipped(&second, 0));
    add("second-cut", misbehaved, "less than a tag", second[..15].to_vec());
    add("second-empty", misbehaved, "no byte", Vec::new());
    add("second-repeated", misbehaved, "the first frame again", device);
    let refusal = c.get("frame-refusal").bytes.clone();
    let mut add = |name, about, bytes| c.refuse("frame-refusal", name, invalid, about, bytes);
    add("code", "close code 99", with(&refusal, 5, 99));
    add("cut", "the last byte is missing", refusal[..refusal.len() - 1].to_vec());
    add("trailing", "a byte follows", [&refusal[..], &[0]].concat());
}
