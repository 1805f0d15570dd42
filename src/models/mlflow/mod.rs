//! An optional copy of the registry on an MLflow server: runs, parameters, metrics, artifacts, model versions, and the aliases
//! `champion` and `challenger`.
//!
//! The registry on the drive is the truth and never waits for its copy. What is still to be said is derived from the
//! registry's append-only events ([`outbox`]), so a server that was away, or that was set up a year later, hears
//! everything, in order. Each entry becomes a few REST calls of which every one may be repeated: what exists is found by a
//! tag before it is made. An answer that was lost on the way therefore makes no second run and no second version.
//!
//! Source: MLflow's REST API 2.0 (mlflow.org/docs/latest/rest-api.html) and the server's artifact proxy.

mod client;
mod outbox;
mod speak;
#[cfg(test)]
mod tests;

use crate::models::registry::Registry;
use client::{Failure, Server};
use data_layer::error::{Error, Result, code};
use data_layer::host::Host;
use data_layer::root::DataRoot;
use serde::Serialize;
use std::net::IpAddr;

/// Where MLflow's own clients look for the server.
pub const TRACKING_URI: &str = "MLFLOW_TRACKING_URI";
/// Stands in for the address above, as every vendor's does.
const BASE_URL: &str = "TRADEML_BASE_URL_MLFLOW";

/// What a delivery did.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize)]
pub struct Delivered {
    pub sent: usize,
    /// Entries that the server will not have, each with its reason; they are not tried again.
    pub refused: Vec<String>,
    /// Entries that wait for the server.
    pub waiting: usize,
    /// Why they wait.
    pub away: Option<String>,
    /// Where a person looks at the copy.
    pub address: String,
}

/// Say everything that is still to be said. `None` when no server is configured. A server that is away, or that refuses an
/// entry, is not an error: the registry is whole without it.
pub fn deliver(root: &DataRoot) -> Result<Option<Delivered>> {
    let Some(server) = configured(root)? else { return Ok(None) };
    let registry = Registry::open(root)?;
    outbox::fill(&registry)?;
    let mut out = Delivered { address: server.address().to_string(), ..Delivered::default() };
    let entries = outbox::waiting(&registry)?;
    if let (Err(Failure::Away(why)), false) = (server.is_up(), entries.is_empty()) {
        return Ok(Some(Delivered { waiting: entries.len(), away: Some(why), ..out }));
    }
    for (done, entry) in entries.iter().enumerate() {
        match speak::say(&server, root, &registry, entry)? {
            Ok(answer) => {
                outbox::sent(&registry, entry, &answer)?;
                out.sent += 1;
            }
            Err(Failure::Refused { code, what }) => {
                outbox::sent(&registry, entry, &serde_json::json!({"refused": what, "code": code}))?;
                out.refused.push(format!("{} {}: {what}", entry.strategy, entry.version));
            }
            Err(Failure::Away(why)) => {
                (out.waiting, out.away) = (entries.len() - done, Some(why));
                break;
            }
        }
    }
    Ok(Some(out))
}

/// How many entries wait, whether or not a server is configured.
pub fn waiting(root: &DataRoot) -> Result<usize> {
    let registry = Registry::open(root)?;
    outbox::fill(&registry)?;
    Ok(outbox::waiting(&registry)?.len())
}

/// The server that the environment names; refuses addresses that would carry the copy in the open.
fn configured(root: &DataRoot) -> Result<Option<Server>> {
    let host = root.host();
    let Some(address) = host.env(BASE_URL).or_else(|| host.env(TRACKING_URI)) else { return Ok(None) };
    let secret = ["MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN"].iter().any(|name| host.env(name).is_some());
    let place = place_of(address)?;
    if root.is_world() && place != Place::Here {
        return Err(Error::new(code::NET_FORBIDDEN_HOST, "a practice drive speaks to this machine only").found(format!("{TRACKING_URI}={address}")));
    }
    if address.starts_with("http://") && (place == Place::Far || (place == Place::Near && secret)) {
        return Err(Error::new(code::NET_FORBIDDEN_HOST, format!("{TRACKING_URI} must be https beyond the local network, and wherever a password is sent"))
            .found(address.to_string()));
    }
    Server::new(host, address).map(Some)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// This machine.
    Here,
    /// A private address, or a name without a dot or below `.local`.
    Near,
    Far,
}

fn place_of(address: &str) -> Result<Place> {
    let wrong = || {
        Error::new(code::CFG_VALUE, format!("{TRACKING_URI} must be the address of a running server"))
            .cause("folders and databases are MLflow's own to write")
            .found(address.to_string())
            .fix("mlflow server --backend-store-uri sqlite:///mlflow.db, then MLFLOW_TRACKING_URI=http://127.0.0.1:5000")
    };
    let rest = address.strip_prefix("http://").or_else(|| address.strip_prefix("https://")).ok_or_else(wrong)?;
    let authority = rest.split(['/', '?', '#']).next().unwrap_or("");
    if authority.is_empty() || authority.contains('@') {
        return Err(wrong());
    }
    let name = match authority.strip_prefix('[') {
        Some(v6) => v6.split(']').next().unwrap_or(""),
        None => authority.split(':').next().unwrap_or(""),
    };
    Ok(match name.parse::<IpAddr>() {
        Ok(ip) if ip.is_loopback() => Place::Here,
        Ok(IpAddr::V4(ip)) if ip.is_private() || ip.is_link_local() => Place::Near,
        Ok(_) => Place::Far,
        Err(_) if name == "localhost" => Place::Here,
        Err(_) if !name.contains('.') || name.ends_with(".local") => Place::Near,
        Err(_) => Place::Far,
    })
}

/// The credentials that MLflow's clients read.
fn credentials(host: &Host) -> Option<client::Credentials> {
    use secrecy::SecretString;
    let read = |name: &str| host.env(name).map(str::to_string);
    if let Some(token) = read("MLFLOW_TRACKING_TOKEN") {
        return Some(client::Credentials::Token(SecretString::from(token)));
    }
    let (user, password) = (read("MLFLOW_TRACKING_USERNAME")?, read("MLFLOW_TRACKING_PASSWORD")?);
    Some(client::Credentials::Password(user, SecretString::from(password)))
}
