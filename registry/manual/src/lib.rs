//! Shell completions and man pages, made of a program's own command line, for its package.

use std::{fs, io, path::PathBuf};

use clap::Command;
use clap_complete::{Shell, generate_to};

/// Where they go.
#[derive(Debug, clap::Args)]
pub struct ManualArgs {
    /// The folder to write them to
    folder: PathBuf,
}

/// Writes completions for bash, zsh and fish, and a man page for the program and for each of its commands.
pub fn write(
    name: &'static str,
    version: &'static str,
    program: &Command,
    args: &ManualArgs,
) -> io::Result<()> {
    let visible = without_hidden(name, program).version(version);
    let made = |folder: &str| -> io::Result<PathBuf> {
        let folder = args.folder.join(folder);
        fs::create_dir_all(&folder).map(|()| folder)
    };
    let bash = generate_to(Shell::Bash, &mut visible.clone(), name, made("bash")?)?;
    // bash-completion looks for a file of the program's own name.
    fs::rename(&bash, bash.with_file_name(name))?;
    generate_to(Shell::Zsh, &mut visible.clone(), name, made("zsh")?)?;
    generate_to(Shell::Fish, &mut visible.clone(), name, made("fish")?)?;
    clap_mangen::generate_to(visible, made("man")?)
}

/// The command line as people know it: completions would offer the hidden commands too.
fn without_hidden(name: &'static str, program: &Command) -> Command {
    let shown = program.get_subcommands().filter(|command| !command.is_hide_set());
    Command::new(name)
        .about(program.get_about().cloned().unwrap_or_default())
        .subcommand_required(program.is_subcommand_required_set())
        .args(program.get_arguments().cloned())
        .subcommands(shown.cloned())
}
