//! `vsctl generate`: man pages and shell completions from the same rows as the parser. Hidden,
//! because packagers need it and users do not.

use std::fs;
use std::path::{Path, PathBuf};

use clap::{ArgMatches, value_parser};
use clap_complete::Shell;

use crate::args;
use crate::error::Failure;

/// The parser of the hidden command.
pub fn parser() -> clap::Command {
    clap::Command::new("generate")
        .about("Writes man pages and shell completions")
        .hide(true)
        .subcommand_required(true)
        .subcommand(
            clap::Command::new("man")
                .about("Writes one man page for each command")
                .arg(
                    clap::Arg::new("DIR")
                        .help("The directory to fill; made when missing")
                        .required(true)
                        .value_parser(value_parser!(PathBuf)),
                ),
        )
        .subcommand(
            clap::Command::new("completions")
                .about("Prints the completions of a shell")
                .arg(
                    clap::Arg::new("SHELL")
                        .help("The shell")
                        .required(true)
                        .value_parser(value_parser!(Shell)),
                ),
        )
}

/// Carries it out and returns what belongs on standard output.
pub fn run(words: &[&str], matches: &ArgMatches) -> Result<Vec<u8>, Failure> {
    match words {
        ["generate", "man"] => {
            man(matches.get_one::<PathBuf>("DIR").expect("it is required"))?;
            Ok(Vec::new())
        }
        ["generate", "completions"] => {
            let shell = *matches.get_one::<Shell>("SHELL").expect("it is required");
            let mut text = Vec::new();
            clap_complete::generate(shell, &mut args::parser(), "vsctl", &mut text);
            Ok(text)
        }
        _ => unreachable!("every other command is a row"),
    }
}

fn man(directory: &Path) -> Result<(), Failure> {
    fs::create_dir_all(directory)
        .and_then(|()| clap_mangen::generate_to(args::parser(), directory))
        .map_err(Failure::Output)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::COMMANDS;

    #[test]
    fn every_command_gets_a_man_page_with_its_examples() {
        let directory = tempfile::tempdir().unwrap();
        man(directory.path()).unwrap();
        for command in COMMANDS {
            let name = format!("vsctl-{}.1", command.words.join("-"));
            let page = fs::read_to_string(directory.path().join(&name)).expect(&name);
            // roff writes a hyphen as `\-`.
            let page = page.replace("\\-", "-");
            assert!(page.contains(command.examples[0].line), "{name}: {page}");
        }
    }

    #[test]
    fn completions_know_every_word() {
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
            let mut text = Vec::new();
            clap_complete::generate(shell, &mut args::parser(), "vsctl", &mut text);
            let text = String::from_utf8(text).unwrap();
            for word in COMMANDS.iter().flat_map(|command| command.words) {
                assert!(text.contains(word), "{shell}: {word}");
            }
        }
    }
}
