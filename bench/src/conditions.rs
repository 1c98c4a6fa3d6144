//! Where and how the numbers were made.

use std::{fmt, fs, path::Path, time::Instant};

use anyhow::Context as _;
use serde::Serialize;

use crate::args::Args;

/// Everything that a number depends on beside the code.
#[derive(Debug, Serialize)]
pub(crate) struct Conditions {
    at: String,
    version: &'static str,
    build: &'static str,
    sqlite: &'static str,
    synchronous: &'static str,
    processor: String,
    cores: usize,
    memory_gib: f64,
    load: String,
    kernel: String,
    file_system: String,
    folder: String,
    /// How long one small write and its flush take, in microseconds.
    flush_micros: f64,
    /// Of the measured worker; its own default when none.
    slots: Option<u16>,
    windows: usize,
    quick: bool,
}

impl Conditions {
    pub(crate) fn find(args: &Args) -> anyhow::Result<Self> {
        let folder = args.dir.canonicalize().with_context(|| format!("find the folder {}", args.dir.display()))?;
        let line = |path: &str| fs::read_to_string(path).map(|text| text.trim().to_owned()).unwrap_or_default();
        let starting = |path: &str, name: &str| {
            let text = line(path);
            let found = text.lines().find_map(|line| line.strip_prefix(name));
            found.unwrap_or("unknown").trim_start_matches([':', ' ', '\t']).to_owned()
        };
        let kib: f64 = starting("/proc/meminfo", "MemTotal").trim_end_matches(" kB").parse().unwrap_or(0.0);
        Ok(Self {
            at: jiff::Timestamp::now().strftime("%Y-%m-%d %H:%M UTC").to_string(),
            version: env!("CARGO_PKG_VERSION"),
            build: if cfg!(debug_assertions) { "DEBUG: run it with --release" } else { "release" },
            sqlite: rusqlite::version(),
            synchronous: args.durability.word(),
            processor: starting("/proc/cpuinfo", "model name"),
            cores: std::thread::available_parallelism().map_or(0, usize::from),
            memory_gib: kib / f64::from(1 << 20),
            load: line("/proc/loadavg").split(' ').take(3).collect::<Vec<_>>().join(" "),
            kernel: format!("{} {}", line("/proc/sys/kernel/ostype"), line("/proc/sys/kernel/osrelease")),
            file_system: file_system(&folder),
            flush_micros: flush(&folder)?,
            folder: folder.display().to_string(),
            slots: args.slots,
            windows: args.windows(),
            quick: args.quick,
        })
    }
}

/// The type of the file system that a folder is on: that of the longest mount point that leads to it.
fn file_system(folder: &Path) -> String {
    let mounts = fs::read_to_string("/proc/mounts").unwrap_or_default();
    let found = mounts.lines().filter_map(|line| {
        let mut fields = line.split(' ').skip(1);
        let (point, kind) = (fields.next()?, fields.next()?);
        folder.starts_with(point).then_some((point.len(), kind))
    });
    found.max_by_key(|(length, _)| *length).map_or_else(|| "unknown".into(), |(_, kind)| kind.to_owned())
}

/// The median of a hundred writes of a page, each flushed.
fn flush(folder: &Path) -> anyhow::Result<f64> {
    use std::io::{Seek as _, Write as _};
    let mut file = tempfile::tempfile_in(folder)?;
    file.write_all(&[0; 4096])?;
    let mut took = Vec::new();
    for _ in 0..100 {
        let begun = Instant::now();
        file.rewind()?;
        file.write_all(&[1; 4096])?;
        file.sync_data()?;
        took.push(begun.elapsed().as_secs_f64() * 1e6);
    }
    Ok(crate::cost::spread(took).0)
}

impl fmt::Display for Conditions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "celeriac {} ({}), SQLite {} (bundled), {}", self.version, self.build, self.sqlite, self.at)?;
        writeln!(
            f,
            "{} x {}, {:.0} GiB, {}, load {}",
            self.cores, self.processor, self.memory_gib, self.kernel, self.load
        )?;
        writeln!(
            f,
            "{} at {}, synchronous={}, a write and its flush take {:.0} µs; median of {} windows{}",
            self.file_system,
            self.folder,
            self.synchronous,
            self.flush_micros,
            self.windows,
            if self.quick { ", --quick" } else { "" }
        )
    }
}
