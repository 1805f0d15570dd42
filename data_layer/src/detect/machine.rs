//! The machine: Raspberry Pi, another Linux, or macOS.

use super::{Fact, human_bytes, read};
use crate::host::Host;
use serde::{Deserialize, Serialize};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MachineKind {
    RaspberryPi,
    Linux,
    MacOs,
    Other,
}

/// What is written to `control/machines/<id>.yml` comes from here: no host name, path or serial number.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Machine {
    pub kind: MachineKind,
    /// "Raspberry Pi 5 Model B Rev 1.0", or the processor's name.
    pub model: String,
    /// "Debian GNU/Linux 12 (bookworm)"
    pub os: String,
    pub arch: String,
    /// Installed memory in units of 1,048,576 bytes; 0 when unknown.
    pub memory_mb: u64,
    /// Logical processors; 0 when unknown.
    pub cores: u32,
    /// IANA name where it can be told, else empty.
    pub timezone: String,
    pub facts: Vec<Fact>,
}

/// Requests in flight that suit the machine, as the conservative default of `NODE_MAX_INFLIGHT_DEFAULT`.
impl Machine {
    pub fn suggested_inflight(&self) -> u32 {
        match self.kind {
            MachineKind::RaspberryPi => 2,
            _ if self.memory_mb > 0 && self.memory_mb < 3_000 => 2,
            _ => 4,
        }
    }
}

pub fn detect(host: &Host) -> Machine {
    let mut facts = Vec::new();
    let pi = read(host, "proc/device-tree/model").or_else(|| read(host, "sys/firmware/devicetree/base/model"));
    let cpuinfo = read(host, "proc/cpuinfo").unwrap_or_default();
    let (kind, model) = match &pi {
        Some(model) if model.starts_with("Raspberry Pi") => (MachineKind::RaspberryPi, model.clone()),
        Some(model) => (MachineKind::Linux, model.clone()),
        None if read(host, "proc/meminfo").is_some() => (MachineKind::Linux, cpu_name(&cpuinfo).unwrap_or_else(|| "unknown processor".into())),
        None if cfg!(target_os = "macos") => (MachineKind::MacOs, "Mac".to_string()),
        None => (MachineKind::Other, "unknown".to_string()),
    };
    facts.push(Fact::new("machine", model.clone(), if pi.is_some() { "/proc/device-tree/model" } else { "/proc/cpuinfo" }));
    let os = os_name(host, kind);
    facts.push(Fact::new("system", os.clone(), "/etc/os-release"));
    let arch = std::env::consts::ARCH.to_string();
    facts.push(Fact::new("architecture", arch.clone(), "uname -m"));
    let memory_mb = memory_mb(host);
    if memory_mb > 0 {
        facts.push(Fact::new("memory", human_bytes(memory_mb << 20), "/proc/meminfo"));
    }
    let cores = u32::try_from(cpuinfo.lines().filter(|l| l.starts_with("processor")).count()).unwrap_or(0);
    if cores > 0 {
        facts.push(Fact::new("processors", cores.to_string(), "/proc/cpuinfo"));
    }
    let timezone = timezone(host);
    if !timezone.is_empty() {
        facts.push(Fact::new("time zone", timezone.clone(), "/etc/localtime"));
    }
    clock_facts(host, kind, &mut facts);
    Machine { kind, model, os, arch, memory_mb, cores, timezone, facts }
}

fn cpu_name(cpuinfo: &str) -> Option<String> {
    let value = |key: &str| cpuinfo.lines().find(|l| l.starts_with(key)).and_then(|l| l.split_once(':')).map(|(_, v)| v.trim().to_string());
    value("model name").or_else(|| value("Model")).or_else(|| value("Hardware"))
}

fn os_name(host: &Host, kind: MachineKind) -> String {
    let text = read(host, "etc/os-release").or_else(|| read(host, "usr/lib/os-release")).unwrap_or_default();
    let pretty = text.lines().find_map(|l| l.strip_prefix("PRETTY_NAME=")).map(|v| v.trim_matches('"').to_string());
    pretty.unwrap_or_else(|| if kind == MachineKind::MacOs { "macOS".into() } else { std::env::consts::OS.into() })
}

fn memory_mb(host: &Host) -> u64 {
    let text = read(host, "proc/meminfo").unwrap_or_default();
    let kib = text.lines().find_map(|l| l.strip_prefix("MemTotal:")).and_then(|v| v.trim().trim_end_matches("kB").trim().parse::<u64>().ok());
    kib.map_or(0, |kib| kib / 1024)
}

/// The zone's name from the link `/etc/localtime`, or Debian's `/etc/timezone`.
fn timezone(host: &Host) -> String {
    let link = std::fs::read_link(super::place(host, "etc/localtime")).ok();
    let named = link.and_then(|p| p.to_string_lossy().split_once("zoneinfo/").map(|(_, zone)| zone.to_string()));
    named.or_else(|| read(host, "etc/timezone")).unwrap_or_default()
}

/// A Pi without a battery clock restores an old time at boot: say so, since seeding and trading refuse an insane clock.
fn clock_facts(host: &Host, kind: MachineKind, facts: &mut Vec<Fact>) {
    let real_clock = super::place(host, "sys/class/rtc/rtc0").exists();
    let synchronised = super::place(host, "run/systemd/timesync/synchronized").exists();
    let value = match (real_clock, synchronised) {
        (_, true) => "synchronised with network time",
        (true, false) => "battery-backed; network time not confirmed",
        (false, false) => "no battery clock; network time not confirmed",
    };
    if kind != MachineKind::MacOs {
        facts.push(Fact::new("clock", value, "/run/systemd/timesync/synchronized, /sys/class/rtc"));
    }
}
