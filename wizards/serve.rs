//! The signal service: the champion answers over HTTP, loopback unless a token guards it.

use crate::kit::{Outcome, Run, Scope, Step, Verb, Wizard};
use crate::steps::{keys, service, training};
use data_layer::error::Result;

const MODEL: Step = Step::ask("model-name", Scope::Drive, "Strategy", "The champion of this strategy is served.", training::strategy_question);
const ADDRESS: Step = Step::ask("serve-address", Scope::Host, "Address", "Loopback needs no token; anything else does.", service::address_question);
const TOKEN: Step = Step::secrets("serve-token", "Token", "Whoever is not on this machine must prove that they may ask.", service::TOKEN);
const CHAMPION: Step = Step::new("champion", Verb::Check, Scope::Drive, "Champion", "Without a champion there is nothing honest to serve.");
const SERVE: Step = Step::new("serve", Verb::KeepRunning, Scope::Host, "Serving", "Until it is stopped; a new champion is swapped in between two requests.");

pub const WIZARD: Wizard =
    Wizard { name: "serve", purpose: "answer signal requests over HTTP", steps: &[MODEL, ADDRESS, TOKEN, CHAMPION, SERVE], usually: &[] };

/// The runbook.
pub fn run(run: &mut Run<'_>) -> Result<Outcome> {
    let model: String = run.ask(&MODEL)?;
    let address: String = run.ask(&ADDRESS)?;
    let stop_after: i64 = run.given(&service::stop_after_question())?;
    if !service::is_loopback(&address) {
        keys::ask(run, &TOKEN)?;
    }
    run.check(&CHAMPION, |act| service::champion(act, &model))?;
    run.keep_running(&SERVE, |act| service::serve(act, &model, &address, stop_after))?;
    Ok(service::outcome(stop_after))
}
