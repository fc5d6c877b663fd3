//! Hexadecimal text.

/// Lower-case digits without spaces.
pub(crate) fn write(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

/// Lines of 32 bytes, as in the files.
pub(crate) fn lines(bytes: &[u8]) -> String {
    bytes.chunks(32).map(|line| write(line) + "\n").collect()
}

/// Reads both.
pub(crate) fn read(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text
        .chars()
        .filter(|c| !c.is_ascii_whitespace())
        .map(|c| c.to_digit(16).expect("a hexadecimal digit") as u8)
        .collect();
    assert_eq!(digits.len() % 2, 0, "two digits a byte");
    digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}
