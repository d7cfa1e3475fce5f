//! Rows through concurrent work, and back in order.
//!
//! As many workers as calls may be in flight each take the next row, work on it and hand in what came
//! of it; results wait for earlier ones and go to the sink in the order of the rows. A worker that is
//! backing off after a failed call keeps its row, so further workers start while the model could take
//! more calls.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::sync::Notify;
use tokio::task::JoinSet;

use super::StageError;

/// Results that may wait for an earlier one that is still retrying.
const MAX_WAITING: usize = 32_768;
/// Workers per call in flight, at most.
const MAX_SPARE: usize = 8;
/// How often it is looked whether more workers could be of use.
const LOOK: Duration = Duration::from_millis(100);
/// Rows after which a worker that never had to wait lets others go on.
const YIELD_AFTER: u32 = 64;

/// Takes results, in order.
pub(super) trait Sink<O>: Send + 'static {
    /// Returns false to stop early: what is in flight is still finished (it may be paid for), nothing
    /// new is begun. After an error the same holds.
    fn take(&mut self, result: O) -> Result<bool, StageError>;
}

/// What workers share.
struct Shared<I, O, W, S> {
    items: Mutex<Items<I>>,
    /// Results just handed in. Whoever holds `results` takes them from here, so that nobody waits for
    /// the sink.
    pending: Mutex<Vec<(u64, Result<O, StageError>)>>,
    results: Mutex<Results<O, S>>,
    /// How many results wait for an earlier one, gaps included.
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
    /// From the first that is not written yet; a gap is a result that is still worked on.
    waiting: VecDeque<Option<O>>,
    written: u64,
    sink: S,
    error: Option<StageError>,
}

/// Puts every item through `work`, and what comes of it, in order, into `sink`, which is given back.
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
            // Whoever has the lock looks once more after leaving it: nothing is left behind.
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

    /// Keeps what it is given, and stops after the first where it should.
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
        // Two workers; two rows wait for a long time, and the model could take more.
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
