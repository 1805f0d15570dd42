//! What a shell may complete beyond commands and flags: runs, models, symbols, accounts, codes, variables, questions. Read from
//! the drive that the line names, or that this machine used the last time. Whatever goes wrong, nothing is offered.

use super::Cli;
use clap::CommandFactory;
use clap_complete::Shell;
use clap_complete::engine::{ArgValueCandidates, CompletionCandidate};
use clap_complete::env::{CompleteEnv, Shells};
use data_layer::control::{Db, Which};
use data_layer::env_vars;
use data_layer::error::{Error, Result, code};
use data_layer::host::Host;
use data_layer::root::{DataPath, DataRoot};
#[cfg(feature = "research")]
use data_layer::stage;
use std::ffi::{OsStr, OsString};
use std::path::PathBuf;
use std::sync::OnceLock;

/// The line that is being completed, for its `--root`.
static LINE: OnceLock<Vec<OsString>> = OnceLock::new();

#[cfg(feature = "research")]
const ACCOUNTS: &str = "SELECT DISTINCT account FROM order_sets ORDER BY 1";

/// Answer a shell that asks what can be completed (`COMPLETE=<shell>` in the environment); `false` when none does.
pub fn answered(args: &[OsString]) -> bool {
    let line = LINE.get_or_init(|| args.to_vec()).clone();
    CompleteEnv::with_factory(Cli::command).try_complete(line, None).unwrap_or(false)
}

/// The lines that a shell reads once, so that it asks this program from then on.
pub fn script(shell: Shell) -> Result<String> {
    let name = shell.to_string();
    let shells = Shells::builtins();
    let completer = shells.completer(&name).ok_or_else(|| Error::new(code::USE_ARGUMENT, text!("there are no completions for {name}")))?;
    let mut out = Vec::new();
    completer.write_registration("COMPLETE", "trademl", "trademl", "trademl", &mut out)?;
    Ok(String::from_utf8_lossy(&out).trim_end().to_string())
}

/// Ids of the runs on the drive, newest first, with their wizards.
pub fn runs() -> ArgValueCandidates {
    from_drive(|root| {
        let journal = crate::kit::journal::Journal::unverified(root)?;
        Ok(journal.runs()?.into_iter().map(|(first, _)| (first.run_id, text!("{} of {}", first.wizard, first.at))).collect())
    })
}

/// Symbols of the stage.
#[cfg(feature = "research")]
pub fn symbols() -> ArgValueCandidates {
    from_drive(|root| Ok(stage::load(root)?.universe.symbols.into_iter().map(|s| (s, String::new())).collect()))
}

/// Versions of models in the registry, newest first, with their stages.
#[cfg(feature = "research")]
pub fn versions() -> ArgValueCandidates {
    from_drive(|root| column(root, Which::Registry, "SELECT version FROM models ORDER BY created_at DESC, version"))
}

/// Strategies that have a model in the registry.
pub fn strategies() -> ArgValueCandidates {
    from_drive(|root| column(root, Which::Registry, "SELECT DISTINCT strategy FROM models ORDER BY 1"))
}

/// Accounts that orders were planned for.
#[cfg(feature = "research")]
pub fn accounts() -> ArgValueCandidates {
    from_drive(|root| column(root, Which::Journal, ACCOUNTS))
}

/// Ids of orders that are open, and what they are.
#[cfg(feature = "research")]
pub fn open_orders() -> ArgValueCandidates {
    from_drive(|root| {
        let accounts = column(root, Which::Journal, ACCOUNTS)?;
        let db = Db::open(root, Which::Journal)?;
        let mut out = Vec::new();
        for (account, _) in accounts {
            let open = engine::execution::log::OrderLog::new(&db).open_orders(&account)?;
            out.extend(open.iter().map(|o| (o.id().to_string(), text!("{} {} {}", o.intent.side.as_str(), o.intent.qty, o.intent.symbol))));
        }
        Ok(out)
    })
}

/// Codes of errors, with what they mean.
pub fn codes() -> ArgValueCandidates {
    ArgValueCandidates::new(|| code::ALL.iter().map(|c| candidate(c.id.to_string(), c.title)).collect())
}

/// Variables that this program reads.
pub fn variables() -> ArgValueCandidates {
    ArgValueCandidates::new(|| env_vars::ALL.iter().filter(|v| v.scope != env_vars::Scope::Testing).map(|v| candidate(v.name.to_string(), v.meaning)).collect())
}

/// Ids of questions, as `--set` wants them.
pub fn questions() -> ArgValueCandidates {
    ArgValueCandidates::new(|| {
        let asked = crate::wizards().into_iter().flat_map(|w| w.steps).filter_map(|s| s.question().ok());
        asked.map(|q| candidate(format!("{}=", q.id), &q.prompt)).collect()
    })
}

fn candidate(value: String, help: &str) -> CompletionCandidate {
    CompletionCandidate::new(value).help((!help.is_empty()).then(|| help.to_string().into()))
}

/// Values that only the drive knows; the second of a pair is shown beside the first.
fn from_drive(list: impl Fn(&DataRoot) -> Result<Vec<(String, String)>> + Send + Sync + 'static) -> ArgValueCandidates {
    ArgValueCandidates::new(move || {
        let found = Host::real().and_then(|host| crate::commands::open_root(&host, named(LINE.get().map_or(&[], Vec::as_slice)))).and_then(|root| list(&root));
        found.unwrap_or_default().into_iter().map(|(value, help)| candidate(value, &help)).collect()
    })
}

/// The drive of `--root DIR` or `--root=DIR`.
fn named(line: &[OsString]) -> Option<PathBuf> {
    let after = line.iter().skip_while(|word| *word != OsStr::new("--root")).nth(1).map(PathBuf::from);
    after.or_else(|| line.iter().find_map(|word| word.to_str()?.strip_prefix("--root=").map(PathBuf::from)))
}

fn column(root: &DataRoot, which: Which, sql: &str) -> Result<Vec<(String, String)>> {
    if !root.locate(&DataPath::new(which.path())?).exists() {
        return Ok(Vec::new());
    }
    let db = Db::open(root, which)?;
    let conn = db.lock()?;
    let mut rows = conn.prepare(sql)?;
    let found = rows.query_map([], |row| Ok((row.get(0)?, String::new())))?.collect::<std::result::Result<_, _>>()?;
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_drive_is_the_one_that_the_line_names() {
        let line = |words: &[&str]| words.iter().map(OsString::from).collect::<Vec<_>>();
        assert_eq!(named(&line(&["trademl", "runs", "show", "--root", "/mnt/ssd", ""])), Some(PathBuf::from("/mnt/ssd")));
        assert_eq!(named(&line(&["trademl", "runs", "--root=/mnt/ssd", "show"])), Some(PathBuf::from("/mnt/ssd")));
        assert_eq!(named(&line(&["trademl", "runs", "show"])), None);
    }
}
