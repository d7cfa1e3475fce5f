//! A pool limits one model: calls in flight, requests and tokens per minute, repeated attempts.
//!
//! A call waits for its turn (`pace`) and is sent. If it fails, it waits a random, growing time (or as long as the server
//! asked) and is sent again, up to a number of attempts and a total time. A call that is refused (429) is no attempt: it
//! waits and is sent again, until the server has answered nothing at all for as long as the model's patience. An endpoint
//! that cannot be reached and has never answered stops its model: every further call fails at once with the same message.
//!
//! Which of these rules hold for a model depends on its [`Reach`](super::Reach) alone.

use std::num::NonZeroU32;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

use backon::{BackoffBuilder, ExponentialBuilder};
use bytes::Bytes;
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use tokio::sync::Notify;

use super::pace::{Begun, Pace, Turn};
use super::{Billed, CallError, ErrorKind, Provider, Request, Sent};

/// How often a call in flight checks whether the user wants to stop, if an interrupt gives such calls up.
const LOOK: Duration = Duration::from_millis(50);
/// How long a call waits at once, before it looks whether it is still wanted.
const REST: Duration = Duration::from_millis(100);
const MAX_ATTEMPTS: u32 = 5;
/// At most so many useless answers are paid for one call.
const MAX_BILLED: u32 = 2;
const RETRY_SECONDS: f64 = 60.0;
/// An endpoint that has never answered is dead after so many attempts, or so many seconds.
const DEAD_ATTEMPTS: u32 = 3;
const DEAD_SECONDS: f64 = 10.0;
/// Seconds without any answer after which a server that refuses everything is given up.
const PATIENCE: f64 = 600.0;
/// The first wait of a call that was refused, and the longest, where the server does not ask for one.
const REFUSED: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(2));

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

/// Learns of the attempts of a call while it goes on.
pub trait Ledger: Sync {
    /// A request was sent.
    fn sent(&self);

    /// The server refused a request, because there were too many.
    fn refused(&self);

    /// The server billed an answer that nobody can use. `attempt` counts from 1. Returns false if the call must not be
    /// sent again.
    fn useless(&self, billed: &Billed, attempt: u32) -> bool;
}

/// The limits on calls that a model names in the spec.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Limits {
    /// Calls in flight at most; by default it is found, within what the [`Reach`](super::Reach) says.
    pub concurrency: Option<usize>,
    /// Calls begun per minute at most; unlimited by default.
    pub requests_per_minute: Option<u32>,
    /// Prompt tokens (estimated) sent per minute at most; unlimited by default.
    pub tokens_per_minute: Option<u32>,
    /// Attempts per call at most; 5 by default.
    pub max_attempts: Option<u32>,
    /// Seconds of repeating per call at most, without time in the queue; 60 by default.
    pub retry_seconds: Option<f64>,
    /// Seconds without any answer after which a server that refuses all calls is given up; 600 by default.
    pub patience: Option<f64>,
}

/// One model's provider, with its limits.
pub struct Pool {
    /// The provider that gets the calls.
    pub provider: Box<dyn Provider>,
    pace: Mutex<Pace>,
    /// Told when a call has ended.
    freed: Notify,
    began: Instant,
    concurrency: usize,
    requests: Option<DefaultDirectRateLimiter>,
    tokens: Option<DefaultDirectRateLimiter>,
    max_attempts: u32,
    retry_seconds: f64,
    patience: Duration,
    has_answered: AtomicBool,
    stopped: OnceLock<CallError>,
    /// Set when the user wants to stop: nothing new is sent.
    stop: Arc<AtomicBool>,
}

impl Pool {
    /// Returns a pool around a provider. Once `stop` is set, nothing new is sent.
    pub fn new(provider: Box<dyn Provider>, stop: &Arc<AtomicBool>) -> Pool {
        let limits = provider.limits();
        let reach = provider.reach();
        let (start, most) = match limits.concurrency {
            Some(calls) => (calls, calls),
            None => (reach.concurrency(), reach.most_concurrency()),
        };
        let limiter = |per_minute: Option<u32>| per_minute.and_then(NonZeroU32::new).map(per_minute_limiter);
        Pool {
            provider,
            pace: Mutex::new(Pace::new(start, most)),
            freed: Notify::new(),
            began: Instant::now(),
            concurrency: most,
            requests: limiter(limits.requests_per_minute),
            tokens: limiter(limits.tokens_per_minute),
            max_attempts: limits.max_attempts.unwrap_or(MAX_ATTEMPTS),
            retry_seconds: limits.retry_seconds.unwrap_or(RETRY_SECONDS),
            patience: Duration::try_from_secs_f64(limits.patience.unwrap_or(PATIENCE)).unwrap_or(Duration::MAX / 4),
            has_answered: AtomicBool::new(false),
            stopped: OnceLock::new(),
            stop: stop.clone(),
        }
    }

    /// Makes every further call fail, also those that wait for a permit.
    pub fn close(&self, message: &str) {
        let _ = self.stopped.set(CallError::new(ErrorKind::Fatal, message));
        self.freed.notify_waiters();
    }

    /// Returns how many calls may be in flight.
    pub fn concurrency(&self) -> usize {
        self.concurrency
    }

    /// Returns how many more calls could be made right now.
    pub fn idle(&self) -> usize {
        self.pace.lock().expect("no panic while locked").idle(self.began.elapsed())
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
    pub async fn call(&self, body: &Bytes, request: &Request, ledger: &dyn Ledger) -> Result<Answer, CallError> {
        if !self.provider.reach().is_pooled() {
            ledger.sent();
            let start = Instant::now();
            let sent = self.provider.send(body, request).await?;
            return Ok(Answer { sent, latency: start.elapsed().as_secs_f64(), attempts: 1 });
        }
        let first = Instant::now();
        // Time in the queue, and time that the server asked for, is not the endpoint's fault.
        let mut waiting = Duration::ZERO;
        let mut delays = ExponentialBuilder::default()
            .with_jitter()
            .with_min_delay(Duration::from_millis(400))
            .with_max_delay(Duration::from_secs(20))
            .without_max_times()
            .build();
        let (mut attempt, mut refusals, mut billed) = (1, 0, 0);
        loop {
            let queued = Instant::now();
            self.wait_for_quota(body).await?;
            let mut turn = self.turn().await?;
            waiting += queued.elapsed();
            let start = Instant::now();
            ledger.sent();
            let error = match self.send(body, request).await {
                Ok(sent) => {
                    self.has_answered.store(true, Ordering::Relaxed);
                    turn.succeeded(sent.pause);
                    let latency = start.elapsed().as_secs_f64();
                    return Ok(Answer { sent, latency, attempts: attempt + refusals });
                }
                Err(error) => error,
            };
            let asked = error.retry_after.and_then(|asked| Duration::try_from_secs_f64(asked).ok());
            turn.failed(&error, asked);
            drop(turn);
            if let Some(useless) = &error.billed {
                let may_go_on = ledger.useless(useless, attempt + refusals);
                billed = if may_go_on { billed + 1 } else { MAX_BILLED };
            }
            let elapsed = (first.elapsed() - waiting.min(first.elapsed())).as_secs_f64();
            let error = self.judge(error, attempt, elapsed);
            // Whatever the error is: what is billed again and again must end.
            if !self.provider.reach().retries(error.kind) || billed >= MAX_BILLED {
                return Err(after(error, attempt + refusals));
            }
            let delay = if error.kind == ErrorKind::RateLimited {
                refusals += 1;
                ledger.refused();
                waiting += start.elapsed();
                // A server that answers others refuses by chance, or is used up to its limit: then a row that was unlucky
                // need not wait longer each time.
                let in_a_row = self.pace.lock().expect("no panic while locked").refusals() as u32;
                asked.unwrap_or_default().max(backoff(refusals.min(1 + in_a_row)))
            } else {
                let delay = delays.next().unwrap_or(Duration::from_secs(20));
                let is_over = match asked {
                    Some(_) => elapsed > self.retry_seconds,
                    None => elapsed + delay.as_secs_f64() > self.retry_seconds,
                };
                if attempt >= self.max_attempts || is_over {
                    return Err(after(error, attempt));
                }
                attempt += 1;
                asked.unwrap_or_default().max(delay)
            };
            if asked.is_some() || error.kind == ErrorKind::RateLimited {
                self.check_patience(&error, delay)?;
                waiting += delay;
            }
            self.rest(delay).await?;
        }
    }

    /// Waits until a call may begin.
    async fn turn(&self) -> Result<InFlight<'_>, CallError> {
        loop {
            self.check_stopped()?;
            let freed = self.freed.notified();
            tokio::pin!(freed);
            // Registered before the pace is asked, so that a call that ends meanwhile is not missed.
            freed.as_mut().enable();
            let turn = self.pace.lock().expect("no panic while locked").begin(self.began.elapsed());
            match turn {
                Turn::Now(begun) => return Ok(InFlight { pool: self, begun: Some(begun) }),
                Turn::Later(at) => self.rest(at.saturating_sub(self.began.elapsed())).await?,
                Turn::Full => tokio::select! {
                    () = freed => {}
                    () = tokio::time::sleep(REST) => {}
                },
            }
        }
    }

    /// Waits, and gives up when the user wants to stop or the model is stopped.
    async fn rest(&self, time: Duration) -> Result<(), CallError> {
        let end = Instant::now() + time;
        loop {
            self.check_stopped()?;
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(());
            }
            tokio::time::sleep(left.min(REST)).await;
        }
    }

    fn check_stopped(&self) -> Result<(), CallError> {
        match self.stopped.get() {
            Some(error) => Err(error.clone()),
            None if self.stop.load(Ordering::Relaxed) => Err(interrupted()),
            None => Ok(()),
        }
    }

    /// Gives the model up if the server will have answered nothing for longer than the patience when a wait is over.
    fn check_patience(&self, error: &CallError, wait: Duration) -> Result<(), CallError> {
        let pace = self.pace.lock().expect("no panic while locked");
        if !pace.is_out_of_patience(self.began.elapsed(), wait, self.patience) {
            return Ok(());
        }
        let asks = match error.retry_after {
            Some(seconds) => format!("it asks to wait {seconds:.0} s"),
            None => "it does not say how long to wait".to_owned(),
        };
        let patience = self.patience.as_secs_f64();
        let message = format!("{}; {asks}, and `patience` is {patience:.0} s without an answer", error.message);
        let error = CallError::new(ErrorKind::Fatal, message);
        let _ = self.stopped.set(error.clone());
        self.freed.notify_waiters();
        Err(error)
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
        Ok(())
    }
}

/// A call in flight. Dropping it ends it, also where it is given up.
struct InFlight<'a> {
    pool: &'a Pool,
    begun: Option<Begun>,
}

impl InFlight<'_> {
    /// Ends a call that was answered; the server may say how long the next one has to wait.
    fn succeeded(&mut self, pause: Option<f64>) {
        let Some(begun) = self.begun.take() else { return };
        let now = self.pool.began.elapsed();
        let mut pace = self.pool.pace.lock().expect("no panic while locked");
        pace.succeeded(begun, now);
        if let Some(pause) = pause.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok()) {
            pace.pause(now + pause);
        }
        drop(pace);
        // Its place, and one more if the pace lets more calls begin.
        self.pool.freed.notify_one();
        self.pool.freed.notify_one();
    }

    /// Ends a call that failed. `asked` is how long the server asks to wait.
    fn failed(&mut self, error: &CallError, asked: Option<Duration>) {
        let Some(begun) = self.begun.take() else { return };
        let now = self.pool.began.elapsed();
        let mut pace = self.pool.pace.lock().expect("no panic while locked");
        match error.kind {
            ErrorKind::RateLimited => pace.refused(begun, now, asked, fastrand::f64()),
            ErrorKind::Connect | ErrorKind::Stopped => pace.ended(begun),
            // A server that asks for time does not answer.
            ErrorKind::Transient if asked.is_some() => pace.ended(begun),
            _ => {
                pace.ended(begun);
                pace.heard(now);
            }
        }
        drop(pace);
        self.pool.freed.notify_one();
    }
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        if let Some(begun) = self.begun.take() {
            self.pool.pace.lock().expect("no panic while locked").ended(begun);
            self.pool.freed.notify_one();
        }
    }
}

/// Returns how long a call waits that was refused so many times, if the server does not ask for more.
fn backoff(refusals: u32) -> Duration {
    let (first, longest) = REFUSED;
    let wait = first.saturating_mul(2_u32.saturating_pow(refusals.saturating_sub(1).min(16))).min(longest);
    wait.mul_f64(0.5 + 0.5 * fastrand::f64())
}

/// Returns the error of a call that is given up.
fn after(error: CallError, attempts: u32) -> CallError {
    let message = if attempts > 1 { format!("{} (after {attempts} attempts)", error.message) } else { error.message };
    CallError { message, ..error }
}

fn interrupted() -> CallError {
    CallError::new(ErrorKind::Stopped, "interrupted")
}

fn per_minute_limiter(per_minute: NonZeroU32) -> DefaultDirectRateLimiter {
    RateLimiter::direct(Quota::per_minute(per_minute))
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

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
                None => Ok(Sent { raw: String::new(), reply: Reply::default(), pause: None }),
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

    struct NoLedger;

    impl Ledger for NoLedger {
        fn sent(&self) {}

        fn refused(&self) {}

        fn useless(&self, _billed: &Billed, _attempt: u32) -> bool {
            true
        }
    }

    fn request() -> Request {
        Request { messages: Vec::new(), options: Arc::default(), sample: 0 }
    }

    /// Makes `count` calls at once; returns their results.
    fn calls(pool: &Pool, count: usize) -> Vec<Result<Answer, CallError>> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let (body, request) = (Bytes::new(), request());
        runtime.block_on(join_all((0..count).map(|_| pool.call(&body, &request, &NoLedger))))
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
        for (kind, expected) in [(ErrorKind::Transient, 2), (ErrorKind::Permanent, 1)] {
            let mut provider = Counting::new(Reach::Network, 0, Some(kind));
            provider.limits.max_attempts = Some(2);
            let sent = provider.sent.clone();
            let pool = Pool::new(Box::new(provider), &Arc::default());
            assert!(calls(&pool, 1)[0].is_err());
            assert_eq!(sent.load(Ordering::Relaxed), expected, "{kind:?}");
        }
    }

    #[test]
    fn a_refused_call_is_no_attempt_and_is_given_up_when_patience_ends() {
        let mut provider = Counting::new(Reach::Network, 0, Some(ErrorKind::RateLimited));
        (provider.limits.max_attempts, provider.limits.patience) = (Some(1), Some(1.0));
        let sent = provider.sent.clone();
        let pool = Pool::new(Box::new(provider), &Arc::default());
        let start = Instant::now();
        let answers = calls(&pool, 3);
        let message = &answers[0].as_ref().unwrap_err().message;
        assert!(message.contains("`patience` is 1 s") && message.contains("asks to wait 0 s"), "{message}");
        assert!(answers.iter().all(|answer| answer.as_ref().is_err_and(|error| error.kind == ErrorKind::Fatal)));
        assert!(sent.load(Ordering::Relaxed) > 1 && start.elapsed() < Duration::from_secs(30));
    }
}
