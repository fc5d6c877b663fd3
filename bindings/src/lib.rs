//! The foreign-language surface of Dinh. The SDKs for Kotlin and Swift are written on top of it in a later
//! release; today it tells which library and protocol an app has loaded.

uniffi::setup_scaffolding!();

/// The version of the library, as in its changelog.
#[uniffi::export]
pub fn library_version() -> String {
    env!("CARGO_PKG_VERSION").to_owned()
}

/// The version of the protocol that the library speaks: `docs/PROTOCOL.md`.
#[uniffi::export]
pub fn protocol_version() -> u8 {
    dinh_core::PROTOCOL_VERSION
}

#[cfg(test)]
mod tests {
    #[test]
    fn versions_are_those_of_this_build() {
        assert_eq!(super::library_version(), env!("CARGO_PKG_VERSION"));
        assert_eq!(super::protocol_version(), 1);
    }
}
