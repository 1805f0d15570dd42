//! The copy of the registry on an MLflow server, for whoever named one. It never holds up a run.

use crate::kit::Outcome;
use data_layer::root::DataRoot;
use engine::models::mlflow::{self, Delivered};

/// Send what is due and say where it can be looked at, or why it waits. A server that is away, or an address that is not
/// allowed, is a line and no failure.
pub fn copy(root: &DataRoot, mut outcome: Outcome) -> Outcome {
    match mlflow::deliver(root) {
        Ok(None) => {}
        Ok(Some(delivered)) => {
            if delivered.waiting == 0 && delivered.refused.is_empty() {
                outcome.links.push(("MLflow".to_string(), delivered.address.clone()));
            } else {
                outcome.next.push(("trademl model mirror".to_string(), sentence(&delivered)));
            }
        }
        Err(e) => outcome.next.push(("trademl doctor".to_string(), text!("the copy to MLflow was not made: {e}"))),
    }
    outcome
}

/// What a delivery did, in one sentence.
pub fn sentence(d: &Delivered) -> String {
    let entries = |n: usize| if n == 1 { "1 entry".to_string() } else { text!("{n} entries") };
    let mut out = text!("{} sent to {}", entries(d.sent), d.address);
    if d.waiting > 0 {
        let why = d.away.as_deref().unwrap_or("the server is away");
        out.push_str(&text!("; {} waiting: {why}", entries(d.waiting)));
    }
    for refusal in &d.refused {
        out.push_str(&text!("; refused: {refusal}"));
    }
    out
}
