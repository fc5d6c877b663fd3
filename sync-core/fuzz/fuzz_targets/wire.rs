//! The plain stream of a connection: in pieces, message by message. What is read is written to the same bytes.
#![no_main]

use dinh_proto::wire::{MessageReader, write_message};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Some((cut, stream)) = data.split_first() else { return };
    let cut = usize::from(*cut).min(stream.len());
    let mut reader = MessageReader::default();
    for piece in [&stream[..cut], &stream[cut..]] {
        reader.push(piece);
        while let Ok(Some((message, size))) = reader.next_message() {
            let mut again = Vec::new();
            write_message(&message, &mut again);
            assert!((size + 1..=size + 3).contains(&again.len()), "a length prefix and {size} bytes");
            let mut twice = MessageReader::default();
            twice.push(&again);
            let (read, _) = twice.next_message().expect("what was written reads").expect("whole");
            assert_eq!(read, message);
        }
    }
});
