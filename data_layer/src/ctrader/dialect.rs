//! The two ways in which envelopes travel: protobuf frames over TLS, or JSON texts over a websocket over TLS. Whoever speaks or listens does
//! not see which.

use super::messages::Envelope;
use crate::error::{Error, Result, code};
use std::io;

/// How an Open API server is spoken to. Each has a port of its own there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Dialect {
    #[default]
    Protobuf,
    Json,
}

impl Dialect {
    pub const ALL: [Self; 2] = [Self::Protobuf, Self::Json];
    /// What chooses it, in the environment or the file of keys.
    pub const VARIABLE: &'static str = "CTRADER_PROTOCOL";

    pub fn port(self) -> u16 {
        match self {
            Self::Protobuf => 5035,
            Self::Json => 5036,
        }
    }
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Protobuf => "protobuf",
            Self::Json => "json",
        }
    }
    /// The dialect of that name.
    pub fn named(word: &str) -> Result<Self> {
        Self::ALL.into_iter().find(|d| d.as_str() == word).ok_or_else(|| {
            Error::new(code::CFG_VALUE, text!("'{word}' is not protobuf or json"))
                .found(Self::VARIABLE)
                .fix(text!("set {} to json, or remove it", Self::VARIABLE))
        })
    }
}

/// The listening half of a connection.
pub trait Hear: Send {
    /// The next envelope; `None` when the other side has closed between two. Not safe to cancel half-way. What is not of the protocol is
    /// [`io::ErrorKind::InvalidData`].
    fn hear(&mut self) -> impl Future<Output = io::Result<Option<Envelope>>> + Send;
}

/// The speaking half.
pub trait Say: Send {
    /// Send one envelope.
    fn say(&mut self, envelope: &Envelope) -> impl Future<Output = io::Result<()>> + Send;
    /// Say that nothing more will come.
    fn close(&mut self) -> impl Future<Output = ()> + Send;
}
