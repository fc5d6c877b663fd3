//! What the commands share that ask a running relay.

use std::path::Path;
use std::process::ExitCode;

use super::{complain, say};
use crate::admin::client::{AdminClient, AskError};

/// Connects to the relay that runs on this directory, does `f` with it, and prints what that says.
pub(super) fn ask<F>(data: &Path, f: impl FnOnce(AdminClient) -> F) -> ExitCode
where
    F: Future<Output = Result<String, AskError>>,
{
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return complain(format_args!("no runtime: {error}")),
    };
    let answer = runtime.block_on(async {
        match AdminClient::of(data).await {
            Ok(Some(client)) => f(client).await.map_err(|error| error.to_string()),
            Ok(None) => Err(format!("no relay runs on {}", data.display())),
            Err(error) => Err(error.to_string()),
        }
    });
    match answer {
        Ok(text) => {
            say(text.trim_end());
            ExitCode::SUCCESS
        }
        Err(error) => complain(error),
    }
}

/// For scripts.
pub(super) fn json<T: serde::Serialize>(answer: &T) -> Result<String, AskError> {
    serde_json::to_string(answer).map_err(|error| AskError::Answer(error.to_string()))
}

/// Decimal units.
pub(super) fn bytes(n: u64) -> String {
    let units = [(1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "kB")];
    match units.into_iter().find(|(size, _)| n as f64 >= *size) {
        Some((size, unit)) => format!("{:.1} {unit}", n as f64 / size),
        None => format!("{n} B"),
    }
}

/// The largest unit of which there is one.
pub(super) fn duration(ms: u64) -> String {
    match ms / 1_000 {
        s if s < 60 => format!("{s} s"),
        s if s < 3_600 => format!("{} min", s / 60),
        s if s < 2 * 86_400 => format!("{} h", s / 3_600),
        s => format!("{} days", s / 86_400),
    }
}
