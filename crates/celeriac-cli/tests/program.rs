//! The program as scripts see it: what it prints, how it exits.

use std::{
    path::Path,
    process::{Child, Command, Output},
};

use serde_json::{Value, json};

/// The program on a store of its own.
struct Bench {
    folder: tempfile::TempDir,
}

impl Bench {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().expect("a temporary folder") }
    }

    fn command(&self, program: &Path, args: &[&str]) -> Command {
        let mut command = Command::new(program);
        command.current_dir(self.folder.path()).args(args).env_remove("RUST_LOG");
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("CELER") {
                command.env_remove(name);
            }
        }
        command
    }

    fn run(&self, args: &[&str]) -> Output {
        self.command(Path::new(env!("CARGO_BIN_EXE_celeriac")), args).output().expect("the program starts")
    }

    /// What it prints as JSON, and its exit code.
    fn json(&self, args: &[&str]) -> (Value, i32) {
        let output = self.run(&[args, &["--json"]].concat());
        let value =
            serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{args:?}: {error}: {output:?}"));
        (value, output.status.code().expect("an exit code"))
    }

    /// A worker with one task, `shop.add`.
    fn worker(&self) -> Stopped {
        let shop = Path::new(env!("CARGO_BIN_EXE_celeriac")).with_file_name("examples").join("shop");
        Stopped(self.command(&shop, &["worker", "--loglevel", "error"]).spawn().expect("`cargo test` builds examples"))
    }
}

/// A child that does not outlive its test.
struct Stopped(Child);

impl Drop for Stopped {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn a_task_is_called_run_and_its_value_printed() {
    let bench = Bench::new();
    let _worker = bench.worker();
    let output = bench.run(&["call", "shop.add", "--args", "[2, 3]", "--wait", "60"]);
    assert_eq!((text(&output.stdout).as_str(), output.status.code()), ("5\n", Some(0)), "{output:?}");
    let (meta, code) = bench.json(&["call", "shop.add", "--args", "[2]", "--wait", "60"]);
    assert_eq!((meta["status"].as_str(), code), (Some("FAILURE"), 1), "{meta}");
    let (workers, code) = bench.json(&["inspect", "workers"]);
    assert_eq!((workers[0]["queues"][0].as_str(), code), (Some("celery"), 0), "{workers}");
    let (dead, _) = bench.json(&["dead", "list"]);
    assert_eq!(dead[0]["reason"], "bad-arguments");
    let entry = dead[0]["entry"].to_string();
    let (replayed, code) = bench.json(&["dead", "replay", &entry, "--body", "[[2, 4], {}, null]"]);
    assert_eq!((&replayed["replayed"], code), (&json!(1), 0));
    let id = dead[0]["id"].as_str().expect("an id");
    let mut last = Value::Null;
    // Its failure is stored already: what it gives now takes its place.
    for _ in 0..200 {
        last = bench.json(&["result", id, "--wait", "60"]).0;
        if last["status"] == "SUCCESS" {
            break;
        }
    }
    assert_eq!(last["result"], 6, "{last}");
}

#[test]
fn what_waits_is_seen_and_purged() {
    let bench = Bench::new();
    for _ in 0..3 {
        assert!(bench.run(&["call", "mail.send", "--queue", "mail"]).status.success());
    }
    assert!(bench.run(&["call", "mail.send", "--queue", "mail", "--countdown", "3600"]).status.success());
    let (queues, _) = bench.json(&["inspect", "queues"]);
    assert_eq!((&queues[0]["ready"], &queues[0]["scheduled"]), (&json!(3), &json!(1)), "{queues}");
    let (waiting, _) = bench.json(&["inspect", "reserved", "--queue", "mail"]);
    assert_eq!(waiting.as_array().map(Vec::len), Some(3));
    assert_eq!(bench.run(&["purge", "-Q", "mail"]).status.code(), Some(1), "nobody can answer here");
    assert_eq!(bench.json(&["purge", "-Q", "mail", "--yes"]), (json!({"removed": 4, "queues": ["mail"]}), 0));
}

#[test]
fn mistakes_say_what_to_do_and_exit_codes_are_as_documented() {
    let bench = Bench::new();
    let (output, file) = (bench.run(&["inspect", "queues"]), bench.folder.path().join("celeriac.db"));
    assert_eq!(output.status.code(), Some(69), "{output:?}");
    assert!(text(&output.stderr).contains("--broker") && !file.exists(), "looking makes nothing: {output:?}");
    assert!(bench.run(&["call", "x"]).status.success());
    let cases: [(&[&str], i32, &str); 9] = [
        (&["result", "nobody"], 69, "inspect"),
        (&["result", "nobody", "--wait", "0"], 124, "inspect active"),
        (&["dead", "show", "17"], 69, "dead list"),
        (&["--config", "nowhere.toml", "inspect", "queues"], 2, "nowhere.toml"),
        (&["inspect", "workers"], 69, ""),
        (&["call", "x", "--args", "{"], 2, "expected a JSON array"),
        (&["-b", "kafka://me:secret@h", "inspect", "queues"], 2, "sqlite://FILE"),
        (&["worker"], 1, "celeriac_cli::Program"),
        (&["frobnicate"], 2, "--help"),
    ];
    for (args, code, words) in cases {
        let output = bench.run(args);
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{args:?}: {said}");
        assert!(said.contains(words) && !said.contains("secret"), "{args:?}: {said}");
    }
    let help = text(&bench.run(&["--help"]).stdout);
    assert!(help.contains("Exit codes:") && help.contains("inspect"), "{help}");
    assert!(text(&bench.run(&["completion", "bash"]).stdout).contains("complete -F"));
}

#[test]
fn settings_come_from_the_file_under_the_environment_under_the_flags() {
    let bench = Bench::new();
    let file = |text: &str| std::fs::write(bench.folder.path().join("celeriac.toml"), text).expect("it can be written");
    file("broker_url = \"sqlite://named.db\"\n[task_routes]\n\"mail.*\" = \"mail\"\n");
    assert!(bench.run(&["call", "mail.send"]).status.success());
    assert!(bench.folder.path().join("named.db").exists());
    let (queues, _) = bench.json(&["inspect", "queues"]);
    assert_eq!(queues[0]["queue"], "mail");
    let program = Path::new(env!("CARGO_BIN_EXE_celeriac"));
    let mut command = bench.command(program, &["call", "mail.send"]);
    command.env("CELERY_BROKER_URL", "sqlite://variable.db");
    assert!(command.output().expect("it starts").status.success());
    assert!(bench.folder.path().join("variable.db").exists(), "a variable wins over the file");
    let mut command = bench.command(program, &["-b", "sqlite://flag.db", "call", "mail.send"]);
    command.env("CELERY_BROKER_URL", "sqlite://variable2.db");
    assert!(command.output().expect("it starts").status.success());
    assert!(bench.folder.path().join("flag.db").exists(), "a flag wins over both");

    file("\ntask_default_quue = \"x\"\n");
    let output = bench.run(&["inspect", "queues"]);
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("celeriac.toml, line 2") && said.contains("did you mean `task_default_queue`?"), "{said}");
}

#[test]
fn a_program_tells_its_tasks_and_notes_a_name_that_is_none_of_them() {
    let bench = Bench::new();
    let shop = Path::new(env!("CARGO_BIN_EXE_celeriac")).with_file_name("examples").join("shop");
    let output = bench.command(&shop, &["inspect", "registered"]).output().expect("`cargo test` builds examples");
    let told = text(&output.stdout);
    assert!(told.contains("shop.add") && told.contains("a: i64, b: i64"), "{told}");
    let output = bench.command(&shop, &["call", "shop.ad", "--args", "[1, 2]"]).output().expect("it starts");
    let note = text(&output.stderr);
    assert!(output.status.success() && note.contains("no task `shop.ad`; it has shop.add"), "{note}");
    let (registered, code) = bench.json(&["inspect", "registered"]);
    assert_eq!((registered, code), (json!([]), 69));
}
