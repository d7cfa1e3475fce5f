//! What the user has consented to: programs that pipelines may start, folders that they may read, hosts that have got
//! a key.
//!
//! Consent lies in the user's own settings and never in a workspace, which may be a stranger's: in
//! `$XDG_CONFIG_HOME/etalon`, else `~/.config/etalon`.
//!
//! | file | written by | holds |
//! |---|---|---|
//! | `settings.toml` | the user | `allow`: folders that pipelines may read; `trusted`: folders of workspaces that may do anything |
//! | `trusted.jsonl` | `etalon trust` | one line per program of a workspace, or per whole workspace |
//! | `hosts.jsonl` | `etalon run` | one line per key and host that it was sent to |

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::decode::decode;
use super::toml;
use crate::digest::Digest;
use crate::problem::{Problem, Source};
use crate::process::Launch;

const SETTINGS: &str = "settings.toml";
const TRUSTED: &str = "trusted.jsonl";
const HOSTS: &str = "hosts.jsonl";

/// What the user has consented to in a workspace.
#[derive(Clone, Debug, Default)]
pub struct Consent {
    /// The folder of the user's settings; none if the environment names no home.
    folder: Option<PathBuf>,
    /// The workspace, without links.
    root: PathBuf,
    /// Folders that any pipeline may read, without links.
    allow: Vec<PathBuf>,
    /// The workspace is the user's own: its pipelines may start any program and read any file.
    is_own: bool,
    programs: BTreeSet<Digest>,
    /// Every program may start, for this command.
    is_asked_for: bool,
}

/// What `settings.toml` may say.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Settings {
    /// Folders outside of a workspace from which any pipeline may read; relative ones start at the workspace.
    #[serde(default)]
    allow: Vec<String>,
    /// Folders whose workspaces are the user's own.
    #[serde(default)]
    trusted: Vec<String>,
}

/// A line of `trusted.jsonl`. Without a program, the whole workspace is trusted.
#[derive(Serialize, Deserialize)]
struct Trusted {
    workspace: PathBuf,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    program: Option<String>,
    /// For people: what is run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    command: Option<String>,
}

/// A key and a host that it is sent to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct KeyHost {
    /// The environment variable of the key.
    pub variable: String,
    pub host: String,
}

impl Consent {
    /// Reads what the user has consented to for the workspace at `root`.
    ///
    /// # Errors
    ///
    /// `settings.toml` has problems.
    pub fn read(root: &Path) -> Result<Consent, Vec<Problem>> {
        let folder = folder(std::env::var_os("XDG_CONFIG_HOME"), std::env::var_os("HOME"));
        Consent::read_in(folder, root)
    }

    fn read_in(folder: Option<PathBuf>, root: &Path) -> Result<Consent, Vec<Problem>> {
        let root = fs::canonicalize(root).unwrap_or_else(|_| root.to_owned());
        let mut consent = Consent { folder, root, ..Consent::default() };
        let Some(folder) = &consent.folder else { return Ok(consent) };
        let path = folder.join(SETTINGS);
        if let Ok(bytes) = fs::read(&path) {
            let text = String::from_utf8_lossy(&bytes).into_owned();
            let source = Arc::new(Source { path: path.display().to_string(), text });
            let node = toml::parse(&source)?;
            let settings: Settings = decode(&node, SETTINGS)?;
            let folder = |name: &String| fs::canonicalize(consent.root.join(expanded(name))).ok();
            consent.allow = settings.allow.iter().filter_map(folder).collect();
            consent.is_own = settings.trusted.iter().filter_map(folder).any(|own| consent.root.starts_with(own));
        }
        for line in lines::<Trusted>(&folder.join(TRUSTED)).filter(|line| line.workspace == consent.root) {
            match line.program.map(|text| text.parse()) {
                None => consent.is_own = true,
                Some(Ok(digest)) => _ = consent.programs.insert(digest),
                // Whoever wrote it meant something, but nothing that can be checked.
                Some(Err(_)) => {}
            }
        }
        Ok(consent)
    }

    /// Consents to every program, for this command.
    pub fn to_all(&mut self) {
        self.is_asked_for = true;
    }

    /// Consents to a program, for this command.
    pub fn to(&mut self, program: Digest) {
        self.programs.insert(program);
    }

    /// Returns true if a program may start.
    pub fn may_start(&self, launch: &Launch) -> bool {
        self.is_own || self.is_asked_for || self.programs.contains(&launch.digest)
    }

    /// Returns true if a file or folder may be read: it lies in the workspace or in a folder that the user allows, also
    /// when all links are followed. What does not exist may be read.
    pub fn may_read(&self, path: &Path) -> bool {
        let (Some(folders), Ok(path)) = (self.folders(), fs::canonicalize(path)) else { return true };
        folders.iter().any(|folder| path.starts_with(folder))
    }

    /// Returns the folders, without links, in which files may be read; none if they may lie anywhere.
    pub fn folders(&self) -> Option<Vec<PathBuf>> {
        let folders = || std::iter::once(self.root.clone()).chain(self.allow.iter().cloned()).collect();
        (!self.is_own).then(folders)
    }

    /// Returns what is wrong with reading a file, and what the user can do; none if it may be read.
    pub fn refusal(&self, name: &str, path: &Path) -> Option<(String, String)> {
        if self.may_read(path) {
            return None;
        }
        let target = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        let folder = target.parent().unwrap_or(&target).display().to_string();
        let leads = if target == path { String::new() } else { format!(": it is {}", target.display()) };
        let settings = self.folder.as_deref().unwrap_or(Path::new("~/.config/etalon")).join(SETTINGS);
        Some((
            format!("{name} lies outside of the workspace{leads}"),
            format!(
                "if pipelines may read there, write `allow = [{}]` into {}",
                serde_json::Value::from(folder),
                settings.display()
            ),
        ))
    }

    /// Remembers programs of the workspace as trusted.
    ///
    /// # Errors
    ///
    /// The user's settings cannot be written.
    pub fn trust(&self, launches: &[Launch]) -> io::Result<()> {
        let line = |launch: &Launch| Trusted {
            workspace: self.root.clone(),
            program: Some(launch.digest.to_string()),
            command: Some(launch.command.clone()),
        };
        self.append(TRUSTED, launches.iter().filter(|launch| !self.programs.contains(&launch.digest)).map(line))
    }

    /// Remembers the workspace as the user's own.
    ///
    /// # Errors
    ///
    /// The user's settings cannot be written.
    pub fn trust_workspace(&self) -> io::Result<()> {
        let line = Trusted { workspace: self.root.clone(), program: None, command: None };
        self.append(TRUSTED, (!self.is_own).then_some(line).into_iter())
    }

    /// Returns the file in which `etalon trust` remembers what it was told.
    pub fn file(&self) -> Option<PathBuf> {
        self.folder.as_ref().map(|folder| folder.join(TRUSTED))
    }

    /// Returns those of the keys and hosts that were not sent together before, and remembers them. Where nothing can be
    /// remembered, all are new each time.
    pub fn new_hosts(&self, used: &BTreeSet<KeyHost>) -> Vec<KeyHost> {
        let known: BTreeSet<KeyHost> =
            self.folder.iter().flat_map(|folder| lines::<KeyHost>(&folder.join(HOSTS))).collect();
        let new: Vec<KeyHost> = used.difference(&known).cloned().collect();
        _ = self.append(HOSTS, new.iter());
        new
    }

    /// Appends lines to a file of the settings, in one write.
    fn append<T: Serialize>(&self, name: &str, lines: impl Iterator<Item = T>) -> io::Result<()> {
        let text: String =
            lines.map(|line| serde_json::to_string(&line).map(|line| line + "\n")).collect::<Result<_, _>>()?;
        if text.is_empty() {
            return Ok(());
        }
        let Some(folder) = &self.folder else {
            return Err(io::Error::other("neither XDG_CONFIG_HOME nor HOME says where your settings are"));
        };
        fs::create_dir_all(folder)?;
        let mut file = fs::File::options().append(true).create(true).open(folder.join(name))?;
        file.write_all(text.as_bytes())?;
        file.sync_all()
    }
}

/// Returns the folder of the user's settings. As the specification of base directories says, one that is not absolute
/// does not count.
fn folder(config: Option<OsString>, home: Option<OsString>) -> Option<PathBuf> {
    let absolute = |name: OsString| Some(PathBuf::from(name)).filter(|path| path.is_absolute());
    let config = config.and_then(absolute).or_else(|| Some(home.and_then(absolute)?.join(".config")));
    config.map(|folder| folder.join("etalon"))
}

/// Returns a path with the home of the user in place of `~/`.
fn expanded(name: &str) -> PathBuf {
    match (name.strip_prefix("~/"), std::env::var_os("HOME")) {
        (Some(rest), Some(home)) => PathBuf::from(home).join(rest),
        _ => PathBuf::from(name),
    }
}

/// Returns the lines of a file that can be read.
fn lines<T: for<'a> Deserialize<'a>>(path: &Path) -> impl Iterator<Item = T> + use<T> {
    let text = fs::read_to_string(path).unwrap_or_default();
    let lines: Vec<T> = text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    lines.into_iter()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::Program;

    fn launch(line: &str) -> Launch {
        Program::Shell(line.to_owned()).launch([])
    }

    #[test]
    fn consent_is_for_a_program_in_a_workspace() {
        let (settings, one, other) =
            (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let read = |root: &Path| Consent::read_in(Some(settings.path().join("etalon")), root).unwrap();
        assert!(!read(one.path()).may_start(&launch("a")));
        read(one.path()).trust(&[launch("a")]).unwrap();
        assert!(read(one.path()).may_start(&launch("a")));
        assert!(!read(one.path()).may_start(&launch("a -x")) && !read(other.path()).may_start(&launch("a")));
        read(other.path()).trust_workspace().unwrap();
        assert!(read(other.path()).may_start(&launch("b")) && !read(one.path()).may_start(&launch("b")));
        assert!(Consent::read_in(None, one.path()).unwrap().trust(&[launch("a")]).is_err());
    }

    #[test]
    fn files_are_read_inside_and_where_the_user_allows() {
        let (settings, root, outside) =
            (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        fs::write(outside.path().join("rows.jsonl"), "{}").unwrap();
        fs::write(root.path().join("own.jsonl"), "{}").unwrap();
        std::os::unix::fs::symlink(outside.path(), root.path().join("data")).unwrap();
        let read = || Consent::read_in(Some(settings.path().to_owned()), root.path()).unwrap();
        assert!(read().may_read(&root.path().join("own.jsonl")) && read().may_read(&root.path().join("none")));
        assert!(!read().may_read(&root.path().join("data/rows.jsonl")));
        assert!(!read().may_read(Path::new("/etc/passwd")) && !read().may_read(&root.path().join("../")));
        let text = format!("allow = [{:?}]\n", outside.path());
        fs::write(settings.path().join(SETTINGS), text).unwrap();
        assert!(read().may_read(&root.path().join("data/rows.jsonl")) && !read().may_read(Path::new("/etc/passwd")));
        fs::write(settings.path().join(SETTINGS), "alow = []\n").unwrap();
        assert!(Consent::read_in(Some(settings.path().to_owned()), root.path()).is_err());
        fs::write(settings.path().join(SETTINGS), "trusted = [\"/\"]\n").unwrap();
        assert!(read().may_read(Path::new("/etc/passwd")) && read().may_start(&launch("a")));
    }

    #[test]
    fn a_host_is_new_once() {
        let settings = tempfile::tempdir().unwrap();
        let consent = Consent::read_in(Some(settings.path().to_owned()), settings.path()).unwrap();
        let used = || BTreeSet::from([KeyHost { variable: "K".to_owned(), host: "a.example".to_owned() }]);
        assert_eq!(consent.new_hosts(&used()).len(), 1);
        assert_eq!(consent.new_hosts(&used()).len(), 0);
        assert_eq!(folder(Some("config".into()), Some("/home/me".into())), Some("/home/me/.config/etalon".into()));
    }
}
