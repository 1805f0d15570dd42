//! Keys and settings of this machine: asked for once, kept in its private `.env`, never on the drive.

use crate::kit::{KeyRing, Run, SecretSpec, Step, Tried};
use data_layer::detect;
use data_layer::env_file;
use data_layer::error::Result;
use data_layer::host::Host;
use data_layer::root::{DataRoot, SENTINEL};
use data_layer::scheduler::{self, KeyVerdict};
use data_layer::sourcing::{self, Vendor, Vendors};
use secrecy::{ExposeSecret, SecretString};

/// The node's name until the user chose one.
pub const DEFAULT_NODE: &str = "node-1";

/// The data vendors' keys.
pub const DATA_KEYS: &[SecretSpec] = &[
    SecretSpec { var: "ALPACA_API_KEY", label: "Alpaca key id (free paper account)", without: "no daily bars: the drive stays empty", required: true },
    SecretSpec { var: "ALPACA_API_SECRET", label: "Alpaca secret", without: "no daily bars: the drive stays empty", required: true },
    SecretSpec {
        var: "ALPHA_VANTAGE_API_KEY",
        label: "Alpha Vantage key (free)",
        without: "no dated listings: nobody can say what is missing",
        required: true,
    },
    optional("TIINGO_API_KEY", "Tiingo token (free)", "no days before 2016, and no second opinion on prices"),
    optional("FRED_API_KEY", "FRED key (free)", "no macro series: features that need rates or the VIX are left out"),
    optional("FINNHUB_API_KEY", "Finnhub token (free)", "index membership from the list shipped with the program"),
    optional("MASSIVE_API_KEY", "Massive key (free)", "no third source of daily bars"),
];

const fn optional(var: &'static str, label: &'static str, without: &'static str) -> SecretSpec {
    SecretSpec { var, label, without, required: false }
}

/// Ask for keys. What the process environment already holds is used and not copied anywhere.
pub fn ask(run: &mut Run<'_>, step: &'static Step) -> Result<()> {
    let mut ring = Ring { host: run.host().clone(), root: run.root().clone() };
    run.ask_secrets(step, &mut ring)
}

/// The keys of this machine, in its private `.env`, and the vendors that know them.
struct Ring {
    host: Host,
    root: DataRoot,
}

impl Ring {
    fn vendors(&self) -> Result<Vendors> {
        sourcing::vendors_from(&self.host, &self.root, &env_file::load(&self.host)?)
    }
}

impl KeyRing for Ring {
    fn have(&self, var: &str) -> Option<String> {
        stored(&self.host, var).map(|value| masked(&value))
    }

    fn store(&mut self, var: &str, secret: &SecretString) -> Result<()> {
        if self.host.env(var).is_some() {
            return Ok(());
        }
        let mut file = env_file::read(&self.host)?;
        file.set(var, secret.expose_secret());
        env_file::save(&self.host, &file).map(drop)
    }

    fn judge_of(&self, var: &str) -> Result<Option<String>> {
        let Some(vendor) = vendor_of(var) else { return Ok(None) };
        // A vendor that wants two variables is asked when both are there, after the second.
        let last = sourcing::vendors::key_variables(vendor).last() == Some(&var);
        Ok((last && self.vendors()?.missing_keys(vendor).is_empty()).then(|| vendor.to_string()))
    }

    fn try_out(&self, var: &str) -> Result<Tried> {
        let Some(vendor) = vendor_of(var) else { return Ok(Tried::Unknown("no vendor has such a key".into())) };
        let vendors = self.vendors()?;
        let check = match self.host.block_on(scheduler::probe_key(&self.host, &vendors, vendor, None))? {
            Ok(check) => check,
            Err(error) => return Ok(Tried::Unknown(error.body().what.clone())),
        };
        let first = sourcing::vendors::key_variables(vendor).first().copied().unwrap_or_default();
        Ok(match check.verdict {
            KeyVerdict::Ok | KeyVerdict::NotEntitled => Tried::Works(check.detail),
            KeyVerdict::Rejected => Tried::Rejected { words: check.detail, first },
            KeyVerdict::Unreachable => Tried::Unknown(check.detail),
        })
    }
}

fn vendor_of(var: &str) -> Option<Vendor> {
    Vendor::ALL.iter().copied().find(|v| sourcing::vendors::key_variables(*v).contains(&var))
}

/// A variable of the process or of this machine's `.env`.
pub fn stored(host: &Host, var: &str) -> Option<String> {
    env_file::load(host).ok()?.remove(var).filter(|v| !v.is_empty())
}

/// `PK…7Q`: enough to tell two keys apart, not enough to use one.
pub fn masked(value: &str) -> String {
    let chars: Vec<char> = value.chars().collect();
    if chars.len() < 12 {
        return "(set)".into();
    }
    format!("{}{}...{}{}", chars[0], chars[1], chars[chars.len() - 2], chars[chars.len() - 1])
}

/// How this node calls itself in leases and logs.
pub fn node_id(host: &Host) -> Result<String> {
    Ok(env_file::load(host)?.remove("EDGE_NODE_ID").unwrap_or_else(|| DEFAULT_NODE.into()))
}

/// The drive that this machine used the last time, where it is now: a drive that was mounted somewhere else since is found
/// by its own id.
pub fn remembered_root(host: &Host) -> Result<Option<String>> {
    let file = env_file::read(host)?;
    let known = |name: &str| file.get(name).filter(|v| !v.is_empty());
    let Some(place) = known("TRADEML_ROOT") else { return Ok(None) };
    if host.cwd().join(&place).join(SENTINEL).exists() {
        return Ok(Some(place));
    }
    let moved = known("TRADEML_DRIVE").and_then(|id| detect::find(host, &id));
    if let Some(now) = &moved {
        tracing::info!(before = %place, now = %now.display(), "the drive is mounted somewhere else");
    }
    Ok(Some(moved.map_or(place, |now| now.display().to_string())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use data_layer::host::FakeHost;
    use data_layer::root::FsFacts;
    use data_layer::sandbox::{self, SandboxConfig};
    use data_layer::time::UtcTime;

    #[test]
    fn a_masked_key_cannot_be_used() {
        assert_eq!(masked("PKABCDEFGHIJKLMNOP7Q"), "PK...7Q");
        assert_eq!(masked("short"), "(set)");
    }

    #[test]
    fn a_typed_key_is_tried_and_found_good_rejected_or_kept_unchecked() {
        let dir = tempfile::tempdir().unwrap();
        let home = dir.path().join("home").display().to_string();
        let host = Host::fake(FakeHost { env: [("HOME".to_string(), home)].into(), ..FakeHost::default() });
        let now = UtcTime::parse(super::super::world::PRACTICE_NOW).unwrap();
        let config = SandboxConfig { now: Some(now), ..SandboxConfig::of_dataset(super::super::world::PRACTICE, dir.path().join("sandbox")) };
        let sandbox = host.block_on(sandbox::start(&host, config)).unwrap().unwrap();
        let (mut env, mut keys) = (sandbox.env.clone(), Vec::new());
        for var in ["ALPACA_API_KEY", "ALPACA_API_SECRET"] {
            keys.push((var, env.remove(var).expect("the world's key")));
        }
        let host = host.in_world(&env, now);
        let fs = FsFacts::default();
        DataRoot::create(&host, &dir.path().join("drive"), super::super::world::PRACTICE, fs, None).unwrap();
        let mut ring = Ring { root: DataRoot::open(&host, &dir.path().join("drive")).unwrap(), host };
        let give = |ring: &mut Ring, secret: &str| {
            ring.store("ALPACA_API_KEY", &keys[0].1.clone().into()).unwrap();
            ring.store("ALPACA_API_SECRET", &secret.to_string().into()).unwrap();
        };
        ring.store("ALPACA_API_KEY", &"PKWRONG".to_string().into()).unwrap();
        assert_eq!(ring.judge_of("ALPACA_API_KEY").unwrap(), None, "the second half is not there yet");
        give(&mut ring, "wrong");
        assert_eq!(ring.judge_of("ALPACA_API_SECRET").unwrap().as_deref(), Some("alpaca"));
        let rejected = ring.try_out("ALPACA_API_SECRET").unwrap();
        assert!(matches!(&rejected, Tried::Rejected { first: "ALPACA_API_KEY", .. }), "{rejected:?}");
        give(&mut ring, &keys[1].1.clone());
        assert_eq!(ring.try_out("ALPACA_API_SECRET").unwrap(), Tried::Works("the key works".into()));
        drop(sandbox);
        let unknown = ring.try_out("ALPACA_API_SECRET").unwrap();
        assert!(matches!(&unknown, Tried::Unknown(_)), "{unknown:?}");
    }
}
