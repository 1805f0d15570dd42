//! What this binary is, completions for shells, and manual pages: all made from the command line's own definition.

use super::{emit, say};
use crate::cli::Cli;
use clap::CommandFactory;
use clap_complete::Shell;
use data_layer::error::{Error, Result, code};
use data_layer::schema::VERSIONS;
use data_layer::words::tell;
use data_layer::{docs, env_vars};
use std::path::Path;

/// `trademl --version`: what decides whether a drive can be read, and whether a result can be repeated.
pub const LONG: &str = concat!(
    env!("CARGO_PKG_VERSION"),
    "\nsource    ",
    env!("TRADEML_BUILD_SOURCE"),
    "\ncompiler  ",
    env!("TRADEML_BUILD_RUSTC"),
    "\ntarget    ",
    env!("TRADEML_BUILD_TARGET"),
    "\nprofile   ",
    env!("TRADEML_BUILD_PROFILE"),
);

/// Where to begin: what somebody sees who typed the name alone. All the rest is in `--help`.
pub fn welcome() -> u8 {
    say("From a bare Raspberry Pi and an SSD to a governed paper-trading book, in six wizards:");
    say("");
    for wizard in crate::wizards() {
        say(&text!("  trademl {:<13} {}", wizard.name, tell(wizard.purpose)));
    }
    say("");
    if cfg!(feature = "research") {
        say("  trademl demo          all six on real prices of the past, without a key or a network: begin here");
    }
    say("  trademl doctor        what is wrong on this machine or drive, and what mends it");
    say("  trademl --help        every command; trademl COMMAND --help explains one");
    2
}

/// The lines that make a shell ask this program for completions.
pub fn completions(shell: Shell) -> Result<u8> {
    emit(&crate::cli::complete::script(shell)?);
    Ok(0)
}

/// `trademl.1` and one page per command, with the exit statuses and the files.
#[allow(clippy::disallowed_methods)] // pages for a packager, not data on a drive
pub fn manual(folder: &Path) -> Result<u8> {
    std::fs::create_dir_all(folder)?;
    for (name, page) in pages()? {
        std::fs::write(folder.join(format!("{name}.1")), page)?;
    }
    say(&text!("written; look at them with: man -l {}/trademl.1", folder.display()));
    Ok(0)
}

/// The page of an error code, as it is under `docs/errors/`; without one, the list.
pub fn explain(wanted: Option<&str>) -> Result<u8> {
    let Some(wanted) = wanted else {
        code::ALL.iter().for_each(|c| say(&text!("{}  exit {:<3}  {}", c.id, c.exit.status(), c.title)));
        return Ok(0);
    };
    let named = |c: &&data_layer::error::Code| c.id.eq_ignore_ascii_case(wanted) || c.id.trim_start_matches("TML-").eq_ignore_ascii_case(wanted);
    let found = code::ALL.iter().find(named);
    let found = found.ok_or_else(|| Error::new(code::USE_ARGUMENT, text!("'{wanted}' is no error code of this program")).fix("trademl explain"))?;
    say(docs::error_page(found).trim_end());
    Ok(0)
}

/// Every page, of commands within commands too: name without `.1`, roff.
fn pages() -> Result<Vec<(String, Vec<u8>)>> {
    let mut out = Vec::new();
    collect(&Cli::command(), "trademl", &mut out)?;
    Ok(out)
}

fn collect(command: &clap::Command, name: &str, out: &mut Vec<(String, Vec<u8>)>) -> Result<()> {
    out.push((name.to_string(), page(command.clone(), name)?));
    command.get_subcommands().filter(|c| !c.is_hide_set() && c.get_name() != "help").try_for_each(|c| collect(c, &format!("{name}-{}", c.get_name()), out))
}

fn page(command: clap::Command, name: &str) -> Result<Vec<u8>> {
    let name: &'static str = Box::leak(name.to_string().into_boxed_str());
    let has_commands = command.has_subcommands();
    let man = clap_mangen::Man::new(command.name(name).version(env!("CARGO_PKG_VERSION")));
    let mut out = Vec::new();
    man.render_title(&mut out)?;
    man.render_name_section(&mut out)?;
    man.render_synopsis_section(&mut out)?;
    man.render_description_section(&mut out)?;
    man.render_options_section(&mut out)?;
    if has_commands {
        man.render_subcommands_section(&mut out)?;
    }
    out.extend_from_slice(closing().as_bytes());
    Ok(out)
}

/// Exit statuses and files, which no definition of a flag says.
fn closing() -> String {
    let statuses = [
        (0, "done"),
        (2, "usage or configuration: an argument or an answer is missing, unknown or invalid"),
        (3, "refused by a gate"),
        (4, "credentials missing or rejected"),
        (5, "paused by the user; the same command continues"),
        (6, "host or drive"),
        (7, "held by another process or machine"),
        (8, "the drive was written by a newer version"),
        (9, "a vendor, the broker or the network cannot be reached"),
        (70, "a bug of ours"),
        (130, "SIGINT; the same command continues"),
        (143, "SIGTERM; the same command continues"),
    ];
    let mut out = String::from(".SH \"EXIT STATUS\"\n");
    for (number, meaning) in statuses {
        out.push_str(&text!(".TP\n\\fB{number}\\fR\n{meaning}\n"));
    }
    out.push_str(".SH ENVIRONMENT\n");
    for v in env_vars::ALL.iter().filter(|v| v.scope != env_vars::Scope::Testing) {
        out.push_str(&text!(".TP\n\\fB{}\\fR\n{}\n", v.name, v.meaning.replace('`', "")));
    }
    out.push_str(".SH FILES\n.TP\n\\fI$XDG_CONFIG_HOME/trademl/.env\\fR\nkeys and settings of this machine (mode 0600)\n");
    out.push_str(".TP\n\\fI$XDG_STATE_HOME/trademl/log\\fR\nlogs until the drive is known; then \\fIlogs/\\fR on the drive\n");
    out.push_str(&text!(".SH \"DRIVE SCHEMA\"\nnode {}, journal {}, registry {}\n", VERSIONS.node, VERSIONS.journal, VERSIONS.registry));
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_has_a_page_and_a_completion() {
        let pages = pages().unwrap();
        let offered = |line: &[&str]| {
            let words = line.iter().map(std::ffi::OsString::from).collect();
            let found = clap_complete::engine::complete(&mut Cli::command(), words, line.len() - 1, None).unwrap();
            found.iter().map(|c| c.get_value().to_string_lossy().into_owned()).collect::<Vec<_>>()
        };
        let commands = offered(&["trademl", ""]);
        for command in Cli::command().get_subcommands().filter(|c| !c.is_hide_set()) {
            let page = pages.iter().find(|(name, _)| *name == format!("trademl-{}", command.get_name())).expect("a page");
            let text = String::from_utf8_lossy(&page.1);
            assert!(text.contains("EXIT STATUS") && text.contains(".SH NAME"), "{}", page.0);
            assert!(commands.iter().any(|c| c == command.get_name()), "{}", command.get_name());
            assert_eq!(text.contains(".SH SUBCOMMANDS"), command.has_subcommands(), "{}", page.0);
        }
        assert!(offered(&["trademl", "explain", "TML-SSD-00"]).contains(&"TML-SSD-003".to_string()));
        assert!(offered(&["trademl", "pi-data-node", "--set", "node."]).contains(&"node.id=".to_string()));
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish, Shell::Elvish, Shell::PowerShell] {
            assert!(crate::cli::complete::script(shell).unwrap().contains("COMPLETE"), "{shell}");
        }
        let stop = pages.iter().find(|(name, _)| name == "trademl-runs-undo").expect("a page of a command within a command");
        assert!(String::from_utf8_lossy(&stop.1).contains("TRADEML_ROOT"), "the variables are listed");
    }

    #[test]
    fn a_code_is_explained_and_an_unknown_one_is_refused() {
        assert_eq!((explain(Some("tml-ssd-003")).unwrap(), explain(Some("SSD-003")).unwrap()), (0, 0));
        assert!(explain(Some("TML-NONE-999")).unwrap_err().is(code::USE_ARGUMENT));
    }

    #[test]
    fn the_version_says_what_was_built() {
        for fact in ["source", "compiler", "target", "profile"] {
            assert!(LONG.contains(fact), "{LONG}");
        }
    }
}
