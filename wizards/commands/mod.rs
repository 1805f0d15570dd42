//! The headless commands, and the door to the wizards.

#[cfg(feature = "research")]
pub mod bench;
pub mod about;
pub mod config;
pub mod docs;
pub mod language;
pub mod doctor;
pub mod drive;
#[cfg(feature = "research")]
pub mod demo;
#[cfg(feature = "research")]
pub mod model;
#[cfg(feature = "research")]
pub mod nightly;
pub mod node;
#[cfg(feature = "research")]
pub mod paper;
pub mod practice;
#[cfg(feature = "research")]
pub mod report;
#[cfg(feature = "research")]
pub mod rerun;
pub mod runs;
pub mod sandbox;
#[cfg(feature = "research")]
pub mod study;
pub mod watch;
pub mod service;

use crate::cli::Command;
use crate::cli::rooted::rooted;
use crate::kit::logs::Log;
use crate::kit::report::{error_text, wrapped};
use crate::kit::session::{Flags, Session};
#[cfg(feature = "research")]
use crate::kit::{Outcome, Run, Wizard};
use crate::kit::{catalogue, signals};
use crate::steps;
use data_layer::error::{Error, Result};
use data_layer::host::Host;
use data_layer::root::DataRoot;
use data_layer::words::tell;

/// Do what the command line asks for; the exit status. `named` is the drive of its `--root`.
pub fn dispatch(command: Command, named: Option<&std::path::Path>) -> u8 {
    let host = match Host::real() {
        Ok(host) => host,
        Err(error) => return complain(&error, None),
    };
    if let Err(error) = language::choose(&host) {
        // What a translator mends a catalogue with works without one.
        if !matches!(command, Command::Text | Command::Explain { .. } | Command::Doctor(_)) {
            return complain(&error, None);
        }
    }
    let log = Log::start(&host, name(&command));
    if let Err(error) = signals::listen(&host) {
        return complain(&error, None);
    }
    match perform(&host, &log, command) {
        Ok(status) => status,
        // Asked for now: the log may have moved to the drive since it was begun.
        Err(error) => {
            let remembered = steps::keys::remembered_root(&host).ok().flatten().map(std::path::PathBuf::from);
            let elsewhere = named.filter(|root| remembered.as_deref() != Some(*root));
            complain(&rooted(error, elsewhere), Some(&log.shown(&host)))
        }
    }
}

fn perform(host: &Host, log: &Log, command: Command) -> Result<u8> {
    if let Some((wizard, flags)) = command.wizard()
        && flags.questions
    {
        emit(&format!("{:#}", catalogue::schema(wizard)));
        return Ok(0);
    }
    match command {
        Command::PiDataNode(flags) => pi_data_node(host, log, flags),
        #[cfg(feature = "research")]
        Command::Train(flags) => on_drive(host, log, flags, &crate::train::WIZARD, crate::train::run),
        #[cfg(feature = "research")]
        Command::Evaluate(flags) => on_drive(host, log, flags, &crate::evaluate::WIZARD, crate::evaluate::run),
        #[cfg(feature = "research")]
        Command::Shadow(flags) => on_drive(host, log, flags, &crate::shadow::WIZARD, crate::shadow::run),
        #[cfg(feature = "research")]
        Command::PaperTrade(args) if args.once => nightly::once(host, log, args.flags),
        #[cfg(feature = "research")]
        Command::PaperTrade(args) => on_drive(host, log, args.flags, &crate::paper_trade::WIZARD, crate::paper_trade::run),
        #[cfg(feature = "research")]
        Command::Serve(flags) => on_drive(host, log, flags, &crate::serve::WIZARD, crate::serve::run),
        #[cfg(feature = "research")]
        Command::Demo(args) => demo::run(host, log, &args),
        Command::Runs(args) => runs_command(host, log, &args),
        Command::Sandbox(args) => sandbox::run(host, &args),
        Command::Practice(args) => practice::run(host, log, &args),
        Command::Node(args) => node::run(host, log, &args),
        Command::Watch(args) => watch::run(host, &args),
        Command::Status(args) => drive::status(host, &args),
        Command::Coverage(args) => drive::coverage(host, &args),
        Command::Doctor(args) => doctor::run(host, &args),
        Command::Fsck(args) => drive::fsck(host, &args),
        Command::Rebuild(args) => drive::rebuild(host, &args),
        Command::Import(args) => drive::import(host, &args),
        Command::Eject(args) => drive::eject(host, &args),
        #[cfg(feature = "research")]
        Command::Model(args) => model::run(host, log, &args),
        #[cfg(feature = "research")]
        Command::Report(args) => report::run(host, &args),
        #[cfg(feature = "research")]
        Command::Rerun(args) => rerun::run(host, log, &args),
        #[cfg(feature = "research")]
        Command::Paper(args) => paper::run(host, log, &args),
        #[cfg(feature = "research")]
        Command::Nightly(args) => nightly::run(host, log, &args),
        #[cfg(feature = "research")]
        Command::Bench(args) => bench::run(host, &args),
        #[cfg(feature = "research")]
        Command::Study(args) => study::run(host, &args),
        Command::Config(args) => config::run(host, &args),
        Command::Service(args) => service::run(host, &args),
        Command::Completions { shell } => about::completions(shell),
        Command::Man { folder } => about::manual(&folder),
        Command::Explain { code } => about::explain(code.as_deref()),
        Command::Text => {
            emit(language::ENGLISH.trim_end());
            Ok(0)
        }
        Command::Failpoints => {
            say(&data_layer::host::FAILPOINTS.join("\n"));
            Ok(0)
        }
        Command::Docs { folder } => docs::write(&folder).map(|()| 0),
    }
}

/// The first wizard finds, or makes, the drive that the others expect.
fn pi_data_node(host: &Host, log: &Log, flags: Flags) -> Result<u8> {
    set_up(host, log, &mut Session::new(host, flags, &crate::pi_data_node::WIZARD, log)?)
}

/// Until a drive is the one: who goes back behind the first question of a new drive chooses again.
pub fn set_up(host: &Host, log: &Log, session: &mut Session) -> Result<u8> {
    loop {
        let result = steps::preamble::find_drive(session).and_then(|found| {
            log.move_to(&found.root)?;
            session.report.set_log(log.shown(host));
            session.host = found.world.host.clone();
            let result = session.run(&found.root, crate::pi_data_node::run);
            drop(found.hold);
            result
        });
        let Some(made) = session.made.take().filter(|_| result.as_ref().is_ok_and(|outcome| outcome.other_drive)) else {
            return Ok(session.finish(&result.map_err(|e| rooted(e, session.elsewhere().as_deref()))));
        };
        session.host = host.clone();
        log.leave_drive(host)?;
        session.report.set_log(log.shown(host));
        steps::preamble::take_back(session, &made)?;
    }
}

/// A wizard on a drive that exists, inside the drive's world.
#[cfg(feature = "research")]
fn on_drive(host: &Host, log: &Log, flags: Flags, wizard: &'static Wizard, body: fn(&mut Run<'_>) -> Result<Outcome>) -> Result<u8> {
    let mut session = Session::new(host, flags, wizard, log)?;
    let result = open_root(host, session.flags.root.clone()).and_then(|root| {
        session.place = Some(root.base().to_path_buf());
        log.move_to(&root)?;
        session.report.set_log(log.shown(host));
        let guard = steps::preamble::hold_for(&mut session, &root)?;
        let (root, world) = steps::world::of_root(host, &root)?;
        session.host = world.host.clone();
        let lives_by_day = ["shadow", "paper-trade"].contains(&wizard.name);
        let result = session.run(&root, body).map(|outcome| if lives_by_day { steps::world::passing(&root, outcome) } else { outcome });
        drop(guard);
        result
    });
    Ok(session.finish(&result.map_err(|e| rooted(e, session.elsewhere().as_deref()))))
}

fn runs_command(host: &Host, log: &Log, args: &crate::cli::RunsArgs) -> Result<u8> {
    let root = open_root(host, args.root.clone())?;
    match runs::run(&root, &args.command)? {
        runs::Then::Say(text) => emit(text.trim_end()),
        runs::Then::Continue(wizard) => {
            let again = crate::cli_for(&wizard, &root.base().display().to_string())?;
            return perform(host, log, again);
        }
    }
    Ok(0)
}

/// The data root of `--root`, the environment, or this machine's `.env`.
pub fn open_root(host: &Host, root: Option<std::path::PathBuf>) -> Result<DataRoot> {
    let remembered = steps::keys::remembered_root(host)?;
    crate::kit::session::require_root(host, &Flags { root, ..Flags::default() }, remembered.as_deref())
}

/// A line for a person: long ones are broken between words where there is a screen.
pub fn say(text: &str) {
    emit(&wrapped(&tell(text), width_of(&console::Term::stdout())));
}

/// Columns of a screen; `None` where there is none.
fn width_of(screen: &console::Term) -> Option<usize> {
    screen.is_term().then(|| usize::from(screen.size().1).max(40))
}

/// What programs read, or a person keeps in a file: as it is.
#[allow(clippy::print_stdout)]
pub fn emit(text: &str) {
    use std::io::Write;
    // A closed pipe must not end a run.
    drop(writeln!(std::io::stdout(), "{text}"));
}

#[allow(clippy::print_stderr)]
fn complain(error: &Error, log: Option<&str>) -> u8 {
    use std::io::Write;
    drop(writeln!(std::io::stderr(), "{}", wrapped(&error_text(error.body(), log), width_of(&console::Term::stderr()))));
    error.code().exit.status()
}

fn name(command: &Command) -> &'static str {
    match command {
        #[cfg(feature = "research")]
        Command::Demo(_) => "demo",
        #[cfg(feature = "research")]
        Command::Nightly(_) => "nightly",
        Command::Practice(_) => "practice",
        Command::Node(_) => "node",
        Command::Sandbox(_) => "sandbox",
        other => other.wizard().map_or("command", |(wizard, _)| wizard.name),
    }
}
