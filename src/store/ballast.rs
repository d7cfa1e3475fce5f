//! Ballast: room on the disk that is kept for answers that are in flight.
//!
//! A call is paid when it is sent, and its answer must find room when it comes. So before calls are sent, a file takes
//! as much room as their answers may need. When the disk is full all the same, since others write to it, too, the file
//! is dropped, and the answers fit into its place.

use std::fs::File;
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::Mutex;

/// Room for one answer, at least, in bytes.
const ANSWER: usize = 32 << 10;
/// The most room that is kept, in bytes.
const MOST: usize = 64 << 20;
/// So much is written at once, in bytes.
const BLOCK: usize = 1 << 18;

/// Room that is kept on the disk of a directory.
#[derive(Debug)]
pub(super) struct Ballast {
    directory: PathBuf,
    held: Mutex<Held>,
}

#[derive(Debug, Default)]
struct Held {
    /// A file without a name: a killed process leaves nothing behind.
    file: Option<File>,
    bytes: usize,
    /// The longest record so far.
    longest: usize,
    /// The room was needed, so the disk is full: nothing more is to be sent.
    is_spent: bool,
}

impl Ballast {
    /// Returns ballast that holds nothing yet.
    pub fn new(directory: PathBuf) -> Ballast {
        Ballast { directory, held: Mutex::default() }
    }

    /// Keeps room for the answers of `calls` requests, of which this one has so many bytes.
    ///
    /// # Errors
    ///
    /// The disk has no room.
    pub fn hold(&self, request: usize, calls: usize) -> io::Result<()> {
        let mut held = self.held.lock().expect("no panic while locked");
        if held.is_spent {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let one = ANSWER.max(request + ANSWER / 2).max(held.longest * 2);
        let wanted = one.saturating_mul(calls.max(1)).min(MOST);
        if held.bytes >= wanted {
            return Ok(());
        }
        if held.file.is_none() {
            held.file = Some(tempfile::tempfile_in(&self.directory)?);
        }
        // Noise, since some file systems take no room for zeros.
        let mut noise = vec![0; BLOCK.min(wanted)];
        while held.bytes < wanted {
            noise.fill_with(|| fastrand::u8(..));
            let file = held.file.as_mut().expect("it was just made");
            file.write_all(&noise)?;
            held.bytes += noise.len();
        }
        Ok(())
    }

    /// Learns how long a record was.
    pub fn learn(&self, record: usize) {
        let mut held = self.held.lock().expect("no panic while locked");
        held.longest = held.longest.max(record);
    }

    /// Gives the room back, since it is needed. Returns false if there was none.
    pub fn drop_it(&self) -> bool {
        let mut held = self.held.lock().expect("no panic while locked");
        held.is_spent = true;
        held.bytes = 0;
        held.file.take().is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_grows_with_what_is_in_flight_and_is_given_back_once() {
        let directory = tempfile::tempdir().unwrap();
        let ballast = Ballast::new(directory.path().to_owned());
        let bytes = || ballast.held.lock().unwrap().bytes;
        ballast.hold(10, 2).unwrap();
        assert!(bytes() >= 2 * ANSWER);
        ballast.learn(1 << 20);
        ballast.hold(10, 2).unwrap();
        assert!(bytes() >= 4 << 20);
        ballast.hold(10, 1_000_000).unwrap();
        assert!(bytes() <= MOST + BLOCK);
        assert!(ballast.drop_it() && !ballast.drop_it());
        assert!(ballast.hold(10, 1).is_err(), "the disk is full");
        let missing = Ballast::new(directory.path().join("none"));
        assert!(missing.hold(10, 1).is_err());
    }
}
