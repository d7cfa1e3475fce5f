//! How a provider is reached: how long its calls take, and what may be done about them.
//!
//! | | [`Instant`](Reach::Instant) | [`Process`](Reach::Process) | [`Network`](Reach::Network) |
//! |---|---|---|---|
//! | answers from | a template, a file | a program, weights in this process | a server |
//! | in flight, unless said | does not wait | one per core | 16 at first, up to 128 if that brings more answers |
//! | a failed call | stays failed | stays failed | is tried again, if that may help |
//! | an interrupt | lets it end | gives it up | lets it arrive: it is paid for |
//!
//! Each method of [`Reach`] answers one of these rows.

use super::ErrorKind;

/// How many calls to a server are in flight at first, and may be at most, if its model does not say.
const NETWORK_CONCURRENCY: (usize, usize) = (16, 128);

/// How a provider is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// It answers at once within this process: there is nothing to limit, to wait for or to repeat.
    Instant,
    /// A program, or weights in this process: a call takes cores and may take long. It is awaited like any other, since
    /// the provider moves the work to a thread of its own.
    Process,
    /// A server: a call may fail for the server's own reasons, and costs money.
    Network,
}

impl Reach {
    /// Returns how many calls are in flight at first, if the model does not say.
    pub fn concurrency(self) -> usize {
        match self {
            Reach::Instant | Reach::Network => NETWORK_CONCURRENCY.0,
            Reach::Process => std::thread::available_parallelism().map_or(1, usize::from),
        }
    }

    /// Returns how many calls may be in flight at most, if the model does not say.
    pub fn most_concurrency(self) -> usize {
        if self == Reach::Network { NETWORK_CONCURRENCY.1 } else { self.concurrency() }
    }

    /// Returns true if a pool limits, awaits and counts the calls.
    pub fn is_pooled(self) -> bool {
        self != Reach::Instant
    }

    /// Returns true if another attempt may help after an error of this kind.
    pub fn retries(self, kind: ErrorKind) -> bool {
        self == Reach::Network && matches!(kind, ErrorKind::Connect | ErrorKind::Transient | ErrorKind::RateLimited)
    }

    /// Returns true if an interrupt gives up the calls in flight.
    pub fn is_given_up(self) -> bool {
        self == Reach::Process
    }

    /// Returns true if it is worth checking, before the first call, that calls can succeed.
    pub fn is_checked_first(self) -> bool {
        self != Reach::Instant
    }

    /// Returns true if `--offline` forbids its calls.
    pub fn needs_network(self) -> bool {
        self == Reach::Network
    }
}
