//! `trademl practice`: the time of a practice drive's world. It stands still until it is told to pass.

use super::{open_root, say};
use crate::cli::{Moment, PracticeArgs};
use crate::kit::logs::Log;
use crate::steps;
use data_layer::error::{Error, Result, code};
use data_layer::host::Host;
use data_layer::sandbox::client;
use data_layer::sandbox::clock::ClockFace;
use data_layer::time::new_york;

/// Seconds after an opening at which the orders that waited for it are filled.
pub const MORNING: i64 = 10;
/// Seconds after a close at which every vendor has the session.
pub const EVENING: i64 = 20 * 60;

/// Let sessions pass: to the next opening, or to the evening after the next close.
pub fn run(host: &Host, log: &Log, args: &PracticeArgs) -> Result<u8> {
    let root = open_root(host, args.root.clone())?;
    if !root.is_world() {
        return Err(Error::new(code::USE_ARGUMENT, "this drive holds the real market: its time passes by itself").fix("trademl practice --root PRACTICE_DRIVE"));
    }
    log.move_to(&root)?;
    let held = steps::preamble::hold(&root, "practice", false)?;
    let (_root, world) = steps::world::of_root(host, &root)?;
    let host = &world.host;
    let base = client::base_from(host.env_all()).ok_or_else(|| Error::bug("a practice drive without its world"))?;
    for _ in 0..args.sessions {
        let face = host.block_on(client::clock(host, &base))??;
        let to = match args.to {
            Moment::Open => face.next_open.plus_seconds(MORNING),
            Moment::Close => face.next_close.plus_seconds(EVENING),
        };
        say(&line(args.to, &host.block_on(client::advance(host, &base, to))??));
    }
    let then = match args.to {
        Moment::Open => vec!["  trademl paper-trade    reconcile and send what waited for money", "  trademl practice       on to the evening"],
        Moment::Close => {
            vec![
                "  trademl node once      fetch and judge the new session",
                "  trademl shadow         score it",
                "  trademl paper-trade    report, plan the next one",
            ]
        }
    };
    say("next");
    then.iter().for_each(|row| say(row));
    drop(held);
    Ok(0)
}

fn line(to: Moment, face: &ClockFace) -> String {
    let clock: String = face.now.to_string().replace('T', " ").chars().take(16).collect();
    let day = face.now.day_in(&new_york());
    match to {
        Moment::Open => text!("practice time {clock}Z: {day} has opened; a paper account fills what waited, the simulated book when the day's bars are there"),
        Moment::Close => text!("practice time {clock}Z: {day} is over, and its prices can be asked for"),
    }
}
