//! Exit codes: 0 ok · 1 a gate failed · 2 the spec or the command line is wrong · 3 a stage failed · 4 etalon's own
//! fault · 130 interrupted. If several hold, the first of 130, 4, 2, 3, 1 counts.

use super::output::{Format, print, talk};
use crate::execute::ExecuteError;
use crate::problem::Problem;
use crate::record::{GateVerdict, Run};
use crate::report;
use crate::spec::WorkspaceError;
use crate::stage::StageError;
use crate::store::StoreError;

pub(super) const OK: u8 = 0;
pub(super) const GATE: u8 = 1;
pub(super) const USAGE: u8 = 2;
pub(super) const STAGE: u8 = 3;
pub(super) const INTERNAL: u8 = 4;
pub(super) const INTERRUPTED: u8 = 130;

/// Why a command ends before its work is done, with what to print and the exit code.
pub(super) struct Exit {
    code: u8,
    message: String,
    help: Option<String>,
    problems: Vec<Problem>,
}

impl Exit {
    fn new(code: u8, message: impl Into<String>) -> Exit {
        Exit { code, message: message.into(), help: None, problems: Vec::new() }
    }

    /// Returns the exit of a wrong command line, with a hint if there is one.
    pub fn usage(message: impl Into<String>, help: Option<String>) -> Exit {
        Exit { help, ..Exit::new(USAGE, message) }
    }

    /// Returns the exit of a fault in etalon itself or in its machine.
    pub fn internal(message: &str) -> Exit {
        Exit::new(INTERNAL, message)
    }

    /// Returns the exit of a failed stage.
    pub fn stage(message: &str) -> Exit {
        Exit::new(STAGE, message)
    }

    /// Returns the exit of a command whose spec is wrong.
    pub fn problems(problems: Vec<Problem>) -> Exit {
        Exit { problems, ..Exit::new(USAGE, "") }
    }

    /// Prints the reason, and returns the exit code.
    pub fn report(&self, format: Format) -> u8 {
        if format == Format::Json {
            let mut problems = self.problems.clone();
            if problems.is_empty() {
                let problem = Problem::error("failed", self.message.clone()).maybe_help(self.help.clone());
                problems.push(problem);
            }
            print(&report::problems_json(&problems).to_string());
        } else if !self.problems.is_empty() {
            talk(report::problems(&self.problems, true).trim_end());
        }
        if !self.message.is_empty() {
            talk(&format!("error: {}", self.message));
        }
        if let Some(help) = &self.help {
            talk(&format!("help: {help}"));
        }
        self.code
    }
}

impl From<WorkspaceError> for Exit {
    fn from(error: WorkspaceError) -> Exit {
        match error {
            WorkspaceError::Problems(problems) => Exit { problems, ..Exit::new(USAGE, "") },
            other => Exit::new(USAGE, other.to_string()),
        }
    }
}

impl From<StoreError> for Exit {
    fn from(error: StoreError) -> Exit {
        Exit::new(INTERNAL, error.to_string())
    }
}

impl From<ExecuteError> for Exit {
    fn from(error: ExecuteError) -> Exit {
        match error {
            ExecuteError::Store(error) => error.into(),
            ExecuteError::Unconsented(problems) => Exit::problems(problems),
            ExecuteError::Usage { message, help } => Exit::usage(message, help),
        }
    }
}

impl From<StageError> for Exit {
    fn from(error: StageError) -> Exit {
        match error {
            StageError::Store(error) => error.into(),
            other => Exit::new(STAGE, other.to_string()),
        }
    }
}

fn is_failing(verdict: GateVerdict, is_strict: bool) -> bool {
    match verdict {
        GateVerdict::Fail | GateVerdict::NoData => true,
        GateVerdict::Unproven | GateVerdict::NotRun => is_strict,
        GateVerdict::Pass => false,
    }
}

/// Returns the exit code of a finished run. A strict one lets no gate pass that is not proven.
pub(super) fn of_run(run: &Run, is_strict: bool) -> u8 {
    if run.interrupted {
        INTERRUPTED
    } else if run.has_failed() {
        STAGE
    } else if run.gates.iter().any(|gate| is_failing(gate.verdict, is_strict)) {
        GATE
    } else {
        OK
    }
}
