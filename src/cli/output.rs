//! What is printed: data to standard output, talk to standard error.

use std::sync::atomic::{AtomicU8, Ordering};

use clap::ValueEnum;

/// How data are printed.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    Text,
    Json,
}

/// Set when standard output could not be written: 1 for a reader that went away, 2 for anything else.
static OUTPUT: AtomicU8 = AtomicU8::new(0);

/// Returns true while someone can read what is printed.
pub(super) fn is_read() -> bool {
    OUTPUT.load(Ordering::Relaxed) == 0
}

/// Prints to standard output.
pub(super) fn print(text: &str) {
    use std::io::Write;
    if !is_read() {
        return;
    }
    let mut out = anstream::stdout().lock();
    match writeln!(out, "{text}").and_then(|()| out.flush()) {
        Ok(()) => {}
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => OUTPUT.store(1, Ordering::Relaxed),
        Err(error) => {
            OUTPUT.store(2, Ordering::Relaxed);
            talk(&format!("error: failed to write to standard output: {error}"));
        }
    }
}

/// Prints to standard error.
pub(super) fn talk(text: &str) {
    use std::io::Write;
    let _ = writeln!(anstream::stderr().lock(), "{text}");
}

/// Returns true where a result could not be written, and not because its reader went away.
pub(super) fn is_lost() -> bool {
    OUTPUT.load(Ordering::Relaxed) == 2
}
