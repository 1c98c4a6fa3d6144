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

fn check(name: &str, text: &str) {
    insta::with_settings!({ omit_expression => true }, { insta::assert_snapshot!(name, text) });
}

#[test]
fn help_teaches() {
    check(
        "help",
        &all(&[
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
        ]),
    );
}

#[test]
fn mistakes_say_what_to_do_next() {
    check(
        "mistakes",
        &all(&[
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
        ]),
    );
}

#[test]
fn the_page_of_the_command_line_has_every_command_and_every_exit_code() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/reference/cli.md");
    let page = std::fs::read_to_string(page).expect("the page is there");
    let folder = tempfile::tempdir().expect("a temporary folder");
    let help = said(folder.path(), &["--help"]);
    let commands = help.split("Commands:\n").nth(1).and_then(|rest| rest.split("\n\n").next()).expect("commands");
    for line in commands.lines() {
        let command = line.split_whitespace().next().expect("a command");
        assert!(page.contains(&format!("| `{command}")), "{command} is not on the page");
    }
    let codes = help.split("Exit codes:\n").nth(1).expect("exit codes");
    for line in codes.lines().filter(|line| line.starts_with("  ")) {
        let code = line.split_whitespace().next().expect("a code");
        assert!(page.contains(&format!("| {code} |")), "{code} is not on the page");
    }
}
