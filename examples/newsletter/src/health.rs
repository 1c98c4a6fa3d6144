//! Whether a part serves: what container engines and scripts ask.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    time::Duration,
};

use anyhow::Context as _;
use celeriac::prelude::*;

/// How long a part may take to answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);

/// Asks the page whether it can use its store.
///
/// # Errors
/// When it does not answer, or says no.
pub async fn web(listen: SocketAddr) -> anyhow::Result<()> {
    let answer = ask(listen, "health").await?;
    anyhow::ensure!(answer.is_success(), "the page answers {answer}");
    Ok(())
}

/// Asks the job viewer for anything: that it wants a password shows that it serves.
///
/// # Errors
/// When it does not answer, or is in trouble.
pub async fn viewer(listen: SocketAddr) -> anyhow::Result<()> {
    let answer = ask(listen, "").await?;
    anyhow::ensure!(!answer.is_server_error(), "the job viewer answers {answer}");
    Ok(())
}

/// Asks the queue whether a worker of this machine holds a lease, which it renews while it is well.
///
/// # Errors
/// When there is none, or the queue cannot be asked.
pub async fn worker(app: &App) -> anyhow::Result<()> {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").context("could not read this machine's name")?;
    let ours = format!("@{}", host.trim());
    let workers = app.broker().consumers().await?;
    let well = workers.iter().any(|worker| worker.worker.as_str().ends_with(&ours));
    anyhow::ensure!(well, "no worker of this machine serves the queue");
    Ok(())
}

async fn ask(listen: SocketAddr, path: &str) -> anyhow::Result<reqwest::StatusCode> {
    let client = reqwest::Client::builder().timeout(ANSWER_WITHIN).no_proxy().build()?;
    let url = format!("http://{}/{path}", reachable(listen));
    Ok(client.get(url).send().await.context("it does not answer")?.status())
}

/// Where this machine reaches what listens there.
fn reachable(listen: SocketAddr) -> SocketAddr {
    let ip = if listen.ip().is_unspecified() { IpAddr::V4(Ipv4Addr::LOCALHOST) } else { listen.ip() };
    SocketAddr::new(ip, listen.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_listens_everywhere_is_asked_on_this_machine() {
        for (listen, asked) in [("0.0.0.0:5050", "127.0.0.1:5050"), ("[::]:1", "127.0.0.1:1"), ("[::1]:2", "[::1]:2")] {
            assert_eq!(reachable(listen.parse().unwrap()).to_string(), asked);
        }
    }
}
