//! Rows through concurrent work, and back in order.
//!
//! Rows are taken in batches; each batch is a task, so that rendering and digesting use every core
//! while calls are in flight. Results come back in the order of the rows. What is bounded: batches in
//! flight, and finished batches waiting for an earlier one.

use std::collections::BTreeMap;

use futures_util::future::BoxFuture;
use futures_util::stream::{FuturesOrdered, StreamExt};
use tokio::task::JoinSet;

use super::StageError;

/// Rows per task.
const BATCH: usize = 64;
/// Finished batches that may wait for an earlier one that is still retrying.
const MAX_WAITING: usize = 512;

/// Puts every item through `work`, and what comes of it, in order, into `sink`.
///
/// `sink` returns false to stop early: what is in flight is still finished (it may be paid for),
/// nothing new is begun. After an error the same holds.
pub(super) async fn drive<I, O>(
    items: impl Iterator<Item = Result<I, StageError>>,
    work: impl Fn(I) -> BoxFuture<'static, Result<O, StageError>>,
    concurrency: usize,
    mut sink: impl FnMut(O) -> Result<bool, StageError>,
) -> Result<(), StageError>
where
    I: Send + 'static,
    O: Send + 'static,
{
    let max_in_flight = (4 * concurrency).div_ceil(BATCH).max(8);
    let mut items = items.peekable();
    let mut tasks: JoinSet<(u64, Result<Vec<O>, StageError>)> = JoinSet::new();
    let mut waiting: BTreeMap<u64, Vec<O>> = BTreeMap::new();
    let (mut started, mut written) = (0, 0);
    let mut outcome = Ok(());
    let mut is_open = true;
    loop {
        while is_open && tasks.len() < max_in_flight && waiting.len() < MAX_WAITING {
            let mut batch = Vec::with_capacity(BATCH);
            while batch.len() < BATCH {
                match items.next() {
                    Some(Ok(item)) => batch.push(work(item)),
                    Some(Err(error)) => {
                        outcome = Err(error);
                        is_open = false;
                        break;
                    }
                    None => {
                        is_open = false;
                        break;
                    }
                }
            }
            if batch.is_empty() {
                break;
            }
            let number = started;
            started += 1;
            tasks.spawn(async move { (number, finish(batch).await) });
        }
        let Some(joined) = tasks.join_next().await else {
            break;
        };
        let (number, results) = match joined {
            Ok(finished) => finished,
            Err(panic) => std::panic::resume_unwind(panic.into_panic()),
        };
        match results {
            Ok(results) => {
                waiting.insert(number, results);
            }
            Err(error) => {
                is_open = false;
                if outcome.is_ok() {
                    outcome = Err(error);
                }
            }
        }
        while let Some(results) = waiting.remove(&written) {
            written += 1;
            for result in results {
                if outcome.is_ok() {
                    match sink(result) {
                        Ok(true) => {}
                        Ok(false) => is_open = false,
                        Err(error) => {
                            is_open = false;
                            outcome = Err(error);
                        }
                    }
                }
            }
        }
        // Reading rows and taking results never wait: let calls go on between two batches.
        tokio::task::yield_now().await;
    }
    outcome
}

async fn finish<O>(
    batch: Vec<BoxFuture<'static, Result<O, StageError>>>,
) -> Result<Vec<O>, StageError> {
    let mut futures: FuturesOrdered<_> = batch.into_iter().collect();
    let mut results = Vec::with_capacity(futures.len());
    let mut error = None;
    while let Some(result) = futures.next().await {
        match result {
            Ok(result) => results.push(result),
            Err(failed) => error = error.or(Some(failed)),
        }
    }
    error.map_or(Ok(results), Err)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn results_come_in_order_whatever_the_speed() {
        let mut seen = Vec::new();
        let work = |item: u64| -> BoxFuture<'static, Result<u64, StageError>> {
            Box::pin(async move {
                tokio::time::sleep(std::time::Duration::from_micros((item * 7919) % 500)).await;
                Ok(item)
            })
        };
        drive((0..1000).map(Ok), work, 8, |item| {
            seen.push(item);
            Ok(true)
        })
        .await
        .unwrap();
        assert_eq!(seen, (0..1000).collect::<Vec<_>>());
    }

    #[tokio::test]
    async fn an_early_stop_finishes_what_is_in_flight() {
        let mut seen = 0;
        let work = |item: u64| -> BoxFuture<'static, Result<u64, StageError>> {
            Box::pin(async move { Ok(item) })
        };
        let items = (0..1_000_000).map(Ok);
        drive(items, work, 8, |_| {
            seen += 1;
            Ok(false)
        })
        .await
        .unwrap();
        assert!(seen < 2000, "{seen}");
        let failing = [Ok(1), Err(StageError::failed("bad row"))].into_iter();
        assert!(drive(failing, work, 8, |_| Ok(true)).await.is_err());
    }
}
