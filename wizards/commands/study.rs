//! `trademl study`: do the gates refuse nothing but luck, and let nothing but an edge through?

use super::{emit, say};
use crate::cli::StudyArgs;
use data_layer::error::{Error, Result, code};
use data_layer::host::Host;
use data_layer::root::{DataRoot, FsFacts, FsProbe};
use data_layer::sandbox::synth;
use data_layer::store;
use engine::pipelines::config::TrainingConfig;
use engine::pipelines::study::{self, Outcome, Search, Study};
use engine::validation::hurdles;

/// Run the study in a folder of its own, which is removed; exit 3 when the gates do not hold.
pub fn run(host: &Host, args: &StudyArgs) -> Result<u8> {
    let bars = TrainingConfig::built_in("equities_xs")?.bars;
    let study = Study {
        searches: args.searches,
        configurations: args.configurations,
        tree_configurations: args.trees,
        planted: args.planted,
        seed: args.seed,
        ..Study::default()
    };
    let place = host.state_dir().join("study").join(host.pid().to_string());
    store::create_folder(&place)?;
    let probe = FsProbe { wal: true, ..FsProbe::default() };
    let dataset = format!("planted@{}:{}", synth::VERSION, study.seed);
    let outcome = DataRoot::create(host, &place, &dataset, FsFacts { probe, ..FsFacts::default() }, None).and_then(|drive| study::run(study, bars, &drive));
    drop(std::fs::remove_dir_all(&place));
    let outcome = outcome?;
    if args.json {
        emit(&store::canonical_json(&outcome)?);
    } else {
        say(&text(&outcome));
    }
    if outcome.passed {
        return Ok(0);
    }
    let planted = &outcome.planted;
    Err(Error::new(code::GATE_HURDLES, "the gates do not hold in this study")
        .found(text!(
            "{} of {} searches in nothing would be promoted; planted edge found: {}, meets every bar: {}, promoted: {}, confirmed later: {}",
            outcome.null.promoted,
            outcome.null.searches,
            yes(planted.found),
            yes(planted.search.verdict.passed),
            yes(planted.promoted.promotion.applied),
            yes(planted.later.inside)
        ))
        .fix("if luck was promoted: raise bars.dsr or lower bars.pbo in the training configuration")
        .fix("if the edge was refused: read which bar refused it with --json"))
}

fn text(o: &Outcome) -> String {
    let mut out = vec![
        text!(
            "{} searches of {} ridge configurations in markets without an edge: {} would be promoted ({} before costs)",
            o.null.searches,
            o.study.configurations,
            o.null.promoted,
            o.null.promoted_before_costs
        ),
        text!("the largest Sharpe ratio found in nothing: {:.2}; the largest deflated one: {:.3}", o.null.best_sharpe, o.null.best_dsr),
    ];
    if let Some(trees) = &o.null_trees {
        out.push(text!("one search of {} LightGBM configurations in nothing:", trees.tried));
        out.extend(bars(trees));
    }
    let p = &o.planted;
    let (name, r) = p.carriers.first().cloned().unwrap_or_default();
    out.push(text!("the planted edge, among {} configurations: found {} (the model follows {name}, correlation {r:.2})", p.search.tried, yes(p.found)));
    out.extend(bars(&p.search));
    out.push(text!("of {} markets with such an edge, every bar is met in {}", p.searched, p.meet_every_bar));
    out.push(text!(
        "rank IC on later days {:.4}, expected {:.4} to {:.4} ({:.0} %) from {:.4} on the searched ones: {}",
        p.later.later,
        p.later.low,
        p.later.high,
        p.later.level * 100.0,
        p.later.searched,
        if p.later.inside { "confirmed" } else { "NOT confirmed" }
    ));
    for s in &p.promoted.shadow {
        out.push(text!("  shadow book of {}: {} sessions, net {:+.2} %", s.version, s.sessions, s.net_total * 100.0));
    }
    for c in &p.promoted.promotion.conditions {
        out.push(text!("  {}  {:<14} {}", if c.passed { "pass" } else { "FAIL" }, c.name, c.found));
    }
    out.push(text!("promoted: {} ({}); champion now: {}", yes(p.promoted.promotion.applied), p.promoted.promotion.reason, p.promoted.champion));
    out.join("\n")
}

fn bars(s: &Search) -> Vec<String> {
    let row = |r: &hurdles::Row| {
        let mark = if r.passed { "pass" } else { "FAIL" };
        text!("  {mark}  {:<18} {:>9}   bar {}", r.name, r.value.map_or("-".into(), |v| hurdles::shown(&r.name, v)), r.bar)
    };
    s.verdict.rows.iter().map(row).collect()
}

fn yes(is: bool) -> &'static str {
    if is { "yes" } else { "NO" }
}
