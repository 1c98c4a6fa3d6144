//! The pages of the reference say what the code says. `UPDATE_PAGES=1 cargo test -p celeriac --test pages` writes the generated
//! part of `settings.md` anew.

use std::{fmt::Write as _, fs, path::PathBuf};

use celeriac::{SETTINGS, Settings};

const BEGIN: &str = "<!-- generated from the code: begin -->\n";
const END: &str = "<!-- generated from the code: end -->\n";

fn file(path: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..").join(path)
}

fn text(path: &str) -> String {
    fs::read_to_string(file(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The part of a page between the two marks.
fn generated(page: &str) -> (usize, usize) {
    let begin = page.find(BEGIN).expect("the page has a generated part") + BEGIN.len();
    (begin, page.find(END).expect("the generated part ends"))
}

#[test]
fn the_page_of_settings_lists_every_setting() {
    let mut table = String::from("| setting | what it is for | write | unless set |\n|---|---|---|---|\n");
    for setting in SETTINGS {
        let (name, about, shape, default) =
            (setting.name, setting.about, setting.shape().replace('|', "\\|"), setting.default_shown());
        writeln!(table, "| `{name}` | {about} | {shape} | {default} |").expect("a string takes everything");
    }
    let mut page = text("docs/reference/settings.md");
    let (begin, end) = generated(&page);
    if std::env::var_os("UPDATE_PAGES").is_some() {
        page.replace_range(begin..end, &table);
        fs::write(file("docs/reference/settings.md"), &page).expect("the page can be written");
        return;
    }
    assert_eq!(&page[begin..end], table, "write it anew: UPDATE_PAGES=1 cargo test -p celeriac --test pages");
}

#[test]
fn the_example_on_the_page_of_settings_is_a_file_that_is_read() {
    let page = text("docs/reference/settings.md");
    let example = page.split("```toml\n").nth(1).and_then(|rest| rest.split("```").next()).expect("it has an example");
    let settings = Settings::from_toml(example).expect("the example is right");
    assert_ne!(settings, Settings::default());
}

#[test]
fn the_page_of_task_options_has_every_option() {
    let page = text("docs/reference/task-options.md");
    let source = text("crates/celeriac-macros/src/options.rs");
    let list =
        source.split("const KNOWN").nth(1).and_then(|rest| rest.split("];").next()).expect("the list of options");
    let options: Vec<&str> = list.split('"').skip(1).step_by(2).collect();
    assert!(options.len() > 15, "{options:?}");
    let heading =
        |option: &str| page.lines().any(|line| line.starts_with("| ") && line.contains(&format!("`{option}`")));
    let missing: Vec<_> = options.into_iter().filter(|option| !heading(option)).collect();
    assert!(missing.is_empty(), "docs/reference/task-options.md says nothing of {missing:?}");
}
