//! `flowsteer completions` and `flowsteer man`: what shells and `man` know of the command line, made from it.

use std::path::PathBuf;

use anyhow::Context as _;
use clap::{Args, Command};
use clap_complete::Shell;

/// Print what a shell completes this command line with.
#[derive(Debug, Args)]
pub struct Completions {
    /// The shell.
    shell: Shell,
}

/// Print the manual page, or write one for each command into a folder.
#[derive(Debug, Args)]
pub struct Man {
    /// The folder; it is made where it is not there.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

/// The script for a shell.
pub fn completions(arguments: &Completions, mut command: Command) -> String {
    let mut script = Vec::new();
    let name = command.get_name().to_owned();
    clap_complete::generate(arguments.shell, &mut command, name, &mut script);
    String::from_utf8_lossy(&script).into_owned()
}

/// The page, where it is to be printed; else a page for each command has been written, `flowsteer-serve.1` for `flowsteer serve`.
///
/// # Errors
/// The folder or a file in it cannot be written.
pub fn man(arguments: &Man, command: Command) -> anyhow::Result<String> {
    let Some(folder) = &arguments.out else {
        let mut page = Vec::new();
        clap_mangen::Man::new(command).render(&mut page)?;
        return Ok(String::from_utf8_lossy(&page).into_owned());
    };
    std::fs::create_dir_all(folder)
        .and_then(|()| clap_mangen::generate_to(command, folder))
        .with_context(|| folder.display().to_string())?;
    Ok(String::new())
}
