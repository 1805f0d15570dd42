//! Commands about one drive: status, fsck, rebuild, import, eject.

use super::{emit, open_root, say};
use crate::cli::{FsckArgs, ImportArgs, RootArgs, StatusArgs};
use crate::kit::journal::Journal;
use data_layer::attach;
use data_layer::budget::Standing;
use data_layer::control::{Db, Which, seal};
use data_layer::coverage as pictures;
use data_layer::detect;
use data_layer::error::{Error, Result, code};
use data_layer::forecast::{Forecast, Outlook};
use data_layer::fsck::{self as proof, Finding, Level};
use data_layer::host::Host;
use data_layer::node::{self, LoopBeat};
use data_layer::root::{DataPath, DataRoot};
use data_layer::schema::{table, timeframe};
use data_layer::time::UtcTime;
use data_layer::{env_file, export, ledger, queue, rebuild as rebuilding, reference, sourcing, stage};
use engine::models::registry::{Registry, Stage};
use engine::pipelines::trial_stats;
use serde_json::{Value, json};

/// The strategy whose models are looked at.
const STRATEGY: &str = "equities_xs";
/// Doubtful corporate actions that are named one by one.
const DOUBTS_SHOWN: usize = 10;

/// Coverage, queue and runs of a drive, and what comes next.
pub fn status(host: &Host, StatusArgs { root: args, brief }: &StatusArgs) -> Result<u8> {
    let root = open_root(host, args.root.clone())?;
    let db = Db::open(&root, Which::Node)?;
    let mut coverage = serde_json::Map::new();
    for (name, table_name, key) in [
        ("raw daily bars", table::RAW_EQUITIES_BARS, timeframe::DAY),
        ("raw minute bars", table::RAW_EQUITIES_BARS, timeframe::MINUTE),
        ("curated daily bars", table::CURATED_EQUITIES, ""),
        ("curated minute bars", table::CURATED_MINUTES, ""),
        (term!("corporate actions"), table::REF_CORP_ACTIONS, ""),
        (term!("delistings"), table::REF_DELISTINGS, ""),
    ] {
        if let Some((held, c)) = ledger::coverage_held(&db, table_name, key)?.filter(|(_, c)| c.expected > 0) {
            coverage.insert(name.into(), json!({"expected": c.expected, "green": c.green, "amber": c.amber, "red": c.red, "codes": c.codes, "window": held}));
        }
    }
    let queued: Vec<Value> =
        queue::counts(&db)?.into_iter().map(|((dataset, kind, status), n)| json!({"dataset": dataset, "kind": kind, "status": status, "tasks": n})).collect();
    let stage = stage::load_optional(&root)?;
    let budgets = crate::steps::screens::budgets(&root, &db)?;
    let forecast = if *brief { None } else { crate::steps::screens::foretold(host, &root, &db)? };
    let vendors = sourcing::vendors_from(host, &root, &env_file::load(host)?)?;
    let lanes = if stage.is_some() { node::lanes(&root, &db, &vendors)? } else { Vec::new() };
    let loops: Vec<LoopBeat> = node::beats(&db)?;
    let (next, why) = next(&root, stage.is_some())?;
    if args.json {
        let out = json!({
            "v": 1, "ok": true, "dataset": root.drive().dataset, "stage": stage.as_ref().map(|s| s.stage), "coverage": coverage, "queue": queued,
            "budgets": budgets, "lanes": lanes, "forecast": forecast, "loops": loops, "next": {"command": next, "why": why},
        });
        emit(&out.to_string());
        return Ok(0);
    }
    let held = stage.as_ref().map_or("no stage yet".to_string(), |s| text!("stage {}, {} symbols", s.stage, s.universe.symbols.len()));
    say(&text!("drive {} at {}\n  dataset {}, {held}", root.drive().drive_id, root.base().display(), root.drive().dataset));
    for (name, c) in &coverage {
        let (green, expected) = (c["green"].as_u64().unwrap_or(0), c["expected"].as_u64().unwrap_or(0));
        let share = crate::kit::percent(green, expected);
        say(&text!("  {name:<20} {share:>9} GREEN of {expected}   amber {}  red {}   {}", c["amber"], c["red"], codes(&c["codes"])));
    }
    doubts(&root)?.iter().for_each(|line| say(line));
    for row in &queued {
        let text = |key: &str| row[key].as_str().unwrap_or_default().to_string();
        say(&text!("  queue {:<18} {:<10} {:<8} {}", text("dataset"), text("kind"), text("status"), row["tasks"]));
    }
    lanes.iter().for_each(|lane| say(&text!("  lane  {}", lane.sentence())));
    let keyed = |b: &&Standing| b.spent + b.held_back + b.refused > 0 || b.frozen.is_some();
    budgets.iter().filter(keyed).for_each(|b| say(&budget_line(b)));
    forecast.iter().flat_map(forecast_lines).for_each(|line| say(&line));
    loops.iter().for_each(|l| say(&text!("  loop  {:<14} {}   {}", l.name, short(l.at), l.detail)));
    say(&text!("  next  trademl {next:<15} {why}"));
    Ok(0)
}

/// The wizard that goes on from here, and why it is that one.
fn next(root: &DataRoot, filled: bool) -> Result<(&'static str, String)> {
    let journal = Journal::open(root)?;
    for wizard in crate::wizards() {
        if journal.open_run(wizard.name)?.is_some() {
            return Ok((wizard.name, text!("it was begun, and continues where it stopped")));
        }
    }
    if !filled {
        return Ok(("pi-data-node", text!("the drive holds no market data yet")));
    }
    let registry = Registry::open(root)?;
    let mut models = registry.models(STRATEGY)?;
    models.retain(|m| !matches!(m.stage, Stage::Retired | Stage::Rejected));
    let Some(newest) = models.iter().max_by_key(|m| m.created_at) else { return Ok(("train", text!("there is no model yet"))) };
    // A model that was only registered has nothing but its first event.
    let judged = registry.events(STRATEGY)?.iter().filter(|e| e.version == newest.version).count() > 1;
    Ok(match newest.stage {
        Stage::Champion => ("paper-trade", text!("the newest model is the champion")),
        _ if !judged => ("evaluate", text!("the newest model has not been judged")),
        _ => ("shadow", text!("the newest model collects the weeks that a promotion asks for")),
    })
}

/// Corporate actions that are not certain or not applied, a line each; of very many the newest.
pub(super) fn doubts(root: &DataRoot) -> Result<Vec<String>> {
    let mut all = reference::load_doubts(root)?;
    all.sort_by_key(|d| std::cmp::Reverse(d.ex_date));
    let mut out: Vec<String> = all.iter().take(DOUBTS_SHOWN).map(|d| text!("  in doubt  {} {}: {}", d.symbol, d.ex_date, d.words)).collect();
    if all.len() > out.len() {
        out.push(text!("  {} more are in doubt: trademl node report", all.len() - out.len()));
    }
    Ok(out)
}

/// Draw what is complete and why the rest is not.
pub fn coverage(host: &Host, args: &RootArgs) -> Result<u8> {
    let root = open_root(host, args.root.clone())?;
    let db = Db::open(&root, Which::Node)?;
    let held = ledger::held(&db, table::RAW_EQUITIES_BARS)?;
    let held = held.ok_or_else(|| Error::new(code::DATA_MISSING, "nothing of this drive has been audited yet").fix("trademl pi-data-node"))?;
    let files = pictures::write(&root, &db, held.end.plus_days(-1))?;
    if args.json {
        let [page, svg, png] = files;
        emit(&json!({"v": 1, "ok": true, "asof": held.end.plus_days(-1), "page": page, "svg": svg, "png": png}).to_string());
    } else {
        files.iter().for_each(|path| say(&root.locate(path).display().to_string()));
    }
    Ok(0)
}

/// To the minute, which is what a person wants of a time: `2017-12-01 21:20Z`.
fn short(t: UtcTime) -> String {
    t.to_string().replace('T', " ").chars().take(16).collect::<String>() + "Z"
}

/// When what waits will be there, dataset by dataset.
fn forecast_lines(f: &Forecast) -> Vec<String> {
    let at = |t: Option<UtcTime>| t.map_or("beyond two years, or never at these limits".to_string(), short);
    let row =
        |o: &Outlook| text!("  ahead {:<18} {:<14} {:>6} tasks, {} calls: {} (held by {})", o.dataset, o.vendor, o.tasks, o.calls, at(o.ready_at), o.held_by);
    let mut out: Vec<String> = f.datasets.iter().map(row).collect();
    out.push(if f.datasets.is_empty() { "  ahead nothing is waiting".into() } else { text!("  ahead all that is asked for: {}", at(f.complete_at)) });
    if f.stage_1_at != f.complete_at {
        out.push(text!("  ahead stage 1, if it began now: {}", at(f.stage_1_at)));
    }
    out
}

fn budget_line(b: &Standing) -> String {
    let limit = b.limit.map_or("no stated limit".to_string(), |n| text!("of {n}"));
    let resets = b.resets_at.map_or(String::new(), |at| text!("   begins again {}", short(at)));
    let refused = if b.held_back + b.refused > 0 { text!("   {} held back, {} refused", b.held_back, b.refused) } else { String::new() };
    let frozen = b.frozen.as_ref().map_or(String::new(), |(until, why)| text!("   FROZEN until {}: {why}", short(*until)));
    text!("  budget {:<14} {:<6} {:>6} calls {limit}{resets}{refused}{frozen}", b.vendor, b.window, b.spent)
}

/// Everything but `OK`, in words.
fn codes(codes: &Value) -> String {
    let all: Vec<String> = codes.as_object().into_iter().flatten().filter(|(code, _)| *code != "OK").map(|(code, n)| text!("{n} {code}")).collect();
    all.join(", ")
}

/// Prove a drive; exit 0 only if everything acknowledged is there and true.
pub fn fsck(host: &Host, args: &FsckArgs) -> Result<u8> {
    let root = open_root(host, args.dir.clone().or_else(|| args.root.clone()))?;
    let mut findings = proof::run(&root)?;
    if let Err(error) = Journal::open(&root).and_then(|journal| journal.verify_chain()) {
        findings.push(Finding {
            id: "journal-chain",
            status: Level::Fail,
            what: error.body().what.clone(),
            found: error.body().found.clone(),
            fix: error.body().fix.first().cloned(),
        });
    }
    findings.extend(trial_returns(&root)?);
    let sound = proof::is_sound(&findings);
    if args.json {
        emit(&json!({"v": 1, "ok": sound, "checks": findings.iter().map(finding_json).collect::<Vec<_>>()}).to_string());
    } else {
        for f in &findings {
            say(&text!("{:<5} {:<24} {}", f.status.as_str(), f.id, f.what));
            if let Some(found) = f.found.as_ref().filter(|_| f.status != Level::Pass) {
                say(&text!("      found: {found}"));
            }
        }
        let failed = findings.iter().filter(|f| f.status == Level::Fail).count();
        say(&if sound {
            text!("sound: {} checks, nothing is missing or changed", findings.len())
        } else {
            text!("DAMAGED: {failed} of {} checks failed", findings.len())
        });
    }
    if sound {
        return Ok(0);
    }
    Err(Error::new(code::SSD_DAMAGED, "the drive is damaged").fix("trademl doctor --fix").fix("trademl rebuild, where a database is what is damaged"))
}

/// The daily returns of every trial, against the digests of the trial ledger; nothing where no model was ever trained.
fn trial_returns(root: &DataRoot) -> Result<Option<Finding>> {
    if !root.locate(&DataPath::new(Which::Registry.path())?).exists() {
        return Ok(None);
    }
    let finding = |status, what: String, found: Option<String>| Finding { id: "trial-returns", status, what, found, fix: None };
    let bad = Registry::open(root).and_then(|registry| {
        registry.verify_trials()?;
        trial_stats::damaged_returns(root, &registry)
    });
    Ok(Some(match bad {
        Ok(bad) if bad.is_empty() => finding(Level::Pass, "the returns of every trial are those of the trial ledger".into(), None),
        Ok(bad) => finding(Level::Fail, text!("{} trials have other returns than the trial ledger says, or none", bad.len()), Some(bad.join("; "))),
        Err(e) => finding(Level::Fail, e.body().what.clone(), e.body().cause.clone()),
    }))
}

fn finding_json(f: &Finding) -> Value {
    json!({"id": f.id, "status": f.status.as_str(), "what": f.what, "found": f.found, "fix": f.fix})
}

/// Rebuild the control database from the files.
pub fn rebuild(host: &Host, args: &RootArgs) -> Result<u8> {
    let root = open_root(host, args.root.clone())?;
    let report = rebuilding::node_db(&root)?;
    say(&text!("rebuilt from {} manifests: {} segments, {} ledger rows", report.manifests, report.segments, report.partitions));
    for path in &report.lost {
        say(&text!("  lost: {path} (its partitions are RED)"));
    }
    for path in &report.removed {
        say(&text!("  removed: {path} (no manifest names it)"));
    }
    if let Some(aside) = &report.set_aside {
        say(&text!("  the old database is kept as {aside}"));
    }
    Ok(0)
}

/// Bring exports into a root.
pub fn import(host: &Host, args: &ImportArgs) -> Result<u8> {
    let root = open_root(host, args.root.clone())?;
    let db = Db::open(&root, Which::Node)?;
    let from = host.cwd().join(&args.dir);
    if !from.is_dir() {
        return Err(Error::new(code::USE_ARGUMENT, text!("{} is no folder", from.display())).fix("trademl import DRIVE/exports/nightly/YYYY-MM-DD"));
    }
    let report = export::import(&root, &db, &from)?;
    let (whole, size) = (if report.full { "all of it" } else { "what had changed" }, detect::human_bytes(report.bytes));
    say(&text!("{}: {} files brought in ({size}, {whole}), {} removed", report.folder, report.files, report.removed));
    Ok(0)
}

/// Leave WAL, so that each database is one whole file, write everything out, and say that the drive may be unplugged.
pub fn eject(host: &Host, args: &RootArgs) -> Result<u8> {
    let root = open_root(host, args.root.clone())?;
    let busy = attach::busy(&root)?;
    if !busy.is_empty() {
        return Err(Error::new(code::SSD_HELD, "the drive is in use and not safe to unplug")
            .found(busy.join("; "))
            .fix("stop it (Ctrl-C in its window, or: systemctl --user stop trademl-node), then: trademl eject"));
    }
    // Attached and left again: the record says that the drive was left in order.
    drop(attach::attach(&root, &crate::steps::keys::node_id(host)?, true)?);
    for which in [Which::Node, Which::Journal, Which::Registry] {
        if root.locate(&DataPath::new(which.path())?).exists() {
            Db::open(&root, which)?.close_for_unplug()?;
            seal::lay(&root, which)?;
        }
    }
    rustix::fs::syncfs(std::fs::File::open(root.base())?).map_err(std::io::Error::from)?;
    let base = root.base().canonicalize().unwrap_or_else(|_| root.base().to_path_buf());
    let at_home = |mount: &str| host.env("HOME").is_some_and(|home| std::path::Path::new(home).starts_with(mount));
    let mounted = detect::drives::for_directory(host, &base).0.filter(|drive| !drive.is_system && !at_home(&drive.mount_point));
    if args.json {
        emit(&json!({"v": 1, "safe": true, "unmount_first": mounted.map(|drive| drive.mount_point)}).to_string());
        return Ok(0);
    }
    say("safe to unplug");
    if let Some(drive) = mounted {
        say(&text!("first unmount it: sudo umount {}", drive.mount_point));
    }
    Ok(0)
}
