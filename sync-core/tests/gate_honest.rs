//! What phones write passes the gate of every other phone, whatever they write and in whatever order it comes.

mod gate_common;

use gate_common::{Session, quiet, scaled};

/// Bar 8.
#[test]
fn honest_sessions_of_three_phones_are_never_refused() {
    quiet();
    let wanted = scaled(20_000, 1_000_000);
    let (mut sessions, mut edits, mut judged) = (0u64, 0, 0);
    while edits < wanted {
        let session = Session::run(sessions, 30).merge();
        assert_eq!(session.refused, [], "session {sessions}");
        edits += session.edits;
        judged += session.judged;
        let hashes: Vec<_> = session.phones.iter().map(|p| p.doc.heads()).collect();
        assert!(hashes.iter().all(|h| *h == hashes[0]));
        sessions += 1;
        if sessions.is_multiple_of(5_000) {
            println!("  {sessions} sessions, {edits} edits, 0 refused so far");
        }
    }
    println!("{sessions} sessions, {edits} edits, judged {judged} times by other phones, 0 refused");
}
