//! Logs: UTC, JSON lines, from the first millisecond; to a state directory until the drive is known, then on the drive.
//! Fourteen days are kept. A log is for people; the journal is the record.

use data_layer::error::Result;
use data_layer::host::Host;
use data_layer::root::DataRoot;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use tracing_appender::non_blocking::WorkerGuard;
use tracing_subscriber::fmt::MakeWriter;

/// Days a log file is kept.
const KEPT_DAYS: i64 = 14;

/// The running log. Dropping it flushes.
pub struct Log {
    target: Target,
    _guard: WorkerGuard,
}

/// The file that lines go to, which changes once: when the drive becomes known.
#[derive(Clone)]
struct Target(Arc<Mutex<Place>>);

struct Place {
    path: PathBuf,
    file: Option<File>,
    /// Paths of this machine, and what stands for them: a log moves with the drive and must not name them.
    stand_ins: Vec<(String, &'static str)>,
}

impl Place {
    fn neutral(&self, bytes: &[u8]) -> Vec<u8> {
        let mut text = String::from_utf8_lossy(bytes).into_owned();
        for (path, name) in &self.stand_ins {
            text = text.replace(path.as_str(), name);
        }
        text.into_bytes()
    }
}

impl Write for Target {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        if let Ok(mut place) = self.0.lock() {
            let neutral = place.neutral(bytes);
            if let Some(file) = &mut place.file {
                // A full or failing drive must not end a run through its log.
                drop(file.write_all(&neutral));
            }
        }
        Ok(bytes.len())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Log {
    /// Begin logging for `name` in the host's state directory. Later calls in one process keep the first log.
    pub fn start(host: &Host, name: &str) -> Self {
        let folder = host.state_dir().join("log");
        drop(data_layer::store::create_folder(&folder));
        let path = folder.join(format!("{name}-{}.jsonl", host.now().compact()));
        let file = open(&path);
        let target = Target(Arc::new(Mutex::new(Place { path, file, stand_ins: home_stand_in(host) })));
        let (writer, guard) = tracing_appender::non_blocking(target.clone());
        let filter = host.env("TRADEML_LOG").unwrap_or("info,hyper=warn,reqwest=warn,rustls=warn").to_string();
        let subscriber = tracing_subscriber::fmt()
            .json()
            .with_writer(NonBlocking(writer))
            .with_env_filter(tracing_subscriber::EnvFilter::try_new(filter).unwrap_or_default())
            .with_timer(HostTimer(host.clone()))
            .finish();
        drop(tracing::subscriber::set_global_default(subscriber));
        Self { target, _guard: guard }
    }

    /// Continue on the drive: what was logged so far is copied there, old logs are removed.
    pub fn move_to(&self, root: &DataRoot) -> Result<()> {
        let base = root.base().display().to_string();
        if let Ok(mut place) = self.target.0.lock()
            && base.len() > 1
            && !place.stand_ins.iter().any(|(p, _)| *p == base)
        {
            place.stand_ins.insert(0, (base, "<root>"));
        }
        let folder = root.base().join("logs");
        self.write_below(&folder)?;
        forget_old(&folder, root.host());
        Ok(())
    }

    /// Back to the state directory: the drive is given up again.
    pub fn leave_drive(&self, host: &Host) -> Result<()> {
        self.write_below(&host.state_dir().join("log"))
    }

    #[allow(clippy::disallowed_methods)] // a log is for people: it is copied, not made durable
    fn write_below(&self, folder: &Path) -> Result<()> {
        data_layer::store::create_folder(folder)?;
        let Ok(mut place) = self.target.0.lock() else { return Ok(()) };
        let Some(name) = place.path.file_name().map(PathBuf::from) else { return Ok(()) };
        let moved = folder.join(name);
        if moved == place.path {
            return Ok(());
        }
        // Where nothing can be written the log stays where it is: the path that is shown must be that of a file.
        let Some(file) = open(&moved) else { return Ok(()) };
        if let Ok(text) = std::fs::read(&place.path)
            && std::fs::write(&moved, place.neutral(&text)).is_ok()
        {
            drop(std::fs::remove_file(&place.path));
        }
        place.file = Some(file);
        place.path = moved;
        Ok(())
    }

    /// Where the log is, as shown to people (`~` for the home directory).
    pub fn shown(&self, host: &Host) -> String {
        let path = self.target.0.lock().map(|p| p.path.clone()).unwrap_or_default();
        match host.env("HOME").and_then(|home| path.strip_prefix(home).ok()) {
            Some(inside) => format!("~/{}", inside.display()),
            None => path.display().to_string(),
        }
    }
}

fn home_stand_in(host: &Host) -> Vec<(String, &'static str)> {
    host.env("HOME").filter(|h| h.len() > 1).map(|h| (h.trim_end_matches('/').to_string(), "~")).into_iter().collect()
}

fn open(path: &Path) -> Option<File> {
    File::options().create(true).append(true).open(path).ok()
}

/// Remove logs whose file name carries a stamp of more than [`KEPT_DAYS`] days ago.
fn forget_old(folder: &Path, host: &Host) {
    let limit = host.now().plus_seconds(-KEPT_DAYS * 86_400).compact();
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let stamp = name.strip_suffix(".jsonl").and_then(|n| n.rsplit('-').next()).unwrap_or_default();
        if stamp.len() == limit.len() && stamp < limit.as_str() {
            drop(std::fs::remove_file(entry.path()));
        }
    }
}

struct NonBlocking(tracing_appender::non_blocking::NonBlocking);

impl<'a> MakeWriter<'a> for NonBlocking {
    type Writer = tracing_appender::non_blocking::NonBlocking;
    fn make_writer(&'a self) -> Self::Writer {
        self.0.clone()
    }
}

struct HostTimer(Host);

impl tracing_subscriber::fmt::time::FormatTime for HostTimer {
    fn format_time(&self, w: &mut tracing_subscriber::fmt::format::Writer<'_>) -> std::fmt::Result {
        write!(w, "{}", self.0.now())
    }
}
