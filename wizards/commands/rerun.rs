//! `trademl rerun`: a trained model made again from what its run pinned, and compared byte by byte.

use super::{emit, open_root, say};
use crate::cli::RerunArgs;
use crate::kit::logs::Log;
use crate::kit::report::{Reporter, Voice};
use crate::steps;
use data_layer::error::Result;
use data_layer::host::Host;
use data_layer::store;
use engine::models::registry::Registry;
use engine::pipelines::recall;
use engine::pipelines::rerun::{self, Rerun};
use engine::types::Progress;

/// Make the model again. Exit 0 when every byte is the same, 3 when something differs.
pub fn run(host: &Host, log: &Log, args: &RerunArgs) -> Result<u8> {
    let root = open_root(host, args.root.clone())?;
    log.move_to(&root)?;
    let held = steps::preamble::hold(&root, "train", false)?;
    let (root, _world) = steps::world::of_root(host, &root)?;
    let row = recall::find(&Registry::open(&root)?, &args.strategy, &args.id)?;
    let voice = match (args.json, console::Term::stderr().is_term()) {
        (true, _) => Voice::Silent,
        (false, true) => Voice::Rich,
        (false, false) => Voice::Plain,
    };
    let bar = Bar(Reporter::new(root.host(), voice, "rerun", Some(log.shown(host))));
    let threads = args.threads.unwrap_or_else(rayon::current_num_threads);
    let outcome = rerun::rerun(&root, &row, &bar, threads)?;
    drop(held);
    if args.json {
        emit(&store::canonical_json(&outcome)?);
    } else {
        lines(&outcome).iter().for_each(|line| say(line));
    }
    Ok(if outcome.equal { 0 } else { 3 })
}

fn lines(r: &Rerun) -> Vec<String> {
    let mut out = vec![text!("{} {} of run {}, from {}", r.strategy, r.version, r.run_id, r.data_snapshot)];
    if r.code[0] != r.code[1] {
        out.push(text!("  trained by {}, made again by {}: a difference below may be the program's", r.code[0], r.code[1]));
    }
    if let [Some(then), Some(now)] = &r.program_sha256 {
        out.push(if then == now {
            "  by the same build of the program".into()
        } else {
            text!("  trained by the build {}, made again by {}", &then[..12], &now[..12])
        });
    }
    for file in &r.files {
        out.push(text!("  {:<7} {:<22} {:>10} bytes", if file.equal { term!("equal") } else { term!("DIFFERS") }, file.name, file.bytes[1]));
        out.extend(file.differences.iter().map(|d| format!("          {d}")));
    }
    out.push(match r.files.iter().filter(|f| !f.equal).count() {
        0 => text!("every byte of {} files is the same", r.files.len()),
        n => text!("{n} of {} files differ", r.files.len()),
    });
    out
}

struct Bar(Reporter);

impl Progress for Bar {
    fn tick(&self, done: u64, total: u64, what: &str) {
        self.0.progress("rerun", done, total, what);
    }
}
