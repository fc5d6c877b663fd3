//! The thread on which what outlasts a call is done, for the whole process. The work itself is done on the clients' own.

use std::future::Future;
use std::sync::OnceLock;

use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinHandle;

use crate::error::{DinhError, Result};

fn runtime() -> Result<&'static Runtime> {
    static RUNTIME: OnceLock<Option<Runtime>> = OnceLock::new();
    let build = || {
        let mut builder = Builder::new_multi_thread();
        builder.worker_threads(1).thread_name("dinh-waits").enable_time();
        builder.build().inspect_err(|error| tracing::error!(%error, "no threads")).ok()
    };
    let failed = || DinhError::Internal { detail: "the operating system gives no threads".to_owned() };
    RUNTIME.get_or_init(build).as_ref().ok_or_else(failed)
}

/// A task of ours that did not end by itself.
pub(crate) fn failed(error: &tokio::task::JoinError) -> DinhError {
    DinhError::Internal { detail: format!("a task of the library's failed: {error}; report this") }
}

/// Does it to its end, whatever becomes of who waits for it.
pub(crate) async fn to_the_end<T: Send + 'static>(
    task: impl Future<Output = Result<T>> + Send + 'static,
) -> Result<T> {
    spawn(task)?.await.unwrap_or_else(|error| Err(failed(&error)))
}

/// Runs a task to its end, whatever becomes of the caller.
pub(crate) fn spawn<T: Send + 'static>(
    task: impl Future<Output = T> + Send + 'static,
) -> Result<JoinHandle<T>> {
    Ok(runtime()?.spawn(task))
}
