//! `headsaw completions`: what a shell needs to complete the command line.

use crate::args::Cli;
use crate::error::Failure;
use crate::output;
use clap::{CommandFactory, ValueEnum};
use clap_complete::Generator;
use serde::Serialize;

/// Print completions for a shell
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  headsaw completions bash > ~/.local/share/bash-completion/completions/headsaw
  headsaw completions zsh > ~/.zfunc/_headsaw
  headsaw completions fish > ~/.config/fish/completions/headsaw.fish
  headsaw completions nushell | save headsaw.nu")]
pub struct Args {
    /// For which shell
    shell: Shell,
}

/// A shell.
#[derive(Debug, Clone, Copy, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
#[allow(clippy::enum_variant_names)] // PowerShell is called so
enum Shell {
    Bash,
    Zsh,
    Fish,
    #[value(name = "powershell")]
    PowerShell,
    Elvish,
    Nushell,
}

#[derive(Serialize)]
struct Json {
    shell: Shell,
    script: String,
}

/// Prints the completions.
pub fn act(args: &Args, json: bool) -> Result<(), Failure> {
    let script = match args.shell {
        Shell::Bash => generate(clap_complete::Shell::Bash),
        Shell::Zsh => generate(clap_complete::Shell::Zsh),
        Shell::Fish => generate(clap_complete::Shell::Fish),
        Shell::PowerShell => generate(clap_complete::Shell::PowerShell),
        Shell::Elvish => generate(clap_complete::Shell::Elvish),
        Shell::Nushell => generate(clap_complete_nushell::Nushell),
    };
    if json {
        return output::print_json(&Json { shell: args.shell, script });
    }
    output::print(&script)
}

fn generate(shell: impl Generator) -> String {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "headsaw", &mut script);
    String::from_utf8_lossy(&script).into_owned()
}
