//! Envelopes as JSON: `{"clientMsgId": …, "payloadType": …, "payload": {…}}`, one text of a websocket each.
//!
//! The fields of a payload have their official names, and enums are numbers. The structures of this program know protobuf only, so a
//! payload is carried over between the two by the tables that those structures are declared with. What a server may do and this program does
//! not: 64-bit numbers as strings, enums by their words, fields and messages that are not known here.

use super::dialect::{Hear, Say};
use super::frame::MAX_FRAME_BYTES;
use super::messages::Envelope;
use super::{Field, messages, models, words};
use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt, StreamExt};
use prost::encoding::{DecodeContext, WireType, decode_key, decode_varint, encode_key, encode_varint, skip_field};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::io;
use std::sync::LazyLock;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Error as WsError, Message};

/// Fields by the official name of a message, and that name by its number.
static MESSAGES: LazyLock<BTreeMap<&'static str, &'static [Field]>> =
    LazyLock::new(|| messages::table().into_iter().chain(models::table()).map(|(name, _, fields)| (name, fields)).collect());
static NUMBERS: LazyLock<BTreeMap<u32, &'static [Field]>> =
    LazyLock::new(|| messages::table().into_iter().filter_map(|(_, number, fields)| Some((number?, fields))).collect());

fn broken(why: impl std::fmt::Display) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why.to_string())
}

/// An envelope as a text.
pub fn text(envelope: &Envelope) -> io::Result<String> {
    let fields = NUMBERS.get(&envelope.payload_type).ok_or_else(|| broken(format!("there is no message {}", envelope.payload_type)))?;
    let payload = object(envelope.payload.as_deref().unwrap_or_default(), fields)?;
    let mut out = json!({ "payloadType": envelope.payload_type, "payload": payload });
    if let Some(id) = &envelope.client_msg_id {
        out["clientMsgId"] = Value::from(id.as_str());
    }
    Ok(out.to_string())
}

/// The envelope of a text. A message that is not known here has no payload.
pub fn parse(text: &str) -> io::Result<Envelope> {
    let value: Value = serde_json::from_str(text).map_err(broken)?;
    let number = value["payloadType"].as_u64().and_then(|n| u32::try_from(n).ok()).ok_or_else(|| broken("a text without its payloadType"))?;
    let client_msg_id = match &value["clientMsgId"] {
        Value::Null => None,
        Value::String(id) => Some(id.clone()),
        other => return Err(broken(format!("clientMsgId {other}"))),
    };
    let mut payload = Vec::new();
    match (&value["payload"], NUMBERS.get(&number)) {
        (Value::Object(fields), Some(known)) => put(fields, known, &mut payload)?,
        (Value::Object(_), None) | (Value::Null, _) => {}
        _ => return Err(broken("a payload that is no object")),
    }
    Ok(Envelope { payload_type: number, payload: Some(payload), client_msg_id })
}

/// A message's bytes as an object.
fn object(mut bytes: &[u8], fields: &[Field]) -> io::Result<Map<String, Value>> {
    let mut out = Map::new();
    let buf = &mut bytes;
    while !buf.is_empty() {
        let (number, wire) = decode_key(buf).map_err(broken)?;
        let Some((name, _, label, kind)) = fields.iter().find(|f| f.1 == number) else {
            skip_field(wire, number, buf, DecodeContext::default()).map_err(broken)?;
            continue;
        };
        let mut values = Vec::new();
        match wire {
            WireType::Varint => values.push(whole(decode_varint(buf).map_err(broken)?, kind)),
            WireType::SixtyFourBit => {
                let (eight, rest) = buf.split_first_chunk::<8>().ok_or_else(|| broken("half a number"))?;
                *buf = rest;
                values.push(serde_json::Number::from_f64(f64::from_le_bytes(*eight)).map(Value::Number).ok_or_else(|| broken("a number that is none"))?);
            }
            WireType::LengthDelimited => {
                let length = decode_varint(buf).ok().and_then(|n| usize::try_from(n).ok()).filter(|n| *n <= buf.len()).ok_or_else(|| broken("half a field"))?;
                let (mut part, rest) = buf.split_at(length);
                *buf = rest;
                match (MESSAGES.get(kind), *kind) {
                    (Some(inner), _) => values.push(Value::Object(object(part, inner)?)),
                    (None, "string") => values.push(Value::from(std::str::from_utf8(part).map_err(broken)?)),
                    // Numbers in a row.
                    _ => {
                        while !part.is_empty() {
                            values.push(whole(decode_varint(&mut part).map_err(broken)?, kind));
                        }
                    }
                }
            }
            _ => return Err(broken("a field of another kind")),
        }
        if *label == "repeated" {
            let list = out.entry(*name).or_insert_with(|| Value::Array(Vec::new()));
            if let Value::Array(list) = list {
                list.extend(values);
            }
        } else if let Some(value) = values.pop() {
            out.insert((*name).to_string(), value);
        }
    }
    Ok(out)
}

/// A whole number, or a truth, of the wire; enums are numbers.
fn whole(n: u64, kind: &str) -> Value {
    match kind {
        "bool" => Value::from(n != 0),
        "uint32" | "uint64" => Value::from(n),
        _ => Value::from(n as i64),
    }
}

/// An object as a message's bytes.
fn put(object: &Map<String, Value>, fields: &[Field], out: &mut Vec<u8>) -> io::Result<()> {
    for (name, number, label, kind) in fields {
        match (object.get(*name), *label) {
            (None | Some(Value::Null), _) => {}
            (Some(Value::Array(list)), "repeated") => list.iter().try_for_each(|v| one(v, *number, kind, out))?,
            (Some(value), _) => one(value, *number, kind, out)?,
        }
    }
    Ok(())
}

fn one(value: &Value, number: u32, kind: &str, out: &mut Vec<u8>) -> io::Result<()> {
    let wrong = || broken(format!("{kind} is not {value}"));
    let varint = |n: u64, out: &mut Vec<u8>| {
        encode_key(number, WireType::Varint, out);
        encode_varint(n, out);
    };
    let delimited = |bytes: &[u8], out: &mut Vec<u8>| {
        encode_key(number, WireType::LengthDelimited, out);
        encode_varint(bytes.len() as u64, out);
        out.extend_from_slice(bytes);
    };
    match kind {
        "bool" => varint(u64::from(value.as_bool().ok_or_else(wrong)?), out),
        "int32" | "int64" | "uint32" | "uint64" => varint(integer(value).ok_or_else(wrong)?, out),
        "double" => {
            let v = value.as_f64().or_else(|| value.as_str()?.parse().ok()).filter(|v| v.is_finite()).ok_or_else(wrong)?;
            encode_key(number, WireType::SixtyFourBit, out);
            out.extend_from_slice(&v.to_le_bytes());
        }
        "string" => delimited(value.as_str().ok_or_else(wrong)?.as_bytes(), out),
        part => match (MESSAGES.get(part), value) {
            (Some(inner), Value::Object(object)) => {
                let mut bytes = Vec::new();
                put(object, inner, &mut bytes)?;
                delimited(&bytes, out);
            }
            (None, Value::String(word)) => {
                let of = words::table().into_iter().find(|(family, w, _)| *family == part && w == word);
                varint(i64::from(of.ok_or_else(wrong)?.2) as u64, out);
            }
            (None, Value::Number(_)) => varint(integer(value).ok_or_else(wrong)?, out),
            _ => return Err(wrong()),
        },
    }
    Ok(())
}

/// A whole number in two's complement: a number, or its digits as a string.
fn integer(value: &Value) -> Option<u64> {
    let of = |v: i64| v as u64;
    match value {
        Value::Number(n) => n.as_u64().or_else(|| n.as_i64().map(of)),
        Value::String(s) => s.parse::<u64>().ok().or_else(|| s.parse::<i64>().ok().map(of)),
        _ => None,
    }
}

/// How large a text may be.
fn config() -> WebSocketConfig {
    let most = MAX_FRAME_BYTES as usize;
    WebSocketConfig::default().max_message_size(Some(most)).max_frame_size(Some(most))
}

/// The two halves of a connection to `host`, over a stream that is encrypted already.
pub async fn connect<S: AsyncRead + AsyncWrite + Unpin + Send>(host: &str, port: u16, stream: S) -> io::Result<(Reader<S>, Writer<S>)> {
    let name = if host.contains(':') { format!("[{host}]") } else { host.to_string() };
    let socket = tokio_tungstenite::client_async_with_config(format!("wss://{name}:{port}/"), stream, Some(config())).await.map_err(of_socket)?.0;
    let (to, from) = socket.split();
    Ok((Reader(from), Writer(to)))
}

/// The two halves of a connection that a client has opened.
pub async fn accept<S: AsyncRead + AsyncWrite + Unpin + Send>(stream: S) -> io::Result<(Reader<S>, Writer<S>)> {
    let (to, from) = tokio_tungstenite::accept_async_with_config(stream, Some(config())).await.map_err(of_socket)?.split();
    Ok((Reader(from), Writer(to)))
}

fn of_socket(e: WsError) -> io::Error {
    match e {
        WsError::Io(e) => e,
        WsError::ConnectionClosed | WsError::AlreadyClosed => io::ErrorKind::UnexpectedEof.into(),
        other => broken(other),
    }
}

/// Texts of a websocket as envelopes.
pub struct Reader<S>(SplitStream<WebSocketStream<S>>);
/// Envelopes as texts of a websocket.
pub struct Writer<S>(SplitSink<WebSocketStream<S>, Message>);

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Hear for Reader<S> {
    async fn hear(&mut self) -> io::Result<Option<Envelope>> {
        loop {
            return match self.0.next().await {
                None | Some(Ok(Message::Close(_)) | Err(WsError::ConnectionClosed)) => Ok(None),
                Some(Ok(Message::Text(said))) => parse(&said).map(Some),
                Some(Ok(Message::Binary(bytes))) => parse(std::str::from_utf8(&bytes).map_err(broken)?).map(Some),
                Some(Ok(_)) => continue,
                Some(Err(e)) => Err(of_socket(e)),
            };
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Writer<S> {
    /// Send a text that may be no envelope.
    pub async fn raw(&mut self, text: String) -> io::Result<()> {
        self.0.send(Message::text(text)).await.map_err(of_socket)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Say for Writer<S> {
    async fn say(&mut self, envelope: &Envelope) -> io::Result<()> {
        self.raw(text(envelope)?).await
    }
    async fn close(&mut self) {
        drop(self.0.close().await);
    }
}

#[cfg(test)]
#[path = "json_tests.rs"]
mod tests;
