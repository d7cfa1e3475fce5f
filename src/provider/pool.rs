//! A pool bounds one model: calls in flight, requests and tokens per minute, retries.
//!
//! A call waits for a permit, sends, and on failure backs off with jitter (or as long as the server
//! asked), a bounded number of times and a bounded total time. After a 429 the pool halves what it
//! keeps in flight and grows back with success. An endpoint that cannot be reached and never
//! answered stops its model: every further call fails at once with the same message.

use std::num::NonZeroU32;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

use backon::{BackoffBuilder, ExponentialBuilder};
use bytes::Bytes;
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use tokio::sync::Semaphore;

use super::{CallError, ErrorKind, Provider, Request, Sent};
use crate::spec::ModelSpec;

const CONCURRENCY: usize = 16;
const MAX_ATTEMPTS: u32 = 5;
const RETRY_SECONDS: f64 = 60.0;
/// Attempts, and seconds, after which an endpoint that never answered is dead.
const DEAD_ATTEMPTS: u32 = 3;
const DEAD_SECONDS: f64 = 10.0;
/// Successes in a row that earn one more call in flight after a 429.
const GROW_AFTER: usize = 20;

/// A complete answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    pub sent: Sent,
    /// Seconds that the successful attempt took.
    pub latency: f64,
    pub attempts: u32,
}

/// One model's provider with its limits.
pub struct Pool {
    pub provider: Box<dyn Provider>,
    permits: Semaphore,
    concurrency: usize,
    /// Permits taken out of circulation after 429s.
    withheld: AtomicUsize,
    successes: AtomicUsize,
    requests: Option<DefaultDirectRateLimiter>,
    tokens: Option<DefaultDirectRateLimiter>,
    paused_until: Mutex<Option<Instant>>,
    max_attempts: u32,
    retry_seconds: f64,
    has_answered: AtomicBool,
    stopped: OnceLock<CallError>,
    /// Set when the user wants to stop: nothing new is sent.
    stop: Arc<AtomicBool>,
}

impl Pool {
    pub fn new(provider: Box<dyn Provider>, spec: &ModelSpec, stop: &Arc<AtomicBool>) -> Pool {
        let concurrency = spec.concurrency.unwrap_or(CONCURRENCY);
        let limiter = |per_minute: Option<u32>| per_minute.and_then(NonZeroU32::new).map(per_minute_limiter);
        Pool {
            provider,
            permits: Semaphore::new(concurrency),
            concurrency,
            withheld: AtomicUsize::new(0),
            successes: AtomicUsize::new(0),
            requests: limiter(spec.requests_per_minute),
            tokens: limiter(spec.tokens_per_minute),
            paused_until: Mutex::new(None),
            max_attempts: spec.max_attempts.unwrap_or(MAX_ATTEMPTS),
            retry_seconds: spec.retry_seconds.unwrap_or(RETRY_SECONDS),
            has_answered: AtomicBool::new(false),
            stopped: OnceLock::new(),
            stop: stop.clone(),
        }
    }

    /// Fails every further call, those that wait for their turn too.
    pub fn close(&self, message: &str) {
        let _ = self.stopped.set(CallError::new(ErrorKind::Fatal, message));
    }

    /// Returns how many calls may be in flight.
    pub fn concurrency(&self) -> usize {
        self.concurrency
    }

    /// Returns how many more calls could be made right now.
    pub fn idle(&self) -> usize {
        self.permits.available_permits()
    }

    /// Finds, without a call, that no call can succeed.
    pub async fn preflight(&self) -> Result<(), CallError> {
        if self.has_answered.load(Ordering::Relaxed) { Ok(()) } else { self.provider.preflight().await }
    }

    /// Makes one call, with all the patience that the model was given.
    pub async fn call(&self, body: &Bytes, request: &Request) -> Result<Answer, CallError> {
        if !self.provider.is_remote() {
            let start = Instant::now();
            let sent = self.provider.send(body, request).await?;
            return Ok(Answer { sent, latency: start.elapsed().as_secs_f64(), attempts: 1 });
        }
        let first = Instant::now();
        let mut waiting = Duration::ZERO;
        let mut delays = ExponentialBuilder::default()
            .with_jitter()
            .with_min_delay(Duration::from_millis(400))
            .with_max_delay(Duration::from_secs(20))
            .without_max_times()
            .build();
        for attempt in 1.. {
            let queued = Instant::now();
            let permit = self.permits.acquire().await.expect("the semaphore is never closed");
            self.wait_for_quota(body).await?;
            waiting += queued.elapsed();
            if let Some(error) = self.stopped.get() {
                return Err(error.clone());
            }
            if self.stop.load(Ordering::Relaxed) {
                return Err(CallError::new(ErrorKind::Stopped, "interrupted"));
            }
            let start = Instant::now();
            let error = match self.provider.send(body, request).await {
                Ok(sent) => {
                    self.has_answered.store(true, Ordering::Relaxed);
                    self.grow();
                    return Ok(Answer { sent, latency: start.elapsed().as_secs_f64(), attempts: attempt });
                }
                Err(error) => error,
            };
            // Time in the queue is not the endpoint's fault.
            let elapsed = (first.elapsed() - waiting.min(first.elapsed())).as_secs_f64();
            drop(permit);
            let error = self.judge(error, attempt, elapsed);
            let delay = delays.next().unwrap_or(Duration::from_secs(20));
            let delay = error.retry_after.map_or(delay, |asked| delay.max(Duration::from_secs_f64(asked.min(1e6))));
            let is_retried = matches!(error.kind, ErrorKind::Connect | ErrorKind::Transient | ErrorKind::RateLimited)
                && attempt < self.max_attempts
                && elapsed + delay.as_secs_f64() <= self.retry_seconds;
            if !is_retried {
                let message =
                    if attempt > 1 { format!("{} (after {attempt} attempts)", error.message) } else { error.message };
                return Err(CallError { message, ..error });
            }
            if error.kind == ErrorKind::RateLimited {
                self.shrink();
                if error.retry_after.is_some() {
                    *self.paused_until.lock().expect("no panic while locked") = Some(Instant::now() + delay);
                }
            }
            tokio::time::sleep(delay).await;
        }
        unreachable!("the last attempt returns")
    }

    /// Stops the model where the error says that no call can succeed.
    fn judge(&self, error: CallError, attempt: u32, elapsed: f64) -> CallError {
        let is_dead = error.kind == ErrorKind::Connect
            && !self.has_answered.load(Ordering::Relaxed)
            && (attempt >= DEAD_ATTEMPTS.min(self.max_attempts) || elapsed >= DEAD_SECONDS);
        match error.kind {
            ErrorKind::Connect if is_dead => {
                let error = CallError::new(ErrorKind::Fatal, error.message);
                let _ = self.stopped.set(error.clone());
                error
            }
            ErrorKind::Connect => error,
            ErrorKind::Fatal => {
                let _ = self.stopped.set(error.clone());
                error
            }
            _ => {
                self.has_answered.store(true, Ordering::Relaxed);
                error
            }
        }
    }

    async fn wait_for_quota(&self, body: &[u8]) -> Result<(), CallError> {
        if let Some(requests) = &self.requests {
            requests.until_ready().await;
        }
        if let Some(tokens) = &self.tokens {
            // Four bytes a token: an estimate is all there is before the call.
            let estimate = NonZeroU32::new((body.len() / 4).max(1) as u32).expect("at least 1");
            if tokens.until_n_ready(estimate).await.is_err() {
                let message =
                    format!("the request has about {estimate} tokens, more than tokens_per_minute allows at all");
                return Err(CallError::new(ErrorKind::Permanent, message));
            }
        }
        loop {
            let until = *self.paused_until.lock().expect("no panic while locked");
            match until {
                Some(until) if until > Instant::now() => tokio::time::sleep_until(until.into()).await,
                _ => return Ok(()),
            }
        }
    }

    /// Halves what is kept in flight.
    fn shrink(&self) {
        self.successes.store(0, Ordering::Relaxed);
        let withheld = self.withheld.load(Ordering::Relaxed);
        let half = (self.concurrency - withheld) / 2;
        let taken = self.permits.forget_permits(half);
        self.withheld.fetch_add(taken, Ordering::Relaxed);
    }

    /// Gives a permit back after enough successes.
    fn grow(&self) {
        if self.withheld.load(Ordering::Relaxed) == 0
            || !(self.successes.fetch_add(1, Ordering::Relaxed) + 1).is_multiple_of(GROW_AFTER)
        {
            return;
        }
        let is_given =
            self.withheld.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |withheld| withheld.checked_sub(1));
        if is_given.is_ok() {
            self.permits.add_permits(1);
        }
    }
}

fn per_minute_limiter(per_minute: NonZeroU32) -> DefaultDirectRateLimiter {
    RateLimiter::direct(Quota::per_minute(per_minute))
}
