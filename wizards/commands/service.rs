//! `trademl service`: the systemd units of the node and of the signal service, written for one user and one drive.
//!
//! The command is the consent: no wizard installs anything. Nothing is started here; the commands that do are printed.

use super::{emit, open_root, say};
use crate::cli::{ServiceArgs, ServiceCommand};
use crate::kit::review::diff;
use data_layer::error::{Error, Result, code};
use data_layer::host::Host;
use data_layer::root::DataRoot;
use std::path::PathBuf;

/// A unit that this program knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Unit {
    /// The data node
    Node,
    /// The signal service
    Serve,
    /// The running session of the paper book, on every trading day
    Session,
}

/// What stands in the templates for the program and for the drive.
const PROGRAM: &str = "%h/.cargo/bin/trademl";
const ROOT: &str = "/mnt/ssd/data_layer";

impl Unit {
    pub const ALL: &'static [Self] = &[Self::Node, Self::Serve, Self::Session];

    pub fn name(self) -> &'static str {
        match self {
            Self::Node => "node",
            Self::Serve => "serve",
            Self::Session => "session",
        }
    }
    /// The timer that starts the unit, where it is not started with the machine.
    fn timer(self) -> Option<&'static str> {
        (self == Self::Session).then_some(include_str!("../../templates/trademl-session.timer"))
    }
    fn template(self) -> &'static str {
        match self {
            Self::Node => include_str!("../../templates/trademl-node.service"),
            Self::Serve => include_str!("../../templates/trademl-serve.service"),
            Self::Session => include_str!("../../templates/trademl-session.service"),
        }
    }
    fn file(self) -> String {
        format!("trademl-{}.service", self.name())
    }
}

/// Where a user's own units live.
pub fn place(host: &Host, unit: Unit) -> PathBuf {
    let config = host.config_dir();
    config.parent().map_or_else(|| config.clone(), |p| p.join("systemd/user")).join(unit.file())
}

/// The unit's text for a program and a drive. A `%` is special to systemd, and so is a blank.
pub fn text(unit: Unit, program: &str, root: &str) -> Result<String> {
    for path in [program, root] {
        if path.chars().any(|c| c.is_whitespace() || "\"'\\$".contains(c)) {
            return Err(Error::new(code::USE_ARGUMENT, text!("systemd cannot be told of '{path}'"))
                .cause("it holds a blank, a quote or a sign that systemd reads in its own way")
                .fix("mount the drive, or install the program, at a plain path"));
        }
    }
    Ok(unit.template().replace(PROGRAM, &program.replace('%', "%%")).replace(ROOT, &root.replace('%', "%%")))
}

/// The program that a unit starts.
pub fn program_of(text: &str) -> Option<String> {
    let line = text.lines().find_map(|l| l.strip_prefix("ExecStart="))?;
    line.split_whitespace().next().map(|p| p.replace("%%", "%"))
}

/// The drive that a unit works on.
pub fn root_of(text: &str) -> Option<String> {
    text.lines().find_map(|l| l.strip_prefix("Environment=TRADEML_ROOT=")).map(|p| p.replace("%%", "%"))
}

/// This very program, where it can be found again.
fn program() -> Result<String> {
    let exe = std::env::current_exe().map_err(|e| Error::from(e).during("looking for this program"))?;
    Ok(exe.display().to_string())
}

/// `trademl service`.
pub fn run(host: &Host, args: &ServiceArgs) -> Result<u8> {
    match &args.command {
        ServiceCommand::Show { unit } => {
            let root = open_root(host, args.root.clone())?;
            emit(text(*unit, &program()?, &absolute(&root))?.trim_end());
        }
        ServiceCommand::Install { unit, dry_run } => install(host, &open_root(host, args.root.clone())?, *unit, *dry_run)?,
        ServiceCommand::Remove { unit } => remove(host, *unit)?,
    }
    Ok(0)
}

fn absolute(root: &DataRoot) -> String {
    root.base().canonicalize().unwrap_or_else(|_| root.base().to_path_buf()).display().to_string()
}

fn install(host: &Host, root: &DataRoot, unit: Unit, dry_run: bool) -> Result<()> {
    let wanted = text(unit, &program()?, &absolute(root))?;
    let place = place(host, unit);
    let before = std::fs::read_to_string(&place).unwrap_or_default();
    say(&text!("{}\n{}", place.display(), diff(&before, &wanted).trim_end()));
    if dry_run {
        say("dry run: nothing was written");
        return Ok(());
    }
    if before != wanted {
        data_layer::disk::replace(host, &place, wanted.as_bytes())?;
    }
    if let Some(timer) = unit.timer() {
        data_layer::disk::replace(host, &place.with_extension("timer"), timer.as_bytes())?;
    }
    let name = if unit.timer().is_some() { unit.file().replace(".service", ".timer") } else { unit.file() };
    say(&text!("written. To start it now and with the machine:\n  systemctl --user daemon-reload && systemctl --user enable --now {name}"));
    say("so that it runs while nobody is logged in:\n  sudo loginctl enable-linger \"$USER\"");
    say(&text!(
        "to look at it:\n  systemctl --user status {name}\n  journalctl --user -u {} -f\nto take it back:\n  trademl service remove {}",
        unit.file(),
        unit.name()
    ));
    Ok(())
}

fn remove(host: &Host, unit: Unit) -> Result<()> {
    let place = place(host, unit);
    let timer = unit.timer().map(|_| place.with_extension("timer"));
    if let Some(timer) = timer.as_ref().filter(|timer| timer.exists()) {
        std::fs::remove_file(timer)?;
    }
    let started = timer.map_or_else(|| unit.file(), |_| unit.file().replace(".service", ".timer"));
    match std::fs::remove_file(&place) {
        Ok(()) => say(&text!("{} is gone. If it was started:\n  systemctl --user disable --now {started}; systemctl --user daemon-reload", place.display())),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => say(&text!("{} was not there", place.display())),
        Err(e) => return Err(e.into()),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_unit_names_its_program_and_drive_and_nothing_of_the_template() {
        for unit in Unit::ALL {
            let made = text(*unit, "/opt/trademl", "/srv/data%1").unwrap();
            assert_eq!(program_of(&made).unwrap(), "/opt/trademl");
            assert_eq!(root_of(&made).unwrap(), "/srv/data%1");
            assert!(!made.contains(PROGRAM) && !made.contains(ROOT), "{made}");
            for line in ["Type=notify", "WatchdogSec=", "NoNewPrivileges=true", "ProtectSystem=strict", "ReadWritePaths=", "SuccessExitStatus="] {
                assert!(made.contains(line), "{} lacks {line}", unit.name());
            }
        }
        assert!(text(Unit::Node, "/opt/trademl", "/mnt/my ssd").is_err());
        assert!(text(Unit::Session, "/opt/trademl", "/srv/d").unwrap().contains("ExecStart=/opt/trademl paper watch --root"));
        let timed: Vec<_> = Unit::ALL.iter().filter_map(|unit| unit.timer()).collect();
        assert!(timed.len() == 1 && timed[0].contains("09:31:00 America/New_York"), "a minute after the open: {timed:?}");
    }
}
