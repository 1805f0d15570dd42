//! Readiness and signs of life for systemd (`NOTIFY_SOCKET`, see `sd_notify(3)`); silent everywhere else.

use data_layer::host::Host;
use std::os::unix::net::{SocketAddr, UnixDatagram};

/// The service is up: dependents may start.
pub fn ready(host: &Host) {
    send(host, "READY=1");
}

/// The service still does its work.
pub fn alive(host: &Host) {
    send(host, "WATCHDOG=1");
}

/// The service has begun to end.
pub fn stopping(host: &Host) {
    send(host, "STOPPING=1");
}

/// One line that `systemctl status` shows.
pub fn status(host: &Host, text: &str) {
    send(host, &format!("STATUS={}", text.replace('\n', " ")));
}

fn send(host: &Host, message: &str) {
    let Some(place) = host.env("NOTIFY_SOCKET") else { return };
    let Ok(socket) = UnixDatagram::unbound() else { return };
    // A supervisor that does not listen must not end the work.
    if let Some(address) = address(place) {
        drop(socket.send_to_addr(message.as_bytes(), &address));
    }
}

/// A path, or with a leading `@` a name without a file (Linux).
fn address(place: &str) -> Option<SocketAddr> {
    #[cfg(target_os = "linux")]
    if let Some(name) = place.strip_prefix('@') {
        return <SocketAddr as std::os::linux::net::SocketAddrExt>::from_abstract_name(name).ok();
    }
    SocketAddr::from_pathname(place).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use data_layer::host::FakeHost;

    #[test]
    fn messages_reach_the_socket_that_the_environment_names() {
        let dir = tempfile::tempdir().unwrap();
        let place = dir.path().join("notify");
        let listener = UnixDatagram::bind(&place).unwrap();
        let mut fake = FakeHost::default();
        fake.env.insert("NOTIFY_SOCKET".into(), place.display().to_string());
        let host = Host::fake(fake);
        ready(&host);
        status(&host, "two\nlines");
        let mut buffer = [0; 64];
        let n = listener.recv(&mut buffer).unwrap();
        assert_eq!(&buffer[..n], b"READY=1");
        let n = listener.recv(&mut buffer).unwrap();
        assert_eq!(&buffer[..n], b"STATUS=two lines");
        alive(&Host::fake(FakeHost::default()));
    }
}
