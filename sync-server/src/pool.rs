//! A few operating-system threads behind a bounded queue, for work that would hold up the sockets.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

/// See the module.
pub(crate) struct Pool<J> {
    shared: Arc<Shared<J>>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

struct Shared<J> {
    queue: Mutex<Queue<J>>,
    changed: Condvar,
    jobs_max: usize,
}

struct Queue<J> {
    jobs: VecDeque<J>,
    closing: bool,
}

impl<J> fmt::Debug for Pool<J> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool").finish_non_exhaustive()
    }
}

impl<J: Send + 'static> Pool<J> {
    /// Starts `threads` threads that call `work` for each job. At most `jobs_max` jobs wait. A thread whose
    /// `work` panics calls `panicked` and is gone.
    pub(crate) fn start(
        name: &str,
        threads: usize,
        jobs_max: usize,
        work: impl Fn(J) + Clone + Send + 'static,
        panicked: impl Fn(()) + Clone + Send + 'static,
    ) -> Self {
        let queue = Mutex::new(Queue { jobs: VecDeque::new(), closing: false });
        let shared = Arc::new(Shared { queue, changed: Condvar::new(), jobs_max });
        let threads = (0..threads)
            .map(|i| {
                let (shared, work, panicked) = (shared.clone(), work.clone(), panicked.clone());
                std::thread::Builder::new()
                    .name(format!("{name}-{i}"))
                    .spawn(move || {
                        let _tell = TellPanic(panicked);
                        while let Some(job) = shared.next() {
                            work(job);
                        }
                    })
                    .expect("the operating system starts a thread")
            })
            .collect();
        Self { shared, threads: Mutex::new(threads) }
    }

    /// Queues a job, or gives it back if too many wait or the pool is closed. Never waits.
    pub(crate) fn submit(&self, job: J) -> Result<(), J> {
        let mut queue = self.shared.lock();
        if queue.closing || queue.jobs.len() >= self.shared.jobs_max {
            return Err(job);
        }
        queue.jobs.push_back(job);
        drop(queue);
        self.shared.changed.notify_one();
        Ok(())
    }

    /// Drops what waits and ends the threads after the jobs that they are at. Must not be called from one of them.
    pub(crate) fn shutdown(&self) {
        let waiting = {
            let mut queue = self.shared.lock();
            queue.closing = true;
            std::mem::take(&mut queue.jobs)
        };
        drop(waiting);
        self.shared.changed.notify_all();
        let threads = std::mem::take(&mut *self.threads.lock().unwrap_or_else(PoisonError::into_inner));
        for thread in threads {
            // A thread that panicked has told so through what it was working on.
            let _ = thread.join();
        }
    }
}

impl<J> Drop for Pool<J> {
    fn drop(&mut self) {
        self.shared.lock().closing = true;
        self.shared.changed.notify_all();
    }
}

impl<J> Shared<J> {
    fn lock(&self) -> MutexGuard<'_, Queue<J>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn next(&self) -> Option<J> {
        let mut queue = self.lock();
        loop {
            if let Some(job) = queue.jobs.pop_front() {
                return Some(job);
            }
            if queue.closing {
                return None;
            }
            queue = self.changed.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

struct TellPanic<F: Fn(())>(F);

impl<F: Fn(())> Drop for TellPanic<F> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            (self.0)(());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn jobs_are_done_and_too_many_are_given_back() {
        let (go_tx, go_rx) = mpsc::channel::<()>();
        let (done_tx, done) = mpsc::channel();
        let go_rx = Arc::new(Mutex::new(go_rx));
        let work = move |job: u32| {
            go_rx.lock().unwrap().recv().unwrap();
            done_tx.send(job).unwrap();
        };
        let pool = Pool::start("test", 1, 2, work, |()| {});
        // One is being done, at most two wait.
        let taken = (0..10).filter(|i| pool.submit(*i).is_ok()).count();
        assert!((2..=3).contains(&taken), "{taken}");
        for _ in 0..taken {
            go_tx.send(()).unwrap();
        }
        assert_eq!(done.iter().take(taken).count(), taken);
        pool.shutdown();
        assert_eq!(pool.submit(11), Err(11));
    }
}
