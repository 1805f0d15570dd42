//! Champion and challengers are scored day by day; targets are recorded, nothing is sent.

use crate::kit::{Outcome, Run, Scope, Step, Verb, Wizard};
use crate::steps::{shadowing, training};
use data_layer::error::Result;

const MODEL: Step =
    Step::ask("model-name", Scope::Drive, "Strategy", "Every model of the strategy that is not retired is shadowed.", training::strategy_question);
const DATA: Step = Step::new("data", Verb::Check, Scope::Drive, "Data of the day", "A day is scored only on bars that were checked.");
const CATCH_UP: Step = Step::new("catch-up", Verb::Act, Scope::Drive, "Days scored", "Weeks away are caught up, session by session, each recorded once.");

pub const WIZARD: Wizard =
    Wizard { name: "shadow", purpose: "score champion and challengers day by day, sending nothing", steps: &[MODEL, DATA, CATCH_UP], usually: &[] };

/// The runbook.
pub fn run(run: &mut Run<'_>) -> Result<Outcome> {
    let model: String = run.ask(&MODEL)?;
    run.check(&DATA, shadowing::data_of_the_day)?;
    let report = run.act(&CATCH_UP, &model, |act| shadowing::catch_up(act, &model))?;
    Ok(shadowing::outcome(&report, shadowing::behind(run.host(), run.root())?))
}
