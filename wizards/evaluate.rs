//! Challengers against the champion: same days, same costs, out of sample; the verdict is recorded either way.

use crate::kit::{Outcome, Run, Scope, Step, Verb, Wizard};
use crate::steps::judging::{self, Judged};
use crate::steps::{mirror, training};
use data_layer::error::Result;

const MODEL: Step = Step::ask("model-name", Scope::Drive, "Strategy", "Champion and challenger are of one strategy.", training::strategy_question);
const HOLDOUT: Step = Step::ask(
    "holdout",
    Scope::Drive,
    "Dark holdout",
    "The newest months that nothing has seen can be looked at once in the life of a family; the look is recorded for ever.",
    judging::holdout_question,
);
const WAITING: Step = Step::new(
    "challengers",
    Verb::Act,
    Scope::Drive,
    "Challengers",
    "Every challenger is owed a verdict, and another when it has its shadow weeks; when none is, those of the newest session are judged again.",
);
const PAIR: Step = Step::new("pair", Verb::Act, Scope::Drive, "Challenger and champion", "What is compared must not change while it is compared.");
const LOOK: Step = Step::new("look", Verb::Act, Scope::Drive, "The one look", "What it showed stands in every later report; left sealed, it stays dark.");
const COMPARE: Step = Step::new("compare", Verb::Act, Scope::Drive, "Comparison", "Both trade the same out-of-sample days under the same cost model.");
const TEAR_SHEET: Step = Step::new("tear-sheet", Verb::Act, Scope::Drive, "Tear sheet", "Pictures and numbers a person can argue with, in one file.");
const VERDICT: Step =
    Step::new("verdict", Verb::Act, Scope::Drive, "Verdict recorded", "Promotion is a rule's outcome, never a mood; a refusal is an outcome too.");

pub const WIZARD: Wizard = Wizard {
    name: "evaluate",
    purpose: "judge challengers against the champion",
    steps: &[MODEL, HOLDOUT, WAITING, PAIR, LOOK, COMPARE, TEAR_SHEET, VERDICT],
    usually: &[],
};

/// The runbook.
pub fn run(run: &mut Run<'_>) -> Result<Outcome> {
    let model: String = run.ask(&MODEL)?;
    let open: bool = run.ask(&HOLDOUT)?;
    let waiting: Vec<String> = run.act(&WAITING, &model, |act| judging::waiting(act, &model))?;
    // The one look is for one model: the newest.
    let judged = run.laps(&waiting, |version| version, |run, version| judge(run, &model, version, open && waiting.last() == Some(version)))?;
    Ok(mirror::copy(run.root(), judging::outcome(run.report(), &judged)))
}

fn judge(run: &mut Run<'_>, model: &str, challenger: &str, open: bool) -> Result<Judged> {
    let pair = run.act(&PAIR, &(model, challenger), |act| judging::pick(act, model, challenger))?;
    if open {
        run.act(&LOOK, &pair, |act| judging::look(act, &pair))?;
    } else {
        run.report().note(&text!("  {}", judging::holdout_words(run.root(), &pair.strategy)?));
    }
    let evidence = run.act(&COMPARE, &pair, |act| judging::compare(act, &pair))?;
    let sheet = run.act(&TEAR_SHEET, &pair, |act| judging::tear_sheet(act, &pair, &evidence))?;
    let verdict = run.act(&VERDICT, &pair, |act| judging::record(act, &pair, &evidence))?;
    Ok(Judged { evidence, verdict, sheet })
}
