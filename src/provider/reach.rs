//! How a provider is reached: what its calls cost in time, and what may be done about them.
//!
//! | | [`Instant`](Reach::Instant) | [`Process`](Reach::Process) | [`Network`](Reach::Network) |
//! |---|---|---|---|
//! | answers from | a template, a file | a program, weights in this process | a server |
//! | in flight, unless said | does not wait | one per core | 16 |
//! | a failed call | stays failed | stays failed | is tried again, if that may help |
//! | an interrupt | lets it end | gives it up | lets it arrive: it is paid for |
//!
//! Whoever asks for the reach of a provider asks for one of these rows.

use super::ErrorKind;

/// Calls to a server in flight, unless its model says.
const NETWORK_CONCURRENCY: usize = 16;

/// How a provider is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// It answers in this process at once: there is nothing to bound, to wait for or to try again.
    Instant,
    /// A program, or weights in this process: a call takes cores and may take long. It is awaited like
    /// any other: its provider moves the work to a thread of its own.
    Process,
    /// A server: a call may fail for reasons of its own, and costs money.
    Network,
}

impl Reach {
    /// Returns how many calls may be in flight where the model does not say.
    pub fn concurrency(self) -> usize {
        match self {
            Reach::Instant | Reach::Network => NETWORK_CONCURRENCY,
            Reach::Process => std::thread::available_parallelism().map_or(1, usize::from),
        }
    }

    /// Returns true where calls are bounded, awaited and counted by a pool.
    pub fn is_pooled(self) -> bool {
        self != Reach::Instant
    }

    /// Returns true where a call that failed like this is worth another attempt.
    pub fn retries(self, kind: ErrorKind) -> bool {
        self == Reach::Network && matches!(kind, ErrorKind::Connect | ErrorKind::Transient | ErrorKind::RateLimited)
    }

    /// Returns true where an interrupt gives up the calls in flight.
    pub fn is_given_up(self) -> bool {
        self == Reach::Process
    }

    /// Returns true where it is worth finding out, before the first call, that none can succeed.
    pub fn is_checked_first(self) -> bool {
        self != Reach::Instant
    }

    /// Returns true where `--offline` allows no call.
    pub fn needs_network(self) -> bool {
        self == Reach::Network
    }
}
