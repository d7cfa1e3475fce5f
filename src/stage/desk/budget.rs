//! The budget of a run: dollars that all its models may cost together.
//!
//! Money is set aside before a call is sent, as much as the call can cost at most, and what is left over comes back when
//! the answer is there. A call for which nothing is left waits for those in flight, since they may leave something over;
//! if none is in flight, the budget is spent.

use std::sync::Mutex;

use tokio::sync::Notify;

/// Dollars are sums of many small numbers; so far apart they are still equal.
const TOLERANCE: f64 = 1e-9;

/// Dollars that several models may cost together.
#[derive(Debug)]
pub struct Budget {
    limit: f64,
    state: Mutex<State>,
    freed: Notify,
}

#[derive(Debug, Default)]
struct State {
    spent: f64,
    reserved: f64,
    in_flight: u64,
}

impl State {
    fn has(&self, dollars: f64, limit: f64) -> bool {
        self.spent + self.reserved + dollars <= limit + TOLERANCE
    }
}

impl Budget {
    /// Returns a budget of so many dollars, of which nothing is spent.
    pub fn new(limit: f64) -> Budget {
        Budget { limit, state: Mutex::default(), freed: Notify::new() }
    }

    /// Returns the dollars that may be spent in all.
    pub fn limit(&self) -> f64 {
        self.limit
    }

    /// Returns the dollars that are spent.
    pub fn spent(&self) -> f64 {
        self.state.lock().expect("no panic while locked").spent
    }

    /// Sets dollars aside for a call. Returns none if they are not there and no call in flight may leave them over.
    pub(super) async fn reserve(&self, dollars: f64) -> Option<Reserved<'_>> {
        loop {
            let freed = self.freed.notified();
            tokio::pin!(freed);
            // Registered before the state is read, so that a call that ends meanwhile is not missed.
            freed.as_mut().enable();
            {
                let mut state = self.state.lock().expect("no panic while locked");
                if state.has(dollars, self.limit) {
                    state.reserved += dollars;
                    state.in_flight += 1;
                    return Some(Reserved { budget: self, dollars });
                }
                if state.in_flight == 0 {
                    return None;
                }
            }
            freed.await;
        }
    }
}

/// Dollars that are set aside for one call. Dropping it gives them back.
pub(super) struct Reserved<'a> {
    budget: &'a Budget,
    dollars: f64,
}

impl Reserved<'_> {
    /// Spends what an answer cost; without a known cost, all that was set aside. Returns true if as much is left once
    /// more, so that the call can be sent again.
    pub fn spend(&self, cost: Option<f64>) -> bool {
        let mut state = self.budget.state.lock().expect("no panic while locked");
        state.spent += cost.unwrap_or(self.dollars);
        state.has(0.0, self.budget.limit)
    }
}

impl Drop for Reserved<'_> {
    fn drop(&mut self) {
        let mut state = self.budget.state.lock().expect("no panic while locked");
        state.reserved -= self.dollars;
        state.in_flight -= 1;
        drop(state);
        self.budget.freed.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[test]
    fn calls_wait_for_what_others_leave_over_and_never_exceed_it() {
        let budget = Budget::new(1.0);
        let first = budget.reserve(0.6).now_or_never().flatten().expect("there is enough");
        assert!(budget.reserve(0.6).now_or_never().is_none(), "it waits for the first");
        assert!(first.spend(Some(0.1)), "0.6 is left once more");
        drop(first);
        let second = budget.reserve(0.9).now_or_never().flatten().expect("0.9 is left");
        assert!(!second.spend(None), "all that was set aside is spent");
        drop(second);
        assert!(budget.reserve(0.01).now_or_never().expect("nothing is in flight").is_none());
        assert!((budget.spent() - 1.0).abs() < 1e-12);
    }
}
