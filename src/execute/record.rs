//! Runs as files under `runs/`: small, uniquely named, made to be committed.

use std::cell::OnceCell;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use super::RunSummary;
use super::session::Session;
use crate::digest::Digest;
use crate::files;

/// `20261123T200501Z-<pipeline>-<4 hex>`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunId(pub String);

impl RunId {
    /// Returns the id of a run that starts at a time. The four digits are the fraction of its second,
    /// so that ids sort by time.
    pub fn new(pipeline: &str, started: SystemTime) -> RunId {
        let stamp: String = humantime::format_rfc3339_seconds(started).to_string();
        let stamp = stamp.replace(['-', ':'], "");
        let nanos = started.duration_since(UNIX_EPOCH).map_or(0, |since| since.subsec_nanos());
        let fraction = (u64::from(nanos) << 16) / 1_000_000_000;
        RunId(format!("{stamp}-{pipeline}-{fraction:04x}"))
    }
}

/// The runs of a workspace, newest first, read when they are needed.
pub struct Records {
    directory: PathBuf,
    runs: OnceCell<Vec<RunSummary>>,
    pipeline: String,
    /// The only run to look at.
    since: Option<String>,
}

impl Records {
    /// Returns the runs of a pipeline.
    pub fn new(root: &Path, pipeline: &str) -> Records {
        Records { directory: root.join("runs"), runs: OnceCell::new(), pipeline: pipeline.to_owned(), since: None }
    }

    /// Returns the runs that reasons are told against.
    pub(super) fn of(session: &Session) -> Records {
        let records = Records::new(&session.plan.workspace.root, &session.plan.spec.name);
        Records { since: session.options.since.clone(), ..records }
    }

    /// Returns the runs, newest first. Files that cannot be read are passed over.
    pub fn runs(&self) -> &[RunSummary] {
        self.runs.get_or_init(|| {
            let middle = format!("Z-{}-", self.pipeline);
            let mut paths: Vec<PathBuf> = fs::read_dir(&self.directory)
                .into_iter()
                .flatten()
                .flatten()
                .map(|entry| entry.path())
                .filter(|path| {
                    let name = path.file_name().unwrap_or_default().to_string_lossy();
                    name.ends_with(".json") && name.contains(&middle)
                })
                .collect();
            paths.sort();
            paths
                .iter()
                .rev()
                .filter_map(|path| serde_json::from_value(serde_json::from_slice(&fs::read(path).ok()?).ok()?).ok())
                .filter(|run: &RunSummary| run.pipeline == self.pipeline)
                .collect()
        })
    }

    /// Returns the key that a node had when it last ran or was cached.
    pub fn last_key(&self, node: &str) -> Option<Digest> {
        self.last(node).map(|(_, key)| key)
    }

    /// Returns the last run that had a node, with the node's key in it.
    pub fn last(&self, node: &str) -> Option<(&RunSummary, Digest)> {
        let mut runs = self.runs().iter().filter(|run| self.since.as_ref().is_none_or(|since| run.run == *since));
        runs.find_map(|run| Some((run, run.key(node)?)))
    }

    /// Finds a run by its id (or a beginning that is enough), its label, `last` or `last~1`. Partial
    /// runs have to be named by id or label.
    pub fn find(&self, name: &str) -> Option<&RunSummary> {
        let back = match name.strip_prefix("last") {
            Some("") => Some(0),
            Some(rest) => rest.strip_prefix('~').and_then(|number| number.parse::<usize>().ok()),
            None => None,
        };
        if let Some(back) = back {
            return self.runs().iter().filter(|run| !run.partial).nth(back);
        }
        let runs = || self.runs().iter();
        runs().find(|run| run.run == name || run.label.as_deref() == Some(name)).or_else(|| {
            let mut begun = runs().filter(|run| run.run.starts_with(name));
            begun.next().filter(|_| begun.next().is_none())
        })
    }

    /// Writes a run, whole or not at all; returns where.
    pub fn write(&self, run: &RunSummary) -> io::Result<PathBuf> {
        let path = self.directory.join(format!("{}.json", run.run));
        let mut bytes = serde_json::to_vec_pretty(run).expect("runs serialise");
        bytes.push(b'\n');
        files::write(&path, &bytes)?;
        Ok(path)
    }
}
