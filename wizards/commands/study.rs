//! `trademl study`: do the gates refuse nothing but luck, and let nothing but an edge through?

use super::{emit, say};
use crate::cli::StudyArgs;
use data_layer::error::{Error, Result, code};
use data_layer::store;
use engine::pipelines::config::TrainingConfig;
use engine::pipelines::study::{self, Outcome, Study};

/// Run the study; exit 3 when the gates do not hold.
pub fn run(args: &StudyArgs) -> Result<u8> {
    let bars = TrainingConfig::built_in("equities_xs")?.bars;
    let study = Study { searches: args.searches, configurations: args.configurations, seed: args.seed, ..Study::default() };
    let outcome = study::run(study, bars)?;
    if args.json {
        emit(&store::canonical_json(&outcome)?);
    } else {
        say(&text(&outcome));
    }
    if outcome.passed {
        return Ok(0);
    }
    Err(Error::new(code::GATE_HURDLES, "the gates do not hold in this study")
        .found(format!(
            "{} of {} searches in nothing would be promoted; planted edge found: {}, promoted: {}, confirmed later: {}",
            outcome.null_promoted,
            study.searches,
            yes(outcome.planted_found),
            yes(outcome.planted.verdict.passed),
            yes(outcome.planted_confirmed)
        ))
        .fix("if luck was promoted: raise bars.dsr or lower bars.pbo in the training configuration")
        .fix("if the edge was refused: search fewer rules (--configurations N); every rule tried makes the bar higher"))
}

fn text(o: &Outcome) -> String {
    let mut out = vec![
        format!("{} searches of {} rules in a market without an edge: {} would be promoted", o.study.searches, o.study.configurations, o.null_promoted),
        format!("the largest Sharpe ratio found in nothing: {:.2}", o.null_best_sharpe),
        format!(
            "the planted edge, among {} rules: found {}, promoted {}, confirmed later {}",
            o.planted.tried,
            yes(o.planted_found),
            yes(o.planted.verdict.passed),
            yes(o.planted_confirmed)
        ),
    ];
    out.extend(
        o.planted.verdict.rows.iter().map(|r| format!("  {:<14} {:>9}   bar {}", r.name, r.value.map_or("undefined".into(), |v| format!("{v:.3}")), r.bar)),
    );
    out.join("\n")
}

fn yes(is: bool) -> &'static str {
    if is { "yes" } else { "NO" }
}
