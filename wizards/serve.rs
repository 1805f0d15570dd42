//! The signal service: the champion answers over HTTP, loopback unless a token guards it.

use crate::kit::{Outcome, Run, Scope, Step, Verb, Wizard};
use crate::steps::{service, training};
use data_layer::error::Result;

const MODEL: Step = Step::new("model-name", Verb::Ask, Scope::Drive, "Model", "The champion of this strategy is served.");
const ADDRESS: Step = Step::new("serve-address", Verb::Ask, Scope::Host, "Address", "Loopback needs no token; anything else does.");
const STOP_AFTER: Step = Step::new("serve-stop-after", Verb::Ask, Scope::Host, "Stop after", "A smoke test wants a service that ends by itself.");
const TOKEN: Step = Step::new("serve-token", Verb::Ask, Scope::Host, "Token", "Whoever is not on this machine must prove that they may ask.");
const CHAMPION: Step = Step::new("champion", Verb::Check, Scope::Drive, "Champion", "Without a champion there is nothing honest to serve.");
const SERVE: Step = Step::new("serve", Verb::KeepRunning, Scope::Host, "Serving", "Until it is stopped; a new champion is swapped in between two requests.");

pub const WIZARD: Wizard = Wizard { name: "serve", purpose: "answer signal requests over HTTP", steps: &[MODEL, ADDRESS, STOP_AFTER, TOKEN, CHAMPION, SERVE] };

/// The runbook.
pub fn run(run: &mut Run<'_>) -> Result<Outcome> {
    let model: String = run.ask(&MODEL, training::model_question())?;
    let address: String = run.ask(&ADDRESS, service::address_question())?;
    let stop_after: i64 = run.ask(&STOP_AFTER, service::stop_after_question())?;
    if !service::is_loopback(&address) {
        service::ask_token(run, &TOKEN)?;
    }
    run.check(&CHAMPION, |act| service::champion(act, &model))?;
    run.keep_running(&SERVE, |act| service::serve(act, &model, &address, stop_after))?;
    Ok(service::outcome(stop_after))
}
