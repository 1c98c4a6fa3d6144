//! What was found, as a table for people and as JSON.

use std::{
    io::{IsTerminal as _, Write as _},
    time::Duration,
};

use clap::ValueEnum as _;
use serde::Serialize;

use crate::{
    args::{Args, Part},
    conditions::Conditions,
    cost::{Cost, spread},
};

/// Windows of ours, each beside one of the ceiling.
#[derive(Debug, Default)]
pub(crate) struct Windows {
    ours: Vec<Cost>,
    ceiling: Vec<Cost>,
}

impl Windows {
    pub(crate) fn push(&mut self, ours: Cost, ceiling: Option<Cost>) {
        self.ours.push(ours);
        self.ceiling.extend(ceiling);
    }
}

#[derive(Debug, Serialize)]
struct Finding {
    part: String,
    what: String,
    #[serde(flatten)]
    measured: Measured,
    /// What it should be at least (a ratio) or at most (milliseconds, MiB).
    aim: Option<f64>,
    held: Option<bool>,
    limited_by: String,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "snake_case")]
enum Measured {
    Rate { ours: Speed, beside: Speed, ratio: f64, ratio_lowest: f64, ratio_highest: f64 },
    LatencyMs { p50: f64, p99: f64, max: f64 },
    MemoryMib { resident: f64, beside: Option<f64> },
    Idle { wakes_per_second: f64, cpu_percent: f64 },
}

#[derive(Clone, Copy, Debug, Serialize)]
struct Speed {
    per_second: f64,
    cpu_micros: f64,
}

impl Speed {
    /// The median rate of the windows, and the CPU time of all of them by task.
    fn of(windows: &[Cost]) -> Self {
        let all = windows.iter().fold(Cost::default(), |sum, cost| Cost {
            tasks: sum.tasks + cost.tasks,
            took: sum.took + cost.took,
            cpu: sum.cpu + cost.cpu,
        });
        Self { per_second: spread(windows.iter().map(Cost::rate).collect()).0, cpu_micros: all.cpu_micros() }
    }
}

/// Collects findings, prints each when it is there, and tells how far the run has come.
pub(crate) struct Report {
    part: String,
    findings: Vec<Finding>,
    json: bool,
    live: bool,
}

impl Report {
    pub(crate) fn new(args: &Args) -> Self {
        Self { part: String::new(), findings: Vec::new(), json: args.json, live: std::io::stderr().is_terminal() }
    }

    pub(crate) fn begin(&mut self, part: Part) {
        let value = part.to_possible_value().expect("no part is hidden");
        value.get_name().clone_into(&mut self.part);
        let about = value.get_help().map(ToString::to_string).unwrap_or_default();
        if self.json {
            self.say(&about);
            return;
        }
        println!("\n{}: {about}", self.part);
        match part {
            Part::Latency | Part::Memory => {}
            _ => println!("{:42} {:>9} {:>6}   {:>9} {:>6}   ratio", "", "ours/s", "µs CPU", "beside/s", "µs CPU"),
        }
    }

    /// Says something on standard error.
    pub(crate) fn say(&self, text: &str) {
        eprintln!("{}: {text}", self.part);
    }

    /// Tells on standard error how far it has come.
    pub(crate) fn progress(&self, done: usize, of: usize) {
        if self.live && done.is_multiple_of((of / 20).max(1)) {
            eprint!("\r{}: {done} of {of}\x1b[K\r", self.part);
            // Progress that cannot be shown is no reason to stop.
            let _ = std::io::stderr().flush();
        }
    }

    /// A rate beside another, mostly the ceiling's.
    pub(crate) fn rate(&mut self, what: &str, windows: &Windows, aim: Option<f64>, limited_by: &str) {
        let ratios = windows.ours.iter().zip(&windows.ceiling).map(|(ours, ceiling)| ours.rate() / ceiling.rate());
        let (ratio, ratio_lowest, ratio_highest) = spread(ratios.collect());
        let measured = Measured::Rate {
            ours: Speed::of(&windows.ours),
            beside: Speed::of(&windows.ceiling),
            ratio,
            ratio_lowest,
            ratio_highest,
        };
        self.find(what, measured, aim, aim.map(|aim| ratio >= aim), limited_by);
    }

    pub(crate) fn latency(&mut self, what: &str, took: &[Duration], aim: Option<Duration>, limited_by: &str) {
        let mut millis: Vec<f64> = took.iter().map(|took| took.as_secs_f64() * 1e3).collect();
        millis.sort_by(f64::total_cmp);
        let at = |percent: usize| millis[(millis.len() * percent / 100).min(millis.len() - 1)];
        let measured = Measured::LatencyMs { p50: at(50), p99: at(99), max: at(100) };
        let aim = aim.map(|aim| aim.as_secs_f64() * 1e3);
        self.find(what, measured, aim, aim.map(|aim| at(50) <= aim), limited_by);
    }

    /// Memory, which shall not be more than `beside` by more than what one run differs from another.
    pub(crate) fn memory(&mut self, what: &str, resident: f64, beside: Option<f64>, limited_by: &str) {
        const NOISE_MIB: f64 = 4.0;
        let aim = beside.map(|beside| beside + NOISE_MIB);
        let measured = Measured::MemoryMib { resident, beside };
        self.find(what, measured, aim, aim.map(|aim| resident <= aim), limited_by);
    }

    /// What it costs to have nothing to do.
    #[expect(clippy::cast_precision_loss, reason = "a rate for people")]
    pub(crate) fn idle(&mut self, took: Duration, cpu: Duration, wakes: u64) {
        let wakes_per_second = wakes as f64 / took.as_secs_f64();
        let cpu_percent = 100.0 * cpu.as_secs_f64() / took.as_secs_f64();
        let measured = Measured::Idle { wakes_per_second, cpu_percent };
        let held = wakes_per_second < 5.0 && cpu_percent < 1.0;
        self.find(
            "worker, idle: what waiting costs",
            measured,
            None,
            Some(held),
            "a look at the file each second, the lease",
        );
    }

    fn find(&mut self, what: &str, measured: Measured, aim: Option<f64>, held: Option<bool>, limited_by: &str) {
        let finding = Finding {
            part: self.part.clone(),
            what: what.to_owned(),
            measured,
            aim,
            held,
            limited_by: limited_by.to_owned(),
        };
        if self.live {
            eprint!("\r\x1b[K");
        }
        if !self.json {
            print_finding(&finding);
        }
        self.findings.push(finding);
    }

    /// Which aims were missed.
    pub(crate) fn summary(&self) -> String {
        let aims: Vec<_> = self.findings.iter().filter(|finding| finding.held.is_some()).collect();
        let missed: Vec<_> = aims.iter().filter(|finding| finding.held == Some(false)).collect();
        let mut text = format!("\n{} of {} aims held\n", aims.len() - missed.len(), aims.len());
        for finding in missed {
            text.extend(["missed: ", &finding.part, ": ", &finding.what, "\n"]);
        }
        text
    }

    pub(crate) fn json(&self, conditions: &Conditions) -> serde_json::Result<String> {
        serde_json::to_string_pretty(&serde_json::json!({ "conditions": conditions, "findings": self.findings }))
    }
}

fn print_finding(finding: &Finding) {
    let Finding { what, measured, aim, held, limited_by, .. } = finding;
    let mark = match held {
        Some(true) => "  ok",
        Some(false) => "  MISSED",
        None => "",
    };
    match measured {
        Measured::Rate { ours, beside, ratio, ratio_lowest, ratio_highest } => {
            let aim = aim.map_or(String::new(), |aim| format!(", aim {:.0} %", aim * 100.0));
            println!(
                "{what:42} {:9.0} {:6.1}   {:9.0} {:6.1}   {:.0} % ({:.0} to {:.0}){aim}{mark}",
                ours.per_second,
                ours.cpu_micros,
                beside.per_second,
                beside.cpu_micros,
                ratio * 100.0,
                ratio_lowest * 100.0,
                ratio_highest * 100.0
            );
        }
        Measured::LatencyMs { p50, p99, max } => {
            let aim = aim.map_or(String::new(), |aim| format!(", aim {aim:.0} ms"));
            println!("{what:42} p50 {p50:.3} ms, p99 {p99:.3} ms, longest {max:.3} ms{aim}{mark}");
        }
        Measured::MemoryMib { resident, beside } => {
            let beside = beside.map_or(String::new(), |beside| format!(" beside {beside:.1} MiB"));
            println!("{what:42} {resident:.1} MiB{beside}{mark}");
        }
        Measured::Idle { wakes_per_second, cpu_percent } => {
            println!(
                "{what:42} woken {wakes_per_second:.1} times a second, {cpu_percent:.2} % of a core, aim under 5 and under \
                 1 %{mark}"
            );
        }
    }
    println!("{:42}   limited by {limited_by}", "");
}
