//! Programs that a stage runs: what a key can know of them.

use crate::problem::{Place, Problem};

/// Returns the problem of a command that does not say which files it runs, so that a change of them would go unnoticed.
pub(super) fn unseen(what: &str, why: &str, place: &Place) -> Problem {
    let message = format!("{what}: {why}, so a change of what the command runs would not be noticed");
    Problem::error("unseen-files", message)
        .at(place)
        .help("name what it reads: `files: [metrics/*.py]`; `files: []` where nothing can change")
}
