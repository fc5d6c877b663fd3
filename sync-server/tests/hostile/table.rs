//! Which test breaks which rule of `docs/PROTOCOL.md` towards a relay. A test checks that every test named here exists.

/// Section, what a peer does, and `file::test`, from `sync-server/tests`.
const RULES: &[(u8, &str, &str)] = &[
    (4, "another path, method or WebSocket version; no upgrade; no HTTP", "hostile/rules.rs::transport"),
    (4, "a subprotocol is offered", "hostile/rules.rs::transport"),
    (4, "the challenge of an earlier connection", "hostile/rules.rs::channel"),
    (
        4,
        "a text message; a frame over 65,535 bytes; unmasked, compressed, unknown frames",
        "hostile/rules.rs::transport",
    ),
    (
        4,
        "parts of a message that are too long together",
        "crowds.rs::a_frame_and_a_message_have_at_most_65535_bytes",
    ),
    (4, "a compressed frame, an extension", "crowds.rs::nothing_is_compressed"),
    (4, "too long a head, too many lines", "crowds.rs::the_head_of_a_request_is_at_most_8_kib_in_64_lines"),
    (
        4,
        "a request that drips, or does not come",
        "crowds.rs::who_does_not_ask_within_five_seconds_is_dropped",
    ),
    (
        4,
        "too many that have not greeted, of one address",
        "crowds.rs::ten_of_an_address_may_be_greeting_and_devices_that_greeted_do_not_count",
    ),
    (4, "too many that have not greeted, in all", "crowds.rs::so_many_may_be_greeting_in_all"),
    (
        5,
        "a first frame with another magic, version, kind or key; changed, cut, prolonged",
        "hostile/rules.rs::channel",
    ),
    (5, "weak signing and wrap keys", "refused_frames.rs::bad_handshakes"),
    (5, "a replayed first frame, on another connection and on the same", "hostile/rules.rs::channel"),
    (5, "a changed, cut, prolonged, repeated, left out transport message", "hostile/rules.rs::channel"),
    (5, "greetings whose second frame never comes", "hostile/rules.rs::channel"),
    (5, "silence before Hello, for 20 s", "refused_frames.rs::silence_and_crowds"),
    (5, "first frames spoiled by a seed", "hostile/rules.rs::mutations"),
    (2, "encodings in two ways, unsorted, over a limit, cut, prolonged", "hostile/rules.rs::messages"),
    (
        6,
        "a message before Hello; Put with Hello; a second Hello; a relay's message",
        "hostile/rules.rs::messages",
    ),
    (6, "unknown types, below 0x80 and above", "hostile/rules.rs::messages"),
    (6, "messages spoiled by a seed", "hostile/rules.rs::mutations"),
    (7, "anything after Close", "hostile/rules.rs::conversation"),
    (7, "silence for 75 s", "refused_frames.rs::silence_and_crowds"),
    (7, "credit that nobody took", "hostile/rules.rs::messages"),
    (7, "more than the credit", "refused_frames.rs::credit_that_is_exceeded"),
    (7, "a ninth connection of a device", "hostile/rules.rs::conversation"),
    (7, "asking for what may not be read or is not there", "hostile/rules.rs::conversation"),
    (7, "presence in another's name, or where it may not be seen", "hostile/rules.rs::conversation"),
    (7, "asking without reading", "hostile/rules.rs::conversation"),
    (7, "more open backfills than there may be", "refused_frames.rs::asking_for_more_than_is_read"),
    (
        7,
        "a cursor that is not valid",
        "refused_frames.rs::a_cursor_that_means_nothing_here_is_reconciled_and_not_an_error",
    ),
    (
        7,
        "Hellos of many frames that do not end",
        "quotas.rs::greetings_that_do_not_end_are_kept_up_to_a_limit_over_all_connections",
    ),
    (
        7,
        "more frames or messages than it may send",
        "crowds.rs::who_talks_too_fast_is_read_later_and_nobody_else_is",
    ),
    (7, "more bytes than its share", "quotas.rs::bytes_over_a_minute_s_share_wait_and_nobody_else_does"),
    (7, "a stranger who asks, writes and shows presence", "hostile/rules.rs::strangers"),
    (8, "items that are malformed, one by one", "refusals.rs::malformed_items"),
    (8, "items that are too large", "refusals.rs::oversized_items"),
    (8, "items that are not signed by who they name", "refusals.rs::mis_signed_items"),
    (8, "a gap, a wrong link", "refusals.rs::items_out_of_their_chain"),
    (8, "a fork", "refusals.rs::a_fork_leaves_what_was_first"),
    (8, "items spoiled by a seed", "hostile/rules.rs::mutations"),
    (9, "snapshots that cannot stand for runs", "refusals.rs::snapshots_that_cannot_stand_for_runs"),
    (10, "charter records that do not count", "refusals.rs::charter_records_that_do_not_count"),
    (10, "items by who may not write them", "refusals.rs::items_by_who_may_not_write_them"),
    (12, "a branch that is not admitted", "refusals.rs::a_branch_that_the_operator_does_not_admit"),
    (
        13,
        "floods, drips, abandoned handshakes, replays, all at once",
        "hostile/flood.rs::who_behaves_does_not_notice_a_siege",
    ),
];

#[test]
fn every_rule_has_its_test() {
    let tests = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
    for (section, rule, place) in RULES {
        let (file, name) = place.split_once("::").unwrap();
        let source = std::fs::read_to_string(tests.join(file)).unwrap_or_else(|e| panic!("{file}: {e}"));
        let is_test = source.split(&format!("fn {name}()")).next().is_some_and(|before| {
            before.len() < source.len() && before.trim_end_matches("async ").trim_end().ends_with(']')
        });
        assert!(is_test, "section {section}, {rule}: {place} is no test");
    }
    crate::report(&format!("hostile: {} rules of PROTOCOL.md have a test that breaks them", RULES.len()));
}
