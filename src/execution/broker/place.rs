//! Which hosts a broker's client may talk to: the paper host, loopback, and the live host only with a consent that nobody here can give.

use crate::execution::gates::LiveConsent;
use data_layer::error::{Error, Result, code};

/// A broker's addresses.
pub(super) struct Place {
    /// The variable that names another base.
    pub variable: &'static str,
    /// The scheme that every host must be spoken to with, and the one that loopback may be spoken to with instead.
    pub secure: &'static str,
    pub plain: Option<&'static str>,
    pub paper: &'static str,
    pub live: &'static str,
}

impl Place {
    /// Whether the base is loopback. Everything but the paper host and loopback is refused.
    pub fn check(&self, base: &str, consent: Option<&LiveConsent>) -> Result<bool> {
        let (scheme, rest) = base.split_once("://").unwrap_or(("", base));
        let authority = rest.split(['/', '?']).next().unwrap_or("");
        if authority.contains('@') {
            return Err(Error::new(code::NET_FORBIDDEN_HOST, "a base URL may not carry credentials"));
        }
        let name = host_of(authority);
        let loopback = name == "localhost" || name == "::1" || name.strip_prefix("127.").is_some_and(|r| r.bytes().all(|b| b.is_ascii_digit() || b == b'.'));
        if scheme != self.secure && !(Some(scheme) == self.plain && loopback) {
            let what = if self.plain.is_some() { text!("plain HTTP is allowed to loopback only") } else { text!("this broker is spoken to over TLS only") };
            return Err(Error::new(code::NET_FORBIDDEN_HOST, what).found(format!("{}={scheme}://{name}", self.variable)));
        }
        if loopback || name == self.paper || (consent.is_some() && name == self.live) {
            return Ok(loopback);
        }
        Err(Error::new(code::ORD_LIVE, text!("{name} is not the paper-trading host"))
            .cause("this program sends orders to paper accounts only")
            .fix(text!("unset {}", self.variable)))
    }
}

/// The host of `host:port`, without brackets.
pub(super) fn host_of(authority: &str) -> &str {
    authority.rsplit_once(':').map_or(authority, |(h, _)| h).trim_matches(['[', ']'])
}
