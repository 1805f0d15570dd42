//! The model registry: registering, promoting, and finding the champion.

use super::Bench;
use super::measure::Job;
use data_layer::error::Result;
use data_layer::root::DataPath;
use engine::models::registry::{Decision, ModelRow, Registry, Stage};
use serde_json::{Value, json};

/// Lookups of one repeat.
const LOOKUPS: usize = 50;

/// Models registered with 20 parameters and 20 metrics each and promoted in turn; then the champion looked up.
pub fn registry(bench: &mut Bench<'_>) -> Result<()> {
    let models = bench.scale.pick(3, 20, 100);
    let model = vec![7_u8; 500_000];
    let log = bench.clock.measure(
        Job::new("registry_log_register_promote", models, "runs").repeats(2),
        || bench.fresh_root("registry"),
        |root| {
            let registry = Registry::open(&root)?;
            for i in 0..models {
                let row = row(bench, i)?;
                data_layer::store::write_atomic(&root, &row.path.join("model.txt")?, &model)?;
                registry.register(&row, "register")?;
                let decision = Decision { rule: "bench", verdict: Value::Null, operator: "bench", reason: "measured" };
                registry.set_stage(&row.strategy, &row.version, Stage::Champion, &decision)?;
            }
            Ok(registry)
        },
        |registry| Ok(json!({"last_version": registry.champion("bench").is_ok()})),
    )?;
    let root = data_layer::root::DataRoot::open(bench.host, &bench.work.join("registry"))?;
    let registry = Registry::open(&root)?;
    let resolve = bench.clock.measure(
        Job::new("registry_resolve_champion", LOOKUPS, "lookups").repeats(3),
        || Ok(()),
        |()| (0..LOOKUPS).map(|_| registry.champion("bench")).next_back().transpose(),
        |found| Ok(json!({"ok": found.is_some()})),
    )?;
    bench.lines.extend([log, resolve]);
    Ok(())
}

fn row(bench: &Bench<'_>, i: usize) -> Result<ModelRow> {
    let numbers: Value = (0..20).map(|k| (format!("m{k}"), json!(k))).collect::<serde_json::Map<_, _>>().into();
    Ok(ModelRow {
        strategy: "bench".into(),
        version: format!("v{i:04}"),
        path: DataPath::new(format!("models/bench/v{i:04}"))?,
        sha256: format!("{i:064x}"),
        stage: Stage::Challenger,
        family: "bench".into(),
        metrics: numbers.clone(),
        config: numbers,
        data_snapshot: "none".into(),
        run_id: "bench".into(),
        created_at: bench.host.now(),
        activated_at: None,
        deactivated_at: None,
    })
}
