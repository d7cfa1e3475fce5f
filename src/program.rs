//! Programs that a pipeline runs: they start in the workspace, and what they say on standard error is
//! part of their error.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// A program with its arguments, or a line for the shell.
#[derive(Clone, Debug)]
pub enum Program {
    Shell(String),
    Direct(Vec<String>),
}

impl Program {
    /// Returns it as a user would type it.
    pub fn text(&self) -> String {
        match self {
            Program::Shell(line) => line.trim().to_owned(),
            Program::Direct(words) => words.join(" "),
        }
    }

    pub fn words(&self) -> impl Iterator<Item = String> {
        match self {
            Program::Shell(line) => line.split_whitespace().map(str::to_owned).collect::<Vec<_>>(),
            Program::Direct(words) => words.clone(),
        }
        .into_iter()
    }

    /// Returns the program that is missing, where that can be told without running anything.
    pub fn missing(&self, root: &Path) -> Option<String> {
        let Program::Direct(words) = self else {
            return None;
        };
        let name = words.first()?;
        let exists = if name.contains('/') {
            root.join(name).is_file()
        } else {
            let path = std::env::var_os("PATH").unwrap_or_default();
            std::env::split_paths(&path).any(|directory| directory.join(name).is_file())
        };
        (!exists).then(|| name.clone())
    }

    /// Starts it in a directory, with nothing on its standard input.
    pub fn start(&self, root: &Path) -> io::Result<Output> {
        self.spawn(root, Stdio::null()).map(|(output, _)| output)
    }

    /// Runs it in a directory on an input and returns what it prints.
    ///
    /// # Errors
    ///
    /// It cannot be started, ends with another status than 0, or takes longer than allowed.
    pub fn run(&self, root: &Path, input: Vec<u8>, longest: Duration) -> io::Result<Vec<u8>> {
        let (mut output, stdin) = self.spawn(root, Stdio::piped())?;
        let (done, is_done) = std::sync::mpsc::channel::<()>();
        let child = output.child.id();
        let mut printed = Vec::new();
        std::thread::scope(|scope| {
            scope.spawn(move || {
                // A program may end without having read everything: what it printed tells.
                if let Some(mut stdin) = stdin {
                    _ = stdin.write_all(&input);
                }
            });
            let is_late = scope.spawn(move || {
                let is_late = is_done.recv_timeout(longest) == Err(std::sync::mpsc::RecvTimeoutError::Timeout);
                if is_late {
                    _ = Command::new("kill").args(["-9", &child.to_string()]).status();
                }
                is_late
            });
            let read = output.read_to_end(&mut printed);
            drop(done);
            if is_late.join().unwrap_or(false) {
                return Err(io::Error::other(format!("it took longer than {} s", longest.as_secs())));
            }
            read
        })?;
        Ok(printed)
    }

    fn spawn(&self, root: &Path, stdin: Stdio) -> io::Result<(Output, Option<ChildStdin>)> {
        let mut command = match self {
            Program::Shell(line) => {
                let mut command = Command::new("sh");
                command.args(["-c", line]);
                command
            }
            Program::Direct(words) => {
                let name = words.first().map_or("", String::as_str);
                // A path is meant from the workspace, wherever etalon was started.
                let program = if name.contains('/') {
                    std::fs::canonicalize(root).unwrap_or_else(|_| root.to_owned()).join(name)
                } else {
                    PathBuf::from(name)
                };
                let mut command = Command::new(program);
                command.args(words.iter().skip(1));
                command
            }
        };
        command.current_dir(root).stdin(stdin).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn()?;
        let said = Arc::new(Mutex::new(VecDeque::new()));
        let mut errors = child.stderr.take().expect("stderr is piped");
        let kept = said.clone();
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(read @ 1..) = errors.read(&mut buffer) {
                let mut said = kept.lock().expect("no panic while locked");
                said.extend(&buffer[..read]);
                let excess = said.len().saturating_sub(MAX_SAID);
                said.drain(..excess);
            }
        });
        let stdin = child.stdin.take();
        Ok((Output { child, said }, stdin))
    }
}

/// Bytes kept of what a program says on standard error.
const MAX_SAID: usize = 2_000;

/// What a program prints; an error at its end where the program failed.
pub struct Output {
    child: Child,
    said: Arc<Mutex<VecDeque<u8>>>,
}

impl Read for Output {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = match &mut self.child.stdout {
            Some(stdout) => stdout.read(buffer)?,
            None => 0,
        };
        if read > 0 || buffer.is_empty() {
            return Ok(read);
        }
        self.child.stdout = None;
        let status = self.child.wait()?;
        if status.success() {
            return Ok(0);
        }
        // A child that it leaves behind may hold its standard error open: what is there now is enough.
        std::thread::sleep(std::time::Duration::from_millis(50));
        let mut said = self.said.lock().expect("no panic while locked");
        let text = String::from_utf8_lossy(said.make_contiguous()).trim().to_owned();
        let text = if text.is_empty() { "it said nothing".to_owned() } else { format!("it said:\n{text}") };
        Err(io::Error::other(format!("the program ended with {status}; {text}")))
    }
}

impl Drop for Output {
    /// A reader that has enough ends the program.
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
