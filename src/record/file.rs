//! The files under `runs/`: their names; finding, reading and writing them.
//!
//! Files are read only when someone asks for a run: a run with nothing to do reads none. A file's name tells its
//! pipeline, so that the runs of other pipelines are not opened.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::{SystemTime, UNIX_EPOCH};

use super::read::label_of;
use super::{ReadError, Run, read};
use crate::digest::Digest;
use crate::files;

/// The id of a run: `20261123T200501Z-<pipeline>-<4 hex>`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunId(pub String);

impl RunId {
    /// Returns the id of a run that starts at `started`. The four hex digits are the fraction of the second, so that
    /// ids sort by time.
    pub fn new(pipeline: &str, started: SystemTime) -> RunId {
        let stamp: String = humantime::format_rfc3339_seconds(started).to_string();
        let stamp = stamp.replace(['-', ':'], "");
        let nanos = started.duration_since(UNIX_EPOCH).map_or(0, |since| since.subsec_nanos());
        let fraction = (u64::from(nanos) << 16) / 1_000_000_000;
        RunId(format!("{stamp}-{pipeline}-{fraction:04x}"))
    }

    /// Returns the pipeline that a name tells; none if it is not the name of a run.
    fn pipeline_of(name: &str) -> Option<&str> {
        let (stamp, rest) = name.split_once("Z-")?;
        let (date, time) = stamp.split_once('T')?;
        let is_number = |text: &str, length| text.len() == length && text.bytes().all(|byte| byte.is_ascii_digit());
        let (pipeline, fraction) = rest.rsplit_once('-')?;
        let is_fraction = fraction.len() == 4 && fraction.bytes().all(|byte| byte.is_ascii_hexdigit());
        (is_number(date, 8) && is_number(time, 6) && is_fraction).then_some(pipeline)
    }
}

/// A file under `runs/` that could not be read as a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unread {
    /// The file's name within `runs/`.
    pub name: String,
    /// The label of the run in it, as far as it can be told.
    pub label: Option<String>,
    pub error: ReadError,
}

impl Unread {
    /// Returns true if the file is named as that of a run which is newer than another.
    fn is_newer_than(&self, run: Option<&Run>) -> bool {
        let is_run = self.name.strip_suffix(".json").is_some_and(|stem| RunId::pipeline_of(stem).is_some());
        is_run && run.is_none_or(|run| self.name.as_str() > run.run.as_str())
    }
}

impl std::fmt::Display for Unread {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "runs/{} {}", self.name, self.error)
    }
}

/// Why a run was not found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Missing {
    /// No run has that name.
    Unknown,
    /// Several runs begin so.
    Ambiguous(Vec<String>),
    /// The run exists, and its file cannot be read.
    Unread(Unread),
}

/// How many characters a label has at most.
const MOST_OF_LABEL: usize = 100;

/// Returns why a text cannot be a label; none if it can. Whatever names a run must not name another by it.
pub fn label_problem(label: &str) -> Option<String> {
    let is_last = label == "last" || label.strip_prefix("last~").is_some_and(|rest| rest.parse::<u64>().is_ok());
    match () {
        () if label.trim().is_empty() => Some("a label is not empty".to_owned()),
        () if label != label.trim() => Some("a label has no spaces at its ends".to_owned()),
        () if is_last => Some(format!("`{label}` already names a run: take another label")),
        () if label.chars().any(char::is_control) => {
            Some("a label has no line breaks and no control characters".to_owned())
        }
        () if label.chars().count() > MOST_OF_LABEL => Some(format!("a label has at most {MOST_OF_LABEL} characters")),
        () => None,
    }
}

/// The runs of one pipeline, or of all pipelines, newest first.
pub struct Records {
    directory: PathBuf,
    /// None: the runs of all pipelines.
    pipeline: Option<String>,
    /// The only run with which reasons compare; none: any run.
    since: Option<String>,
    files: OnceLock<(Vec<Run>, Vec<Unread>)>,
}

impl Records {
    /// Returns the runs of a pipeline.
    pub fn new(root: &Path, pipeline: &str) -> Records {
        Records { pipeline: Some(pipeline.to_owned()), ..Records::all(root) }
    }

    /// Returns the runs of all pipelines.
    pub fn all(root: &Path) -> Records {
        Records { directory: root.join("runs"), pipeline: None, since: None, files: OnceLock::new() }
    }

    /// Returns the same runs; reasons compare with this one run only.
    pub fn since(self, run: Option<&str>) -> Records {
        Records { since: run.map(str::to_owned), ..self }
    }

    /// Returns the directory of the files.
    pub(super) fn directory(&self) -> &Path {
        &self.directory
    }

    /// Returns true if reasons compare with one run only.
    pub fn is_narrowed(&self) -> bool {
        self.since.is_some()
    }

    /// Returns the runs, newest first.
    pub fn runs(&self) -> &[Run] {
        &self.files().0
    }

    /// Returns the files that could not be read as runs. Empty until someone has asked for a run, since no file is
    /// opened before.
    pub fn unread(&self) -> &[Unread] {
        self.files.get().map_or(&[], |(_, unread)| unread)
    }

    /// Returns the key that a node had when it last ran or was cached.
    pub fn last_key(&self, node: &str) -> Option<Digest> {
        self.last(node).map(|(_, key)| key)
    }

    /// Returns the last run that had a node, with the node's key in it.
    pub fn last(&self, node: &str) -> Option<(&Run, Digest)> {
        let mut runs = self.runs().iter().filter(|run| self.since.as_ref().is_none_or(|since| run.run == *since));
        runs.find_map(|run| Some((run, run.key(node)?)))
    }

    /// Finds a run by its id (or a beginning of it that only one run has), its label, `last` or `last~1`. Of runs with one
    /// label it is the newest. `last` and `last~1` skip partial runs; those can only be named by id or label.
    ///
    /// # Errors
    ///
    /// There is no such run, several runs begin so, or its file cannot be read. A newer run that cannot be read and that may
    /// be meant is an error, too: an older run must not be taken for it.
    pub fn find(&self, name: &str) -> Result<&Run, Missing> {
        let back = match name.strip_prefix("last") {
            Some("") => Some(0),
            Some(rest) => rest.strip_prefix('~').and_then(|number| number.parse::<usize>().ok()),
            None => None,
        };
        let runs = || self.runs().iter();
        let unless_unread = |found: Option<&Run>, may_be_it: &dyn Fn(&Unread) -> bool| -> Result<(), Missing> {
            let unread = self.unread().iter().find(|unread| unread.is_newer_than(found) && may_be_it(unread));
            unread.map_or(Ok(()), |unread| Err(Missing::Unread(unread.clone())))
        };
        if let Some(back) = back {
            let found = runs().filter(|run| !run.partial).nth(back);
            unless_unread(found, &|_| true)?;
            return found.ok_or(Missing::Unknown);
        }
        if let Some(run) = runs().find(|run| run.run == name) {
            return Ok(run);
        }
        let labelled = runs().find(|run| run.label.as_deref() == Some(name));
        unless_unread(labelled, &|unread| unread.label.as_deref() == Some(name))?;
        if let Some(run) = labelled {
            return Ok(run);
        }
        let begun: Vec<&Run> = runs().filter(|run| !name.is_empty() && run.run.starts_with(name)).collect();
        let unread = self.unread().iter().find(|unread| {
            let is_run = unread.is_newer_than(None) && !name.is_empty();
            unread.name.strip_suffix(".json") == Some(name) || is_run && unread.name.starts_with(name)
        });
        match (begun.as_slice(), unread) {
            ([run], None) => Ok(run),
            ([], Some(unread)) => Err(Missing::Unread(unread.clone())),
            ([], None) => Err(Missing::Unknown),
            (several, _) => Err(Missing::Ambiguous(several.iter().map(|run| run.run.clone()).collect())),
        }
    }

    /// Writes a run.
    ///
    /// # Errors
    ///
    /// The file cannot be written; then there is none of that name.
    pub fn write(&self, run: &Run) -> io::Result<PathBuf> {
        let path = self.directory.join(format!("{}.json", run.run));
        let mut bytes = serde_json::to_vec_pretty(run).expect("runs serialise");
        bytes.push(b'\n');
        files::write(&path, &bytes)?;
        Ok(path)
    }

    fn files(&self) -> &(Vec<Run>, Vec<Unread>) {
        self.files.get_or_init(|| {
            let entries = fs::read_dir(&self.directory).into_iter().flatten().flatten();
            let mut names: Vec<String> = entries
                .filter_map(|entry| entry.file_name().into_string().ok())
                .filter(|name| name.strip_suffix(".json").is_some_and(|stem| self.may_be_of_pipeline(stem)))
                .collect();
            names.sort();
            let (mut runs, mut unread) = (Vec::new(), Vec::new());
            for name in names.into_iter().rev() {
                let bytes = fs::read(self.directory.join(&name)).map_err(|error| ReadError::Io(error.to_string()));
                let label = |bytes: &Result<Vec<u8>, ReadError>| bytes.as_ref().ok().and_then(|bytes| label_of(bytes));
                match bytes.as_ref().map_err(Clone::clone).and_then(|bytes| read(bytes)) {
                    Ok(run) if self.pipeline.as_ref().is_none_or(|pipeline| run.pipeline == *pipeline) => {
                        runs.push(run);
                    }
                    Ok(_) => {}
                    Err(error) => unread.push(Unread { name, label: label(&bytes), error }),
                }
            }
            // Sorted by the id in the document, since someone may have renamed the file.
            runs.sort_by(|a, b| b.run.cmp(&a.run));
            (runs, unread)
        })
    }

    /// Returns false for the name of another pipeline's run. A file with any other name may hold a run of this one.
    fn may_be_of_pipeline(&self, stem: &str) -> bool {
        let Some(mine) = &self.pipeline else { return !stem.starts_with('.') };
        let told = RunId::pipeline_of(stem);
        !stem.starts_with('.') && told.is_none_or(|told| told == mine)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(id: &str, pipeline: &str, label: Option<&str>) -> Run {
        Run { label: label.map(str::to_owned), ..Run::new(id, pipeline) }
    }

    const OLD: &str = "20260101T000000Z-p-0001";
    const NEW: &str = "20260102T000000Z-p-0002";

    fn workspace() -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        let records = Records::new(root.path(), "p");
        for run in [run(NEW, "p", None), run(OLD, "p", Some("first")), run("20260103T000000Z-q-0003", "q", None)] {
            records.write(&run).unwrap();
        }
        root
    }

    #[test]
    fn runs_of_a_pipeline_are_found() {
        let root = workspace();
        let records = Records::new(root.path(), "p");
        let found = |name| records.find(name).map(|run| run.run.as_str()).ok();
        assert_eq!((found("last"), found("last~1"), found("last~2")), (Some(NEW), Some(OLD), None));
        assert_eq!((found("first"), found("20260102"), found("")), (Some(OLD), Some(NEW), None));
        assert_eq!(records.find("2026"), Err(Missing::Ambiguous(vec![NEW.to_owned(), OLD.to_owned()])));
        assert!(records.unread().is_empty());
        assert_eq!(Records::all(root.path()).runs().len(), 3);
    }

    #[test]
    fn a_file_that_is_no_run_is_named() {
        let root = workspace();
        let write = |name: &str, text: &str| fs::write(root.path().join("runs").join(name), text).unwrap();
        write("20260104T000000Z-p-0004.json", "{}");
        write("notes.json", "no");
        write("20260104T000000Z-q-0004.json", "{}");
        write("README.md", "no");
        fs::rename(root.path().join("runs").join(format!("{OLD}.json")), root.path().join("runs/best.json")).unwrap();
        let records = Records::new(root.path(), "p");
        assert!(records.unread().is_empty(), "nobody has asked");
        assert_eq!(records.runs().iter().map(|run| run.run.as_str()).collect::<Vec<_>>(), [NEW, OLD]);
        let named: Vec<&str> = records.unread().iter().map(|unread| unread.name.as_str()).collect();
        assert_eq!(named, ["notes.json", "20260104T000000Z-p-0004.json"]);
        // It may be the last run.
        assert!(matches!(records.find("last"), Err(Missing::Unread(_))));
        assert!(records.find("first").is_ok() && records.find("notes") != Err(Missing::Unknown));
        assert_eq!(records.find("note"), Err(Missing::Unknown));
    }

    #[test]
    fn a_damaged_run_hides_no_older_one_of_its_label() {
        let root = workspace();
        let cut = r#"{"etalon": 1, "run": "20260104T000000Z-p-0004", "label": "first", "star"#;
        fs::write(root.path().join("runs/20260104T000000Z-p-0004.json"), cut).unwrap();
        let records = Records::new(root.path(), "p");
        assert!(matches!(records.find("first"), Err(Missing::Unread(_))));
        assert!(records.find(OLD).is_ok());
    }

    #[test]
    fn what_names_a_run_is_no_label() {
        for label in ["", " ", "last", "last~3", " x", "a\nb", "\u{1b}[31m", &"x".repeat(101)] {
            assert!(label_problem(label).is_some(), "{label:?}");
        }
        for label in ["iter-1", "last-good", "last~x", "größer: 2", &"x".repeat(100)] {
            assert_eq!(label_problem(label), None, "{label:?}");
        }
    }

    #[test]
    fn a_newer_run_that_is_meant_is_an_error() {
        let root = workspace();
        let path = root.path().join("runs/20260104T000000Z-p-0004.json");
        fs::write(path, r#"{"etalon": 7, "label": "iter-9"}"#).unwrap();
        let records = Records::new(root.path(), "p");
        for name in ["last", "20260104", "iter-9"] {
            assert!(matches!(records.find(name), Err(Missing::Unread(_))), "{name}");
        }
        assert!(records.find("first").is_ok());
        assert_eq!(records.find("second").unwrap_err(), Missing::Unknown);
        assert_eq!(records.last("answers"), None);
    }
}
