//! `etalon shell-completions`.

use clap::{Args, CommandFactory};
use clap_complete::Shell;

use super::exit::{self, Exit};
use super::{Cli, print};

#[derive(Args)]
#[command(
    after_help = "Examples:\n  etalon shell-completions bash > ~/.local/share/bash-completion/completions/etalon\n  etalon shell-completions zsh > ~/.zfunc/_etalon"
)]
pub(super) struct CompletionsArgs {
    /// The shell
    shell: Shell,
}

pub(super) fn run(arguments: &CompletionsArgs) -> Result<u8, Exit> {
    let mut script = Vec::new();
    clap_complete::generate(arguments.shell, &mut Cli::command(), "etalon", &mut script);
    print(String::from_utf8_lossy(&script).trim_end());
    Ok(exit::OK)
}
