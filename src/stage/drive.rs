//! Concurrent work on rows, whose results come back in the order of the rows.
//!
//! There are as many workers as calls may be in flight. Each takes the next row, works on it and hands in the result. A
//! result waits until all earlier ones are there, then goes to the sink. A worker that waits before it repeats a failed
//! call keeps its row, so more workers start as long as the model could take more calls.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::sync::Notify;
use tokio::task::JoinSet;

use super::StageError;

/// How many results may wait for an earlier one that is still being worked on.
const MAX_WAITING: usize = 32_768;
/// At most so many workers per call that may be in flight.
const MAX_SPARE: usize = 8;
/// How often the driver checks whether more workers would help.
const LOOK: Duration = Duration::from_millis(100);
/// After so many rows without a pause, a worker yields to the others.
const YIELD_AFTER: u32 = 64;

/// Takes results, in the order of the rows.
pub(super) trait Sink<O>: Send + 'static {
    /// Returns false to stop early: no new row is begun, and those in flight are still finished, since they may be paid
    /// for. An error stops in the same way.
    fn take(&mut self, result: O) -> Result<bool, StageError>;
}

/// What the workers share.
struct Shared<I, O, W, S> {
    items: Mutex<Items<I>>,
    /// Results that were just handed in. The worker that holds `results` takes them from here, so that no other worker
    /// waits for the sink.
    pending: Mutex<Vec<(u64, Result<O, StageError>)>>,
    results: Mutex<Results<O, S>>,
    /// How many results wait for an earlier one, the missing ones before them included.
    waiting: AtomicUsize,
    work: W,
    is_open: AtomicBool,
    has_room: Notify,
}

struct Items<I> {
    items: I,
    next: u64,
}

struct Results<O, S> {
    /// Results from the first unwritten one on; none for one that is still being worked on.
    waiting: VecDeque<Option<O>>,
    written: u64,
    sink: S,
    error: Option<StageError>,
}

/// Puts every item through `work` and the results, in order, into `sink`. Returns the sink.
///
/// `idle` returns how many more calls the model could take right now.
pub(super) async fn drive<I, T, O, W, S>(
    items: I,
    work: W,
    concurrency: usize,
    idle: impl Fn() -> usize,
    sink: S,
) -> (S, Result<(), StageError>)
where
    I: Iterator<Item = Result<T, StageError>> + Send + 'static,
    T: Send + 'static,
    O: Send + 'static,
    W: Fn(T) -> BoxFuture<'static, Result<O, StageError>> + Send + Sync + 'static,
    S: Sink<O>,
{
    let shared = Arc::new(Shared {
        items: Mutex::new(Items { items, next: 0 }),
        pending: Mutex::default(),
        waiting: AtomicUsize::new(0),
        results: Mutex::new(Results { waiting: VecDeque::new(), written: 0, sink, error: None }),
        work,
        is_open: AtomicBool::new(true),
        has_room: Notify::new(),
    });
    let mut workers = JoinSet::new();
    for _ in 0..concurrency.max(2) {
        workers.spawn(worker(shared.clone()));
    }
    loop {
        match tokio::time::timeout(LOOK, workers.join_next()).await {
            Ok(None) => break,
            Ok(Some(Ok(()))) => {}
            Ok(Some(Err(panic))) => std::panic::resume_unwind(panic.into_panic()),
            Err(_) => {
                let room = (MAX_SPARE * concurrency).saturating_sub(workers.len());
                for _ in 0..idle().min(room) {
                    workers.spawn(worker(shared.clone()));
                }
            }
        }
    }
    let shared = Arc::into_inner(shared).expect("every worker has ended");
    let results = shared.results.into_inner().expect("no panic while locked");
    (results.sink, results.error.map_or(Ok(()), Err))
}

async fn worker<I, T, O, W, S>(shared: Arc<Shared<I, O, W, S>>)
where
    I: Iterator<Item = Result<T, StageError>>,
    W: Fn(T) -> BoxFuture<'static, Result<O, StageError>>,
    S: Sink<O>,
{
    let mut since_yield = 0;
    while let Some((number, item)) = shared.take() {
        let result = match item {
            Ok(item) => (shared.work)(item).await,
            Err(error) => Err(error),
        };
        shared.hand_in(number, result);
        since_yield += 1;
        if since_yield >= YIELD_AFTER {
            since_yield = 0;
            tokio::task::yield_now().await;
        }
        while shared.is_full() {
            let room = shared.has_room.notified();
            if shared.is_full() {
                room.await;
            }
        }
    }
}

impl<I, T, O, W, S> Shared<I, O, W, S>
where
    I: Iterator<Item = Result<T, StageError>>,
    S: Sink<O>,
{
    fn take(&self) -> Option<(u64, Result<T, StageError>)> {
        if !self.is_open.load(Ordering::Relaxed) {
            return None;
        }
        let mut items = self.items.lock().expect("no panic while locked");
        let item = items.items.next()?;
        let number = items.next;
        items.next += 1;
        Some((number, item))
    }

    fn is_full(&self) -> bool {
        self.is_open.load(Ordering::Relaxed) && self.waiting.load(Ordering::Relaxed) >= MAX_WAITING
    }

    fn hand_in(&self, number: u64, result: Result<O, StageError>) {
        self.pending.lock().expect("no panic while locked").push((number, result));
        loop {
            // Another worker has the lock. It looks at `pending` once more after releasing it, so no result is left
            // behind.
            let Ok(mut results) = self.results.try_lock() else {
                return;
            };
            let batch = std::mem::take(&mut *self.pending.lock().expect("no panic while locked"));
            for (number, result) in batch {
                self.accept(&mut results, number, result);
            }
            let was_full = self.waiting.swap(results.waiting.len(), Ordering::Relaxed) >= MAX_WAITING;
            if was_full || !self.is_open.load(Ordering::Relaxed) {
                self.has_room.notify_waiters();
            }
            drop(results);
            if self.pending.lock().expect("no panic while locked").is_empty() {
                return;
            }
        }
    }

    fn accept(&self, results: &mut Results<O, S>, number: u64, result: Result<O, StageError>) {
        match result {
            Ok(result) => {
                let place = (number - results.written) as usize;
                if results.waiting.len() <= place {
                    results.waiting.resize_with(place + 1, || None);
                }
                results.waiting[place] = Some(result);
            }
            Err(error) => {
                self.is_open.store(false, Ordering::Relaxed);
                results.error.get_or_insert(error);
            }
        }
        while let Some(Some(result)) = results.waiting.front_mut().map(Option::take) {
            results.waiting.pop_front();
            results.written += 1;
            if results.error.is_some() {
                continue;
            }
            match results.sink.take(result) {
                Ok(true) => {}
                Ok(false) => self.is_open.store(false, Ordering::Relaxed),
                Err(error) => {
                    self.is_open.store(false, Ordering::Relaxed);
                    results.error = Some(error);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Work = BoxFuture<'static, Result<u64, StageError>>;

    /// A sink that keeps what it gets; unless `goes_on`, it stops after the first result.
    struct Kept {
        seen: Vec<u64>,
        goes_on: bool,
    }

    impl Sink<u64> for Kept {
        fn take(&mut self, result: u64) -> Result<bool, StageError> {
            self.seen.push(result);
            Ok(self.goes_on)
        }
    }

    fn kept(goes_on: bool) -> Kept {
        Kept { seen: Vec::new(), goes_on }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn results_come_in_order_whatever_the_speed() {
        let work = |item: u64| -> Work {
            Box::pin(async move {
                tokio::time::sleep(Duration::from_micros((item * 7919) % 500)).await;
                Ok(item)
            })
        };
        let (sink, result) = drive((0..1000).map(Ok), work, 8, || 0, kept(true)).await;
        result.unwrap();
        assert_eq!(sink.seen, (0..1000).collect::<Vec<_>>());
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn an_early_stop_finishes_what_is_in_flight() {
        let work = |item: u64| -> Work { Box::pin(async move { Ok(item) }) };
        let (sink, result) = drive((0..1_000_000).map(Ok), work, 8, || 0, kept(false)).await;
        result.unwrap();
        assert!(sink.seen.len() < 100);
        let failing = [Ok(1), Err(StageError::failed("bad row"))].into_iter();
        assert!(drive(failing, work, 8, || 0, kept(true)).await.1.is_err());
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_row_that_waits_does_not_hold_the_others_up() {
        // There are two workers, and the first two rows take long, while the model could take more calls.
        let work = |item: u64| -> Work {
            Box::pin(async move {
                let time = if item < 2 { 2_000 } else { 1 };
                tokio::time::sleep(Duration::from_millis(time)).await;
                Ok(item)
            })
        };
        let start = std::time::Instant::now();
        drive((0..200).map(Ok), work, 2, || 2, kept(true)).await.1.unwrap();
        assert!(start.elapsed() < Duration::from_millis(3_000), "{:?}", start.elapsed());
    }
}
