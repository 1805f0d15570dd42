//! Envelopes on a stream of bytes: four bytes of length, the most significant first, then the envelope.

use super::dialect::{Hear, Say};
use super::messages::Envelope;
use prost::Message;
use std::io;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// The longest frame that is read; a longer one is not of this protocol.
pub const MAX_FRAME_BYTES: u32 = 15_000_000;

/// The bytes of an envelope, its length first.
pub fn bytes(envelope: &Envelope) -> Vec<u8> {
    let body = envelope.encode_to_vec();
    let mut out = u32::try_from(body.len()).unwrap_or(u32::MAX).to_be_bytes().to_vec();
    out.extend(body);
    out
}

/// Write one envelope.
pub async fn write(to: &mut (impl AsyncWrite + Unpin), envelope: &Envelope) -> io::Result<()> {
    to.write_all(&bytes(envelope)).await?;
    to.flush().await
}

/// The next envelope; `None` when the other side has closed between two frames. Not safe to cancel half-way.
pub async fn read(from: &mut (impl AsyncRead + Unpin)) -> io::Result<Option<Envelope>> {
    let mut length = [0u8; 4];
    match from.read_exact(&mut length).await {
        Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        other => other.map(drop)?,
    }
    let length = u32::from_be_bytes(length);
    if length == 0 || length > MAX_FRAME_BYTES {
        return Err(io::Error::new(io::ErrorKind::InvalidData, format!("a frame of {length} bytes")));
    }
    // The buffer grows with what arrives: a length alone costs nothing.
    let mut body = Vec::new();
    if from.take(u64::from(length)).read_to_end(&mut body).await? < length as usize {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Envelope::decode(body.as_slice()).map(Some).map_err(|e| io::Error::new(io::ErrorKind::InvalidData, e.to_string()))
}

/// Frames as envelopes.
pub struct Reader<R>(pub R);
/// Envelopes as frames.
pub struct Writer<W>(pub W);

impl<R: AsyncRead + Unpin + Send> Hear for Reader<R> {
    async fn hear(&mut self) -> io::Result<Option<Envelope>> {
        read(&mut self.0).await
    }
}

impl<W: AsyncWrite + Unpin + Send> Say for Writer<W> {
    async fn say(&mut self, envelope: &Envelope) -> io::Result<()> {
        write(&mut self.0, envelope).await
    }
    async fn close(&mut self) {
        drop(self.0.shutdown().await);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ctrader::Wire;
    use crate::ctrader::messages::{Heartbeat, VersionRes};

    fn all(mut bytes: &[u8]) -> Vec<Result<Option<Envelope>, io::ErrorKind>> {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let mut out = Vec::new();
            loop {
                let next = read(&mut bytes).await.map_err(|e| e.kind());
                let over = !matches!(next, Ok(Some(_)));
                out.push(next);
                if over {
                    return out;
                }
            }
        })
    }

    #[test]
    fn frames_are_read_as_they_were_written_and_nothing_else_passes_for_one() {
        let one = VersionRes { version: "91".into() }.wrapped(Some("m1".into()));
        let two = Heartbeat {}.wrapped(None);
        assert_eq!(bytes(&two), [0, 0, 0, 4, 8, 51, 18, 0], "a length, the number 51, no payload");
        let mut wire = bytes(&one);
        wire.extend(bytes(&two));
        assert_eq!(all(&wire), [Ok(Some(one.clone())), Ok(Some(two)), Ok(None)]);
        assert_eq!(VersionRes::unwrapped(&one).unwrap().version, "91");
        assert!(Heartbeat::unwrapped(&one).is_none());
        assert_eq!(all(&wire[..wire.len() - 1])[1], Err(io::ErrorKind::UnexpectedEof));
        for (bad, why) in [(&[0, 0, 0, 0][..], "no length"), (&[0x7f, 0, 0, 0, 1], "too long"), (b"GET / HTTP/1.1\r\n", "another protocol")] {
            assert_eq!(all(bad)[0], Err(io::ErrorKind::InvalidData), "{why}");
        }
        assert_eq!(all(&[0, 0, 0, 2, 0xff, 0xff])[0], Err(io::ErrorKind::InvalidData), "no envelope");
    }
}
