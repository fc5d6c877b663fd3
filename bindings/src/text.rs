//! Text fields: what a keyboard does is applied at once, and what others write comes when it has let go.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use dinh_core::client::BoundText;
use tokio::sync::Notify;

use crate::client::Client;
use crate::error::{DinhError, Result};
use crate::ids;
use crate::runtime::{spawn, to_the_end};
use crate::stream::Follow;
use crate::value::{Step, TextSplice, path};

/// A text of a document, bound to a field on a screen. `text`, `replace`, `set` and `absorb` never wait: they are made for the
/// screen's thread.
#[derive(Debug, uniffi::Object)]
pub struct TextField {
    bound: Arc<BoundText>,
    reporting: Arc<Reporting>,
    known: Mutex<Known>,
    /// The document changed, and the field was not told yet.
    is_stale: Arc<AtomicBool>,
    /// Reads nothing: it says when there is something to tell the field.
    follow: Follow<()>,
}

/// A report to the client tells what stands in the field when it gets there: one on its way is enough.
#[derive(Debug, Default)]
struct Reporting {
    is_due: AtomicBool,
    is_composing: AtomicBool,
    failed: Notify,
}

/// What the listener knows already.
#[derive(Debug, Default)]
struct Known {
    others: bool,
    failure: Option<String>,
}

/// What a text field needs to know.
#[derive(Debug, Clone, PartialEq, Eq, uniffi::Enum)]
pub enum TextNews {
    /// Others wrote something that the field does not show: call `absorb` when the keyboard does not compose.
    Others,
    /// What was typed could not be saved, and stays in the field.
    NotSaved {
        /// Why.
        detail: String,
    },
}

#[uniffi::export]
impl Client {
    /// Binds a text to a field.
    pub async fn text_field(&self, doc: String, at: Vec<Step>) -> Result<Arc<TextField>> {
        let doc = ids::doc(&doc)?;
        // Before the text is read: what happens after that is news.
        let follow = Follow::new(self.core(), doc, false, |_, _| Ok(()));
        let bound = Arc::new(self.core().bind_text(doc, path(at)).await?);
        self.add_field(&bound);
        let (reporting, known, is_stale) = (Arc::default(), Mutex::default(), Arc::default());
        Ok(Arc::new(TextField { bound, reporting, known, is_stale, follow }))
    }
}

#[uniffi::export]
impl TextField {
    /// What the field shows.
    pub fn text(&self) -> String {
        self.bound.text()
    }

    /// The keyboard replaced UTF-16 code units. `composing`: it still holds a part of the text (Telex before the tone).
    pub fn replace(&self, splice: TextSplice, composing: bool) -> Result<()> {
        self.bound.splice(splice.index as usize, splice.delete as usize, &splice.insert)?;
        self.report(composing)
    }

    /// The field shows this now, by the keyboard's doing.
    pub fn set(&self, text: String, composing: bool) -> Result<()> {
        self.bound.set(&text);
        self.report(composing)
    }

    /// Takes what others wrote into the field: what the screen has to replace, one after the other. Not while the keyboard
    /// composes: it would lose its place.
    pub fn absorb(&self) -> Vec<TextSplice> {
        self.known().others = false;
        self.bound.absorb().into_iter().map(TextSplice::from).collect()
    }

    /// A new listener begins: what the field needs to know now, `next` tells it, though another listener knows it.
    pub fn listen(&self) {
        *self.known() = Known::default();
    }

    /// Waits for what the field needs to know; none when the client was closed or the field unbound.
    pub async fn next(&self) -> Result<Option<TextNews>> {
        loop {
            // Also if who was told of the change gave up before the field was.
            if self.is_stale.load(Ordering::Acquire) {
                self.refresh().await;
            }
            if let Some(news) = self.unknown() {
                return Ok(Some(news));
            }
            tokio::select! {
                () = self.reporting.failed.notified() => {}
                told = self.follow.next() => {
                    if told?.is_none() {
                        return Ok(None);
                    }
                    self.is_stale.store(true, Ordering::Release);
                }
            }
        }
    }

    /// Why what was typed is not in the document, if it was tried and stands only in the field.
    pub fn failure(&self) -> Option<String> {
        self.bound.failure().map(|error| DinhError::from(error).to_string())
    }

    /// The field lost the focus: what was typed is on disk when this returns.
    pub async fn flush(&self) -> Result<()> {
        Ok(self.bound.flush().await?)
    }

    /// Unbinds the field. What was typed is saved in the background; `flush` first to know.
    pub fn unbind(&self) -> Result<()> {
        self.follow.cancel.cancel();
        let bound = self.bound.clone();
        spawn(async move {
            if let Err(error) = bound.flush().await {
                tracing::warn!(%error, "what was typed in a field that is gone could not be saved");
            }
        })?;
        Ok(())
    }
}

impl TextField {
    /// Tells the field what the document's text is, to the end. What makes the text unreadable is told by what follows the document.
    async fn refresh(&self) {
        let (bound, is_stale) = (self.bound.clone(), self.is_stale.clone());
        let refresh = async move {
            let refreshed = bound.refresh().await;
            is_stale.store(false, Ordering::Release);
            Ok(refreshed?)
        };
        let _ = to_the_end(refresh).await;
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the listener does not know yet.
    fn unknown(&self) -> Option<TextNews> {
        let mut known = self.known();
        let failure = self.failure();
        if failure != known.failure {
            known.failure.clone_from(&failure);
            if let Some(detail) = failure {
                return Some(TextNews::NotSaved { detail });
            }
        }
        let is_news = self.bound.has_news() && !known.others;
        known.others = self.bound.has_news();
        is_news.then_some(TextNews::Others)
    }

    fn report(&self, composing: bool) -> Result<()> {
        self.reporting.is_composing.store(composing, Ordering::Release);
        if self.reporting.is_due.swap(true, Ordering::AcqRel) {
            return Ok(());
        }
        let (bound, reporting) = (self.bound.clone(), self.reporting.clone());
        spawn(async move {
            // Before the state is read: what comes after that reports again.
            reporting.is_due.store(false, Ordering::SeqCst);
            if bound.typed(reporting.is_composing.load(Ordering::SeqCst)).await.is_err() {
                reporting.failed.notify_one();
            }
        })?;
        Ok(())
    }
}
