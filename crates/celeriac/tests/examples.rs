//! Every example does what its first lines say, and is short enough to be read.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

/// The longest example, in lines.
const LINES_MAX: usize = 80;

fn examples() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples");
    let mut files: Vec<_> =
        fs::read_dir(folder).expect("there are examples").map(|file| file.expect("a file").path()).collect();
    files.sort();
    files
}

/// What the comment on top says: the question, the command and what is printed.
fn promised(text: &str, name: &str) -> String {
    let top: Vec<&str> = text.lines().map_while(|line| line.strip_prefix("//!")).collect();
    assert!(top[0].ends_with('?'), "{name}: the first line is the question");
    let command = format!("     cargo run -p celeriac --example {name}");
    assert!(top.contains(&command.as_str()), "{name}: the command stands on top");
    let prints = top.iter().position(|line| line.trim() == "prints").expect("what it prints stands on top");
    let lines: Vec<_> = top[prints + 1..].iter().filter_map(|line| line.strip_prefix("     ")).collect();
    lines.join("\n") + "\n"
}

#[test]
fn every_example_prints_what_stands_on_its_top() {
    // The test stands in `deps`, the examples beside that: whoever builds the tests builds them too.
    let built = std::env::current_exe().expect("this test is a file").with_file_name("");
    let built = built.parent().expect("a folder above").join("examples");
    for file in examples() {
        let name = file.file_stem().expect("a name").to_string_lossy().into_owned();
        let text = fs::read_to_string(&file).expect("it can be read");
        assert!(text.lines().count() < LINES_MAX, "{name} has {LINES_MAX} lines or more");
        let output = Command::new(built.join(&name)).output().expect("`cargo test` builds examples");
        let printed = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
        assert_eq!(printed, promised(&text, &name), "{name} prints something else than its top says");
    }
}
