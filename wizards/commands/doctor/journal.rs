//! The journal, who writes to it, and what stands still.

use super::repair::Repair;
use super::{Check, Exam, Family, Finding};
use crate::kit::journal::{Event, Journal};
use data_layer::attach;
use data_layer::control::{Db, Which};
use data_layer::error::{Exit, Result, code};
use data_layer::root::DataPath;
use data_layer::words::joined;

pub const FAMILY: Family = Family {
    name: term!("journal"),
    checks: &[
        Check { id: "journal-chain", what: "every record follows from the one before", rooted: true, look: chain },
        Check { id: "attachment", what: "the drive is held by one machine, or was left in order", rooted: true, look: attachment },
        Check { id: "locks", what: "who is at work", rooted: true, look: locks },
        Check { id: "open-runs", what: "runs that wait to be continued", rooted: true, look: open_runs },
        Check { id: "kill-switch", what: "neither the kill switch nor a circuit breaker stops the orders", rooted: true, look: kill_switch },
    ],
};

fn journal_is_there(exam: &Exam) -> bool {
    exam.root.as_ref().is_some_and(|r| DataPath::new(Which::Journal.path()).is_ok_and(|p| r.locate(&p).exists()))
}

fn chain(exam: &Exam) -> Result<Vec<Finding>> {
    let Some(root) = exam.root.as_ref().filter(|_| journal_is_there(exam)) else { return Ok(vec![Finding::pass("no journal yet")]) };
    let seen = Db::open(root, Which::Journal).and_then(|db| db.integrity_check()).and_then(|()| {
        let journal = Journal::unverified(root)?;
        journal.verify_chain()?;
        Ok(journal.db().lock()?.query_row("SELECT count(*) FROM journal", [], |r| r.get::<_, i64>(0))?)
    });
    Ok(vec![match seen {
        Ok(records) => Finding::pass(text!("{records} records, every hash follows")),
        Err(error) => Finding::of(&error, (!error.is(code::SSD_NEWER)).then(|| format!("trademl runs recover{}", exam.at()))),
    }])
}

fn attachment(exam: &Exam) -> Result<Vec<Finding>> {
    let Some(root) = &exam.root else { return Ok(Vec::new()) };
    let there = root.locate(&DataPath::new(attach::ATTACH_FILE)?).exists();
    let Some(record) = attach::read_record(root)? else {
        return Ok(vec![if there {
            Finding::warn(text!("{} cannot be read", attach::ATTACH_FILE), exam.doctor_fix()).mended_by(Repair::Attachment)
        } else {
            Finding::pass("never attached")
        }]);
    };
    let age = root.host().now().seconds_since(record.heartbeat_at).abs();
    let whose = if record.machine_id == root.host().machine_id() { "this machine" } else { "another machine" };
    let seen = text!("node '{}' on {whose}, generation {}, last heartbeat {}", record.node_id, record.generation, record.heartbeat_at);
    let at_work = !attach::busy(root)?.is_empty() || (age < attach::HELD_SECONDS && whose == "another machine");
    Ok(vec![match record.released_at {
        Some(at) => Finding::pass(text!("{seen}; left in order {at}")),
        None if at_work => Finding::pass(text!("{seen}; at work")),
        None => Finding::warn(text!("{seen}; it stopped without leaving (a power cut, or a killed program)"), format!("trademl eject{}", exam.at())),
    }])
}

fn locks(exam: &Exam) -> Result<Vec<Finding>> {
    let Some(root) = &exam.root else { return Ok(Vec::new()) };
    let busy = attach::busy(root)?;
    // A lock of the operating system ends with its process: a file that nobody holds means nothing.
    Ok(vec![Finding::pass(if busy.is_empty() { term!("nobody").to_string() } else { joined(&busy, "; ") })])
}

fn open_runs(exam: &Exam) -> Result<Vec<Finding>> {
    let Some(root) = exam.root.as_ref().filter(|_| journal_is_there(exam)) else { return Ok(Vec::new()) };
    let Ok(journal) = Journal::unverified(root) else { return Ok(Vec::new()) };
    let open: Vec<String> = journal
        .runs()?
        .into_iter()
        .filter(|(_, last)| last.kind != Event::Closed)
        .map(|(first, last)| text!("{} since {} (last: {} {})", first.wizard, first.at, last.kind.as_str(), last.step))
        .collect();
    Ok(vec![Finding::pass(if open.is_empty() { term!("none").to_string() } else { text!("{}; the same commands continue them", joined(&open, "; ")) })])
}

fn kill_switch(exam: &Exam) -> Result<Vec<Finding>> {
    let Some(root) = &exam.root else { return Ok(Vec::new()) };
    #[cfg(feature = "research")]
    if journal_is_there(exam) {
        let stops = super::research::stops(exam, root)?;
        if !stops.is_empty() {
            return Ok(stops);
        }
    }
    let place = root.locate(&DataPath::new("control/STOP")?);
    Ok(vec![if place.exists() {
        let seen = "control/STOP is there: increases are STOPPED, reductions and cancels pass";
        Finding::fail(seen, text!("rm {}", exam.place("control/STOP"))).exit(Exit::Refused)
    } else {
        Finding::pass("no order is stopped")
    }])
}
