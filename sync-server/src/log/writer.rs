//! The thread that owns writes to the log.
//!
//! It takes whatever jobs have gathered while the last commit was on its way to the disk, stores them in one
//! transaction, and answers them together: under load the cost of a sync is shared, and without load nobody
//! waits for a timer. When there is nothing to store, and enough waits for it, it enters items into the tables of spaces.
//!
//! The first error ends it: every job that waits is answered with that error, and so is every later one.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use dinh_proto::ids::Seq;
use dinh_proto::item::Item;
use tokio::sync::oneshot;

use super::error::LogError;
use super::redb::RedbLog;
use crate::hub::OperatorRow;

/// Items in one commit, unless the first job alone has more.
pub const BATCH_ITEMS_MAX: usize = 4_096;
/// Bytes of items in one commit, unless the first job alone has more.
pub const BATCH_BYTES_MAX: usize = 8 << 20;
/// Bytes of items that may wait for a commit.
pub const QUEUE_BYTES_MAX: usize = 64 << 20;
/// Items that may wait for a commit.
pub const QUEUE_ITEMS_MAX: usize = 65_536;
/// Items entered into the tables of spaces at a time: what is appended meanwhile waits for it.
const INDEX_STEP: u64 = 8_192;
/// Items that must wait before they are entered while there is nothing else to do: the more at a time, the less is written over.
const INDEX_WHEN_IDLE: u64 = 16_384;
/// Items that may wait before they are entered although jobs wait: it bounds what a start after a crash has to read.
const INDEX_WHEN_BUSY: u64 = 65_536;

/// What to append, and the name under which it is answered.
#[derive(Debug)]
pub struct Job {
    /// Comes back in the answer.
    pub token: u64,
    /// Stored together and in this order.
    pub items: Vec<Item>,
}

/// Who is told that everything the operator decided so far is durable.
type Told = oneshot::Sender<Result<(), Arc<LogError>>>;

/// What became of a job: the place of its first item, or why nothing is known about it.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The job's.
    pub token: u64,
    /// Places follow one another from here.
    pub first: Result<Seq, Arc<LogError>>,
}

/// One commit, with the answers to the jobs in it.
#[derive(Debug)]
pub struct Commit {
    /// In the order in which the jobs came.
    pub answers: Vec<Answer>,
    /// Items stored.
    pub items: usize,
    /// Their bytes.
    pub bytes: usize,
    /// How long the transaction took.
    pub took: Duration,
}

/// Called on the writer's thread after every commit, and once for what is left after an error.
pub type OnCommit = Box<dyn FnMut(Commit) + Send>;

/// See [`Writer::start`].
pub type OnStop = Box<dyn FnOnce(Option<Arc<LogError>>) + Send>;

/// Why a job was not taken. It comes back, so that nothing is lost.
#[derive(Debug)]
pub enum Refused {
    /// Too much waits already.
    Full(Job),
    /// The writer has stopped.
    Stopped(Job),
}

/// The handle of the thread. Dropping it without [`shutdown`](Self::shutdown) lets the thread store what waits,
/// and does not wait for it.
pub struct Writer {
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<Outcome>>>,
}

/// The error that ended the thread, if one did.
type Outcome = Result<(), Arc<LogError>>;

struct Shared {
    queue: Mutex<Queue>,
    /// Signalled when a job comes, when room is made, and when the writer stops.
    changed: Condvar,
}

#[derive(Default)]
struct Queue {
    jobs: VecDeque<Job>,
    /// What the operator decided; written before any job. Few: a person makes them, or a branch that is founded.
    decisions: Vec<OperatorRow>,
    told: Vec<Told>,
    items: usize,
    bytes: usize,
    closing: bool,
    stopped: bool,
}

impl fmt::Debug for Writer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Writer").finish_non_exhaustive()
    }
}

impl Writer {
    /// Starts the thread. `on_stop` is called on it as the very last thing, also when it panics, with the error that ended it.
    pub fn start(log: Arc<RedbLog>, on_commit: OnCommit, on_stop: OnStop) -> Self {
        let shared = Arc::new(Shared { queue: Mutex::new(Queue::default()), changed: Condvar::new() });
        let thread = {
            let shared = shared.clone();
            std::thread::Builder::new()
                .name("log-writer".into())
                .spawn(move || {
                    let mut stop = Stop { shared: shared.clone(), error: None, then: Some(on_stop) };
                    let outcome = run(&log, &shared, on_commit);
                    stop.error = outcome.as_ref().err().cloned();
                    outcome
                })
                .expect("the operating system starts a thread")
        };
        Self { shared, thread: Mutex::new(Some(thread)) }
    }

    /// Queues a job, or gives it back. Never waits. Jobs are stored in the order in which they were queued.
    pub fn append(&self, job: Job) -> Result<(), Refused> {
        let mut queue = self.shared.lock();
        if queue.stopped || queue.closing {
            return Err(Refused::Stopped(job));
        }
        if queue.is_full() {
            return Err(Refused::Full(job));
        }
        queue.push(job);
        self.shared.changed.notify_all();
        Ok(())
    }

    /// Queues what the operator decided: it is durable before any job that is queued after this. Returns whether the writer takes it.
    pub fn remember(&self, rows: Vec<OperatorRow>) -> bool {
        let mut queue = self.shared.lock();
        if queue.stopped || queue.closing {
            return false;
        }
        queue.decisions.extend(rows);
        self.shared.changed.notify_all();
        true
    }

    /// Told when everything is durable that was remembered before. If the writer has stopped, the channel is closed.
    pub fn remembered(&self) -> oneshot::Receiver<Result<(), Arc<LogError>>> {
        let (told, remembered) = oneshot::channel();
        let mut queue = self.shared.lock();
        if !queue.stopped && !queue.closing {
            queue.told.push(told);
            self.shared.changed.notify_all();
        }
        remembered
    }

    /// Queues a job, waiting for room. Gives it back if the writer has stopped.
    pub fn append_wait(&self, job: Job) -> Result<(), Job> {
        let mut queue = self.shared.lock();
        while queue.is_full() && !queue.stopped && !queue.closing {
            queue = self.shared.changed.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
        if queue.stopped || queue.closing {
            return Err(job);
        }
        queue.push(job);
        self.shared.changed.notify_all();
        Ok(())
    }

    /// Stores and answers what waits, enters what is left into the tables of spaces, and ends the thread. Returns the
    /// error that ended it, if one did; a second call returns at once.
    pub fn shutdown(&self) -> Result<(), Arc<LogError>> {
        self.close_queue();
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        match thread.map(JoinHandle::join) {
            Some(Ok(result)) => result,
            Some(Err(_panic)) => Err(Arc::new(LogError::Failed)),
            None => Ok(()),
        }
    }

    fn close_queue(&self) {
        self.shared.lock().closing = true;
        self.shared.changed.notify_all();
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.close_queue();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Queue {
    fn is_full(&self) -> bool {
        self.bytes >= QUEUE_BYTES_MAX || self.items >= QUEUE_ITEMS_MAX
    }

    fn push(&mut self, job: Job) {
        self.items += job.items.len();
        self.bytes += bytes_of(&job);
        self.jobs.push_back(job);
    }

    /// The jobs of the next commit, and their bytes.
    fn take_batch(&mut self) -> (Vec<Job>, usize) {
        let (mut batch, mut items, mut bytes) = (Vec::new(), 0, 0);
        while let Some(job) = self.jobs.front() {
            let (more_items, more_bytes) = (job.items.len(), bytes_of(job));
            let fits = items + more_items <= BATCH_ITEMS_MAX && bytes + more_bytes <= BATCH_BYTES_MAX;
            if !fits && !batch.is_empty() {
                break;
            }
            items += more_items;
            bytes += more_bytes;
            batch.extend(self.jobs.pop_front());
        }
        self.items -= items;
        self.bytes -= bytes;
        (batch, bytes)
    }
}

fn bytes_of(job: &Job) -> usize {
    job.items.iter().map(|item| item.bytes().len()).sum()
}

/// Marks the writer as stopped however its thread ends.
struct Stop {
    shared: Arc<Shared>,
    error: Option<Arc<LogError>>,
    then: Option<OnStop>,
}

impl Drop for Stop {
    fn drop(&mut self) {
        self.shared.lock().stopped = true;
        self.shared.changed.notify_all();
        if let Some(then) = self.then.take() {
            then(self.error.take());
        }
    }
}

enum Work {
    Remember(Vec<OperatorRow>, Vec<Told>),
    Store(Vec<Job>, usize),
    Index,
    Finish,
}

fn run(log: &RedbLog, shared: &Shared, mut on_commit: OnCommit) -> Result<(), Arc<LogError>> {
    let outcome = loop {
        let is_due = log.unindexed() >= INDEX_WHEN_IDLE || log.has_repairs();
        let result = match next_work(shared, is_due) {
            Work::Store(jobs, bytes) => store(log, jobs, bytes, &mut on_commit).and_then(|()| {
                let behind = log.unindexed() > INDEX_WHEN_BUSY;
                if behind { index(log).map(drop) } else { Ok(()) }
            }),
            Work::Remember(rows, told) => remember(log, &rows, told),
            Work::Index => index(log).map(drop),
            Work::Finish => break finish_index(log),
        };
        if let Err(error) = result {
            break Err(error);
        }
    };
    if let Err(error) = &outcome {
        answer_rest(shared, error, &mut on_commit);
    }
    outcome
}

fn next_work(shared: &Shared, index_is_due: bool) -> Work {
    let mut queue = shared.lock();
    loop {
        if !queue.decisions.is_empty() || !queue.told.is_empty() {
            let queue = &mut *queue;
            return Work::Remember(std::mem::take(&mut queue.decisions), std::mem::take(&mut queue.told));
        }
        if !queue.jobs.is_empty() {
            let (jobs, bytes) = queue.take_batch();
            shared.changed.notify_all();
            return Work::Store(jobs, bytes);
        }
        if queue.closing {
            return Work::Finish;
        }
        if index_is_due {
            return Work::Index;
        }
        queue = shared.changed.wait(queue).unwrap_or_else(PoisonError::into_inner);
    }
}

fn remember(log: &RedbLog, rows: &[OperatorRow], told: Vec<Told>) -> Result<(), Arc<LogError>> {
    let result = log.write_operator_rows(rows).map_err(Arc::new);
    for told in told {
        // Who asked may have given up.
        let _ = told.send(result.clone());
    }
    result
}

fn store(log: &RedbLog, jobs: Vec<Job>, bytes: usize, on_commit: &mut OnCommit) -> Result<(), Arc<LogError>> {
    let began = Instant::now();
    let first = log.append_batch(jobs.iter().flat_map(|job| &job.items)).map_err(Arc::new);
    let took = began.elapsed();
    let items = jobs.iter().map(|job| job.items.len()).sum();
    let mut next = first.clone();
    let answers = jobs
        .iter()
        .map(|job| {
            let answer = Answer { token: job.token, first: next.clone() };
            if let Ok(seq) = &mut next {
                seq.0 += job.items.len() as u64;
            }
            answer
        })
        .collect();
    on_commit(Commit { answers, items, bytes, took });
    first.map(drop)
}

fn index(log: &RedbLog) -> Result<u64, Arc<LogError>> {
    log.write_index(INDEX_STEP).map_err(Arc::new)
}

fn finish_index(log: &RedbLog) -> Result<(), Arc<LogError>> {
    while index(log)? > 0 {}
    Ok(())
}

fn answer_rest(shared: &Shared, error: &Arc<LogError>, on_commit: &mut OnCommit) {
    let jobs = {
        let mut queue = shared.lock();
        queue.stopped = true;
        queue.decisions.clear();
        queue.told.clear();
        (queue.items, queue.bytes) = (0, 0);
        std::mem::take(&mut queue.jobs)
    };
    shared.changed.notify_all();
    let answers: Vec<_> =
        jobs.iter().map(|job| Answer { token: job.token, first: Err(error.clone()) }).collect();
    if !answers.is_empty() {
        on_commit(Commit { answers, items: 0, bytes: 0, took: Duration::ZERO });
    }
}
