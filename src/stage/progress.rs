//! How far a node is.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use super::Waiting;
use super::desk::Account;

/// How far a node is. The stage writes it, the progress display reads it.
#[derive(Default)]
pub struct Progress {
    pub done: AtomicU64,
    pub failed: AtomicU64,
    /// Rows × samples, where known.
    pub total: AtomicU64,
    accounts: Mutex<Vec<Arc<Account>>>,
    waiting: Option<Waiting>,
}

impl Progress {
    /// Returns a progress that tells for whom the node waits.
    pub fn telling(waiting: Waiting) -> Progress {
        Progress { waiting: Some(waiting), ..Progress::default() }
    }

    /// Returns whom to tell for whom the node waits.
    pub fn waiting(&self) -> Waiting {
        self.waiting.clone().unwrap_or_else(|| Arc::new(|_| {}))
    }

    /// Adds accounts whose calls are counted.
    pub fn follow(&self, accounts: impl IntoIterator<Item = Arc<Account>>) {
        self.accounts.lock().expect("no panic while locked").extend(accounts);
    }

    /// Begins anew: what was done is done again.
    pub fn restart(&self) {
        self.done.store(0, Ordering::Relaxed);
        self.failed.store(0, Ordering::Relaxed);
    }

    /// Returns the calls made so far.
    pub fn calls(&self) -> u64 {
        self.accounts.lock().expect("no panic while locked").iter().map(|account| account.calls()).sum()
    }

    /// Returns how many completions came from the log.
    pub fn reused(&self) -> u64 {
        self.accounts.lock().expect("no panic while locked").iter().map(|account| account.reused()).sum()
    }

    pub(super) fn count(&self, is_failed: bool) {
        self.done.fetch_add(1, Ordering::Relaxed);
        if is_failed {
            self.failed.fetch_add(1, Ordering::Relaxed);
        }
    }
}
