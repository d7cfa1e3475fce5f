//! A pool limits one model: calls in flight, requests and tokens per minute, repeated attempts.
//!
//! A call waits for a permit and is sent. If it fails, it waits a random, growing time (or as long as the server asked)
//! and is sent again, up to a number of attempts and a total time. After a 429 the pool halves the number of calls in
//! flight, which grows back with success. An endpoint that cannot be reached and has never answered stops its model:
//! every further call fails at once with the same message.
//!
//! Which of these rules hold for a model depends on its [`Reach`](super::Reach) alone.

use std::num::NonZeroU32;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

use backon::{BackoffBuilder, ExponentialBuilder};
use bytes::Bytes;
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use tokio::sync::Semaphore;

use super::{CallError, ErrorKind, Provider, Request, Sent};

/// How often a call in flight checks whether the user wants to stop, if an interrupt gives such calls up.
const LOOK: Duration = Duration::from_millis(50);
const MAX_ATTEMPTS: u32 = 5;
const RETRY_SECONDS: f64 = 60.0;
/// An endpoint that has never answered is dead after so many attempts, or so many seconds.
const DEAD_ATTEMPTS: u32 = 3;
const DEAD_SECONDS: f64 = 10.0;
/// How many calls must succeed, after a 429, before one more may be in flight.
const GROW_AFTER: usize = 20;

/// A complete answer, with what it took.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// The answer as it came, and as it was read.
    pub sent: Sent,
    /// Seconds that the successful attempt took.
    pub latency: f64,
    /// How many attempts it took, 1 or more.
    pub attempts: u32,
}

/// The limits on calls that a model names in the spec.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Limits {
    /// Calls in flight at most; by default what the [`Reach`](super::Reach) says.
    pub concurrency: Option<usize>,
    /// Calls begun per minute at most; unlimited by default.
    pub requests_per_minute: Option<u32>,
    /// Prompt tokens (estimated) sent per minute at most; unlimited by default.
    pub tokens_per_minute: Option<u32>,
    /// Attempts per call at most; 5 by default.
    pub max_attempts: Option<u32>,
    /// Seconds of repeating per call at most, without time in the queue; 60 by default.
    pub retry_seconds: Option<f64>,
}

/// One model's provider, with its limits.
pub struct Pool {
    /// The provider that gets the calls.
    pub provider: Box<dyn Provider>,
    permits: Semaphore,
    concurrency: usize,
    /// How many permits are taken away because of 429s.
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
    /// Returns a pool around a provider. Once `stop` is set, nothing new is sent.
    pub fn new(provider: Box<dyn Provider>, stop: &Arc<AtomicBool>) -> Pool {
        let limits = provider.limits();
        let concurrency = limits.concurrency.unwrap_or_else(|| provider.reach().concurrency());
        let limiter = |per_minute: Option<u32>| per_minute.and_then(NonZeroU32::new).map(per_minute_limiter);
        Pool {
            provider,
            permits: Semaphore::new(concurrency),
            concurrency,
            withheld: AtomicUsize::new(0),
            successes: AtomicUsize::new(0),
            requests: limiter(limits.requests_per_minute),
            tokens: limiter(limits.tokens_per_minute),
            paused_until: Mutex::new(None),
            max_attempts: limits.max_attempts.unwrap_or(MAX_ATTEMPTS),
            retry_seconds: limits.retry_seconds.unwrap_or(RETRY_SECONDS),
            has_answered: AtomicBool::new(false),
            stopped: OnceLock::new(),
            stop: stop.clone(),
        }
    }

    /// Makes every further call fail, also those that wait for a permit.
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

    /// Checks, without a call, that calls can succeed.
    ///
    /// # Errors
    ///
    /// No call can succeed; the message says why. The kind is `Connect` if a server may still be starting.
    pub async fn preflight(&self) -> Result<(), CallError> {
        let is_known = self.has_answered.load(Ordering::Relaxed) || !self.provider.reach().is_checked_first();
        if is_known { Ok(()) } else { self.provider.preflight().await }
    }

    /// Makes one call, and repeats it as long as the model's limits allow.
    ///
    /// # Errors
    ///
    /// The error of the last attempt, with the number of attempts; `Stopped` if the user wants to stop; or the error of
    /// an earlier call, if that showed that no call can succeed.
    pub async fn call(&self, body: &Bytes, request: &Request) -> Result<Answer, CallError> {
        if !self.provider.reach().is_pooled() {
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
                return Err(interrupted());
            }
            let start = Instant::now();
            let error = match self.send(body, request).await {
                Ok(sent) => {
                    self.has_answered.store(true, Ordering::Relaxed);
                    self.grow();
                    return Ok(Answer { sent, latency: start.elapsed().as_secs_f64(), attempts: attempt });
                }
                Err(error) => error,
            };
            // Time in the queue is not the endpoint's fault, so it does not count.
            let elapsed = (first.elapsed() - waiting.min(first.elapsed())).as_secs_f64();
            drop(permit);
            let error = self.judge(error, attempt, elapsed);
            let delay = delays.next().unwrap_or(Duration::from_secs(20));
            let delay = error.retry_after.map_or(delay, |asked| delay.max(Duration::from_secs_f64(asked.min(1e6))));
            let is_retried = self.provider.reach().retries(error.kind)
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

    /// Sends a request, once. An interrupt gives it up, if the reach of the provider says so.
    async fn send(&self, body: &Bytes, request: &Request) -> Result<Sent, CallError> {
        let sent = self.provider.send(body, request);
        if !self.provider.reach().is_given_up() {
            return sent.await;
        }
        let is_stopped = async {
            while !self.stop.load(Ordering::Relaxed) {
                tokio::time::sleep(LOOK).await;
            }
        };
        tokio::select! {
            sent = sent => sent,
            () = is_stopped => Err(interrupted()),
        }
    }

    /// Stops the model if the error says that no call can succeed.
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
            // Before the call there is only an estimate of its tokens: four bytes each.
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

    /// Halves the number of calls in flight.
    fn shrink(&self) {
        self.successes.store(0, Ordering::Relaxed);
        let withheld = self.withheld.load(Ordering::Relaxed);
        let half = (self.concurrency - withheld) / 2;
        let taken = self.permits.forget_permits(half);
        self.withheld.fetch_add(taken, Ordering::Relaxed);
    }

    /// Adds a permit again after enough successes.
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

fn interrupted() -> CallError {
    CallError::new(ErrorKind::Stopped, "interrupted")
}

fn per_minute_limiter(per_minute: NonZeroU32) -> DefaultDirectRateLimiter {
    RateLimiter::direct(Quota::per_minute(per_minute))
}

#[cfg(test)]
mod tests {
    use futures_util::future::{BoxFuture, join_all};
    use serde_json::Map;

    use super::super::{Reach, Reply};
    use super::*;

    /// A provider that answers after a while, or fails, and counts its calls.
    struct Counting {
        reach: Reach,
        limits: Limits,
        takes: Duration,
        error: Option<ErrorKind>,
        sent: Arc<AtomicUsize>,
        in_flight: Arc<AtomicUsize>,
        most: Arc<AtomicUsize>,
    }

    impl Counting {
        fn new(reach: Reach, takes: u64, error: Option<ErrorKind>) -> Counting {
            let counter = Arc::<AtomicUsize>::default;
            let takes = Duration::from_millis(takes);
            Counting {
                reach,
                limits: Limits::default(),
                takes,
                error,
                sent: counter(),
                in_flight: counter(),
                most: counter(),
            }
        }

        async fn answer(&self) -> Result<Sent, CallError> {
            self.sent.fetch_add(1, Ordering::Relaxed);
            let now = self.in_flight.fetch_add(1, Ordering::Relaxed) + 1;
            self.most.fetch_max(now, Ordering::Relaxed);
            tokio::time::sleep(self.takes).await;
            self.in_flight.fetch_sub(1, Ordering::Relaxed);
            match self.error {
                Some(kind) => Err(CallError { retry_after: Some(0.0), ..CallError::new(kind, "no") }),
                None => Ok(Sent { raw: String::new(), reply: Reply::default() }),
            }
        }
    }

    impl Provider for Counting {
        fn identity(&self) -> Map<String, serde_json::Value> {
            Map::new()
        }

        fn reach(&self) -> Reach {
            self.reach
        }

        fn limits(&self) -> Limits {
            self.limits
        }

        fn body(&self, _request: &Request, _out: &mut Vec<u8>) {}

        fn send<'a>(&'a self, _body: &'a Bytes, _request: &'a Request) -> BoxFuture<'a, Result<Sent, CallError>> {
            Box::pin(self.answer())
        }

        fn read(&self, _raw: &str) -> Result<Reply, CallError> {
            Ok(Reply::default())
        }
    }

    fn request() -> Request {
        Request { messages: Vec::new(), options: Arc::default(), sample: 0 }
    }

    /// Makes `count` calls at once; returns their results.
    fn calls(pool: &Pool, count: usize) -> Vec<Result<Answer, CallError>> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let (body, request) = (Bytes::new(), request());
        runtime.block_on(join_all((0..count).map(|_| pool.call(&body, &request))))
    }

    #[test]
    fn what_is_instant_is_asked_once_whatever_it_answers() {
        for kind in [ErrorKind::Connect, ErrorKind::Transient, ErrorKind::RateLimited] {
            let provider = Counting::new(Reach::Instant, 0, Some(kind));
            let sent = provider.sent.clone();
            let pool = Pool::new(Box::new(provider), &Arc::default());
            assert_eq!(calls(&pool, 1)[0].as_ref().unwrap_err().message, "no");
            assert_eq!(sent.load(Ordering::Relaxed), 1, "{kind:?}");
        }
    }

    #[test]
    fn what_runs_here_is_bounded_and_not_asked_again() {
        let mut provider = Counting::new(Reach::Process, 5, None);
        provider.limits.concurrency = Some(3);
        let most = provider.most.clone();
        let pool = Pool::new(Box::new(provider), &Arc::default());
        assert!(calls(&pool, 20).iter().all(Result::is_ok));
        assert_eq!(most.load(Ordering::Relaxed), 3);
        let cores = std::thread::available_parallelism().unwrap().get();
        let provider = Counting::new(Reach::Process, 0, Some(ErrorKind::Connect));
        let sent = provider.sent.clone();
        let pool = Pool::new(Box::new(provider), &Arc::default());
        assert_eq!(pool.concurrency(), cores);
        assert!(calls(&pool, 1)[0].is_err());
        assert_eq!(sent.load(Ordering::Relaxed), 1);
    }

    /// Makes calls that take `takes` milliseconds each, and stops after 20 ms; returns the results and the time.
    fn stopped(reach: Reach, takes: u64) -> (Vec<Result<Answer, CallError>>, Duration) {
        let stop = Arc::new(AtomicBool::new(false));
        let mut provider = Counting::new(reach, takes, None);
        provider.limits.concurrency = Some(2);
        let pool = Pool::new(Box::new(provider), &stop);
        let start = Instant::now();
        let setter = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(20));
            stop.store(true, Ordering::Relaxed);
        });
        let answers = calls(&pool, 4);
        setter.join().unwrap();
        (answers, start.elapsed())
    }

    #[test]
    fn an_interrupt_gives_up_what_runs_here_and_awaits_what_is_paid_for() {
        let is_stopped =
            |answer: &Result<Answer, CallError>| answer.as_ref().is_err_and(|e| e.kind == ErrorKind::Stopped);
        let (answers, took) = stopped(Reach::Process, 60_000);
        assert!(answers.iter().all(is_stopped) && took < Duration::from_secs(5), "{took:?}");
        let (answers, _) = stopped(Reach::Network, 300);
        assert_eq!(answers.iter().filter(|answer| answer.is_ok()).count(), 2, "those in flight arrive");
        assert_eq!(answers.iter().filter(|answer| is_stopped(answer)).count(), 2, "the others are not begun");
    }

    #[test]
    fn a_server_is_asked_again() {
        for (kind, expected) in [(ErrorKind::Transient, 2), (ErrorKind::RateLimited, 2), (ErrorKind::Permanent, 1)] {
            let mut provider = Counting::new(Reach::Network, 0, Some(kind));
            provider.limits.max_attempts = Some(2);
            let sent = provider.sent.clone();
            let pool = Pool::new(Box::new(provider), &Arc::default());
            assert!(calls(&pool, 1)[0].is_err());
            assert_eq!(sent.load(Ordering::Relaxed), expected, "{kind:?}");
        }
    }
}
