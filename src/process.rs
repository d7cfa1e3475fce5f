//! Programs that a pipeline runs. They start in the workspace; what a program writes to standard error becomes part of
//! its error message. They get etalon's environment without the API keys of models.
//!
//! A program is the leader of a process group of its own, and whatever it starts belongs to that group.
//! The terminal's Ctrl-C reaches etalon's group only, so [`end_all`] passes an interrupt on.
//!
//! **Invariant:** a program's whole group ends with it: when the program ends by itself, when it takes too long or
//! prints too much, when its [`Output`] is dropped, and when etalon is interrupted. Only a process that has moved to
//! another group (a daemon) lives on, and nobody waits for it.

use std::collections::{BTreeSet, VecDeque};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use process_wrap::std::{ChildWrapper, CommandWrap, ProcessGroup};
use serde_json::{Map, Value, json};

use crate::digest::Digest;
use crate::problem::{Place, Problem};

/// How many bytes of a program's standard error are kept.
const MAX_SAID: usize = 2_000;

/// How many bytes one run may print. A batch of 100,000 scores with a sentence each is a tenth of that.
const MAX_PRINTED: usize = 256 * 1024 * 1024;

/// Programs that run a script.
struct Interpreter {
    /// Its names; a version may follow, as in `python3.12`.
    names: &'static [&'static str],
    /// The letters of options that take code, or the name of a module, in place of a script.
    code: &'static str,
    /// The letters of options that take the next word.
    takes_word: &'static str,
}

const INTERPRETERS: &[Interpreter] = &[
    Interpreter { names: &["python", "pypy"], code: "cm", takes_word: "WX" },
    Interpreter { names: &["node", "deno", "bun"], code: "ep", takes_word: "r" },
    Interpreter { names: &["ruby", "perl", "lua", "julia", "Rscript"], code: "eE", takes_word: "" },
    Interpreter { names: &["php"], code: "r", takes_word: "" },
    Interpreter { names: &["sh", "bash", "zsh", "dash"], code: "c", takes_word: "" },
];

/// Long options that take code.
const CODE: &[&str] = &["--eval", "--print", "eval"];

impl Interpreter {
    /// Returns the interpreter of a name, without its folder.
    fn of(name: &str) -> Option<&'static Interpreter> {
        let is_version = |rest: &str| rest.chars().all(|c| c.is_ascii_digit() || c == '.');
        INTERPRETERS.iter().find(|one| one.names.iter().any(|known| name.strip_prefix(known).is_some_and(is_version)))
    }

    /// Returns why its arguments do not say which file it runs.
    fn unseen(&self, arguments: &[String], root: Option<&Path>) -> Option<String> {
        let mut words = arguments.iter();
        while let Some(word) = words.next() {
            let Some(option) = word.strip_prefix('-') else {
                let is_folder = root.is_some_and(|root| root.join(word).is_dir());
                let is_code = CODE.contains(&word.as_str());
                return (is_folder || is_code).then(|| format!("`{word}` is no file"));
            };
            // An option that takes a word has it right behind its letter, or as the next word.
            let takes = if option.starts_with('-') { None } else { option.find(|c| self.takes_word.contains(c)) };
            let letters = if option.starts_with('-') { "" } else { &option[..takes.unwrap_or(option.len())] };
            if CODE.contains(&word.as_str()) || letters.contains(|c| self.code.contains(c)) {
                return Some(format!("`{word}` names code and no file"));
            }
            if takes.is_some_and(|at| at + 1 == option.len()) {
                words.next();
            }
        }
        None
    }
}

/// Programs that find by themselves what they run.
const RUNNERS: &[&str] = &[
    "make", "just", "npm", "npx", "yarn", "pnpm", "uv", "uvx", "pipx", "poetry", "pdm", "hatch", "conda", "cargo",
    "go", "docker", "podman", "bazel", "gradle", "mvn", "ssh", "xargs", "eval",
];

/// A program that a pipeline would start. The user consents to it by its digest, which covers the command and the
/// files that are known to be read by it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Launch {
    pub command: String,
    pub digest: Digest,
}

/// A program with its arguments, or a line for the shell.
#[derive(Clone, Debug)]
pub enum Program {
    /// A line that `sh` runs.
    Shell(String),
    /// A program and its arguments. If its path contains `/`, it is relative to the workspace.
    Direct(Vec<String>),
}

impl Program {
    /// Returns the command as a user would type it.
    pub fn text(&self) -> String {
        match self {
            Program::Shell(line) => line.trim().to_owned(),
            Program::Direct(words) => words.join(" "),
        }
    }

    /// Returns what the user consents to: the command with the digests of its files, by name.
    pub fn launch<'a>(&self, files: impl IntoIterator<Item = (&'a String, &'a Digest)>) -> Launch {
        let command = match self {
            Program::Shell(line) => Value::from(line.as_str()),
            Program::Direct(words) => words.clone().into(),
        };
        let files: Map<String, Value> =
            files.into_iter().map(|(name, digest)| (name.clone(), digest.to_string().into())).collect();
        let facts = json!({ "command": command, "files": files });
        Launch { command: self.text(), digest: Digest::of_json("etalon.launch", &facts) }
    }

    /// Returns the words of the command: a shell line split at spaces, or the program and its arguments; and what stands
    /// behind the `=` of a word. Callers look which of them are files, because the program reads those.
    pub fn words(&self) -> impl Iterator<Item = String> {
        let words = match self {
            Program::Shell(line) => line.split_whitespace().map(str::to_owned).collect::<Vec<_>>(),
            Program::Direct(words) => words.clone(),
        };
        let values = |word: String| {
            let value = word.split_once('=').map(|(_, value)| value.to_owned());
            std::iter::once(word).chain(value)
        };
        words.into_iter().flat_map(values)
    }

    /// Returns why nobody can tell from the command which files it runs: an option that takes code or a module, a folder,
    /// a tool that runs other programs, or what only a shell understands. None if its words say it. Without a workspace,
    /// folders are not told from files.
    pub fn unseen(&self, root: Option<&Path>) -> Option<String> {
        if let Program::Shell(line) = self
            && let Some(sign) = line.trim().chars().find(|c| "\"'\\`$;|&<>()[]{}*?~#!\n".contains(*c))
        {
            let sign = if sign == '\n' { "a second line".to_owned() } else { format!("`{sign}`") };
            return Some(format!("{sign} is for the shell"));
        }
        let words: Vec<String> = match self {
            Program::Shell(line) => line.split_whitespace().map(str::to_owned).collect(),
            Program::Direct(words) => words.clone(),
        };
        let name = |word: &String| word.rsplit('/').next().unwrap_or(word).to_owned();
        let first = words.first().map(name).unwrap_or_default();
        if first == "cd" || RUNNERS.contains(&first.as_str()) {
            return Some(format!("`{first}` runs other programs"));
        }
        // `env python3 -m x` and `nice python3 -c x` are told by their second word.
        let (at, interpreter) =
            words.iter().enumerate().find_map(|(at, word)| Some((at, Interpreter::of(&name(word))?)))?;
        interpreter.unseen(&words[at + 1..], root)
    }

    /// Returns the name of the program if it is missing, as far as that can be told without running anything.
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

    /// Starts the program in a directory, with nothing on its standard input.
    ///
    /// # Errors
    ///
    /// The program cannot be started.
    pub fn start(&self, root: &Path) -> io::Result<Output> {
        self.spawn(root, Stdio::null()).map(|(output, _)| output)
    }

    /// Runs the program in a directory, gives it `input` on its standard input, and returns what it prints.
    ///
    /// # Errors
    ///
    /// The program cannot be started, ends with another status than 0, takes longer than `longest` or prints more than
    /// 256 MB; or etalon is interrupted.
    pub fn run(&self, root: &Path, input: Vec<u8>, longest: Duration) -> io::Result<Vec<u8>> {
        self.run_within(root, input, longest, MAX_PRINTED)
    }

    /// Runs like [`Program::run`]; the program may print at most `most` bytes.
    fn run_within(&self, root: &Path, input: Vec<u8>, longest: Duration, most: usize) -> io::Result<Vec<u8>> {
        let (output, stdin) = self.spawn(root, Stdio::piped())?;
        let group = output.group.clone();
        // Both threads end with the group. Nobody waits for them, since a daemon may hold the pipes open.
        std::thread::spawn(move || {
            // An error is no failure here: a program may end without having read everything. Its output tells how it
            // went.
            if let Some(mut stdin) = stdin {
                _ = stdin.write_all(&input);
            }
        });
        let (sender, printed) = mpsc::sync_channel(1);
        std::thread::spawn(move || sender.send(output.read_all(most)));
        let error = match printed.recv_timeout(longest) {
            Ok(result) => return result,
            Err(RecvTimeoutError::Timeout) => format!("it took longer than {} s", longest.as_secs_f64()),
            Err(RecvTimeoutError::Disconnected) => "what it printed was lost".to_owned(),
        };
        group.end();
        Err(io::Error::other(error))
    }

    /// Starts the program in a directory, to talk with it: what it prints, where its input is written, and what ends it.
    ///
    /// # Errors
    ///
    /// The program cannot be started.
    pub fn converse(&self, root: &Path) -> io::Result<(Output, ChildStdin, Ender)> {
        let (output, stdin) = self.spawn(root, Stdio::piped())?;
        let stdin = stdin.ok_or_else(|| io::Error::other("it has no standard input"))?;
        let ender = Ender(output.group.clone());
        Ok((output, stdin, ender))
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
                // The path is relative to the workspace, wherever etalon was started.
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
        KEYS.iter().for_each(|name| _ = command.env_remove(name));
        HIDDEN.lock().expect("no panic while locked").iter().for_each(|name| _ = command.env_remove(name));
        command.current_dir(root).stdin(stdin).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = CommandWrap::from(command).wrap(ProcessGroup::leader()).spawn()?;
        let said = Arc::new(Mutex::new(VecDeque::new()));
        let mut errors = child.stderr().take().expect("stderr is piped");
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
        let (stdin, stdout) = (child.stdin().take(), child.stdout().take());
        let group = Arc::new(Group { child: Mutex::new(child), is_interrupted: AtomicBool::new(false) });
        RUNNING.lock().expect("no panic while locked").add(&group);
        Ok((Output { group, stdout, said }, stdin))
    }
}

/// Ends a program with its group when it is dropped.
pub struct Ender(Arc<Group>);

impl Drop for Ender {
    fn drop(&mut self) {
        self.0.end();
    }
}

/// What the error of a program says that etalon ended, because it was interrupted itself.
pub const INTERRUPTED: &str = "interrupted";

/// Returns what is wrong with a command of which nobody can tell which files it runs, and what to write; see
/// [`Program::unseen`].
pub fn unseen_text(why: &str) -> (String, &'static str) {
    let message = format!("{why}, so a change of what the command runs would not be noticed");
    (message, "name what it reads: `files: [metrics/*.py]`; `files: []` where nothing can change")
}

/// Returns the problem of such a command.
pub fn unseen(what: &str, why: &str, place: &Place) -> Problem {
    let (message, help) = unseen_text(why);
    Problem::error("unseen-files", format!("{what}: {message}")).at(place).help(help)
}

/// Ends every running program with its group, and every one that is started later, at once. Their error is
/// `interrupted`. To be called when etalon itself is about to end.
pub fn end_all() {
    RUNNING.lock().expect("no panic while locked").end();
}

/// Keys that no program gets, whether or not a model of the pipeline uses them.
const KEYS: &[&str] = &["ANTHROPIC_API_KEY", "OPENAI_API_KEY"];

/// Further environment variables that no program gets.
static HIDDEN: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());

/// Keeps an environment variable from every program that is started from now on: the API key of a model.
pub fn hide(variable: &str) {
    HIDDEN.lock().expect("no panic while locked").insert(variable.to_owned());
}

/// The process groups that this process has started.
static RUNNING: Mutex<Running> = Mutex::new(Running { groups: Vec::new(), is_over: false });

struct Running {
    groups: Vec<Weak<Group>>,
    is_over: bool,
}

impl Running {
    fn add(&mut self, group: &Arc<Group>) {
        self.groups.retain(|group| group.strong_count() > 0);
        self.groups.push(Arc::downgrade(group));
        if self.is_over {
            group.interrupt();
        }
    }

    fn end(&mut self) {
        self.is_over = true;
        self.groups.iter().filter_map(Weak::upgrade).for_each(|group| group.interrupt());
    }
}

/// The process group of a program.
struct Group {
    child: Mutex<Box<dyn ChildWrapper>>,
    is_interrupted: AtomicBool,
}

impl Group {
    /// Kills the whole group. Does nothing if the group has ended.
    fn end(&self) {
        _ = self.child.lock().expect("no panic while locked").start_kill();
    }

    fn interrupt(&self) {
        self.is_interrupted.store(true, Ordering::Relaxed);
        self.end();
    }

    /// Waits until the leader ends, in a way that lets another thread end the group meanwhile; then ends the rest of
    /// the group.
    fn wait(&self) -> io::Result<ExitStatus> {
        let mut pause = Duration::from_micros(200);
        loop {
            let ended = self.child.lock().expect("no panic while locked").inner_mut().try_wait()?;
            if let Some(status) = ended {
                self.end();
                return Ok(status);
            }
            std::thread::sleep(pause);
            pause = (pause * 2).min(Duration::from_millis(20));
        }
    }
}

impl Drop for Group {
    /// Whoever stops reading ends the program.
    fn drop(&mut self) {
        self.end();
        _ = self.child.lock().expect("no panic while locked").inner_mut().wait();
    }
}

/// What a program prints, as a reader. The reader ends in an error if the program failed. Dropping it ends the program.
pub struct Output {
    group: Arc<Group>,
    /// None once everything has been read.
    stdout: Option<ChildStdout>,
    said: Arc<Mutex<VecDeque<u8>>>,
}

impl Output {
    /// Reads to the end; more than `most` bytes are an error.
    fn read_all(mut self, most: usize) -> io::Result<Vec<u8>> {
        let mut printed = Vec::new();
        (&mut self).take(most as u64 + 1).read_to_end(&mut printed)?;
        if printed.len() > most {
            return Err(io::Error::other(format!("it printed more than {} MB", most >> 20)));
        }
        Ok(printed)
    }
}

impl Read for Output {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = match &mut self.stdout {
            Some(stdout) => stdout.read(buffer)?,
            None => 0,
        };
        if read > 0 || buffer.is_empty() {
            return Ok(read);
        }
        self.stdout = None;
        let status = self.group.wait()?;
        if status.success() {
            return Ok(0);
        }
        if self.group.is_interrupted.load(Ordering::Relaxed) {
            return Err(io::Error::other(INTERRUPTED));
        }
        // A daemon that the program left behind may hold standard error open, so what is there now has to do.
        std::thread::sleep(Duration::from_millis(50));
        let mut said = self.said.lock().expect("no panic while locked");
        let text = String::from_utf8_lossy(said.make_contiguous()).trim().to_owned();
        let text = if text.is_empty() { "it said nothing".to_owned() } else { format!("it said:\n{text}") };
        Err(io::Error::other(format!("the program ended with {status}; {text}")))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    fn shell(line: &str) -> Program {
        Program::Shell(line.to_owned())
    }

    fn run(line: &str, longest: Duration) -> Result<String, String> {
        let printed = shell(line).run(Path::new("."), b"in\n".to_vec(), longest);
        printed.map(|bytes| String::from_utf8(bytes).unwrap()).map_err(|error| error.to_string())
    }

    /// Returns true if a process exists and is not a zombie.
    fn is_alive(pid: &str) -> bool {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid.trim())).unwrap_or_default();
        !stat.is_empty() && !stat.contains(") Z ")
    }

    fn dies(pid: &str) -> bool {
        (0..200).any(|_| {
            std::thread::sleep(Duration::from_millis(10));
            !is_alive(pid)
        })
    }

    #[test]
    fn what_a_command_runs_is_seen_or_not() {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir(root.path().join("pkg")).unwrap();
        let unseen = |line: &str| {
            let words = line.split(' ').map(str::to_owned).collect();
            let both = [shell(line), Program::Direct(words)].map(|program| program.unseen(Some(root.path())).is_some());
            assert_eq!(both[0], both[1], "{line}");
            both[0]
        };
        for line in [
            "python3 -m pkg.score",
            "python3.12 -um pkg",
            "python3 -X dev -m pkg",
            "python3 pkg",
            "/usr/bin/env python3 -c x",
            "bash -lc x",
            "node --eval x",
            "deno eval x",
            "ruby -e x",
            "make score",
            "cd pkg",
        ] {
            assert!(unseen(line), "{line}");
        }
        for line in [
            "python3 score.py",
            "python3 -u -E score.py -m fast -c 3",
            "python3 -W ignore score.py",
            "python3 -Wignore::DeprecationWarning score.py",
            "bash -e run.sh",
            "shuf -e a b",
            "nodes -p 3",
            "cat data/rows.jsonl",
            "./score --mode=e",
        ] {
            assert!(!unseen(line), "{line}");
        }
        for line in ["python3 a.py; true", "a | b", "a 'b c'", "a $B", "a\nb"] {
            assert!(shell(line).unseen(None).is_some(), "{line}");
        }
    }

    #[test]
    fn a_program_prints_or_says_why_not() {
        assert_eq!(run("cat; echo out", LONG).unwrap(), "in\nout\n");
        assert_eq!(
            run("echo no >&2; exit 3", LONG).unwrap_err(),
            "the program ended with exit status: 3; it said:\nno"
        );
        assert_eq!(run("exit 1", LONG).unwrap_err(), "the program ended with exit status: 1; it said nothing");
        assert!(Program::Direct(vec!["./none".to_owned()]).run(Path::new("."), Vec::new(), LONG).is_err());
    }

    #[test]
    fn a_late_program_ends_at_once_with_its_group() {
        for line in ["sleep 20", "sleep 20 | cat", "sleep 20 & wait", "(sleep 20 &) ; sleep 20"] {
            let start = Instant::now();
            let error = run(line, Duration::from_millis(200)).unwrap_err();
            assert_eq!(error, "it took longer than 0.2 s", "{line}");
            assert!(start.elapsed() < Duration::from_secs(5), "{line} took {:?}", start.elapsed());
        }
    }

    #[test]
    fn what_a_program_leaves_behind_ends_with_it() {
        let pid = run("sleep 20 >/dev/null 2>&1 & echo $!", LONG).unwrap();
        assert!(dies(&pid), "{pid} lives on");
    }

    #[test]
    fn a_dropped_output_ends_the_group() {
        let mut output = shell("sleep 20 & echo $!; wait").start(Path::new(".")).unwrap();
        let mut pid = [0; 32];
        let length = output.read(&mut pid).unwrap();
        let pid = String::from_utf8_lossy(&pid[..length]).into_owned();
        assert!(is_alive(&pid));
        drop(output);
        assert!(dies(&pid), "{pid} lives on");
    }

    #[test]
    fn a_program_that_prints_without_end_is_stopped() {
        let start = Instant::now();
        let error = shell("yes").run_within(Path::new("."), Vec::new(), LONG, 3 << 20).unwrap_err();
        assert_eq!(error.to_string(), "it printed more than 3 MB");
        assert!(start.elapsed() < Duration::from_secs(10));
        let all = shell("head -c 3145728 /dev/zero").run_within(Path::new("."), Vec::new(), LONG, 3 << 20).unwrap();
        assert_eq!(all.len(), 3 << 20, "the bound itself is allowed");
    }

    #[test]
    fn an_interrupted_program_says_so() {
        let mut output = shell("sleep 20 | cat").start(Path::new(".")).unwrap();
        let mut running = Running { groups: Vec::new(), is_over: false };
        running.add(&output.group);
        running.end();
        assert_eq!(output.read(&mut [0; 8]).unwrap_err().to_string(), "interrupted");
        let mut late = shell("sleep 20").start(Path::new(".")).unwrap();
        running.add(&late.group);
        assert_eq!(late.read(&mut [0; 8]).unwrap_err().to_string(), "interrupted", "nothing starts afterwards");
    }
}
