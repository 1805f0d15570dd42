//! `configs/paper.yml`: the hard limits of paper accounts.

use crate::execution::risk::Limits;
use data_layer::config::Loaded;
use data_layer::error::{Error, Result, code};
use data_layer::root::DataRoot;
use serde::{Deserialize, Serialize};

/// The built-in configuration.
pub const PAPER: &str = include_str!("../../../configs/paper.yml");
/// Its JSON Schema.
pub const PAPER_SCHEMA: &str = include_str!("../../../configs/paper.schema.json");

/// What a person may change about paper accounts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PaperSettings {
    pub version: u32,
    pub limits: Limits,
}

impl PaperSettings {
    /// Refuse what cannot mean anything, and limits that would switch a check off.
    pub fn validate(&self) -> Result<()> {
        if self.version != 1 {
            return Err(Error::new(code::CFG_VALUE, "the paper configuration needs version 1")
                .found(self.version.to_string())
                .fix("compare it with configs/paper.yml"));
        }
        self.limits.check()
    }
}

/// The settings in force: built-in, then the drive's, then this machine's; every leaf with the layer that decided it.
pub fn configured(root: &DataRoot) -> Result<Loaded<PaperSettings>> {
    let loaded: Loaded<PaperSettings> = data_layer::config::load("paper", PAPER, root.host(), Some(root))?;
    loaded.value.validate()?;
    Ok(loaded)
}

/// The limits that are not the built-in ones, with the layer that set each.
pub fn changed(loaded: &Loaded<PaperSettings>) -> Result<Vec<String>> {
    let value = serde_json::to_value(&loaded.value)?;
    let at = |path: &str| path.split('.').try_fold(&value, |v, part| v.get(part)).cloned().unwrap_or_default();
    let own = loaded.origins.iter().filter(|(path, layer)| path.starts_with("limits.") && *layer != "built-in");
    Ok(own.map(|(path, layer)| text!("{path} = {} ({layer} paper.yml)", at(path))).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::execution::broker::fake::journal;
    use data_layer::root::DataPath;
    use data_layer::store;

    #[test]
    fn the_built_in_limits_are_the_defaults_and_a_drive_may_change_them_strictly_and_visibly() {
        let (_dir, root, _db) = journal();
        let built_in = configured(&root).unwrap();
        assert_eq!(built_in.value.limits, Limits::default());
        assert!(changed(&built_in).unwrap().is_empty());
        let place = DataPath::new("control/configs/paper.yml").unwrap();
        let with = |text: &str| {
            store::write_atomic(&root, &place, text.as_bytes()).unwrap();
            configured(&root)
        };
        let mine = with("version: 1\nlimits: {gross_usd: 50000, long_usd: 40000, blacklist: [GME]}\n").unwrap();
        assert_eq!((mine.value.limits.gross_usd, mine.value.limits.short_usd), (50_000.0, 20_000.0));
        assert_eq!(mine.value.limits.blacklist, ["GME"]);
        let said = changed(&mine).unwrap();
        assert!(said.len() == 3 && said.contains(&"limits.gross_usd = 50000.0 (drive paper.yml)".to_string()), "{said:?}");
        for bad in ["limits: {gros_usd: 1}", "limits: {gross_usd: 0}", "limits: {gross_usd: .nan}", "version: 2", "limit: {}", "limits: {drawdown_soft: 0.2}"] {
            assert!(with(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_schema_names_every_limit_and_no_other() {
        let schema: serde_json::Value = serde_json::from_str(PAPER_SCHEMA).unwrap();
        let limits = serde_json::to_value(Limits::default()).unwrap();
        let names = |v: &serde_json::Value| v.as_object().unwrap().keys().cloned().collect::<std::collections::BTreeSet<_>>();
        assert_eq!(names(&schema["properties"]["limits"]["properties"]), names(&limits));
    }
}
