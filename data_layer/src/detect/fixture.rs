//! A machine built out of a folder, for tests.

use crate::host::{FakeHost, Host};
use std::path::{Path, PathBuf};

/// A sysroot under construction.
pub struct Fixture {
    pub dir: tempfile::TempDir,
    mounts: Vec<String>,
}

/// How a disk is attached: the folder of its sysfs path.
pub const USB: &str = "devices/platform/scb/pci0000:00/0000:01:00.0/usb2/2-1/2-1:1.0/host0/block";
pub const MMC: &str = "devices/platform/emmc2bus/fe340000.mmc/mmc_host/mmc0/mmc0:aaaa/block";
pub const NVME: &str = "devices/pci0000:00/0000:00:06.0/nvme/nvme0";

impl Fixture {
    pub fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap(), mounts: Vec::new() }
    }

    pub fn file(&self, path: &str, text: &str) -> &Self {
        let place = self.path(path);
        std::fs::create_dir_all(place.parent().unwrap()).unwrap();
        std::fs::write(place, text).unwrap();
        self
    }

    pub fn path(&self, path: &str) -> PathBuf {
        self.dir.path().join(path.trim_start_matches('/'))
    }

    pub fn raspberry_pi() -> Self {
        let f = Self::new();
        f.file("proc/device-tree/model", "Raspberry Pi 5 Model B Rev 1.0\0");
        f.file("proc/meminfo", "MemTotal:        8245104 kB\nMemFree: 1 kB\n");
        f.file("proc/cpuinfo", "processor\t: 0\nBogoMIPS\t: 108.00\n\nprocessor\t: 1\n");
        f.file("etc/os-release", "PRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\nID=debian\n");
        f.file("etc/timezone", "Europe/London\n");
        f
    }

    pub fn link(&self, at: &str, to: &Path) {
        let place = self.path(at);
        std::fs::create_dir_all(place.parent().unwrap()).unwrap();
        std::os::unix::fs::symlink(to, place).unwrap();
    }

    /// A disk with one partition. `numbers` is `8:1`; `name` the partition (`sda1`); `disk` the whole (`sda`).
    pub fn disk(&self, bus: &str, disk: &str, name: &str, numbers: &str, uuid: &str, cache: &str) {
        let base = format!("sys/{bus}/{disk}");
        self.file(&format!("{base}/{name}/partition"), "1\n");
        self.file(&format!("{base}/removable"), "0\n");
        self.file(&format!("{base}/queue/rotational"), "0\n");
        self.file(&format!("{base}/queue/write_cache"), &format!("{cache}\n"));
        self.file(&format!("{base}/device/vendor"), "Samsung \n");
        self.file(&format!("{base}/device/model"), "PSSD T7         \n");
        self.link(&format!("sys/dev/block/{numbers}"), &self.path(&format!("{base}/{name}")));
        self.link(&format!("dev/disk/by-uuid/{uuid}"), Path::new(&format!("../../{name}")));
    }

    /// Mount `source` of type `fs` at `point`, with sizes in bytes.
    pub fn mount(&mut self, numbers: &str, point: &str, fs: &str, source: &str, options: &str, sizes: (u64, u64)) {
        self.mounts.push(text!("36 25 {numbers} / {} {options},relatime shared:1 - {fs} {source} {options}", point.replace(' ', "\\040")));
        std::fs::create_dir_all(self.path(point)).unwrap();
        self.file(&format!("statvfs/{}", point.replace('/', "_")), &format!("{} {}\n", sizes.0, sizes.1));
        self.file("proc/self/mountinfo", &self.mounts.join("\n"));
    }

    pub fn host(&self) -> Host {
        let env = [("HOME".to_string(), "/home/pi".to_string())].into();
        Host::fake(FakeHost { env, sysroot: self.dir.path().to_path_buf(), ..FakeHost::default() })
    }

    /// A Pi that boots from an SD card, with a suitable USB SSD at `/mnt/ssd`.
    pub fn pi_with_ssd(fs: &str, options: &str, cache: &str) -> Self {
        let mut f = Self::raspberry_pi();
        f.disk(MMC, "mmcblk0", "mmcblk0p2", "179:2", "root-uuid", "write back");
        f.mount("179:2", "/", "ext4", "/dev/mmcblk0p2", "rw", (31_000_000_000, 20_000_000_000));
        f.mount("179:1", "/boot/firmware", "vfat", "/dev/mmcblk0p1", "rw", (500_000_000, 400_000_000));
        f.mount("0:21", "/proc", "proc", "proc", "rw", (0, 0));
        f.disk(USB, "sda", "sda1", "8:1", "ssd-uuid", cache);
        f.mount("8:1", "/mnt/ssd", fs, "/dev/sda1", options, (931_500_000_000, 871_000_000_000));
        f
    }
}
