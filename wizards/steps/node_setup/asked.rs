//! What `pi-data-node` asks, and what it accepts as an answer.

use super::symbols_of;
use crate::kit::{Choice, Question};
use data_layer::sourcing::settings::is_wall_time;
use serde_json::Value;
use std::path::Path;

pub fn node_id() -> Question {
    Question::text("node.id", "What is this node called?")
        .env("EDGE_NODE_ID")
        .default("node-1", "a plain name; no host name is stored")
        .pattern("^[A-Za-z0-9._-]{1,40}$")
        .help("Letters, digits, '-', '_' and '.'. Two machines that ever write to the same drive should have different names.")
        .check(plain_name)
}

pub fn universe() -> Question {
    let choices = vec![
        Choice::new("builtin", "100 large US companies (stage 0)"),
        Choice::new("file", "my own list of symbols"),
        Choice::new("liquid", "common stocks already on this drive that trade enough, those that are gone included"),
    ];
    Question::select("universe.source", "Which symbols shall the drive hold?", choices)
        .default("builtin", "stage 0 of the plan: 100 symbols, five years of days")
        .help("The list is written to stage.yml with its digest. Stage 1 (500 symbols) follows when stage 0 is GREEN.")
}

pub fn universe_file() -> Question {
    Question::path("universe.file", "Which file holds the symbols?")
        .no_default("only you know where your list is")
        .help("One symbol a line; blank lines and what follows a '#' are left out. The file is read now and not needed later.")
        .check(readable_symbols)
}

pub fn maintenance() -> Question {
    Question::text("maintenance.time", "When is the daily maintenance (local time)?")
        .default("02:00", "after the vendors' last corrections")
        .pattern("^([01]?[0-9]|2[0-3]):[0-5][0-9]$")
        .help("Hours and minutes of this machine's time zone. Exports and backups are made then; collecting does not wait for it.")
        .check(wall_time)
}

pub fn service() -> Question {
    let choices = vec![Choice::new("none", "no: I start it by hand"), Choice::new("systemd", "yes: show me the command that installs a systemd unit")];
    Question::select("node.service", "Shall the node start with the machine?", choices)
        .default("none", "no system file is ever touched by this wizard")
        .help("With systemd, the one command that writes a unit for your user is printed at the end; nothing is installed without it.")
}

pub fn start() -> Question {
    let choices = vec![
        Choice::new("now", "now, and show me the progress"),
        Choice::new("watch", "now, on a live screen (q leaves it, the work goes on)"),
        Choice::new("later", "later: trademl node run"),
    ];
    Question::select("node.start", "Fill the drive?", choices)
        .default("now", "the queue is worked off within the vendors' limits; it can be stopped at any moment")
        .help("All of them seed the queue. Later leaves the work to `trademl node run` or to the service.")
}

// --- validators -----------------------------------------------------------------------------------------------------

fn plain_name(value: &Value) -> Result<(), String> {
    let name = value.as_str().unwrap_or_default();
    let good = (1..=40).contains(&name.len()) && name.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c));
    if good { Ok(()) } else { Err("letters, digits, '-', '_' and '.', at most 40 of them".into()) }
}

fn readable_symbols(value: &Value) -> Result<(), String> {
    let plain = |error: data_layer::error::Error| error.body().what.clone();
    let text = crate::kit::read_text(Path::new(value.as_str().unwrap_or_default())).map_err(plain)?;
    symbols_of(&text).map(drop).map_err(plain)
}

fn wall_time(value: &Value) -> Result<(), String> {
    if is_wall_time(value.as_str().unwrap_or_default()) { Ok(()) } else { Err("a time of day such as 02:00 is needed".into()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_names_are_checked() {
        assert!(wall_time(&"02:00".into()).is_ok() && wall_time(&"24:00".into()).is_err() && wall_time(&"2".into()).is_err());
        assert!(plain_name(&"pi-1".into()).is_ok() && plain_name(&"a b".into()).is_err() && plain_name(&"".into()).is_err());
    }
}
