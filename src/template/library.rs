//! Where templates come from: the workspace's `templates/`, then those built into the binary.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::problem::Source;

/// The templates of `templates/judge/`, built in. A workspace file of the same name wins.
const BUILT_IN: &[(&str, &str)] = &[
    ("judge/rubric.j2", include_str!("../../templates/judge/rubric.j2")),
    ("judge/reference.j2", include_str!("../../templates/judge/reference.j2")),
    ("judge/classify.j2", include_str!("../../templates/judge/classify.j2")),
    ("judge/pairwise.j2", include_str!("../../templates/judge/pairwise.j2")),
];

/// Finds template sources by name.
#[derive(Clone, Debug)]
pub struct Library {
    directory: PathBuf,
    /// The folders, without links, in one of which each file must lie when all links are followed; none if it may lie
    /// anywhere.
    within: Option<Vec<PathBuf>>,
}

impl Library {
    /// Returns the library of a workspace, whose templates stand in `directory`.
    pub fn new(directory: PathBuf) -> Library {
        Library { directory, within: None }
    }

    /// Lets no link lead out of some folders, whose own paths are without links.
    pub fn within(self, folders: Vec<PathBuf>) -> Library {
        Library { within: Some(folders), ..self }
    }

    /// Returns where a file lies if that is in none of the folders.
    fn outside(&self, path: &Path) -> Option<PathBuf> {
        let folders = self.within.as_ref()?;
        let target = std::fs::canonicalize(path).ok()?;
        (!folders.iter().any(|folder| target.starts_with(folder))).then_some(target)
    }

    /// Returns a template's source; none if there is no such template.
    ///
    /// # Errors
    ///
    /// The name would lead out of the directory (`..`, an absolute path, a backslash), or the file cannot be used; the
    /// text says why.
    pub fn find(&self, name: &str) -> Result<Option<Arc<Source>>, String> {
        let stays_inside = !name.is_empty()
            && !name.contains('\\')
            && name.split('/').all(|part| !part.is_empty() && part != "." && part != "..");
        if !stays_inside {
            return Err(format!(
                "template name `{name}` leaves the template directory; names look like judge/rubric.j2"
            ));
        }
        let path = self.directory.join(name);
        let display = format!("templates/{name}");
        if let Some(target) = self.outside(&path) {
            return Err(format!(
                "{display} is a link to {}, outside of the workspace; `allow` in your own settings lets pipelines read there (docs/security.md)",
                target.display()
            ));
        }
        match std::fs::read(&path) {
            Ok(bytes) => match String::from_utf8(bytes) {
                Ok(text) => Ok(Some(Arc::new(Source { path: display, text }))),
                Err(error) => Err(format!("{display} is not UTF-8 (byte {})", error.utf8_error().valid_up_to())),
            },
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(built_in(name)),
            Err(error) => Err(format!("failed to read {display}: {error}")),
        }
    }

    /// Returns true if the workspace itself has a template of this name.
    pub fn is_own(&self, name: &str) -> bool {
        self.directory.join(name).is_file()
    }

    /// Returns the names of all templates, of the workspace and built in.
    pub fn names(&self) -> Vec<String> {
        let pattern = self.directory.join("**/*.j2");
        let mut names: Vec<String> = glob::glob(&pattern.to_string_lossy())
            .into_iter()
            .flatten()
            .flatten()
            .filter_map(|path| Some(path.strip_prefix(&self.directory).ok()?.to_string_lossy().replace('\\', "/")))
            .chain(BUILT_IN.iter().map(|(name, _)| (*name).to_owned()))
            .collect();
        names.sort();
        names.dedup();
        names
    }
}

fn built_in(name: &str) -> Option<Arc<Source>> {
    let (_, text) = BUILT_IN.iter().find(|(built_in, _)| *built_in == name)?;
    Some(Arc::new(Source { path: format!("templates/{name}"), text: (*text).to_owned() }))
}
