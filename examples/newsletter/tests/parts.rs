//! The parts as processes of their own, and what `newsletter health` says of them.

mod support;

use std::process::{Command, Stdio};

use anyhow::Context as _;
use celeriac_testbed::free_port;
use support::{Kept, Running, first_line, newsletter};

on_both! {
    each_part_is_well_while_it_runs_and_not_before
}

fn health(newsletter: &mut Command, part: &str) -> anyhow::Result<(bool, String)> {
    let output = newsletter.args(["health", part]).output()?;
    let said = String::from_utf8(output.stderr)?;
    Ok((output.status.success(), said))
}

async fn each_part_is_well_while_it_runs_and_not_before(kept: Kept) -> anyhow::Result<()> {
    let (page, viewer) = (free_port(), free_port());
    let program = || {
        let mut command = newsletter(&kept);
        command.args(["--listen", &format!("127.0.0.1:{page}"), "--viewer-listen", &format!("127.0.0.1:{viewer}")]);
        command
    };
    for (part, unwell) in [("web", "does not answer"), ("worker", "no worker"), ("viewer", "does not answer")] {
        let (well, said) = health(&mut program(), part)?;
        assert!(!well && said.starts_with("newsletter: ") && said.contains(unwell), "{part}: {said}");
    }
    let mut running = Vec::new();
    for part in ["web", "worker", "viewer"] {
        let mut child = program().arg(part).stdout(Stdio::piped()).spawn()?;
        first_line(&mut child).with_context(|| format!("{part} says where it is"))?;
        running.push(Running(child));
    }
    // The others serve once they have said so. A worker says its name and then takes its lease.
    while !health(&mut program(), "worker")?.0 {
        anyhow::ensure!(running[1].0.try_wait()?.is_none(), "the worker has ended");
    }
    for part in ["web", "viewer"] {
        let (well, said) = health(&mut program(), part)?;
        assert!(well && said.is_empty(), "{part}: {said}");
    }
    Ok(())
}

#[test]
fn beyond_its_own_machine_the_job_viewer_wants_a_password() -> anyhow::Result<()> {
    let kept = Kept::sqlite();
    let output = newsletter(&kept).args(["viewer", "--viewer-listen", "0.0.0.0:0"]).output()?;
    let said = String::from_utf8(output.stderr)?;
    assert!(!output.status.success() && said.contains("0.0.0.0:0"), "{said}");
    Ok(())
}
