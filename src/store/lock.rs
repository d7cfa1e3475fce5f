//! OS locks. A lock is held by an open file, never judged by whether the file exists, so a killed process holds
//! nothing. The file says who holds it, for those who wait.

use std::fmt;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::Write;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use super::{Store, StoreError};

/// The first pause between two tries, and the longest.
const PAUSES: (Duration, Duration) = (Duration::from_millis(5), Duration::from_millis(200));

/// A held lock; dropping it releases it.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

/// Who holds a lock, as far as its file tells.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Holder(String);

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_empty() { "another process" } else { &self.0 })
    }
}

impl Holder {
    /// Returns this process.
    fn own() -> Holder {
        let mut command: String = std::env::args().skip(1).collect::<Vec<_>>().join(" ");
        if let Some((end, _)) = command.char_indices().nth(80) {
            command.truncate(end);
            command.push('…');
        }
        let since = humantime::format_rfc3339_seconds(SystemTime::now());
        Holder(format!("process {} (etalon {command}), since {since}", std::process::id()))
    }
}

impl Store {
    /// Takes the lock of a name; none if another process or task holds it.
    ///
    /// # Errors
    ///
    /// The file of the lock cannot be made or locked.
    pub fn try_lock(&self, name: &str) -> Result<Option<Lock>, StoreError> {
        let path = self.root.join("locks").join(name);
        // What its holder wrote into it stays until the lock is had.
        let file = OpenOptions::new().write(true).create(true).truncate(false).open(&path);
        let mut file = file.map_err(StoreError::io("create", &path))?;
        match file.try_lock() {
            Ok(()) => {
                // On a full disk nobody can be told who holds it; the lock holds all the same.
                let _ = file.set_len(0).and_then(|()| file.write_all(Holder::own().0.as_bytes()));
                Ok(Some(Lock { _file: file }))
            }
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(source)) => Err(StoreError::Io { action: "lock", path, source }),
        }
    }

    /// Waits for the lock of a name. `waiting` is called once, with who holds it, if someone else does. Returns none once
    /// `stop` is set.
    ///
    /// # Errors
    ///
    /// The file of the lock cannot be made or locked.
    pub async fn lock(
        &self,
        name: &str,
        stop: &AtomicBool,
        waiting: impl FnOnce(Holder),
    ) -> Result<Option<Lock>, StoreError> {
        let mut waiting = Some(waiting);
        let mut pause = PAUSES.0;
        loop {
            if let Some(lock) = self.try_lock(name)? {
                return Ok(Some(lock));
            }
            if stop.load(Ordering::Relaxed) {
                return Ok(None);
            }
            if let Some(waiting) = waiting.take() {
                waiting(self.holder(name));
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(PAUSES.1);
        }
    }

    fn holder(&self, name: &str) -> Holder {
        let text = fs::read_to_string(self.root.join("locks").join(name)).unwrap_or_default();
        Holder(text.trim().to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_waits_learns_for_whom_and_can_be_stopped() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(directory.path()).unwrap();
        let held = store.try_lock("a").unwrap().expect("nobody holds it");
        let (stop, mut told) = (AtomicBool::new(false), None);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let waited = runtime.block_on(store.lock("a", &stop, |holder| {
            told = Some(holder.to_string());
            stop.store(true, Ordering::Relaxed);
        }));
        assert!(waited.unwrap().is_none());
        let told = told.expect("someone holds it");
        assert!(told.starts_with(&format!("process {} (etalon ", std::process::id())), "{told}");
        drop(held);
        assert!(store.try_lock("a").unwrap().is_some());
    }
}
