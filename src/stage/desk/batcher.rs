//! The batcher: requests that wait for a moment, go out together, and come back together.
//!
//! ```text
//! ask → wait for others → remembered on disk → submitted → polled → collected → log → replies
//! ```
//!
//! **Invariant:** a batch is on disk before it is submitted, and until its answers are in the log. A run that ends
//! leaves it to the server; the next one goes on with it, and submits none of its requests again.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{OnceCell, oneshot};

use super::{Desk, Waiting};
use crate::digest::{Digest, OwnBits};
use crate::provider::{Batch, BatchRequest, BatchState, CallError, ErrorKind};
use crate::store::{NewRecord, RecordKind, SentBatch, SentRequest};

/// Requests of one batch at most.
pub(super) const MOST_REQUESTS: usize = 10_000;
/// Bytes of the requests of one batch, at most.
const MOST_BYTES: usize = 90 << 20;
/// A batch goes out when no request has come for so long.
const QUIET: Duration = Duration::from_millis(250);
/// The first pause between two looks at a batch, and the longest.
const LOOKS: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(60));
/// How often a batch is sent that a server does not take for a moment.
const MAX_ATTEMPTS: u32 = 6;

/// What came of a request: the answer in the provider's own JSON. It is in the log.
type Answered = Result<String, CallError>;

/// The batches of one desk.
#[derive(Default)]
pub(super) struct Batcher {
    state: Mutex<State>,
    resumed: OnceCell<()>,
}

#[derive(Default)]
struct State {
    /// Requests that have not been submitted.
    new: Vec<SentRequest>,
    /// By request: who waits for the answer.
    waiting: HashMap<Digest, Vec<oneshot::Sender<Answered>>, OwnBits>,
    is_gathering: bool,
}

impl Batcher {
    /// Returns the answer to a request, from a batch that is under way or from a new one.
    pub async fn ask(&self, desk: &Arc<Desk>, request: SentRequest, told: &Waiting) -> Answered {
        let resume = || async {
            for batch in desk.store.batches(&desk.identity) {
                told(format!(
                    "{} requests of an earlier run are under way as a batch; they are not sent again",
                    batch.requests.len()
                ));
                let mut state = self.state.lock().expect("no panic while locked");
                batch.requests.iter().for_each(|request| _ = state.waiting.entry(request.key).or_default());
                drop(state);
                tokio::spawn(follow(desk.clone(), batch));
            }
        };
        self.resumed.get_or_init(resume).await;
        let (sender, mut answer) = oneshot::channel();
        {
            let mut state = self.state.lock().expect("no panic while locked");
            let is_under_way = state.waiting.contains_key(&request.key);
            state.waiting.entry(request.key).or_default().push(sender);
            if !is_under_way {
                state.new.push(request);
                if !std::mem::replace(&mut state.is_gathering, true) {
                    tokio::spawn(gather(desk.clone(), told.clone()));
                }
            }
        }
        loop {
            match tokio::time::timeout(LOOKS.0, &mut answer).await {
                Ok(Ok(answered)) => return answered,
                Ok(Err(_)) => return Err(CallError::new(ErrorKind::Stopped, "interrupted")),
                Err(_) if desk.is_stopped() => return Err(CallError::new(ErrorKind::Stopped, "interrupted")),
                Err(_) => {}
            }
        }
    }

    fn hand_out(&self, key: &Digest, answered: &Answered) {
        let waiting = self.state.lock().expect("no panic while locked").waiting.remove(key);
        waiting.into_iter().flatten().for_each(|sender| _ = sender.send(answered.clone()));
    }
}

/// Waits until no more requests come, and sends them.
async fn gather(desk: Arc<Desk>, told: Waiting) {
    let mut known = 0;
    loop {
        tokio::time::sleep(QUIET).await;
        let requests = {
            let mut state = desk.batcher.state.lock().expect("no panic while locked");
            let count = state.new.len();
            if count > known && count < MOST_REQUESTS && !desk.is_stopped() {
                known = count;
                continue;
            }
            if count == 0 || desk.is_stopped() {
                state.is_gathering = false;
                return;
            }
            known = 0;
            let mut bytes = 0;
            let fits = |request: &&SentRequest| {
                bytes += request.body.len() + 200;
                bytes <= MOST_BYTES
            };
            let taken = state.new.iter().take(MOST_REQUESTS).take_while(fits).count().max(1);
            state.new.drain(..taken).collect::<Vec<_>>()
        };
        let tag = format!("etalon-{:016x}", fastrand::u64(..));
        let mut batch = SentBatch { tag, id: None, requests };
        match submit(&desk, &mut batch).await {
            Ok(()) => {
                let id = batch.id.as_deref().unwrap_or_default();
                told(format!(
                    "{} requests are sent as batch {id}; a run that is stopped leaves it to the server",
                    batch.requests.len()
                ));
                tokio::spawn(follow(desk.clone(), batch));
            }
            Err(error) => fail(&desk, &batch, &error),
        }
    }
}

fn provider(desk: &Desk) -> &dyn Batch {
    desk.pool.provider.batch().expect("only a desk with batches has a batcher that is asked")
}

/// Sends a batch. Where it is not known whether the server has it, the server is asked before it is sent again.
async fn submit(desk: &Desk, batch: &mut SentBatch) -> Result<(), CallError> {
    let keep = |batch: &SentBatch| {
        let kept = desk.store.keep_batch(&desk.identity, batch);
        kept.map_err(|error| CallError::new(ErrorKind::Fatal, error.to_string()))
    };
    keep(batch)?;
    let requests: Vec<BatchRequest> = batch
        .requests
        .iter()
        .map(|request| BatchRequest { id: request.key.to_string(), body: request.body.clone() })
        .collect();
    let ids: Vec<String> = requests.iter().map(|request| request.id.clone()).collect();
    let mut pause = LOOKS.0;
    for attempt in 1.. {
        let error = match provider(desk).submit(&requests, &batch.tag).await {
            Ok(id) => {
                batch.id = Some(id);
                return keep(batch);
            }
            Err(error) => error,
        };
        let may_have_it = error.kind == ErrorKind::Transient;
        if may_have_it && let Ok(Some(id)) = provider(desk).find(&batch.tag, &ids).await {
            batch.id = Some(id);
            return keep(batch);
        }
        let is_worth_it = matches!(error.kind, ErrorKind::Connect | ErrorKind::Transient | ErrorKind::RateLimited);
        if !is_worth_it || attempt >= MAX_ATTEMPTS || desk.is_stopped() {
            // Where the server may have it after all, it is looked for once more by the next run.
            if !may_have_it {
                desk.store.forget_batch(&desk.identity, &batch.tag);
            }
            return Err(error);
        }
        tokio::time::sleep(pause.max(Duration::from_secs_f64(error.retry_after.unwrap_or(0.0).clamp(0.0, 600.0))))
            .await;
        pause = (pause * 2).min(LOOKS.1);
    }
    unreachable!("the last attempt returns")
}

/// Follows a batch until its answers are in the log.
async fn follow(desk: Arc<Desk>, mut batch: SentBatch) {
    let ids: Vec<String> = batch.requests.iter().map(|request| request.key.to_string()).collect();
    let mut pause = LOOKS.0;
    loop {
        if desk.is_stopped() {
            return;
        }
        match look(&desk, &mut batch, &ids).await {
            Ok(true) => {
                desk.store.forget_batch(&desk.identity, &batch.tag);
                return;
            }
            Ok(false) => {}
            Err(error) if error.kind == ErrorKind::Permanent || error.kind == ErrorKind::Fatal => {
                // The server does not know the batch any more, or it failed as a whole.
                desk.store.forget_batch(&desk.identity, &batch.tag);
                return fail(&desk, &batch, &error);
            }
            Err(_) => {}
        }
        tokio::time::sleep(pause).await;
        pause = pause.mul_f64(1.5).min(LOOKS.1);
    }
}

/// Looks at a batch once; collects it if it has ended, and returns true then.
async fn look(desk: &Desk, batch: &mut SentBatch, ids: &[String]) -> Result<bool, CallError> {
    let provider = provider(desk);
    if batch.id.is_none() {
        // Whoever sent it ended before it was known whether the server took it.
        match provider.find(&batch.tag, ids).await? {
            Some(id) => batch.id = Some(id),
            None => submit(desk, batch).await?,
        }
    }
    let id = batch.id.clone().unwrap_or_default();
    if provider.state(&id).await? != BatchState::Ended {
        return Ok(false);
    }
    let mut answers = provider.collect(&id).await?;
    let lost =
        || Err(CallError::new(ErrorKind::Permanent, format!("the batch {id} ended without an answer to this request")));
    for request in &batch.requests {
        let answered = answers.remove(&request.key.to_string()).unwrap_or_else(lost);
        let answered = answered.and_then(|raw| keep(desk, request, raw));
        desk.batcher.hand_out(&request.key, &answered);
    }
    Ok(true)
}

/// Puts an answer into the log; one that is of no use as what it is.
fn keep(desk: &Desk, request: &SentRequest, raw: String) -> Answered {
    let read = desk.pool.provider.read(&raw).map(|_| ());
    let read = read.and_then(|()| match desk.touched() {
        Some(message) => Err(CallError::new(ErrorKind::Fatal, message)),
        None => Ok(()),
    });
    let body = Bytes::from(request.body.clone());
    let record = NewRecord {
        kind: if read.is_ok() { RecordKind::Chat } else { RecordKind::Useless },
        key: &request.key,
        generation: request.generation,
        sample: request.sample,
        attempt: 1,
        latency: None,
        at: &desk.clock.now(),
        request: &body,
        response: &raw,
    };
    desk.log.append(&record).map_err(|error| CallError::new(ErrorKind::Fatal, error.to_string()))?;
    read.map(|()| raw)
}

fn fail(desk: &Desk, batch: &SentBatch, error: &CallError) {
    let answered = Err(error.clone());
    batch.requests.iter().for_each(|request| desk.batcher.hand_out(&request.key, &answered));
}
