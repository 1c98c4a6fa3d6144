//! From a URL to a pool of connections.

use std::{str::FromStr as _, sync::Arc, time::Duration};

use anyhow::Context as _;
use deadpool_postgres::{Hook, HookError, Manager, ManagerConfig, Pool, RecyclingMethod, Runtime};
use rustls::{ClientConfig, RootCertStore, crypto::ring};
use tokio_postgres::{
    Config, NoTls,
    config::{Host, SslMode},
};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::{CONNECT_WITHIN, CONNECTIONS_MAX, SESSION};

/// How long a server may leave what we sent unconfirmed before the connection counts as lost.
const SILENT_MAX: Duration = Duration::from_secs(20);

/// The pool, and where it leads, for a message: without a password.
pub(super) fn pool(url: &str) -> anyhow::Result<(Pool, String)> {
    let mut config = Config::from_str(&understood(url))?;
    let place = place(&config);
    config.connect_timeout(*config.get_connect_timeout().unwrap_or(&CONNECT_WITHIN));
    config.tcp_user_timeout(*config.get_tcp_user_timeout().unwrap_or(&SILENT_MAX));
    if config.get_application_name().is_none() {
        config.application_name("newsletter");
    }
    // Only whether a connection is open is asked before it is used: no round trip.
    let recycling = ManagerConfig { recycling_method: RecyclingMethod::Fast };
    let manager = if config.get_ssl_mode() == SslMode::Require {
        Manager::from_config(config, MakeRustlsConnect::new(tls()?), recycling)
    } else {
        // As good as every server offers TLS with a certificate that nobody can check: whoever wants TLS says so.
        config.ssl_mode(SslMode::Disable);
        Manager::from_config(config, NoTls, recycling)
    };
    let pool = Pool::builder(manager)
        .max_size(CONNECTIONS_MAX)
        .runtime(Runtime::Tokio1)
        .wait_timeout(Some(CONNECT_WITHIN))
        .create_timeout(Some(CONNECT_WITHIN))
        .post_create(Hook::async_fn(|client, _| {
            Box::pin(async move { client.batch_execute(SESSION).await.map_err(HookError::Backend) })
        }))
        .build()
        .context("could not make a pool of connections")?;
    Ok((pool, place))
}

/// The URL as the client reads it. `postgresql+psycopg2://` is how SQLAlchemy writes it; `verify-ca` and `verify-full` ask
/// for no more than `require` gives here, since a certificate is always checked.
fn understood(url: &str) -> String {
    let (_, rest) = url.split_once("://").unwrap_or(("", url));
    let (address, query) = rest.split_once('?').unwrap_or((rest, ""));
    let options: Vec<&str> = query
        .split('&')
        .filter(|option| !option.is_empty())
        .map(|option| match option {
            "sslmode=verify-full" | "sslmode=verify-ca" => "sslmode=require",
            "sslmode=allow" => "sslmode=prefer",
            other => other,
        })
        .collect();
    format!("postgresql://{address}?{}", options.join("&"))
}

/// TLS that trusts whom the system trusts (or `SSL_CERT_FILE`).
fn tls() -> anyhow::Result<ClientConfig> {
    let mut roots = RootCertStore::empty();
    let found = rustls_native_certs::load_native_certs();
    let (added, _) = roots.add_parsable_certificates(found.certs);
    anyhow::ensure!(added > 0, "the system trusts no certificates: install ca-certificates, or set SSL_CERT_FILE");
    Ok(ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth())
}

fn place(config: &Config) -> String {
    let host = match config.get_hosts().first() {
        Some(Host::Tcp(name)) => name.clone(),
        Some(Host::Unix(path)) => path.display().to_string(),
        None => "without a host".into(),
    };
    let port = config.get_ports().first().unwrap_or(&5432);
    let database = config.get_dbname().or(config.get_user()).unwrap_or_default();
    format!("{database} on {host}:{port}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_understood_as_people_write_them_and_no_message_has_the_password() {
        for url in [
            "postgresql://me:s3cret@db.example/users",
            "postgres://me:s3cret@db.example:5432/users?sslmode=prefer",
            "postgresql+psycopg2://me:s3cret@db.example/users?sslmode=disable",
        ] {
            assert_eq!(pool(url).unwrap().1, "users on db.example:5432");
        }
        let config = Config::from_str(&understood("postgres://db/users?sslmode=verify-full")).unwrap();
        assert_eq!(config.get_ssl_mode(), SslMode::Require);
        for url in ["postgresql://me:s3cret@db:port/users", "postgresql://me:s3cret@db/users?sslmode=s3cret&x=1"] {
            let error = format!("{:#}", pool(url).unwrap_err());
            assert!(!error.contains("s3cret"), "{error}");
        }
    }
}
