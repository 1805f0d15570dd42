//! `trademl nightly`: the workstation's night in one command, resumable, and with a page that says how it stands.

use super::{emit, open_root, say};
use crate::cli::NightlyArgs;
use crate::kit::journal::Journal;
use crate::kit::logs::Log;
use crate::kit::report::{Reporter, Voice};
use crate::kit::session::Session;
use crate::kit::{Act, Outcome, Run, Wizard};
use crate::steps;
use crate::steps::paper::Desk;
use crate::steps::training::{NIGHTLY, Tonight};
use data_layer::control::{Db, Which};
use data_layer::error::{Error, Result, code};
use data_layer::host::Host;
use data_layer::root::{DataPath, DataRoot};
use data_layer::store;
use data_layer::time::TradingDay;
use engine::models::mlflow;
use engine::monitoring::notify::{Channel, Level, Message, Outbox};
use engine::pipelines::nightly::{self, Night, Said, State, TASKS, Task};
use engine::reports::weekly;
use serde_json::{Value, json};

struct Shift<'a> {
    host: Host,
    root: DataRoot,
    log: &'a str,
    /// The answers file as read; its sections answer the wizards.
    answers: Value,
    session: TradingDay,
}

/// Run, or continue, the night of the newest closed session; or write its definition for another scheduler.
pub fn run(host: &Host, log: &Log, args: &NightlyArgs) -> Result<u8> {
    if let Some(scheduler) = &args.emit {
        emit(nightly::definition(scheduler, TASKS)?.trim_end());
        return Ok(0);
    }
    let root = open_root(host, args.root.clone())?;
    log.move_to(&root)?;
    let held = steps::preamble::hold(&root, "nightly", false)?;
    let (root, world) = steps::world::of_root(host, &root)?;
    steps::preamble::believe_clock(&world.host, &root)?;
    let session = data_layer::calendar::Calendar::xnys().last_closed(world.host.now())?;
    let answers = args.answers.as_deref().map_or_else(|| Ok(json!({"version": 1, "wizards": {}})), read)?;
    let shown = log.shown(host);
    let shift = Shift { host: world.host.clone(), root: root.clone(), log: &shown, answers, session };
    let db = Db::open(&root, Which::Journal)?;
    let night = nightly::run(&db, session, TASKS, args.only.as_deref(), &mut |task, night| shift.work(&db, task, night))?;
    page(&root, session, &night)?;
    say(&text!("night of {session}\n{}", night.lines(TASKS).join("\n")));
    drop(held);
    let refused = night.tasks.values().any(|r| r.state == State::Refused);
    let asked = |name: &String| args.only.as_ref().is_none_or(|only| only == name);
    let good = night.tasks.iter().filter(|(name, _)| asked(name)).all(|(_, r)| r.state.satisfies());
    Ok(if good {
        0
    } else if refused {
        3
    } else {
        1
    })
}

fn read(path: &std::path::Path) -> Result<Value> {
    let text = std::fs::read_to_string(path).map_err(|e| Error::from(e).during("reading the answers file"))?;
    serde_yaml::from_str(&text).map_err(|e| Error::new(code::CFG_PARSE, "the answers file cannot be read").cause(e.to_string()).fix("docs/answers.md"))
}

/// `reports/nightly/<session>.{json,md}`.
fn page(root: &DataRoot, session: TradingDay, night: &Night) -> Result<()> {
    let rows: Vec<String> = TASKS
        .iter()
        .map(|t| {
            let r = night.tasks.get(t.name).cloned().unwrap_or_default();
            let state = serde_json::to_value(r.state).ok().and_then(|v| v.as_str().map(str::to_string)).unwrap_or_default();
            text!("| {} | {} | {state} | {} | {} |", t.name, t.what, r.attempts, r.detail.replace('|', "/"))
        })
        .collect();
    let text = format!("# Night of {session}\n\n| task | what | state | tries | detail |\n|---|---|---|---|---|\n{}\n", rows.join("\n"));
    let json = store::canonical_json(&json!({"v": 1, "session": session, "good": night.is_good(), "tasks": night.tasks}))?;
    for (ending, text) in [("json", json), ("md", text)] {
        store::write_atomic(root, &DataPath::new(format!("reports/nightly/{session}.{ending}"))?, text.as_bytes())?;
    }
    Ok(())
}

impl Shift<'_> {
    fn work(&self, db: &Db, task: &Task, night: &Night) -> Result<Said> {
        match task.name {
            "refresh" => {
                let newest = steps::node::once(&self.host, &self.root, &self.reporter("node"), true)?;
                if newest < self.session {
                    return Err(Error::new(code::DATA_MISSING, text!("the drive reaches {newest}, the session is {}", self.session)).fix("trademl node once"));
                }
                Ok(Said::Done(text!("prices up to {newest}")))
            }
            "train" => self.train(),
            "evaluate" => self.evaluate(night),
            "shadow" => self.play(&crate::shadow::WIZARD, crate::shadow::run, None),
            "paper" => self.paper(),
            "parity" => self.parity(),
            "mirror" => self.mirror(),
            "notify" => self.notify(db, night),
            other => Err(Error::bug(text!("the night has a task '{other}' that nobody does"))),
        }
    }

    fn mirror(&self) -> Result<Said> {
        let Some(delivered) = mlflow::deliver(&self.root)? else { return Ok(Said::Skipped("no server is named".into())) };
        let said = steps::mirror::sentence(&delivered);
        if let Some(why) = delivered.away.filter(|_| delivered.waiting > 0) {
            return Err(Error::new(code::NET_UNREACHABLE, said).cause(why).fix("trademl model mirror"));
        }
        Ok(Said::Done(said))
    }

    fn reporter(&self, name: &'static str) -> Reporter {
        Reporter::new(&self.host, Voice::Silent, name, Some(self.log.to_string()))
    }

    /// A wizard without a person: answers from the file, and a confirmation only where a standing consent gave one.
    fn play(&self, wizard: &'static Wizard, body: fn(&mut Run<'_>) -> Result<Outcome>, confirm: Option<String>) -> Result<Said> {
        let mut answers = self.answers.clone();
        if let Some(token) = confirm {
            answers["wizards"][wizard.name]["confirm"] = json!([token]);
        }
        let tag = format!("{NIGHTLY}{}", self.session);
        let mut session = Session::headless(&self.host, wizard, &answers.to_string(), &[], &tag, self.reporter(wizard.name))?;
        let outcome = session.run(&self.root, body)?;
        Ok(Said::Done(outcome.summary.replace("\n  ", "; ")))
    }

    /// A challenger is due when one of the configured triggers fires, or when a night was cut off while it trained one.
    fn train(&self) -> Result<Said> {
        let open = Journal::open(&self.root)?.open_tag(crate::train::WIZARD.name)?;
        let why = match steps::training::tonight(open.as_deref(), &steps::training::due(&self.root, self.session)?) {
            Tonight::Rest(why) => return Ok(Said::Skipped(why)),
            Tonight::Train(why) => why,
        };
        let Said::Done(said) = self.play(&crate::train::WIZARD, crate::train::run, None)? else { return Err(Error::bug("a wizard that ran was skipped")) };
        Ok(Said::Done(format!("{why}; {said}")))
    }

    /// What was trained tonight is judged, and what has its shadow weeks now.
    fn evaluate(&self, night: &Night) -> Result<Said> {
        let strategy = self.answer("evaluate", "model.name").and_then(|v| v.as_str().map(str::to_string)).unwrap_or_else(|| "equities_xs".into());
        let trained = night.tasks.get("train").is_some_and(|r| r.state != State::Skipped);
        let cut_off = Journal::open(&self.root)?.open_tag(crate::evaluate::WIZARD.name)?.is_some_and(|tag| tag.starts_with(NIGHTLY));
        if !trained && !cut_off && steps::judging::owed(&self.root, &strategy)?.is_empty() {
            return Ok(Said::Skipped("no challenger was trained, and none is owed a verdict".into()));
        }
        self.play(&crate::evaluate::WIZARD, crate::evaluate::run, None)
    }

    fn answer(&self, wizard: &str, key: &str) -> Option<Value> {
        self.answers.get("wizards")?.get(wizard)?.get("answers")?.get(key).cloned()
    }

    fn desk(&self) -> Result<Desk> {
        let broker = self.answer("paper-trade", "broker.kind").and_then(|v| v.as_str().map(str::to_string)).unwrap_or_else(|| "simulated".into());
        let max_orders = self.answer("paper-trade", "limits.max_orders").and_then(|v| v.as_i64()).unwrap_or(60);
        Desk::open(&self.host, &self.root, &broker, max_orders)
    }

    fn act<'a>(&'a self, report: &'a Reporter) -> Act<'a> {
        Act { host: &self.host, root: &self.root, report, step: "nightly", run: "nightly" }
    }

    /// Unattended only under a standing consent; without one the book is settled and reported, and nothing new is sent.
    fn paper(&self) -> Result<Said> {
        let report = self.reporter("paper-trade");
        let (desk, act) = (self.desk()?, self.act(&report));
        let account = desk.account(&act)?;
        desk.require_standing(&act, &account)?;
        let token = engine::pipelines::paper_day::confirmation_token(&account.account, account.trading_day);
        self.play(&crate::paper_trade::WIZARD, crate::paper_trade::run, Some(token))
    }

    fn parity(&self) -> Result<Said> {
        let report = self.reporter("parity");
        let (desk, act) = (self.desk()?, self.act(&report));
        let account = desk.account(&act)?;
        match desk.parity(&act, &account)? {
            None => Ok(Said::Skipped("nothing was ordered for the session".into())),
            Some(p) if p.unexplained == 0 => Ok(Said::Done(text!(
                "{} of {} orders and {} of {} fills reproduced; {} differences, all explained",
                p.orders_reproduced,
                p.orders,
                p.fills_reproduced,
                p.fills,
                p.differences.len()
            ))),
            Some(p) => Err(Error::new(code::GATE_REFUSED, text!("{} differences between the recorded day and its replay have no cause", p.unexplained))
                .fix(text!("read reports/parity/{}/{}.json on the drive", p.trading_day, account.account))),
        }
    }

    /// The digest of the week that this session ends; none inside a week, and none for a week without a daily report.
    fn week(&self) -> Result<Option<Message>> {
        if !weekly::ends_week(self.session)? {
            return Ok(None);
        }
        let report = self.reporter("digest");
        let account = self.desk()?.account(&self.act(&report))?.account;
        let week = match steps::paper::digest(&self.root, &account, self.session) {
            Ok(week) => week,
            Err(e) if e.is(code::DATA_MISSING) => return Ok(None),
            Err(e) => return Err(e),
        };
        let title = text!("TradeML, week of {} to {}", week.first, week.last);
        Ok(Some(Message { id: text!("weekly {} {account}", week.last), level: Level::Info, title, text: week.markdown(), at: self.host.now() }))
    }

    fn notify(&self, db: &Db, night: &Night) -> Result<Said> {
        let channels = Channel::configured(&self.host)?;
        if channels.is_empty() {
            return Ok(Said::Skipped("no channel is configured (TRADEML_NOTIFY_*)".into()));
        }
        let before: Vec<Task> = TASKS.iter().filter(|t| t.name != "notify").copied().collect();
        let good = before.iter().all(|t| night.tasks.get(t.name).is_some_and(|r| r.state.satisfies()));
        let message = Message {
            id: text!("nightly {} {}", self.session, store::digest_of(&night.lines(&before))?),
            level: if good { Level::Info } else { Level::Alarm },
            title: text!("TradeML, night of {}: {}", self.session, if good { "all done" } else { "needs a look" }),
            text: night.lines(&before).join("\n"),
            at: self.host.now(),
        };
        let outbox = Outbox::new(db);
        outbox.put(&channels, &message)?;
        if let Some(week) = self.week()? {
            outbox.put(&channels, &week)?;
        }
        let done = outbox.deliver(&channels)?;
        if done.waiting > 0 {
            return Err(Error::new(code::NET_UNREACHABLE, text!("{} messages wait for another try", done.waiting)));
        }
        Ok(Said::Done(text!("{} messages sent", done.sent)))
    }
}
