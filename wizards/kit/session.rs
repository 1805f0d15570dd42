//! One call of one wizard: its flags, its front end, its drive, from the first line to the exit status.

use super::catalogue;
use super::journal::Journal;
use super::logs::Log;
use super::prompter::answers::{Answers, Given};
use super::prompter::plain::{Plain, Stdin};
use super::prompter::talk::Talk;
use super::prompter::terminal::Terminal;
use super::prompter::{Place, Prompter, Reply};
use super::recover;
use super::report::{Reporter, Voice, error_text};
use super::run::{Manner, Outcome, Parts, Run};
use super::step::Wizard;
use data_layer::detect;
use data_layer::error::{Error, Result, code};
use data_layer::host::Host;
use data_layer::root::{DataRoot, SENTINEL};
use std::path::PathBuf;

/// The switches that every wizard understands.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct Flags {
    /// The data root (the directory on the SSD); also TRADEML_ROOT
    #[arg(long, global = true, value_name = "DIR")]
    pub root: Option<PathBuf>,
    /// Answers from a YAML or JSON file, or - for standard input
    #[arg(long, value_name = "FILE")]
    pub answers: Option<PathBuf>,
    /// Answer one question
    #[arg(long = "set", value_name = "ID=VALUE", add = crate::cli::complete::questions())]
    pub sets: Vec<String>,
    /// A confirmation token for a gate; each is used once
    #[arg(long = "confirm", value_name = "TOKEN")]
    pub confirms: Vec<String>,
    /// Accept every default (never a confirmation gate)
    #[arg(long)]
    pub yes: bool,
    /// Print every question of this wizard as a JSON Schema of its answers file, and end
    #[arg(long)]
    pub questions: bool,
    /// Never ask: what is not answered is an error
    #[arg(long)]
    pub no_input: bool,
    /// Events as JSON lines on standard output
    #[arg(long)]
    pub json: bool,
    /// One plain line an event: no colour, no cursor movement
    #[arg(long)]
    pub plain: bool,
    /// Show what would be done and write nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Make no network call
    #[arg(long)]
    pub offline: bool,
    /// Attach a drive although another machine seems to use it (asks for typed words)
    #[arg(long)]
    pub take_over: bool,
}

/// Everything one wizard call needs, ready to open a drive.
pub struct Session {
    pub host: Host,
    pub flags: Flags,
    pub voice: Voice,
    pub given: Given,
    pub prompter: Box<dyn Prompter>,
    pub report: Reporter,
    pub wizard: &'static Wizard,
    pub tag: Option<String>,
    /// The drive, as soon as it is known.
    pub place: Option<PathBuf>,
    /// The drive that this call made in an empty place.
    pub made: Option<PathBuf>,
}

impl Session {
    /// Read the flags and the answers, choose the front end.
    pub fn new(host: &Host, flags: Flags, wizard: &'static Wizard, log: &Log) -> Result<Self> {
        let text = flags.answers.as_deref().map(super::read_text).transpose()?;
        let given = Given::new(wizard.name, text.as_deref(), &flags.sets, &flags.confirms)?;
        given.refuse_unknown(wizard.name, &catalogue::ids(wizard))?;
        host.set_offline(flags.offline);
        let voice = voice(host, &flags);
        let prompter = front_end(&flags, voice);
        let report = Reporter::new(host, voice, wizard.name, Some(log.shown(host)));
        Ok(Self { host: host.clone(), flags, voice, given, prompter, report, wizard, tag: None, place: None, made: None })
    }

    /// A session without a terminal, for `demo` and for tests: answers from `text` and `sets`, events to `report`. `tag`
    /// names the run for its caller.
    pub fn headless(host: &Host, wizard: &'static Wizard, text: &str, sets: &[String], tag: &str, report: Reporter) -> Result<Self> {
        let given = Given::new(wizard.name, Some(text), sets, &[])?;
        let flags = Flags { yes: true, ..Flags::default() };
        let (voice, prompter, tag) = (report.voice(), Box::new(Answers), Some(tag.to_string()));
        Ok(Self { host: host.clone(), flags, voice, given, prompter, report, wizard, tag, place: None, made: None })
    }

    /// Open the journal on `root` and execute the body to its end.
    pub fn run(&mut self, root: &DataRoot, body: impl Fn(&mut Run<'_>) -> Result<Outcome>) -> Result<Outcome> {
        self.place = Some(root.base().to_path_buf());
        let journal = if self.flags.dry_run { None } else { Some(self.journal(root)?) };
        let parts = Parts {
            host: self.host.clone(),
            root: root.clone(),
            journal,
            wizard: self.wizard,
            given: &self.given,
            prompter: self.prompter.as_mut(),
            report: &self.report,
            manner: Manner { yes: self.flags.yes, dry_run: self.flags.dry_run, fresh: self.made.is_some() },
            tag: self.tag.clone(),
        };
        Run::begin(parts)?.drive(body)
    }

    /// The journal; one whose chain is broken is shown, and mended if a person says so.
    fn journal(&mut self, root: &DataRoot) -> Result<Journal> {
        let error = match Journal::open(root) {
            Err(error) if error.is(code::SSD_CHAIN) && self.prompter.interactive() && !self.flags.yes => error,
            opened => return opened,
        };
        self.report.note(&error_text(error.body(), self.report.log().as_deref()));
        let place = Place { step: "journal-mend", title: "Journal", n: 0, of: self.wizard.steps.len(), ..Place::default() };
        match self.prompter.ask(&place, &recover::question())? {
            Reply::Value(answer) if answer == "mend" => {
                for line in recover::mend(root)?.lines() {
                    self.report.note(&format!("  {line}"));
                }
                Journal::open(root)
            }
            _ => Err(error),
        }
    }

    /// Say how it ended and give the exit status.
    pub fn finish(&self, result: &Result<Outcome>) -> u8 {
        match result {
            Ok(outcome) => {
                self.report.event("run.closed", &outcome.summary, serde_json::json!({"summary": outcome.summary}));
                for (name, path) in &outcome.links {
                    self.report.event("link", &text!("  {name}: {path}"), serde_json::json!({"name": name, "path": path}));
                }
                let (status, exit) = if outcome.refused { ("refused", 3) } else { ("done", 0) };
                self.report.finish(status, exit, &outcome.next, None);
                exit
            }
            Err(error) => {
                let exit = error.code().exit.status();
                let status = match exit {
                    3 => "refused",
                    5 | 130 | 143 => "paused",
                    2 if error.is(code::USE_ANSWER_MISSING) => "action_required",
                    _ => "failed",
                };
                self.report.finish(status, exit, &self.after(error), Some(error));
                exit
            }
        }
    }
}

impl Session {
    /// What to do after an error: what the error says where the run was refused for a reason that the same command would meet again; else go
    /// on with the run where there is one and the command itself was right.
    pub(crate) fn after(&self, error: &Error) -> Vec<(String, String)> {
        let left = matches!(error.code().exit.status(), 5 | 130 | 143);
        let mistaken = error.code().id.starts_with("TML-USE") && !left;
        // What stands behind the command in brackets is for people.
        let command = error.body().fix.iter().find(|fix| fix.starts_with("trademl ")).map(|fix| fix.split(" (").next().unwrap_or(fix).to_string());
        if self.place.is_some() && !mistaken {
            let again = format!("trademl {}{}", self.wizard.name, self.at());
            // Words that were not typed are asked for again by the same command.
            let refused = error.code().exit.status() == 3 && !error.is(code::GATE_REFUSED);
            return match command.filter(|command| refused && *command != again) {
                Some(fix) if fix.starts_with(&again) => vec![(fix, "as the error says".to_string())],
                Some(fix) => vec![(fix, "first, as the error says".to_string()), (again, "goes on from here afterwards".to_string())],
                None => vec![(again, "the same command goes on from here".to_string())],
            };
        }
        if left {
            return vec![(format!("trademl {}", self.wizard.name), "begins again".to_string())];
        }
        command.map(|fix| (fix, "as the error says".to_string())).into_iter().collect()
    }

    /// The drive, where the command alone would not find it.
    pub(crate) fn elsewhere(&self) -> Option<PathBuf> {
        let known = data_layer::env_file::read(&self.host).ok().and_then(|file| file.get("TRADEML_ROOT")).map(PathBuf::from);
        match (&self.flags.root, &self.place) {
            (Some(root), _) => Some(root.clone()),
            (None, Some(place)) if known.as_ref() != Some(place) && self.host.env("TRADEML_ROOT").is_none() => Some(place.clone()),
            _ => None,
        }
    }

    /// ` --root DIR`, where the command alone would not find this drive.
    fn at(&self) -> String {
        self.elsewhere().map_or(String::new(), |root| text!(" --root {}", root.display()))
    }
}

/// How to speak: flags first, then what the terminal can do.
fn voice(host: &Host, flags: &Flags) -> Voice {
    let dumb = host.env("TERM").is_none_or(|t| t == "dumb");
    let capable = console::Term::stderr().is_term() && !dumb;
    // no-color.org: set and not empty. CLICOLOR_FORCE asks for colour where nobody can be seen.
    let forced = host.env("CLICOLOR_FORCE").is_some_and(|v| v != "0");
    let colour = host.env("NO_COLOR").is_none() && (capable || forced);
    console::set_colors_enabled_stderr(colour);
    console::set_colors_enabled(colour);
    if flags.json {
        Voice::Json
    } else if flags.plain || host.env("ACCESSIBLE").is_some() || !capable {
        Voice::Plain
    } else {
        Voice::Rich
    }
}

fn front_end(flags: &Flags, voice: Voice) -> Box<dyn Prompter> {
    let stdin_is_terminal = std::io::IsTerminal::is_terminal(&std::io::stdin());
    let from_stdin = flags.answers.as_deref() == Some(std::path::Path::new("-"));
    if flags.no_input || flags.json || from_stdin || (!stdin_is_terminal && !flags.plain) {
        return Box::new(Answers);
    }
    match voice {
        Voice::Rich => Box::new(Talk::new(Terminal::default())),
        _ => Box::new(Talk::new(Plain::new(Stdin::start(), std::io::stderr(), stdin_is_terminal))),
    }
}

/// The data root that the flags, the environment or this machine's `.env` name; it must exist.
pub fn require_root(host: &Host, flags: &Flags, remembered: Option<&str>) -> Result<DataRoot> {
    let place = flags.root.clone().or_else(|| host.env("TRADEML_ROOT").or(remembered).map(PathBuf::from)).ok_or_else(|| {
        Error::new(code::SSD_NO_ROOT, "no data root is known on this machine")
            .fix("trademl pi-data-node")
            .fix("--root DIR, or TRADEML_ROOT=DIR in the environment")
    })?;
    let place = host.cwd().join(place);
    if !place.join(SENTINEL).exists() {
        return Err(detect::absent(host, &place));
    }
    DataRoot::open(host, &place)
}
