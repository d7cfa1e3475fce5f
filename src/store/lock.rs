//! OS locks. A lock is held by an open file, never judged by whether the file exists, so a killed process holds
//! nothing.

use std::fs::{File, TryLockError};
use std::time::Duration;

use super::{Store, StoreError};

/// A held lock; dropping it releases it.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

impl Store {
    /// Takes the lock of a name; none if another process or task holds it.
    ///
    /// # Errors
    ///
    /// The file of the lock cannot be made or locked.
    pub fn try_lock(&self, name: &str) -> Result<Option<Lock>, StoreError> {
        let path = self.root.join("locks").join(name);
        let file = File::create(&path).map_err(StoreError::io("create", &path))?;
        match file.try_lock() {
            Ok(()) => Ok(Some(Lock { _file: file })),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(source)) => Err(StoreError::Io { action: "lock", path, source }),
        }
    }

    /// Waits for the lock of a name. `waiting` is called once if someone else holds it.
    ///
    /// # Errors
    ///
    /// The file of the lock cannot be made or locked.
    pub async fn lock(&self, name: &str, mut waiting: impl FnMut()) -> Result<Lock, StoreError> {
        let mut pause = Duration::from_millis(5);
        loop {
            if let Some(lock) = self.try_lock(name)? {
                return Ok(lock);
            }
            if pause == Duration::from_millis(5) {
                waiting();
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(Duration::from_millis(200));
        }
    }
}
