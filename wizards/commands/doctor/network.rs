//! The outside: vendors' budgets, keys tried live, and this clock against theirs. Practice drives have no outside.

use super::{Check, Exam, Family, Finding};
use crate::steps::screens::budgets;
use data_layer::control::{Db, Which};
use data_layer::env_file;
use data_layer::error::{Error, Exit, Result, code};
use data_layer::root::{DataPath, DataRoot};
use data_layer::scheduler::{self, KeyVerdict};
use data_layer::sourcing::{self, Base, Vendor, entitlement};
use std::sync::Arc;

pub const FAMILY: Family = Family {
    name: term!("vendors"),
    checks: &[
        Check { id: "keys", what: "every key that a lane needs is there and works", rooted: true, look: keys },
        Check { id: "entitlements", what: "what the vendors allow", rooted: true, look: entitled },
        Check { id: "budgets", what: "what may still be asked today", rooted: true, look: spent },
        Check { id: "clock-skew", what: "this clock agrees with a vendor's", rooted: true, look: skew },
    ],
};

/// Seconds of difference that are worth a word, and that are wrong.
const SKEW: (f64, f64) = (5.0, 60.0);

fn node_db(root: &DataRoot) -> Option<Arc<Db>> {
    let there = DataPath::new(Which::Node.path()).is_ok_and(|p| root.locate(&p).exists());
    there.then(|| Db::open(root, Which::Node).ok().map(Arc::new)).flatten()
}

fn keys(exam: &Exam) -> Result<Vec<Finding>> {
    let Some(root) = &exam.root else { return Ok(Vec::new()) };
    if root.is_world() {
        return Ok(vec![Finding::pass("a practice drive brings its own")]);
    }
    let vendors = sourcing::vendors_from(&exam.host, root, &env_file::load(&exam.host)?)?;
    let mut out = Vec::new();
    for vendor in [Vendor::Alpaca, Vendor::AlphaVantage] {
        let missing = vendors.missing_keys(vendor);
        if !missing.is_empty() {
            out.push(Finding::fail(text!("{vendor}: {} not set", missing.join(" and ")), format!("trademl pi-data-node{}", exam.at())).exit(Exit::Credentials));
            continue;
        }
        if exam.host.is_offline() {
            out.push(Finding::pass(text!("{vendor}: set; not tried")));
            continue;
        }
        let check = exam.host.block_on(scheduler::probe_key(&exam.host, &vendors, vendor, node_db(root)))??;
        let seen = text!("{vendor}: {}", check.detail);
        out.push(match check.verdict {
            KeyVerdict::Ok | KeyVerdict::NotEntitled => Finding::pass(seen),
            KeyVerdict::Rejected => Finding::fail(seen, format!("trademl pi-data-node{}", exam.at())).exit(Exit::Credentials),
            KeyVerdict::Unreachable => Finding::warn(seen, "check the network, then: trademl doctor"),
        });
    }
    out.extend(ctrader(exam)?);
    Ok(out)
}

/// Only who named an application wants to trade there.
fn ctrader(exam: &Exam) -> Result<Option<Finding>> {
    let known = env_file::load(&exam.host)?;
    if !known.contains_key("CTRADER_CLIENT_ID") {
        return Ok(None);
    }
    let missing: Vec<&str> = ["CTRADER_CLIENT_SECRET", "CTRADER_ACCESS_TOKEN"].into_iter().filter(|name| !known.contains_key(*name)).collect();
    if !missing.is_empty() {
        return Ok(Some(Finding::fail(text!("ctrader: {} not set", missing.join(" and ")), "trademl paper authorize").exit(Exit::Credentials)));
    }
    Ok(Some(match known.contains_key("CTRADER_REFRESH_TOKEN") {
        true => Finding::pass("ctrader: set; tried when an account is opened"),
        false => Finding::warn("ctrader: the access token cannot be renewed when it expires", "trademl paper authorize"),
    }))
}

fn entitled(exam: &Exam) -> Result<Vec<Finding>> {
    let Some(db) = exam.root.as_ref().and_then(node_db) else { return Ok(Vec::new()) };
    let found = entitlement::all(&*db.lock()?)?;
    let (open, blocked): (Vec<_>, Vec<_>) = found.values().partition(|e| !e.blocked());
    let refused: Vec<String> = blocked.iter().map(|e| text!("{} {}: {}", e.vendor, e.dataset, e.detail)).collect();
    let rest = if refused.is_empty() { String::new() } else { text!("; closed, and never asked: {}", refused.join("; ")) };
    Ok(vec![Finding::pass(text!("{} lanes probed and open{rest}", open.len()))])
}

fn spent(exam: &Exam) -> Result<Vec<Finding>> {
    let Some((root, db)) = exam.root.as_ref().and_then(|r| Some((r, node_db(r)?))) else { return Ok(Vec::new()) };
    Ok(budgets(root, &db)?
        .into_iter()
        .map(|b| {
            let limit = b.limit.map_or("no stated limit".to_string(), |n| text!("of {n}"));
            let reset = b.resets_at.map_or(String::new(), |at| text!(", begins again {at}"));
            match b.frozen {
                Some((until, why)) => {
                    Finding::warn(text!("{}: asked nothing until {until}: {why}", b.vendor), "nothing: work goes on by itself then; trademl status")
                }
                None => Finding::pass(text!("{} {}: {} {limit}{reset}", b.vendor, b.window, b.spent)),
            }
        })
        .collect())
}

fn skew(exam: &Exam) -> Result<Vec<Finding>> {
    let Some(root) = exam.root.as_ref().filter(|r| !r.is_world()) else { return Ok(Vec::new()) };
    if exam.host.is_offline() || exam.host.clock_is_simulated() {
        return Ok(vec![Finding::pass("not compared")]);
    }
    let vendors = sourcing::vendors_from(&exam.host, root, &env_file::load(&exam.host)?)?;
    let base = vendors.base(Base::AlpacaTrading)?.to_string();
    let theirs = exam.host.block_on(async {
        let answer = exam.host.http().head(&base).timeout(std::time::Duration::from_secs(10)).send().await;
        answer.ok().and_then(|a| a.headers().get("date").and_then(|d| d.to_str().ok().map(str::to_string)))
    })?;
    let Some(text) = theirs else { return Ok(vec![Finding::warn("no vendor could be reached to compare with", "check the network, then: trademl doctor")]) };
    let at = jiff::fmt::rfc2822::parse(&text).map_err(|e| Error::new(code::NET_MALFORMED, "a server's Date header cannot be read").cause(e.to_string()))?;
    let seconds = exam.host.now().micros() as f64 / 1e6 - at.timestamp().as_microsecond() as f64 / 1e6;
    let seen = text!("{seconds:+.0} s against {base}");
    Ok(vec![match seconds.abs() {
        s if s > SKEW.1 => Finding::fail(text!("{seen}: sessions and budgets would be misjudged"), "sudo timedatectl set-ntp true"),
        s if s > SKEW.0 => Finding::warn(seen, "sudo timedatectl set-ntp true"),
        _ => Finding::pass(seen),
    }])
}
