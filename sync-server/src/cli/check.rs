//! `dinh-relay check-config`.

use std::process::ExitCode;

use super::{From, misconfigured, say};
use crate::admin;
use crate::config::REFERENCE;

pub(super) const EXAMPLE: &str = "Examples:\n  dinh-relay check-config --defaults > relay.toml\n  \
    dinh-relay check-config --config relay.toml\n\n\
    Prints what would hold, with the defaults of all keys that the file does not have; fails, naming the line, if one is wrong.";

#[derive(Debug, clap::Args)]
pub(super) struct Check {
    #[command(flatten)]
    from: From,
    /// Prints every key with its default and what it means, as a file to begin with.
    #[arg(long, conflicts_with_all = ["config", "set"])]
    defaults: bool,
}

pub(super) fn check(args: &Check) -> ExitCode {
    if args.defaults {
        say(REFERENCE.trim_end());
        return ExitCode::SUCCESS;
    }
    let config = match args.from.sources().read() {
        Ok(config) => config,
        Err(error) => return misconfigured(error),
    };
    if let Some(Err(error)) = config.tls.files().map(|files| files.check()) {
        return misconfigured(error);
    }
    if let Some(Err(error)) = config.admin.token_file.as_deref().map(admin::read_token) {
        return misconfigured(error);
    }
    match toml::to_string(&config) {
        Ok(text) => say(text.trim_end()),
        Err(error) => return misconfigured(error),
    }
    ExitCode::SUCCESS
}
