//! Fixes that act on the drive that was named: pasted without `--root`, a command would act on the one this machine remembers.

use super::Cli;
use clap::CommandFactory;
use data_layer::error::Error;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// The `--root` of a command line, as it was given.
pub fn named(args: &[OsString]) -> Option<PathBuf> {
    let mut args = args.iter().skip(1).take_while(|a| *a != "--");
    while let Some(arg) = args.next() {
        if arg == "--root" {
            return args.next().map(PathBuf::from);
        }
        if let Some(root) = arg.to_str().and_then(|a| a.strip_prefix("--root=")) {
            return Some(PathBuf::from(root));
        }
    }
    None
}

/// The same error, whose commands name the drive.
pub fn rooted(error: Error, root: Option<&Path>) -> Error {
    let Some(root) = root else { return error };
    error.with_fixes(|fix| with_root(fix, root))
}

/// ` --root DIR` behind the words of the command, where it takes one and names none.
fn with_root(fix: &str, root: &Path) -> String {
    let Some(rest) = fix.strip_prefix("trademl ").filter(|_| !fix.contains("--root")) else { return fix.to_string() };
    let (mut command, mut end) = (Cli::command(), "trademl".len());
    // What a command takes for all below it is only known to them when the tree is built.
    command.build();
    for word in rest.split_inclusive(' ') {
        let Some(next) = command.find_subcommand(word.trim_end()).cloned() else { break };
        command = next;
        end += 1 + word.trim_end().len();
    }
    if !command.get_arguments().any(|a| a.get_id() == "root") {
        return fix.to_string();
    }
    let shown = root.display().to_string();
    let plain = shown.chars().all(|c| c.is_ascii_alphanumeric() || "/._-~+".contains(c));
    let quoted = if plain { shown } else { format!("'{}'", shown.replace('\'', "'\\''")) };
    format!("{} --root {quoted}{}", &fix[..end], &fix[end..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_that_takes_a_drive_names_it_and_prose_stays_as_it_is() {
        let root = Path::new("/mnt/my drive");
        for (fix, wanted) in [
            ("trademl train", "trademl train --root '/mnt/my drive'"),
            ("trademl node audit --full (it is made again)", "trademl node audit --root '/mnt/my drive' --full (it is made again)"),
            ("trademl paper-trade --set limits.max_orders=20", "trademl paper-trade --root '/mnt/my drive' --set limits.max_orders=20"),
            ("trademl status --root /else", "trademl status --root /else"),
            ("trademl explain TML-SSD-001", "trademl explain TML-SSD-001"),
            ("look at its owner with ls -l", "look at its owner with ls -l"),
        ] {
            assert_eq!(with_root(fix, root), wanted);
        }
        let line = |words: &[&str]| named(&words.iter().map(OsString::from).collect::<Vec<_>>());
        assert_eq!(line(&["trademl", "status", "--root", "/a"]), Some("/a".into()));
        assert_eq!(line(&["trademl", "--root=/b", "status"]), Some("/b".into()));
        assert_eq!(line(&["trademl", "status", "--", "--root", "/a"]), None);
    }
}
