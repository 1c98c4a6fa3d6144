//! What people read: every help, and every mistake. `INSTA_UPDATE=always cargo test -p celeriac-cli --test words` writes them anew;
//! read them before you commit.

use std::{path::Path, process::Command};

fn said(folder: &Path, args: &[&str]) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_celeriac"));
    command.current_dir(folder).args(args).env("COLUMNS", "110");
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("CELER") {
            command.env_remove(name);
        }
    }
    let output = command.output().expect("the program starts");
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    let code = output.status.code().expect("an exit code");
    format!("$ celeriac {}\n{out}{err}[exit code {code}]\n\n", args.join(" "))
}

fn all(lines: &[&[&str]]) -> String {
    let folder = tempfile::tempdir().expect("a temporary folder");
    lines.iter().map(|args| said(folder.path(), args)).collect()
}

#[test]
fn help_teaches() {
    insta::assert_snapshot!(all(&[
        &["--help"],
        &["worker", "--help"],
        &["call", "--help"],
        &["result", "-h"],
        &["revoke", "-h"],
        &["inspect", "-h"],
        &["inspect", "active", "-h"],
        &["dashboard", "-h"],
        &["dead", "-h"],
        &["dead", "replay", "-h"],
        &["purge", "-h"],
        &["completion", "-h"],
    ]));
}

#[test]
fn mistakes_say_what_to_do_next() {
    insta::assert_snapshot!(all(&[
        &["inspect", "queues"],
        &["frobnicate"],
        &["worker"],
        &["call"],
        &["call", "x", "--args", "[1, 2"],
        &["call", "x", "--kwargs", "[]"],
        &["call", "x", "--eta", "tomorrow"],
        &["call", "x", "--wait", "soon"],
        &["call", "x", "--task-id", "some-id"],
        &["inspect", "queues"],
        &["inspect", "workers"],
        &["inspect", "registered"],
        &["result", "nobody"],
        &["result", "nobody", "--wait", "0"],
        &["purge", "-Q", "celery"],
        &["purge"],
        &["dead", "list"],
        &["dead", "show", "17"],
        &["dead", "replay"],
        &["dead", "drop", "17"],
        &["revoke", "some-id"],
        &["-b", "sqlite:///nowhere/at/all.db", "call", "x"],
        &["dashboard", "--listen", "nowhere"],
        &["dashboard", "--listen", "0.0.0.0:0"],
        &["--config", "nowhere.toml", "inspect", "queues"],
    ]));
}
