//! The newest challenger against the champion: same days, same costs, out of sample; the verdict is recorded either way.

use crate::kit::{Outcome, Run, Scope, Step, Verb, Wizard};
use crate::steps::{judging, mirror, training};
use data_layer::error::Result;

const MODEL: Step = Step::ask("model-name", Scope::Drive, "Model", "Champion and challenger are of one strategy.", training::model_question);
const HOLDOUT: Step = Step::ask(
    "holdout",
    Scope::Drive,
    "Dark holdout",
    "The newest months that nothing has seen can be looked at once in the life of a family; the look is recorded for ever.",
    judging::holdout_question,
);
const PAIR: Step = Step::new("pair", Verb::Act, Scope::Drive, "Challenger and champion", "What is compared must not change while it is compared.");
const LOOK: Step = Step::new("look", Verb::Act, Scope::Drive, "The one look", "What it showed stands in every later report; left sealed, it stays dark.");
const COMPARE: Step = Step::new("compare", Verb::Act, Scope::Drive, "Comparison", "Both trade the same out-of-sample days under the same cost model.");
const TEAR_SHEET: Step = Step::new("tear-sheet", Verb::Act, Scope::Drive, "Tear sheet", "Pictures and numbers a person can argue with, in one file.");
const VERDICT: Step =
    Step::new("verdict", Verb::Act, Scope::Drive, "Verdict recorded", "Promotion is a rule's outcome, never a mood; a refusal is an outcome too.");

pub const WIZARD: Wizard = Wizard {
    name: "evaluate",
    purpose: "judge the newest challenger against the champion",
    steps: &[MODEL, HOLDOUT, PAIR, LOOK, COMPARE, TEAR_SHEET, VERDICT],
    usually: &[],
};

/// The runbook.
pub fn run(run: &mut Run<'_>) -> Result<Outcome> {
    let model: String = run.ask(&MODEL)?;
    let open: bool = run.ask(&HOLDOUT)?;
    let pair = run.act(&PAIR, &model, |act| judging::pick(act, &model))?;
    run.act(&LOOK, &(&pair, open), |act| judging::look(act, &pair, open))?;
    let evidence = run.act(&COMPARE, &pair, |act| judging::compare(act, &pair))?;
    let sheet = run.act(&TEAR_SHEET, &pair, |act| judging::tear_sheet(act, &pair, &evidence))?;
    let verdict = run.act(&VERDICT, &pair, |act| judging::record(act, &pair, &evidence))?;
    Ok(mirror::copy(run.root(), judging::outcome(run.report(), &evidence, &verdict, &sheet)))
}
