//! `trademl nightly`: the workstation's night in one command, resumable, and with a page that says how it stands.

use super::paper::{ORDERS_STEP, habitual, remembered};
use super::{emit, open_root, say};
use crate::cli::NightlyArgs;
use crate::kit::journal::Journal;
use crate::kit::logs::Log;
use crate::kit::report::{Reporter, Voice};
use crate::kit::session::{Flags, Session};
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

/// The answers with the words that a standing consent stands for. Orders are planned unless the file says otherwise: an evening that was only
/// settled, for want of a consent, must not be the answer to every evening after it.
fn confirming(answers: &Value, token: String) -> Value {
    let mut out = answers.clone();
    let paper = &mut out["wizards"][crate::paper_trade::WIZARD.name];
    paper["confirm"] = json!([token]);
    if paper["answers"][NEXT_SESSION].is_null() {
        paper["answers"][NEXT_SESSION] = json!(true);
    }
    out
}

/// The question whether orders for the next session are planned.
const NEXT_SESSION: &str = "orders.next_session";

/// The answers of an evening without orders for the next session, whatever the file says.
fn settling(answers: &Value) -> Value {
    let mut out = answers.clone();
    out["wizards"][crate::paper_trade::WIZARD.name]["answers"][NEXT_SESSION] = json!(false);
    out
}

/// The tasks of a night that are an evening of the paper book.
const EVENING: [&str; 3] = ["refresh", "paper", "notify"];

/// `trademl paper-trade --once`: the evening of the paper book, and nothing else of the night. What the night did already is not done again.
pub fn once(host: &Host, log: &Log, flags: Flags) -> Result<u8> {
    run(host, log, &NightlyArgs { root: flags.root, answers: flags.answers, only: EVENING.map(String::from).to_vec(), emit: None })
}

struct Shift<'a> {
    host: Host,
    root: DataRoot,
    log: &'a str,
    /// The answers file as read; its sections answer the wizards.
    answers: Value,
    session: TradingDay,
    /// What this call was asked for: that alone is judged, and spoken of.
    asked: Vec<Task>,
}

/// Run, or continue, the night of the newest closed session; or write its definition for another scheduler.
pub fn run(host: &Host, log: &Log, args: &NightlyArgs) -> Result<u8> {
    if let Some(scheduler) = &args.emit {
        emit(nightly::definition(scheduler, TASKS, &carried(args)?)?.trim_end());
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
    let only: Vec<&str> = args.only.iter().map(String::as_str).collect();
    let asked: Vec<Task> = TASKS.iter().filter(|t| only.is_empty() || only.contains(&t.name)).copied().collect();
    let shift = Shift { host: world.host.clone(), root: root.clone(), log: &shown, answers, session, asked };
    let db = Db::open(&root, Which::Journal)?;
    let night = nightly::run(&db, session, TASKS, &only, &mut |task, night| shift.work(&db, task, night))?;
    page(&root, session, &night)?;
    say(&text!("night of {session}\n{}", night.lines(&shift.asked).join("\n")));
    drop(held);
    let state = |task: &Task| night.tasks.get(task.name).map_or(State::Pending, |r| r.state);
    let refused = shift.asked.iter().any(|t| state(t) == State::Refused);
    let good = shift.asked.iter().all(|t| state(t).satisfies());
    Ok(if good {
        0
    } else if refused {
        3
    } else {
        1
    })
}

/// The arguments that every task of an emitted night is called with, wherever the scheduler starts it.
fn carried(args: &NightlyArgs) -> Result<Vec<String>> {
    let given = [("--root", &args.root), ("--answers", &args.answers)];
    let mut out = Vec::new();
    for (flag, place) in given.into_iter().filter_map(|(flag, place)| Some((flag, place.as_ref()?))) {
        out.extend([flag.to_string(), std::path::absolute(place)?.display().to_string()]);
    }
    Ok(out)
}

fn read(path: &std::path::Path) -> Result<Value> {
    let text = std::fs::read_to_string(path).map_err(|e| Error::from(e).during("reading the answers file"))?;
    let read: Value =
        serde_yaml::from_str(&text).map_err(|e| Error::new(code::CFG_PARSE, "the answers file cannot be read").cause(e.to_string()).fix("docs/answers.md"))?;
    Ok(several(read))
}

/// A file for one wizard, as a file for several.
fn several(file: Value) -> Value {
    let Some(name) = file.get("wizard").and_then(Value::as_str).map(str::to_string) else { return file };
    let own = |key: &str, otherwise: Value| file.get(key).cloned().unwrap_or(otherwise);
    json!({"version": own("version", json!(1)), "wizards": {name: {"answers": own("answers", json!({})), "confirm": own("confirm", json!([]))}}})
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
            "shadow" => self.play(&crate::shadow::WIZARD, crate::shadow::run),
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

    /// A wizard without a person: answers from the file.
    fn play(&self, wizard: &'static Wizard, body: fn(&mut Run<'_>) -> Result<Outcome>) -> Result<Said> {
        self.play_with(self.answers.clone(), wizard, body)
    }

    fn play_with(&self, answers: Value, wizard: &'static Wizard, body: fn(&mut Run<'_>) -> Result<Outcome>) -> Result<Said> {
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
        let Said::Done(said) = self.play(&crate::train::WIZARD, crate::train::run)? else { return Err(Error::bug("a wizard that ran was skipped")) };
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
        self.play(&crate::evaluate::WIZARD, crate::evaluate::run)
    }

    fn answer(&self, wizard: &str, key: &str) -> Option<Value> {
        self.answers.get("wizards")?.get(wizard)?.get("answers")?.get(key).cloned()
    }

    fn desk(&self) -> Result<Desk> {
        let named = self.answer("paper-trade", "broker.kind").and_then(|v| v.as_str().map(str::to_string));
        let broker = habitual(&self.root, named.as_deref())?;
        let allowed = self.answer("paper-trade", "limits.max_orders").map_or_else(|| remembered(&self.root, ORDERS_STEP), |v| Ok(Some(v)))?;
        let max_orders = allowed.and_then(|v| v.as_i64()).unwrap_or(60);
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
        let (answers, refused) = match desk.require_standing(&act, &account) {
            Ok(_) => {
                let token = engine::pipelines::paper_day::confirmation_token(&account.account, account.trading_day);
                (confirming(&self.answers, token), None)
            }
            Err(e) if e.is(code::GATE_REFUSED) => (settling(&self.answers), Some(e)),
            Err(e) => return Err(e),
        };
        let said = self.play_with(answers, &crate::paper_trade::WIZARD, crate::paper_trade::run)?;
        Ok(match (said, refused) {
            (Said::Done(said), Some(e)) => {
                let why = e.body().cause.clone().unwrap_or_else(|| e.body().what.clone());
                Said::Skipped(text!("settled and reported; no order was planned, because there is no standing consent: {why}; {said}"))
            }
            (said, _) => said,
        })
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
        // A scheduler calls this task alone, for a night whose other tasks it called before.
        let spoken_of: &[Task] = if self.asked.len() == 1 { TASKS } else { &self.asked };
        let before: Vec<Task> = spoken_of.iter().filter(|t| t.name != "notify").copied().collect();
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
        if done.given_up > 0 {
            return Err(
                Error::new(code::NET_UNREACHABLE, text!("{} messages were given up: their channel never took them", done.given_up)).fix("trademl config show")
            );
        }
        if done.waiting > 0 {
            return Err(Error::new(code::NET_UNREACHABLE, text!("{} messages wait for another try", done.waiting)));
        }
        Ok(Said::Done(text!("{} messages sent", done.sent)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_standing_consent_the_evening_settles_and_types_no_words() {
        let file = json!({"version": 1, "wizards": {"paper-trade": {"answers": {"broker.kind": "alpaca", "orders.next_session": true}, "confirm": []}}});
        let quiet = settling(&file);
        let paper = &quiet["wizards"]["paper-trade"];
        assert_eq!((&paper["answers"]["orders.next_session"], &paper["answers"]["broker.kind"]), (&json!(false), &json!("alpaca")));
        assert_eq!(paper["confirm"], json!([]));
        let bare = settling(&json!({"version": 1, "wizards": {}}));
        assert_eq!(bare["wizards"]["paper-trade"], json!({"answers": {"orders.next_session": false}}));
        // Where the file is silent, what was answered the last time does not decide; where it says no, it is no.
        let consented = |file: &Value| confirming(file, "PAPER A 2017-12-01".into())["wizards"]["paper-trade"]["answers"]["orders.next_session"].clone();
        assert_eq!((consented(&json!({"version": 1, "wizards": {}})), consented(&quiet)), (json!(true), json!(false)));
        assert_eq!(confirming(&file, "PAPER A 2017-12-01".into())["wizards"]["paper-trade"]["confirm"], json!(["PAPER A 2017-12-01"]));
    }

    #[test]
    fn a_file_for_one_wizard_answers_a_night_too() {
        let one = json!({"version": 1, "wizard": "paper-trade", "answers": {"broker.kind": "alpaca"}, "confirm": []});
        assert_eq!(several(one), json!({"version": 1, "wizards": {"paper-trade": {"answers": {"broker.kind": "alpaca"}, "confirm": []}}}));
        let night = json!({"version": 1, "wizards": {}});
        assert_eq!(several(night.clone()), night);
        assert!(EVENING.iter().all(|name| TASKS.iter().any(|t| t.name == *name)));
    }

    #[test]
    fn an_emitted_night_carries_whole_paths() {
        let args = NightlyArgs { root: Some("drive".into()), answers: None, only: Vec::new(), emit: Some("airflow".into()) };
        let words = carried(&args).unwrap();
        assert!(words.len() == 2 && words[0] == "--root" && std::path::Path::new(&words[1]).is_absolute(), "{words:?}");
    }
}
