//! Mistakes in tasks: what the compiler says. Each message tells what to write instead.
//!
//! `TRYBUILD=overwrite cargo test -p celeriac --test macros` writes the expected messages anew; read them before you commit.

#[test]
fn mistakes_are_told_with_what_to_write_instead() {
    trybuild::TestCases::new().compile_fail("tests/mistakes/*.rs");
}
