//! A relay's configuration file of any making. What is taken says the same when it is written out, and makes a relay's limits.
#![no_main]

use dinh_fuzz::within;
use dinh_server::config::{Config, REFERENCE};
use libfuzzer_sys::fuzz_target;

/// What reading one file (64 KiB) may take, bytes.
const MEMORY_MAX: usize = 32 << 20;

fn take(text: &str) {
    let Ok(config) = within(MEMORY_MAX, || Config::parse(text)) else { return };
    let written = toml::to_string(&config).expect("what is read can be written");
    assert_eq!(Config::parse(&written).as_ref(), Ok(&config), "{written}");
    if config.check().is_ok() {
        let server = config.server("data".into());
        assert!(server.connections_max > 0 && server.frames.amount > 0);
    }
}

fuzz_target!(|data: &[u8]| {
    // The reference with one line of the fuzzer's in it: keys are hard to guess.
    if let Some((place, line)) = data.split_first() {
        let mut lines: Vec<&str> = REFERENCE.lines().collect();
        let line = String::from_utf8_lossy(line);
        lines.insert(usize::from(*place) % (lines.len() + 1), &line);
        take(&lines.join("\n"));
    }
    if let Ok(text) = std::str::from_utf8(data) {
        take(text);
    }
});
