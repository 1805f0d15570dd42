//! Models, training configuration and the order book.

use super::drive::put_aside;
use super::{Check, Exam, Family, Finding};
use crate::kit::recover::backups;
use crate::steps::market::Ready;
use crate::steps::training;
use data_layer::control::{Db, Which};
use data_layer::error::{Exit, Result, code};
use data_layer::root::{DataPath, DataRoot};
use engine::execution::log::OrderLog;
use engine::execution::switches::{self, Switch, SwitchState};
use engine::models::registry::Registry;

pub const FAMILY: Family = Family {
    name: term!("models and orders"),
    checks: &[
        Check { id: "registry", what: "the registry of models is intact", rooted: true, look: registry },
        Check { id: "champion", what: "the champion's files match their digests", rooted: true, look: champion },
        Check { id: "training-config", what: "the training configuration can be read", rooted: true, look: config },
        Check { id: "orders", what: "no order is in doubt", rooted: true, look: orders },
    ],
};

const STRATEGY: &str = "equities_xs";

fn there(exam: &Exam, which: Which) -> bool {
    exam.root.as_ref().is_some_and(|r| DataPath::new(which.path()).is_ok_and(|p| r.locate(&p).exists()))
}

/// Switches that stop an account which has traded, with the command that lets increases pass again.
pub fn stops(exam: &Exam, root: &DataRoot) -> Result<Vec<Finding>> {
    let db = Db::open(root, Which::Journal)?;
    let finding = |account: &str, (switch, state): (Switch, SwitchState)| {
        let seen = text!("{} of {account} {}, reductions and cancels pass: {}", switch.title(), state.meaning(), state.reason);
        Finding::fail(seen, text!("{}{}", switches::reset_command(&db, switch, account), exam.at())).exit(Exit::Refused)
    };
    let accounts = OrderLog::new(&db).accounts()?;
    Ok(accounts.iter().flat_map(|account| switches::stops(&db, account).into_iter().map(|stop| finding(account, stop))).collect())
}

fn registry(exam: &Exam) -> Result<Vec<Finding>> {
    let Some(root) = exam.root.as_ref().filter(|_| there(exam, Which::Registry)) else { return Ok(vec![Finding::pass("no model was registered yet")]) };
    Ok(vec![match Db::open(root, Which::Registry).and_then(|db| db.integrity_check()) {
        Ok(()) => Finding::pass(text!("{} models of {STRATEGY}", Registry::open(root)?.models(STRATEGY)?.len())),
        Err(error) => {
            let place = exam.place(Which::Registry.path());
            let fix = match backups(root, Which::Registry)?.pop() {
                Some(newest) => text!("rm -f {place}-wal {place}-shm {place}.seal && cp {} {place}", exam.place(newest.as_str())),
                None => text!("mv {place} {place}.damaged && trademl train{}", exam.at()),
            };
            Finding::of(&error, (!error.is(code::SSD_NEWER)).then_some(fix))
        }
    }])
}

fn champion(exam: &Exam) -> Result<Vec<Finding>> {
    let Some(root) = exam.root.as_ref().filter(|_| there(exam, Which::Registry)) else { return Ok(Vec::new()) };
    let Ok(registry) = Registry::open(root) else { return Ok(Vec::new()) };
    let Some(row) = registry.champion_if_any(STRATEGY)? else { return Ok(vec![Finding::pass("none yet")]) };
    Ok(vec![match Ready::load(root, &row) {
        Ok(ready) => Finding::pass(text!("{STRATEGY} {} ({:?})", row.version, ready.model.manifest.kind)),
        Err(error) => Finding::of(&error, Some(format!("trademl train{}", exam.at()))),
    }])
}

fn config(exam: &Exam) -> Result<Vec<Finding>> {
    let Some(root) = &exam.root else { return Ok(Vec::new()) };
    Ok(vec![match training::config(&exam.host, root, STRATEGY) {
        Ok(loaded) => Finding::pass(text!("{STRATEGY}, digest {}", &loaded.sha256[..12])),
        Err(error) => {
            let on_drive = root.base().join(format!("control/configs/training/{STRATEGY}.yml"));
            let here = exam.host.config_dir().join(format!("configs/training/{STRATEGY}.yml"));
            let at_fault = [here, on_drive].into_iter().find(|p| p.exists());
            Finding::of(&error, at_fault.map(|p| put_aside(&p))).exit(Exit::Usage)
        }
    }])
}

fn orders(exam: &Exam) -> Result<Vec<Finding>> {
    let Some(root) = exam.root.as_ref().filter(|_| there(exam, Which::Journal)) else { return Ok(Vec::new()) };
    let Ok(db) = Db::open(root, Which::Journal) else { return Ok(Vec::new()) };
    let conn = db.lock()?;
    let doubtful: i64 = conn.query_row("SELECT count(*) FROM orders WHERE state IN ('intended', 'unknown')", [], |r| r.get(0))?;
    let held: i64 = conn.query_row("SELECT count(*) FROM quarantine WHERE released_at IS NULL", [], |r| r.get(0))?;
    Ok(vec![if doubtful > 0 {
        let seen = text!("{doubtful} orders were about to be sent, and nobody knows whether they were");
        Finding::warn(seen, format!("trademl paper-trade{} --set orders.next_session=false", exam.at()))
    } else {
        let rest = if held > 0 { text!("; {held} symbols in quarantine") } else { String::new() };
        Finding::pass(format!("none{rest}"))
    }])
}
