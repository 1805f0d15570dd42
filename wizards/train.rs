//! Models are trained on GREEN data, under gates that they cannot talk their way around.

use crate::kit::{Outcome, Run, Scope, Step, Verb, Wizard};
use crate::steps::mirror;
use crate::steps::training::{self, Chosen, Trained, Workbench};
use data_layer::error::Result;

const MODELS: Step = Step::ask(
    "model-names",
    Scope::Drive,
    "Models",
    "Each model has its own configuration; all of them share the trial ledger and want the one champion's place.",
    training::models_question,
);
const REVIEW: Step = Step::new("review", Verb::Review, Scope::Drive, "Review", "What will be asked of the data and of the model, before any work.");
const WINDOW: Step = Step::new("window", Verb::Act, Scope::Drive, "Window pinned", "A run that is continued next week must not train on next week's data.");
const GREEN: Step = Step::new("green", Verb::Check, Scope::Drive, "GREEN gate", "Models train only on windows whose stored bytes were read and checked.");
const SNAPSHOT: Step = Step::new("snapshot", Verb::Act, Scope::Drive, "Data snapshot pinned", "The exact files, by digest, that this model may ever read.");
const LEAKS: Step = Step::new("leaks", Verb::Act, Scope::Drive, "Leak detector", "Features, labels and splits are searched for tomorrow's news.");
const NO_LEAK: Step = Step::new("no-leak", Verb::Check, Scope::Drive, "No look-ahead", "A model that saw the future is refused, however good it looks.");
const CPCV: Step = Step::new(
    "cross-validate",
    Verb::Act,
    Scope::Drive,
    "Cross-validation",
    "Purged, embargoed, combinatorial: every session is predicted by models that never saw it.",
);
const FIT: Step = Step::new(
    "fit",
    Verb::Act,
    Scope::Drive,
    "Final fit and artifacts",
    "The model, its ONNX twin, its features and its out-of-sample record, each with a digest.",
);
const REGISTER: Step = Step::new("register", Verb::Act, Scope::Drive, "Registered as challenger", "The registry knows every model and every trial, for ever.");

pub const WIZARD: Wizard = Wizard {
    name: "train",
    purpose: "train models on GREEN data, under honest gates",
    steps: &[MODELS, REVIEW, WINDOW, GREEN, SNAPSHOT, LEAKS, NO_LEAK, CPCV, FIT, REGISTER],
    usually: &[("leaks", 5), ("cross-validate", 50), ("fit", 2)],
};

/// The runbook: one review, then each model from its data to the registry.
pub fn run(run: &mut Run<'_>) -> Result<Outcome> {
    let models: Vec<String> = run.ask(&MODELS)?;
    let chosen = training::choose(run.host(), run.root(), models)?;
    run.review(&REVIEW, |act| training::plan(act, &chosen))?;
    let trained = run.laps(&chosen, |c| &c.model, train)?;
    Ok(mirror::copy(run.root(), training::outcome(&trained)))
}

fn train(run: &mut Run<'_>, chosen: &Chosen) -> Result<Trained> {
    let config = &chosen.config;
    let window = run.act(&WINDOW, &config.sha256, |act| training::pin_window(act, config))?;
    run.check(&GREEN, |act| training::green(act, config, &window))?;
    let pinned = run.act_verified(&SNAPSHOT, &(&config.sha256, &window), training::snapshot_is_whole, |act| training::pin_snapshot(act, config, &window))?;
    let bench = Workbench::new(run.root(), &pinned);
    let leaks = run.act(&LEAKS, &pinned.version, |_| bench.search_for_leaks())?;
    run.check(&NO_LEAK, |_| training::require_no_leak(&leaks))?;
    let cv = run.act(&CPCV, &pinned.version, |act| bench.cross_validate(act))?;
    let artifact = run.act_verified(&FIT, &(&pinned.version, cv.chosen), training::artifact_is_whole, |act| bench.fit(act, &cv, &leaks))?;
    run.act(&REGISTER, &artifact, |act| training::register(act, &pinned, &cv, &artifact))?;
    Ok(training::trained(&pinned, &cv))
}
