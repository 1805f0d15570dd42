//! `trademl demo`: the whole journey on embedded real prices, headless, and itself resumable.
//!
//! Every wizard runs from the answers in `templates/demo/answers.yml` with a tag. A killed demo starts again, skips the
//! runs that are closed under their tags, and continues the open one. The world clock lives in the sandbox's state on
//! the drive.

use super::practice::{EVENING, MORNING};
use crate::cli::DemoArgs;
use crate::kit::journal::Journal;
use crate::kit::logs::Log;
use crate::kit::report::{Reporter, Voice};
use crate::kit::session::Session;
use crate::kit::{Act, Outcome, Run, Wizard};
use crate::steps::paper::Desk;
use crate::steps::{self, world};
use data_layer::calendar::Calendar;
use data_layer::error::{Error, Result, code};
use data_layer::host::Host;
use data_layer::root::DataRoot;
use data_layer::sandbox;
use data_layer::time::{DateRange, TradingDay};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// What a newcomer would have typed.
const ANSWERS: &str = include_str!("../../templates/demo/answers.yml");

/// The last session that the drive is filled with before the first order, and the last one that is lived through.
const BOOTSTRAPPED: &str = "2017-11-30";
const LAST: &str = "2018-02-07";

/// Where the demonstration's signal service listens.
const SERVICE: &str = "127.0.0.1:18765";

type Body = fn(&mut Run<'_>) -> Result<Outcome>;

struct Demo<'a> {
    host: Host,
    root: DataRoot,
    journal: Journal,
    voice: Voice,
    log: &'a str,
    base: String,
    say: Reporter,
}

/// Play, or continue, the demonstration.
pub fn run(host: &Host, log: &Log, args: &DemoArgs) -> Result<u8> {
    let place = place(host, args)?;
    let facts = data_layer::detect::accept(host, &place, None)?;
    let root = DataRoot::create(host, &place, world::PRACTICE, facts.fs, None)?;
    log.move_to(&root)?;
    let guard = steps::preamble::hold(&root, "wizard-demo", false)?;
    let (root, world) = steps::world::of_root(host, &root)?;
    let sandbox =
        world.sandbox.as_ref().ok_or_else(|| Error::new(code::USE_ARGUMENT, "the demo brings its own sandbox").fix("unset TRADEML_BASE_URL_ALPACA_DATA"))?;
    let voice = match (args.json, args.plain || !console::Term::stderr().is_term()) {
        (true, _) => Voice::Json,
        (false, true) => Voice::Plain,
        (false, false) => Voice::Rich,
    };
    // The user's own settings are not the demonstration's business: its .env is a scratch file.
    let scratch = BTreeMap::from([("TRADEML_ENV_FILE".to_string(), host.state_dir().join("demo/.env").display().to_string())]);
    let lived = world.host.in_world(&scratch, world.host.now());
    let root = DataRoot::open(&lived, root.base())?;
    let shown = log.shown(host);
    let say = Reporter::new(&lived, voice, "demo", Some(shown.clone()));
    let demo = Demo { host: lived.clone(), journal: Journal::open(&root)?, root, voice, log: &shown, base: sandbox.base(), say };
    demo.say.note(&text!("Practice drive: {}   (kill this at any moment; the same command continues it)", place.display()));
    demo.set_up()?;
    demo.live(args.sessions)?;
    demo.serve()?;
    demo.summary()?;
    drop(guard);
    Ok(0)
}

fn place(host: &Host, args: &DemoArgs) -> Result<PathBuf> {
    let home = || host.env("HOME").map(|home| PathBuf::from(home).join("trademl-demo"));
    let named = args.root.clone().or_else(|| host.env("TRADEML_DEMO_ROOT").map(PathBuf::from)).or_else(home);
    named
        .map(|p| host.cwd().join(p))
        .ok_or_else(|| Error::new(code::USE_ARGUMENT, "there is no home directory to put the demonstration in").fix("trademl demo --root DIR"))
}

impl Demo<'_> {
    /// Fill the drive, train, judge.
    fn set_up(&self) -> Result<()> {
        self.chapter("1 of 6: a data node fills the drive with real prices");
        self.play(&crate::pi_data_node::WIZARD, crate::pi_data_node::run, "demo", &[], self.voice)?;
        self.chapter("2 of 6: a model is trained under honest gates");
        self.play(&crate::train::WIZARD, crate::train::run, "demo", &[], self.voice)?;
        self.chapter("3 of 6: the challenger is judged against the champion");
        self.play(&crate::evaluate::WIZARD, crate::evaluate::run, "demo", &[], self.voice)
    }

    /// One session after the other: prices arrive, models are shadowed, the paper book trades at the next open.
    fn live(&self, only: Option<usize>) -> Result<()> {
        self.chapter("4 and 5 of 6: shadow and paper trading, session by session");
        let calendar = Calendar::xnys();
        let (first, last): (TradingDay, TradingDay) = (BOOTSTRAPPED.parse()?, LAST.parse()?);
        let sessions = calendar.sessions(DateRange::new(first, last.plus_days(1))?);
        let count = only.map_or(sessions.len(), |n| (n + 1).min(sessions.len()));
        for (i, day) in sessions[..count].iter().enumerate() {
            self.host.check_cancelled()?;
            let tag = text!("demo {day}");
            if self.journal.closed_with_tag(crate::paper_trade::WIZARD.name, &tag)? {
                continue;
            }
            if i > 0 {
                // The open fills what was sent the evening before, and with it frees the money for what had to wait.
                self.advance(calendar.open(*day).plus_seconds(MORNING))?;
                self.play(&crate::paper_trade::WIZARD, crate::paper_trade::run, &text!("{tag} morning"), &[], Voice::Silent)?;
            }
            self.advance(calendar.close(*day).plus_seconds(EVENING))?;
            if i > 0 {
                let quiet = Reporter::new(&self.host, Voice::Silent, "node", None);
                steps::node::once(&self.host, &self.root, &quiet, false)?;
            }
            self.play(&crate::shadow::WIZARD, crate::shadow::run, &tag, &[], Voice::Silent)?;
            let more = if i + 1 < count { "true" } else { "false" };
            self.play(&crate::paper_trade::WIZARD, crate::paper_trade::run, &tag, &[format!("orders.next_session={more}")], Voice::Silent)?;
            self.say.note(&format!("  {}", steps::paper::day_line(&self.root, *day)?));
            self.say.progress("live", i as u64 + 1, count as u64, "sessions");
        }
        self.say.progress_done();
        self.replay()
    }

    /// Every recorded session once more, from what was recorded: a difference without a cause ends the demonstration.
    fn replay(&self) -> Result<()> {
        let act = Act { host: &self.host, root: &self.root, report: &self.say, step: "parity", run: "demo" };
        let desk = Desk::open(&self.host, &self.root, "alpaca", 60)?;
        let account = desk.account(&act)?;
        self.say.note(&format!("  {}", desk.parity_of_all(&act, &account, None)?));
        Ok(())
    }

    /// The signal service answers three questions and goes away again.
    fn serve(&self) -> Result<()> {
        self.chapter("6 of 6: the signal service answers");
        if self.journal.closed_with_tag(crate::serve::WIZARD.name, "demo")? {
            return Ok(());
        }
        let asked = steps::service::ask_in_background(&self.host, SERVICE);
        self.play(&crate::serve::WIZARD, crate::serve::run, "demo", &[format!("serve.address={SERVICE}")], self.voice)?;
        asked.finish(&self.say)
    }

    fn summary(&self) -> Result<()> {
        for line in steps::summary::lines(&self.root)? {
            self.say.note(&line);
        }
        let next = [
            (format!("trademl status --root {}", self.root.base().display()), "coverage, queue, budgets".to_string()),
            (format!("trademl runs list --root {}", self.root.base().display()), "every wizard run on the drive".to_string()),
            ("trademl pi-data-node".to_string(), "set up your own drive (practice or real keys)".to_string()),
        ];
        self.say.finish("done", 0, &next, None);
        Ok(())
    }

    /// Run one wizard to its end unless the drive says that it was; a recorded refusal is an outcome, not a failure.
    fn play(&self, wizard: &'static Wizard, body: Body, tag: &str, sets: &[String], voice: Voice) -> Result<()> {
        if self.journal.closed_with_tag(wizard.name, tag)? {
            self.say.note(&text!("  {} was finished before", wizard.name));
            return Ok(());
        }
        let report = Reporter::new(&self.host, voice, wizard.name, Some(self.log.to_string()));
        let mut session = Session::headless(&self.host, wizard, ANSWERS, sets, tag, report)?;
        let result = session.run(&self.root, body);
        if let Ok(outcome) = &result
            && voice != Voice::Silent
        {
            self.say.note(&format!("  {}", outcome.summary));
            for (name, path) in &outcome.links {
                self.say.note(&text!("  {name}: {path}"));
            }
        }
        result.map(drop).map_err(|e| e.during(wizard.name))
    }

    fn advance(&self, to: data_layer::time::UtcTime) -> Result<()> {
        if self.host.now() >= to {
            return Ok(());
        }
        let now = self.host.block_on(sandbox::client::advance(&self.host, &self.base, to))??.now;
        self.host.set_world_time(now);
        Ok(())
    }

    fn chapter(&self, title: &str) {
        self.say.note("");
        self.say.note(&text!("== {title}"));
    }
}
