//! What goes over a connection, whole or spoiled, in either dialect.

use crate::ctrader::dialect::Say;
use crate::ctrader::messages::Envelope;
use crate::ctrader::{frame, json};
use std::io;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};

/// What is sent.
pub enum Out {
    Whole(Vec<Envelope>),
    /// Cut off in the middle.
    Half(Vec<Envelope>),
    /// What nobody should try to take in.
    Bomb,
}

/// Saying things that no honest server says.
pub trait Spoil: Say {
    /// The first half of what should have been said.
    fn half(&mut self, messages: &[Envelope]) -> impl Future<Output = io::Result<()>> + Send;
    /// The beginning of something that never ends.
    fn bomb(&mut self) -> impl Future<Output = io::Result<()>> + Send;

    fn send(&mut self, out: Out) -> impl Future<Output = io::Result<()>> + Send {
        async move {
            match out {
                Out::Whole(messages) => {
                    for message in &messages {
                        self.say(message).await?;
                    }
                    Ok(())
                }
                Out::Half(messages) => self.half(&messages).await,
                Out::Bomb => self.bomb().await,
            }
        }
    }
}

impl<W: AsyncWrite + Unpin + Send> Spoil for frame::Writer<W> {
    async fn half(&mut self, messages: &[Envelope]) -> io::Result<()> {
        let bytes: Vec<u8> = messages.iter().flat_map(frame::bytes).collect();
        self.0.write_all(&bytes[..bytes.len() / 2]).await?;
        self.0.flush().await
    }
    async fn bomb(&mut self) -> io::Result<()> {
        self.0.write_all(&0x7fff_ffffu32.to_be_bytes()).await?;
        self.0.flush().await
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Spoil for json::Writer<S> {
    async fn half(&mut self, messages: &[Envelope]) -> io::Result<()> {
        let Some(first) = messages.first() else { return Ok(()) };
        let text = json::text(first)?;
        self.raw(text.chars().take(text.chars().count() / 2).collect()).await
    }
    async fn bomb(&mut self) -> io::Result<()> {
        self.raw("[".repeat(100_000)).await
    }
}
