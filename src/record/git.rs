//! Which commit a workspace stands at.
//!
//! The files of git are read, and git itself is not started: the configuration of a foreign repository can name programs
//! that git would run.

use std::fs;
use std::path::{Path, PathBuf};

/// How often a reference may point to another one.
const MOST_LINKS: usize = 5;

/// Returns the commit that is checked out around a directory; none outside of a repository or before a first commit.
pub fn commit(directory: &Path) -> Option<String> {
    let git = directory.ancestors().map(|parent| parent.join(".git")).find(|path| path.exists())?;
    // In a worktree or a submodule, `.git` is a file that names the directory.
    let own = if git.is_file() {
        let text = fs::read_to_string(&git).ok()?;
        git.parent()?.join(text.strip_prefix("gitdir:")?.trim())
    } else {
        git
    };
    // A worktree shares its references with the repository that it belongs to.
    let shared = fs::read_to_string(own.join("commondir")).map_or_else(|_| own.clone(), |path| own.join(path.trim()));
    let mut name = "HEAD".to_owned();
    for _ in 0..MOST_LINKS {
        let text = read(&[own.clone(), shared.clone()], &name)?;
        match text.strip_prefix("ref:") {
            Some(target) => name = target.trim().to_owned(),
            None => return is_commit(&text).then_some(text),
        }
    }
    None
}

/// Returns what a reference holds: from a file of its own, or from the packed ones.
fn read(directories: &[PathBuf], name: &str) -> Option<String> {
    if name.split('/').any(|part| part == ".." || part.is_empty()) {
        return None;
    }
    let own = directories.iter().find_map(|directory| fs::read_to_string(directory.join(name)).ok());
    own.map(|text| text.trim().to_owned()).or_else(|| {
        let packed = directories.iter().find_map(|directory| fs::read_to_string(directory.join("packed-refs")).ok())?;
        packed.lines().find_map(|line| Some(line.split_once(' ').filter(|(_, known)| *known == name)?.0.to_owned()))
    })
}

fn is_commit(text: &str) -> bool {
    matches!(text.len(), 40 | 64) && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use super::*;

    const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

    #[test]
    fn it_is_found_in_all_the_places_where_git_keeps_it() {
        let root = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| files_write(&root.path().join(name), text);
        let inner = root.path().join("evals");
        fs::create_dir(&inner).unwrap();
        assert_eq!(commit(&inner), None);
        write(".git/HEAD", "ref: refs/heads/main\n");
        assert_eq!(commit(&inner), None, "no commit was made yet");
        write(".git/packed-refs", &format!("# pack-refs\n{COMMIT} refs/heads/main\n"));
        assert_eq!(commit(&inner).as_deref(), Some(COMMIT));
        write(".git/refs/heads/main", &format!("{}\n", COMMIT.replace('0', "f")));
        assert_eq!(commit(&inner), Some(COMMIT.replace('0', "f")));
        write(".git/HEAD", "ref: refs/heads/main/../../../../secret\n");
        assert_eq!(commit(&inner), None);
        write("tree/.git", "gitdir: ../.git/worktrees/tree\n");
        write(".git/worktrees/tree/HEAD", COMMIT);
        write(".git/worktrees/tree/commondir", "../..\n");
        assert_eq!(commit(&root.path().join("tree")).as_deref(), Some(COMMIT));
    }

    fn files_write(path: &Path, text: &str) {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
}
