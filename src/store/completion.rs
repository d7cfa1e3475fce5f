//! The completion log: every paid completion, on disk the moment it arrives.
//!
//! There is one directory per model identity, with append-only files of JSON lines; each file has one writer, and each
//! record is one `write`. A process has up to eight files, so that threads need not wait for each other's writes. A
//! line begins with a checksum of the rest, then key and generation at fixed places, so that an index is built without
//! parsing:
//!
//! ```text
//! {"crc":"9a8b7c6d","key":"<64 hex>","generation":0,"sample":0,"attempt":1,"type":"chat","at":"…","latency":0.41,"request":{…},"response":{…}}
//! ```
//!
//! **Invariant:** a record for which [`CompletionLog::append`] has returned survives the process, and a second later the
//! machine. A torn line is ignored on reading; nobody truncates.
//!
//! **Invariant:** of two records with one key the higher generation wins; of equal generations the first, so a success
//! is pinned.

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, RwLock};
use std::time::Duration;

use rayon::prelude::*;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::ballast::Ballast;
use super::{Store, StoreError};
use crate::digest::{self, Digest, OwnBits};

const HEAD: &[u8] = b"{\"crc\":\"";
const KEY: &[u8] = b"\",\"key\":\"";
const GENERATION: &[u8] = b"\",\"generation\":";
/// At most so many files does one process append to.
const MAX_WRITERS: usize = 8;
/// So much may a power cut cost.
const SYNC_EVERY: Duration = Duration::from_secs(1);
/// Where the checksummed part starts: behind `{"crc":"xxxxxxxx",`.
const BODY: usize = 18;

/// Returns the key of one request: model identity, exact wire body, sample ordinal.
pub fn request_key(identity: &Digest, body: &[u8], sample: u32) -> Digest {
    let mut hasher = digest::Hasher::new("etalon.request.v1");
    hasher.update(identity.bytes());
    hasher.update(&sample.to_be_bytes());
    hasher.update(body);
    hasher.finish()
}

/// Returns the key of an answer to a request that is of no use.
fn useless_key(key: &Digest) -> Digest {
    let mut hasher = digest::Hasher::new("etalon.useless.v1");
    hasher.update(key.bytes());
    hasher.finish()
}

/// What a record holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecordKind {
    /// A completion.
    Chat,
    /// An answer that was billed and is of no use. It is a purchase like any other, but no completion: nobody finds it
    /// by its request.
    Useless,
}

/// A completion to be remembered.
pub struct NewRecord<'a> {
    pub kind: RecordKind,
    pub key: &'a Digest,
    pub generation: u32,
    pub sample: u32,
    /// How many attempts the call took.
    pub attempt: u32,
    /// Seconds from sending to the complete answer; none for one that came with a batch.
    pub latency: Option<f64>,
    /// When it arrived, as `2026-11-23T20:05:01Z`.
    pub at: &'a str,
    /// The wire body, as canonical JSON.
    pub request: &'a [u8],
    /// What the provider said, as JSON on one line.
    pub response: &'a str,
}

/// A remembered completion.
#[derive(Clone, Debug)]
pub struct Record {
    /// Seconds from sending to the complete answer; none for one that came with a batch.
    pub latency: Option<f64>,
    /// What the provider said, as JSON.
    pub response: String,
}

#[derive(Clone, Copy)]
struct Entry {
    file: u32,
    length: u32,
    offset: u64,
    generation: u32,
}

struct LogFile {
    path: PathBuf,
    file: Arc<File>,
    /// Bytes of the file that are indexed.
    read_to: u64,
}

#[derive(Default)]
struct Index {
    entries: HashMap<u128, Entry, OwnBits>,
    files: Vec<LogFile>,
    highest_generation: u32,
}

/// The completions of one model.
pub struct CompletionLog {
    directory: PathBuf,
    index: RwLock<Index>,
    /// The files that this process appends to; an append takes the first one that is free.
    writers: Vec<Mutex<Option<Writer>>>,
    ballast: Ballast,
    /// The files that were appended to and are not forced onto the disk yet.
    unsynced: Arc<Mutex<Vec<Arc<File>>>>,
}

struct Writer {
    file: Arc<File>,
    /// The file's index in the list of files.
    number: u32,
    end: u64,
}

fn short(key: &Digest) -> u128 {
    let mut first = [0; 16];
    first.copy_from_slice(&key.bytes()[..16]);
    u128::from_be_bytes(first)
}

impl Store {
    /// Opens the completions of a model identity and indexes them.
    ///
    /// # Errors
    ///
    /// A file of the log cannot be read. Damaged lines are no error: they are ignored.
    pub fn completions(&self, identity: &Digest) -> Result<CompletionLog, StoreError> {
        let directory = self.root.join("completions").join(identity.to_string());
        let threads = std::thread::available_parallelism().map_or(1, usize::from).min(MAX_WRITERS);
        let writers = (0..threads).map(|_| Mutex::default()).collect();
        let ballast = Ballast::new(self.tmp());
        let unsynced = Arc::default();
        let log = CompletionLog { directory, index: RwLock::default(), writers, ballast, unsynced };
        log.refresh()?;
        Ok(log)
    }
}

impl CompletionLog {
    /// Indexes what other processes have appended since.
    ///
    /// # Errors
    ///
    /// A file of the log cannot be read.
    pub fn refresh(&self) -> Result<(), StoreError> {
        let listing = match fs::read_dir(&self.directory) {
            Ok(listing) => listing,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(StoreError::io("read", &self.directory)(error)),
        };
        let mut paths: Vec<PathBuf> = listing
            .flatten()
            .map(|entry| entry.path())
            .filter(|path| path.extension().is_some_and(|extension| extension == "jsonl"))
            .collect();
        paths.sort();
        let mut index = self.index.write().expect("no panic while locked");
        for path in paths {
            if !index.files.iter().any(|known| known.path == path) {
                let file = Arc::new(File::open(&path).map_err(StoreError::io("read", &path))?);
                index.files.push(LogFile { path, file, read_to: 0 });
            }
        }
        for number in 0..index.files.len() {
            index.read_tail(number)?;
        }
        Ok(())
    }

    /// Returns a completion whose generation is at least the given one.
    ///
    /// # Errors
    ///
    /// The file cannot be read. A record that is damaged is none, not an error.
    pub fn find(&self, key: &Digest, generation: u32) -> Result<Option<Record>, StoreError> {
        let (file, entry) = {
            let index = self.index.read().expect("no panic while locked");
            match index.entries.get(&short(key)) {
                Some(entry) if entry.generation >= generation => {
                    (index.files[entry.file as usize].file.clone(), *entry)
                }
                _ => return Ok(None),
            }
        };
        let mut line = vec![0; entry.length as usize];
        file.read_exact_at(&mut line, entry.offset).map_err(StoreError::io("read", &self.directory))?;
        #[derive(Deserialize)]
        struct Line<'a> {
            key: &'a str,
            latency: Option<f64>,
            #[serde(borrow)]
            response: &'a RawValue,
        }
        match serde_json::from_slice::<Line<'_>>(&line) {
            Ok(found) if found.key == key.to_string() => {
                Ok(Some(Record { latency: found.latency, response: found.response.get().to_owned() }))
            }
            _ => Ok(None),
        }
    }

    /// Returns the highest generation in the log.
    pub fn highest_generation(&self) -> u32 {
        self.index.read().expect("no panic while locked").highest_generation
    }

    /// Makes sure that the answers of `calls` requests like one with so many bytes find room on the disk.
    ///
    /// # Errors
    ///
    /// They do not: nothing more may be bought.
    pub fn make_room(&self, request: usize, calls: usize) -> Result<(), StoreError> {
        match self.ballast.hold(request, calls) {
            Err(source) if is_full(&source) => {
                let cache = self.directory.ancestors().nth(2).unwrap_or(&self.directory);
                Err(StoreError::Full { path: cache.to_owned() })
            }
            // Where no room can be kept, such as under a limit on the size of files, the log is written without it.
            _ => Ok(()),
        }
    }

    /// Appends a record: one `write` to a file that belongs to this process. On a full disk it takes the room that was
    /// kept for it.
    ///
    /// # Errors
    ///
    /// The record could not be written whole, or the file was removed; it does not count then.
    pub fn append(&self, record: &NewRecord<'_>) -> Result<(), StoreError> {
        let line = line(record);
        self.ballast.learn(line.len());
        match self.append_line(record, &line) {
            Err(StoreError::Io { source, .. }) if is_full(&source) && self.ballast.drop_it() => {
                self.append_line(record, &line)
            }
            other => other,
        }
    }

    fn append_line(&self, record: &NewRecord<'_>, line: &[u8]) -> Result<(), StoreError> {
        let mut writer = self.writer();
        if writer.is_none() {
            *writer = Some(self.create(record.at)?);
        }
        let open = writer.as_mut().expect("it was just made");
        let written = (&*open.file).write_all(line).and_then(|()| Ok(open.file.metadata()?.nlink() > 0));
        let is_there = written.map_err(|error| {
            // The torn line stays in this file; the next record goes to a new file.
            *writer = None;
            StoreError::io("append to", &self.directory)(error)
        })?;
        if !is_there {
            return Err(StoreError::Removed { path: self.directory.clone() });
        }
        let open = writer.as_mut().expect("it is there");
        self.sync_soon(&open.file);
        let entry =
            Entry { file: open.number, length: line.len() as u32 - 1, offset: open.end, generation: record.generation };
        open.end += line.len() as u64;
        let end = open.end;
        let mut index = self.index.write().expect("no panic while locked");
        index.files[entry.file as usize].read_to = end;
        if record.kind == RecordKind::Chat {
            index.add(short(record.key), entry);
        }
        Ok(())
    }

    /// Returns the latest completions, at most so many: for each the bytes of its request, and the response.
    pub fn latest(&self, most: usize) -> Vec<(usize, String)> {
        let (entries, files) = {
            let index = self.index.read().expect("no panic while locked");
            let mut entries: Vec<Entry> = index.entries.values().copied().collect();
            let most = most.min(entries.len());
            let place = |entry: &Entry| std::cmp::Reverse((entry.file, entry.offset));
            if most < entries.len() {
                entries.select_nth_unstable_by_key(most, place);
                entries.truncate(most);
            }
            let files: Vec<Arc<File>> = index.files.iter().map(|file| file.file.clone()).collect();
            (entries, files)
        };
        #[derive(Deserialize)]
        struct Line<'a> {
            #[serde(borrow)]
            request: &'a RawValue,
            #[serde(borrow)]
            response: &'a RawValue,
        }
        let read = |entry: Entry| {
            let mut line = vec![0; entry.length as usize];
            files[entry.file as usize].read_exact_at(&mut line, entry.offset).ok()?;
            let line: Line<'_> = serde_json::from_slice(&line).ok()?;
            Some((line.request.get().len(), line.response.get().to_owned()))
        };
        entries.into_iter().filter_map(read).collect()
    }

    /// Returns a writer that is free, or waits for one.
    fn writer(&self) -> MutexGuard<'_, Option<Writer>> {
        let free = self.writers.iter().find_map(|writer| writer.try_lock().ok());
        free.unwrap_or_else(|| self.writers[0].lock().expect("no panic while locked"))
    }

    fn create(&self, at: &str) -> Result<Writer, StoreError> {
        fs::create_dir_all(&self.directory).map_err(StoreError::io("create", &self.directory))?;
        let stamp: String = at.chars().filter(char::is_ascii_alphanumeric).collect();
        let mut index = self.index.write().expect("no panic while locked");
        for attempt in 0..1_000 {
            let path = self.directory.join(format!("{stamp}-{}-{attempt}.jsonl", std::process::id()));
            match OpenOptions::new().read(true).append(true).create_new(true).open(&path) {
                Ok(file) => {
                    let file = Arc::new(file);
                    index.files.push(LogFile { path, file: file.clone(), read_to: 0 });
                    return Ok(Writer { file, number: index.files.len() as u32 - 1, end: 0 });
                }
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(StoreError::io("create", &path)(error)),
            }
        }
        Err(StoreError::io("create a file in", &self.directory)(io::ErrorKind::AlreadyExists.into()))
    }

    /// Forces a file onto the disk within a second or so, without waiting for it.
    fn sync_soon(&self, file: &Arc<File>) {
        let mut files = self.unsynced.lock().expect("no panic while locked");
        if files.iter().any(|known| Arc::ptr_eq(known, file)) {
            return;
        }
        files.push(file.clone());
        if files.len() == 1 {
            let unsynced = self.unsynced.clone();
            // What the disk refuses here, it refuses again at the end, and then it is told.
            std::thread::spawn(move || {
                std::thread::sleep(SYNC_EVERY);
                let files = std::mem::take(&mut *unsynced.lock().expect("no panic while locked"));
                files.iter().for_each(|file| _ = file.sync_data());
            });
        }
    }

    /// Forces what was appended onto the disk.
    ///
    /// # Errors
    ///
    /// The disk refuses the bytes, or a file is not where it was written.
    pub fn sync(&self) -> Result<(), StoreError> {
        self.writers.par_iter().try_for_each(|writer| {
            let writer = writer.lock().expect("no panic while locked");
            let Some(Writer { file, number, .. }) = &*writer else { return Ok(()) };
            file.sync_data().map_err(StoreError::io("write", &self.directory))?;
            let written = file.metadata().map_err(StoreError::io("read", &self.directory))?;
            let path = self.index.read().expect("no panic while locked").files[*number as usize].path.clone();
            match fs::metadata(&path) {
                Ok(found) if (found.dev(), found.ino()) == (written.dev(), written.ino()) => Ok(()),
                _ => Err(StoreError::Removed { path: self.directory.clone() }),
            }
        })
    }
}

impl Index {
    fn add(&mut self, key: u128, entry: Entry) {
        self.highest_generation = self.highest_generation.max(entry.generation);
        match self.entries.get_mut(&key) {
            Some(known) if known.generation >= entry.generation => {}
            Some(known) => *known = entry,
            None => {
                self.entries.insert(key, entry);
            }
        }
    }

    fn read_tail(&mut self, number: usize) -> Result<(), StoreError> {
        let LogFile { path, file, read_to } = &self.files[number];
        let (path, start) = (path.clone(), *read_to);
        let length = file.metadata().map_err(StoreError::io("read", &path))?.len();
        if length <= start {
            return Ok(());
        }
        self.read_lines(number, &path, start, length)
    }

    /// Indexes the whole lines between two offsets. A torn line at the end of the file is left for a later reading: its
    /// writer may still be alive.
    fn read_lines(&mut self, number: usize, path: &Path, start: u64, end: u64) -> Result<(), StoreError> {
        let mut file = File::open(path).map_err(StoreError::io("read", path))?;
        file.seek(SeekFrom::Start(start)).map_err(StoreError::io("read", path))?;
        let mut offset = start;
        let mut pending: Vec<u8> = Vec::new();
        let mut buffer = vec![0; 1 << 20];
        let mut left = end - start;
        while left > 0 {
            let want = buffer.len().min(left as usize);
            let got = file.read(&mut buffer[..want]).map_err(StoreError::io("read", path))?;
            if got == 0 {
                break;
            }
            left -= got as u64;
            pending.extend_from_slice(&buffer[..got]);
            let mut consumed = 0;
            while let Some(length) = pending[consumed..].iter().position(|byte| *byte == b'\n') {
                let line = &pending[consumed..consumed + length];
                if let Some((key, generation)) = check_line(line) {
                    let entry = Entry { file: number as u32, length: length as u32, offset, generation };
                    self.add(key, entry);
                }
                offset += length as u64 + 1;
                consumed += length + 1;
            }
            pending.drain(..consumed);
        }
        self.files[number].read_to = offset;
        Ok(())
    }
}

fn line(record: &NewRecord<'_>) -> Vec<u8> {
    let mut line = Vec::with_capacity(record.request.len() + record.response.len() + 320);
    line.extend_from_slice(HEAD);
    line.extend_from_slice(b"00000000\",");
    let NewRecord { kind, key, generation, sample, attempt, at, latency, .. } = record;
    let (kind, key) = match kind {
        RecordKind::Chat => ("chat", **key),
        RecordKind::Useless => ("useless", useless_key(key)),
    };
    let latency = latency.map_or_else(|| "null".to_owned(), |seconds| format!("{seconds:?}"));
    write!(
        line,
        "\"key\":\"{key}\",\"generation\":{generation},\"sample\":{sample},\"attempt\":{attempt},\"type\":\"{kind}\",\"at\":\"{at}\",\"latency\":{latency},\"request\":",
    )
    .expect("writing to memory cannot fail");
    line.extend_from_slice(record.request);
    line.extend_from_slice(b",\"response\":");
    // Newlines in a pretty-printed reply would break the record's line, so they are left out.
    for part in record.response.split(['\n', '\r']) {
        line.extend_from_slice(part.as_bytes());
    }
    line.push(b'}');
    let crc = crc32fast::hash(&line[BODY..]).to_be_bytes();
    hex::encode_to_slice(crc, &mut line[HEAD.len()..HEAD.len() + 8]).expect("four bytes are eight digits");
    line.push(b'\n');
    line
}

fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// Returns key and generation of a line that is whole; none for a torn or damaged one.
pub(super) fn check_line(line: &[u8]) -> Option<(u128, u32)> {
    let rest = line.strip_prefix(HEAD)?;
    let crc = u32::from_str_radix(std::str::from_utf8(rest.get(..8)?).ok()?, 16).ok()?;
    if crc32fast::hash(line.get(BODY..)?) != crc {
        return None;
    }
    let rest = rest[8..].strip_prefix(KEY)?;
    let key = u128::from_str_radix(std::str::from_utf8(rest.get(..32)?).ok()?, 16).ok()?;
    let rest = rest.get(64..)?.strip_prefix(GENERATION)?;
    let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let generation = std::str::from_utf8(&rest[..digits]).ok()?.parse().ok()?;
    Some((key, generation))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open() -> (tempfile::TempDir, Store, CompletionLog) {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(directory.path()).unwrap();
        let log = store.completions(&Digest::of(b"model")).unwrap();
        (directory, store, log)
    }

    fn put(log: &CompletionLog, key: &[u8], generation: u32, response: &str) {
        let key = Digest::of(key);
        let record = NewRecord {
            kind: RecordKind::Chat,
            key: &key,
            generation,
            sample: 0,
            attempt: 1,
            latency: Some(0.5),
            at: "2026-11-23T20:05:01Z",
            request: b"{\"a\":1}",
            response,
        };
        log.append(&record).unwrap();
    }

    fn get(log: &CompletionLog, key: &[u8]) -> Option<String> {
        log.find(&Digest::of(key), 0).unwrap().map(|record| record.response)
    }

    #[test]
    fn what_was_appended_is_found_by_another_process() {
        let (_directory, store, log) = open();
        put(&log, b"a", 0, "{\n\"x\": 1}");
        assert_eq!(get(&log, b"a").as_deref(), Some("{\"x\": 1}"));
        let other = store.completions(&Digest::of(b"model")).unwrap();
        assert_eq!(get(&other, b"a").as_deref(), Some("{\"x\": 1}"));
        put(&log, b"b", 0, "2");
        assert_eq!(get(&other, b"b"), None);
        other.refresh().unwrap();
        assert_eq!(get(&other, b"b").as_deref(), Some("2"));
    }

    #[test]
    fn what_was_appended_is_on_the_disk_soon() {
        let (_directory, _store, log) = open();
        let unsynced = || log.unsynced.lock().unwrap().len();
        for round in [b"a", b"b"] {
            put(&log, round, 0, "1");
            assert_eq!(unsynced(), 1);
            while unsynced() > 0 {
                std::thread::sleep(Duration::from_millis(20));
            }
        }
    }

    #[test]
    fn what_threads_append_at_once_is_all_there() {
        let (_directory, store, log) = open();
        let keys: Vec<[u8; 2]> = (0..8u8).flat_map(|thread| (0..50u8).map(move |i| [thread, i])).collect();
        std::thread::scope(|scope| {
            for part in keys.chunks(50) {
                let log = &log;
                scope.spawn(move || part.iter().for_each(|key| put(log, key, 0, "1")));
            }
        });
        let other = store.completions(&Digest::of(b"model")).unwrap();
        assert!(keys.iter().all(|key| get(&log, key).is_some() && get(&other, key).is_some()));
    }

    #[test]
    fn the_first_success_is_pinned_and_a_higher_generation_wins() {
        let (_directory, _store, log) = open();
        put(&log, b"a", 0, "1");
        put(&log, b"a", 0, "2");
        assert_eq!(get(&log, b"a").as_deref(), Some("1"));
        put(&log, b"a", 1, "3");
        assert_eq!(get(&log, b"a").as_deref(), Some("3"));
        assert_eq!(log.highest_generation(), 1);
        assert!(log.find(&Digest::of(b"a"), 2).unwrap().is_none());
    }

    #[test]
    fn torn_and_damaged_lines_are_ignored() {
        let (_directory, store, log) = open();
        put(&log, b"a", 0, "1");
        put(&log, b"b", 0, "2");
        put(&log, b"c", 0, "3");
        let path = log.index.read().unwrap().files[0].path.clone();
        let mut bytes = fs::read(&path).unwrap();
        let middle = bytes.iter().position(|byte| *byte == b'\n').unwrap() + 200;
        bytes[middle] ^= 1;
        bytes.truncate(bytes.len() - 10);
        fs::write(&path, &bytes).unwrap();
        let other = store.completions(&Digest::of(b"model")).unwrap();
        assert_eq!(get(&other, b"a").as_deref(), Some("1"));
        assert_eq!(get(&other, b"b"), None);
        assert_eq!(get(&other, b"c"), None);
    }
}
