//! Examples for `--help`, by command: what people copy first.

use clap::Command;

use crate::exit;

/// Command paths and their examples; `%` is the program's name.
const EXAMPLES: &[(&str, &str)] = &[
    (
        "",
        "\
  % call mail.send --args '[\"ann@example.com\"]' --wait 10   send a task, wait for its value
  % inspect queues                                          what waits, runs, is scheduled, is dead
  % dead list                                               what could not run, and why
  % dashboard                                               the same in a browser",
    ),
    (
        "worker",
        "\
  % worker -c 20 -Q mail,reports      20 tasks at a time, from two queues
  % worker -E --log-json              with events for the job viewer, and logs for machines

SIGTERM or Ctrl-C lets running tasks finish within the grace and gives the rest back; a second one gives \
everything back at once. Nothing is lost either way.",
    ),
    (
        "call",
        "\
  % call shop.add --args '[2, 3]' --wait 10
  % call mail.send --kwargs '{\"to\": \"ann@example.com\"}' --countdown 60 --queue mail",
    ),
    (
        "result",
        "\
  % result 0199e2c4-5b7a-7000-8000-3f1d2a9c4b10 --wait 30
  % result 0199e2c4-5b7a-7000-8000-3f1d2a9c4b10 --traceback
  % result 0199e2c4-5b7a-7000-8000-3f1d2a9c4b10 --json | jq .status

Exits with 1 when the task failed or was revoked, with 69 when nothing is stored of it, with 124 when it was not done in time.",
    ),
    (
        "revoke",
        "\
  % revoke 0199e2c4-5b7a-7000-8000-3f1d2a9c4b10              if it has not begun, it will not
  % revoke 0199e2c4-5b7a-7000-8000-3f1d2a9c4b10 --terminate  also if it runs

A revocation is stored and kept for three hours, whether anybody knows the task or not.",
    ),
    (
        "inspect",
        "\
  % inspect queues
  % inspect active --task mail.send
  % inspect scheduled --json | jq '.[].due'
  % inspect registered               the tasks of this program, with their arguments",
    ),
    (
        "dashboard",
        "\
  % dashboard
  CELERIAC_BASIC_AUTH=me:secret % dashboard --listen 0.0.0.0:8888",
    ),
    (
        "dead",
        "\
  % dead list --queue mail
  % dead show 17
  % dead replay 17 --body '[[\"ann@example.com\"], {}, {}]'   corrected
  % dead replay --all --task mail.send
  % dead drop --all --queue old --yes",
    ),
    (
        "purge",
        "\
  % purge -Q mail          asks first
  % purge -Q mail --yes    does not

What is running is not touched. What is removed is gone: `% inspect reserved -Q mail` shows it before.",
    ),
    (
        "completion",
        "\
  % completion bash > /etc/bash_completion.d/%
  % completion zsh > ~/.zfunc/_%
  % completion fish > ~/.config/fish/completions/%.fish",
    ),
    ("man", "  % man > /usr/local/share/man/man1/%.1"),
];

/// The command with the program's name, and with examples everywhere.
pub(crate) fn teach(command: Command, name: &'static str) -> Command {
    let mut command = command.name(name).bin_name(name);
    for (path, examples) in EXAMPLES {
        let examples = format!("Examples:\n  {}", examples.trim_start().replace('%', name));
        command = if path.is_empty() {
            command.after_long_help(format!("{examples}\n\n{}\n\n{}", exit::SETTINGS, exit::HELP))
        } else {
            command.mut_subcommand(path, |sub| sub.after_help(examples))
        };
    }
    command
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;
    use crate::args::Cli;

    #[test]
    fn every_command_teaches_by_example() {
        let command = teach(Cli::command(), "shop");
        command.clone().debug_assert();
        for sub in command.get_subcommands() {
            let help = sub.get_after_help().map(ToString::to_string).unwrap_or_default();
            assert!(help.contains(&format!("  shop {}", sub.get_name())) || help.contains("shop dashboard"), "{help}");
        }
    }
}
