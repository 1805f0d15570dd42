//! Keys and settings of this machine: asked for once, kept in its private `.env`, never on the drive.

use crate::kit::{Run, SecretSpec, Step};
use data_layer::detect;
use data_layer::env_file;
use data_layer::error::Result;
use data_layer::host::Host;
use data_layer::root::SENTINEL;
use secrecy::ExposeSecret;

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
    let host = run.host().clone();
    let shown = host.clone();
    let have = move |var: &str| stored(&shown, var).map(|value| masked(&value));
    let mut store = |var: &str, secret: &secrecy::SecretString| {
        if host.env(var).is_some() {
            return Ok(());
        }
        let mut file = env_file::read(&host)?;
        file.set(var, secret.expose_secret());
        env_file::save(&host, &file).map(drop)
    };
    run.ask_secrets(step, &have, &mut store)
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

    #[test]
    fn a_masked_key_cannot_be_used() {
        assert_eq!(masked("PKABCDEFGHIJKLMNOP7Q"), "PK...7Q");
        assert_eq!(masked("short"), "(set)");
    }
}
