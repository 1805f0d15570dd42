//! `trademl paper`: the paper book's switches without its wizard. Stopping never needs more than this.

use super::{emit, open_root, say};
use crate::cli::{PaperArgs, PaperCommand};
use crate::kit::Act;
use crate::kit::journal::Journal;
use crate::kit::logs::Log;
use crate::kit::report::{Reporter, Voice};
use crate::steps;
use crate::steps::paper::Desk;
use data_layer::control::{Db, Which};
use data_layer::error::{Error, Result, code};
use data_layer::host::Host;
use data_layer::root::{DataPath, DataRoot};
use data_layer::store;
use engine::execution::broker::ctrader::oauth;
use engine::execution::log::{OrderLog, OrderRow};
use engine::execution::positions;
use engine::execution::quarantine;
use engine::execution::state::name;
use engine::execution::switches::{self, ALL_ACCOUNTS, STOP_FILE, Switch};
use engine::monitoring::alarms;
use engine::pipelines::paper_day::AccountCheck;
use rusqlite::OptionalExtension;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Who acts from the command line.
const OPERATOR: &str = "command line";
/// Stopping never waits for a reason.
const NO_REASON: &str = "no reason given";
/// The wizard's step that asks for the broker.
const BROKER_STEP: &str = "broker-kind";
/// The wizard's step that asks for the most orders a day.
pub(super) const ORDERS_STEP: &str = "limits-max-orders";

/// Stop, look, reset, release, or give a standing consent.
pub fn run(host: &Host, log: &Log, args: &PaperArgs) -> Result<u8> {
    if let PaperCommand::Authorize { code, redirect } = &args.command {
        return authorize(host, code.as_deref(), redirect);
    }
    let root = open_root(host, args.root.clone())?;
    if let PaperCommand::Stop { reason } = &args.command {
        return stop(&root, reason);
    }
    log.move_to(&root)?;
    let held = lock_of(&args.command).map(|lock| steps::preamble::hold(&root, lock, false)).transpose()?;
    let (root, world) = steps::world::of_root(host, &root)?;
    let db = Db::open(&root, Which::Journal)?;
    let now = world.host.now();
    match &args.command {
        PaperCommand::Stop { .. } | PaperCommand::Authorize { .. } => {}
        PaperCommand::Status { account, json } => status(&db, &traded(&db, account.as_deref())?, *json)?,
        PaperCommand::Reset { breaker, account, confirm, reason } => {
            let switch = if *breaker { Switch::Breaker } else { Switch::Kill };
            let (account, typed) = (traded(&db, Some(account))?, confirm.as_deref().unwrap_or_default());
            switches::reset(&db, switch, &account, typed, OPERATOR, reason, now)?;
            say(&text!("the {} of {account} lets increases through again", switch.title()));
        }
        PaperCommand::Release { symbol, reason } => {
            quarantine::release(&db, symbol, OPERATOR, reason, now)?;
            say(&text!("{symbol} is out of quarantine"));
        }
        PaperCommand::Broker { broker } => emit(&serde_json::to_string_pretty(&steps::paper::view(&world.host, &root, broker)?)?),
        PaperCommand::Digest { account, until } => {
            let last = until.map_or_else(|| data_layer::calendar::Calendar::xnys().last_closed(now), Ok)?;
            say(steps::paper::digest(&root, &traded(&db, account.as_deref())?, last)?.markdown().trim_end());
        }
        PaperCommand::Watch { broker, max_orders } => at_desk(&world.host, &root, "watch", broker, *max_orders, |desk, act, account| desk.watch(act, account))?,
        PaperCommand::Replace { order, qty, limit, broker } => {
            at_desk(&world.host, &root, "replace", broker, 1, |desk, act, account| desk.replace(act, account, order, *qty, *limit))?
        }
        PaperCommand::Cancel { order, broker, .. } => {
            at_desk(&world.host, &root, "cancel", broker, 1, |desk, act, account| desk.cancel(act, account, order.as_deref()))?
        }
        PaperCommand::Repair { symbol, qty, reason, confirm, broker } => {
            let typed = confirm.as_deref().unwrap_or_default();
            at_desk(&world.host, &root, "repair", broker, 1, |desk, act, account| desk.repair(act, account, symbol, *qty, reason, typed))?
        }
        PaperCommand::Cost { confirm, broker } => at_desk(&world.host, &root, "cost", broker, 1, |desk, _, account| desk.cost(account, confirm.as_deref()))?,
        PaperCommand::Parity { since, broker } => {
            at_desk(&world.host, &root, "parity", broker, 1, |desk, act, account| desk.parity_of_all(act, account, *since))?
        }
        PaperCommand::Replay { day, share, broker } => {
            at_desk(&world.host, &root, "replay", broker, 1, |desk, act, account| desk.replay_orders(act, account, *day, *share))?
        }
        PaperCommand::Risk { action, confirm, broker } => {
            let typed = confirm.as_deref().unwrap_or_default();
            at_desk(&world.host, &root, "risk", broker, 1, |desk, act, account| desk.set_risk_actions(act, account, action, typed))?
        }
        PaperCommand::Standing { until, revoke, confirm, broker, max_orders } => {
            let (until, typed) = (until.filter(|_| !revoke), confirm.as_deref().unwrap_or_default());
            at_desk(&world.host, &root, "standing", broker, *max_orders, |desk, act, account| match until {
                _ if *revoke => Ok(text!("{} standing consents of {} are ended", desk.revoke_standing(act, account)?, account.account)),
                None => Err(Error::new(code::USE_ARGUMENT, "a standing consent needs its last day").fix("trademl paper standing --until YYYY-MM-DD")),
                Some(until) => {
                    let given = desk.grant_standing(act, account, until, typed)?;
                    Ok(text!(
                        "unattended paper trading of {} is allowed until {}; a change of champion, limits, account or configuration ends it",
                        given.account,
                        given.until
                    ))
                }
            })?;
        }
    }
    drop(held);
    Ok(0)
}

/// The lock that a command works under. A session that is followed has its own; what only looks or only restricts has none, so that whatever
/// the followed session may do by itself can be ended while it runs.
fn lock_of(command: &PaperCommand) -> Option<&'static str> {
    match command {
        PaperCommand::Stop { .. } | PaperCommand::Authorize { .. } | PaperCommand::Status { .. } | PaperCommand::Broker { .. } => None,
        PaperCommand::Digest { .. } | PaperCommand::Cost { confirm: None, .. } | PaperCommand::Standing { revoke: true, .. } => None,
        PaperCommand::Cancel { .. } => None,
        PaperCommand::Risk { action, .. } if action == "off" => None,
        PaperCommand::Watch { .. } => Some("paper-watch"),
        _ => Some("paper"),
    }
}

/// Let this program into a cTrader account. No drive is needed: the tokens stay on this machine.
fn authorize(host: &Host, code: Option<&str>, redirect: &str) -> Result<u8> {
    if let Some(code) = code {
        oauth::exchange(host, code, redirect)?;
    } else {
        let grant = oauth::Grant::ask(host, redirect)?;
        say(&text!("open this address, and allow the application to trade:\n  {}", grant.url));
        let Some(given) = oauth::wait_for_code(host, redirect, &grant)? else {
            say(&text!("then, within a minute: trademl paper authorize --redirect '{redirect}' --code CODE"));
            return Ok(0);
        };
        oauth::exchange(host, &given, redirect)?;
    }
    say(&text!("let in; the tokens are in {}", data_layer::env_file::path(host).display()));
    Ok(0)
}

/// The account that is asked about, or that of the newest order set.
fn traded(db: &Db, asked: Option<&str>) -> Result<String> {
    let known = OrderLog::new(db).accounts()?;
    let fix = known.first().map_or_else(|| "trademl paper-trade".to_string(), |account| format!("--account {account}"));
    let unknown = |found: String| Err(Error::new(code::USE_ARGUMENT, "no order was ever planned for that account on this drive").found(found).fix(fix));
    match asked {
        Some(account) if !known.iter().any(|k| k == account) => unknown(text!("'{account}'; it knows {}", known.join(", "))),
        Some(account) => Ok(account.to_string()),
        None => known.into_iter().next().map_or_else(|| unknown(text!("none")), Ok),
    }
}

/// The broker that is asked for, or that of the newest paper-trade run.
pub(super) fn habitual(root: &DataRoot, asked: Option<&str>) -> Result<String> {
    let named = asked.map_or_else(|| remembered(root, BROKER_STEP), |broker| Ok(Some(broker.into())))?;
    Ok(named.and_then(|v| v.as_str().map(str::to_string)).unwrap_or_else(|| "simulated".into()))
}

/// What the newest paper-trade run answered to a question.
pub(super) fn remembered(root: &DataRoot, step: &str) -> Result<Option<Value>> {
    let answer = Journal::unverified(root)?.remembered(crate::paper_trade::WIZARD.name, step)?;
    Ok(answer.map(|record| record.payload()).transpose()?.map(|p| p["value"].clone()))
}

/// Open the desk of a broker, do something there, and say what came of it.
fn at_desk(
    host: &Host,
    root: &DataRoot,
    step: &'static str,
    broker: &Option<String>,
    max_orders: i64,
    work: impl FnOnce(&Desk, &Act<'_>, &AccountCheck) -> Result<String>,
) -> Result<()> {
    let report = Reporter::new(host, Voice::Plain, "paper", None);
    let act = Act { host, root, report: &report, step, run: step };
    let desk = Desk::open(host, root, &habitual(root, broker.as_deref())?, max_orders)?;
    let account = desk.account(&act)?;
    say(&work(&desk, &act, &account)?);
    Ok(())
}

/// Stop everything. The file first: it works whatever holds the drive or the journal. Then the journal, for the record; the
/// inner result says whether that worked.
pub fn engage(root: &DataRoot, operator: &str, reason: &str) -> Result<Result<()>> {
    let reason = if reason.trim().is_empty() { NO_REASON } else { reason };
    store::write_atomic(root, &DataPath::new(STOP_FILE)?, format!("{operator}: {reason}\n").as_bytes())?;
    Ok(Db::open(root, Which::Journal).and_then(|db| {
        switches::engage(&db, ALL_ACCOUNTS, reason, operator, root.host().now())?;
        // The stop stands; that nobody could be told of it is no reason to call it failed.
        if let Err(error) = alarms::raise(&db) {
            tracing::warn!(%error, "nobody was told of the stop");
        }
        Ok(())
    }))
}

fn stop(root: &DataRoot, reason: &str) -> Result<u8> {
    say(&match engage(root, OPERATOR, reason)? {
        Ok(()) => "stopped: no account takes an increase; reductions and cancels pass".to_string(),
        Err(e) => text!("stopped by the file {STOP_FILE}; the journal could not be written: {e}"),
    });
    Ok(0)
}

fn status(db: &Db, account: &str, json: bool) -> Result<()> {
    let log = OrderLog::new(db);
    let (held, open) = (positions::ledger(&log, account)?.per_symbol().len(), log.open_orders(account)?);
    let newest = "SELECT equity, ts FROM snapshots WHERE account = ?1 ORDER BY ts DESC LIMIT 1";
    let equity: Option<(f64, String)> = db.lock()?.query_row(newest, [account], |r| Ok((r.get(0)?, r.get(1)?))).optional()?;
    let switches = [Switch::Kill, Switch::Breaker].map(|switch| (switch, switches::read(db, switch, account)));
    let quarantined = quarantine::quarantined(db)?;
    if json {
        let orders = open.iter().map(|o| {
            let (symbol, side, qty) = (&o.intent.symbol, o.intent.side.as_str(), o.intent.qty);
            json!({"order_id": o.id(), "symbol": symbol, "side": side, "qty": qty, "filled_qty": o.filled_qty, "state": o.state})
        });
        let switches =
            switches.iter().map(|(switch, s)| (switch.name(), json!({"stopped": s.stopped, "state": s.state, "reason": s.reason, "operator": s.operator})));
        emit(&serde_json::to_string(&json!({
            "account": account, "equity": equity.as_ref().map(|e| e.0), "equity_at": equity.as_ref().map(|e| &e.1), "positions": held,
            "switches": switches.collect::<BTreeMap<_, _>>(), "open_orders": orders.collect::<Vec<_>>(),
            "quarantine": quarantined.into_iter().collect::<BTreeMap<_, _>>(),
        }))?);
        return Ok(());
    }
    let worth = match equity {
        Some((equity, at)) => text!("equity {equity:.2} at the close of {}", at.get(..10).unwrap_or(&at)),
        None => text!("no session has closed on it yet"),
    };
    say(&text!("account          {account}: {worth}; {held} positions, {} open orders (all of it: trademl watch paper)", open.len()));
    for (switch, s) in switches {
        say(&text!("{:<16} {}   {} ({})", switch.title(), s.meaning(), s.reason, s.operator));
        if s.stopped {
            say(&text!("{:<16} to let them pass again: {}", "", switches::reset_command(db, switch, account)));
        }
    }
    for (symbol, reason) in quarantined {
        say(&text!("quarantine       {symbol:<8} {reason}"));
    }
    open.iter().for_each(say_order);
    Ok(())
}

fn say_order(o: &OrderRow) {
    let (symbol, side, qty) = (&o.intent.symbol, o.intent.side.as_str(), o.intent.qty);
    if o.state == name::PLANNED {
        say(&text!("not sent         {symbol:<8} {side} {qty} ({})", o.id()));
    } else {
        say(&text!("open             {symbol:<8} {side} {qty}, {} filled, {} ({})", o.filled_qty, o.state, o.id()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kit::Scope;
    use crate::kit::journal::{Entry, Event};
    use data_layer::host::FakeHost;
    use data_layer::root::FsFacts;

    #[test]
    fn nobody_names_the_broker_and_the_account_that_were_traded_with() {
        let dir = tempfile::tempdir().unwrap();
        let host = Host::fake(FakeHost::default());
        let root = DataRoot::create(&host, dir.path(), "replay@1", FsFacts::default(), None).unwrap();
        assert_eq!(habitual(&root, None).unwrap(), "simulated", "nothing was traded yet");
        let payload = json!({"value": "alpaca"});
        let step = crate::paper_trade::WIZARD.steps.iter().find(|s| s.id == BROKER_STEP).unwrap().id;
        let done = Entry { step, visit: 0, kind: Event::Done, scope: Scope::Drive, inputs_sha256: "", payload: &payload };
        Journal::open(&root).unwrap().append(&host, "r", crate::paper_trade::WIZARD.name, &done).unwrap();
        assert_eq!(habitual(&root, None).unwrap(), "alpaca");
        assert_eq!(habitual(&root, Some("ctrader")).unwrap(), "ctrader");

        let db = Db::open(&root, Which::Journal).unwrap();
        assert!(traded(&db, None).unwrap_err().is(code::USE_ARGUMENT));
        for (account, day) in [("OLD", "2017-11-30"), ("NEW", "2017-12-01")] {
            let sql = "INSERT INTO order_sets VALUES (?1, '', ?1, 's', ?2, 0, 1.0, '{}', ?2, 0, NULL)";
            db.lock().unwrap().execute(sql, [account, day]).unwrap();
        }
        assert_eq!((traded(&db, None).unwrap(), traded(&db, Some("OLD")).unwrap()), ("NEW".to_string(), "OLD".to_string()));
        assert!(traded(&db, Some("NIX")).unwrap_err().to_string().contains("no order was ever planned"));
    }

    #[test]
    fn a_followed_session_locks_out_nothing_that_looks_or_restricts() {
        use crate::cli::{Cli, Command};
        use clap::Parser;
        let lock = |words: &str| match Cli::parse_from(["trademl", "paper"].into_iter().chain(words.split(' '))).command {
            Command::Paper(args) => lock_of(&args.command),
            other => panic!("{other:?}"),
        };
        let watch = lock("watch").unwrap();
        for words in ["status", "risk off", "standing --revoke", "stop", "digest", "cost", "broker", "cancel --all", "cancel tm1-x"] {
            assert_eq!(lock(words), None, "{words}");
        }
        let writes = ["reset --account A --reason R", "release A --reason R", "risk reduce", "standing --until 2017-12-15", "cost --confirm X", "parity"];
        for words in writes {
            assert_ne!(lock(words), Some(watch), "{words}");
            assert!(lock(words).is_some(), "{words}");
        }
        for step in [BROKER_STEP, ORDERS_STEP] {
            assert!(crate::paper_trade::WIZARD.steps.iter().any(|s| s.id == step), "{step}");
        }
    }

    #[test]
    fn stopping_needs_no_reason() {
        let dir = tempfile::tempdir().unwrap();
        let host = Host::fake(FakeHost::default());
        let root = DataRoot::create(&host, dir.path(), "replay@1", FsFacts::default(), None).unwrap();
        engage(&root, OPERATOR, " ").unwrap().unwrap();
        let db = Db::open(&root, Which::Journal).unwrap();
        let row: String = db.lock().unwrap().query_row("SELECT reason FROM switches", [], |r| r.get(0)).unwrap();
        assert_eq!(row, NO_REASON, "both the file and the journal hold the stop");
        assert!(store::read(&root, &DataPath::new(STOP_FILE).unwrap()).unwrap().is_some());
    }
}
