//! Finds the server: directly, or through sentinels.

use std::path::Path;

use celeriac_core::{Error, ErrorKind, Result};
use redis::{
    Client, ClientTlsConfig, ConnectionAddr, ConnectionInfo, IntoConnectionInfo as _, ProtocolVersion,
    RedisConnectionInfo, RedisResult, TlsCertificates, TlsMode,
    io::tcp::TcpSettings,
    sentinel::{SentinelClient, SentinelClientBuilder, SentinelServerType},
};

use crate::config::{Config, Server};

/// Where to connect to.
pub(crate) enum Address {
    Direct(Client),
    /// Asked again at each connection: the master changes.
    Sentinels(SentinelClient),
}

impl Address {
    pub(crate) fn new(config: &Config) -> Result<Self> {
        let failed =
            |error: redis::RedisError| crate::errors::explain("set up the connection", &config.place(), &error);
        let mut login =
            RedisConnectionInfo::default().set_protocol(ProtocolVersion::RESP3).set_db(i64::from(config.db));
        if let Some(username) = &config.username {
            login = login.set_username(username);
        }
        if let Some(password) = &config.password {
            login = login.set_password(password);
        }
        let tcp = TcpSettings::default().set_nodelay(true);
        let certificates = certificates(config)?;
        if config.tls.is_some() {
            // Whoever embeds this may have chosen another provider: theirs stays.
            let _ = rustls::crypto::ring::default_provider().install_default();
        }
        let direct = |addr: ConnectionAddr| -> RedisResult<Client> {
            let info: ConnectionInfo =
                addr.into_connection_info()?.set_redis_settings(login.clone()).set_tcp_settings(tcp.clone());
            match &certificates {
                Some(certificates) => Client::build_with_tls(info, certificates.clone()),
                None => Client::open(info),
            }
        };
        let tls = config.tls.is_some();
        match &config.server {
            Server::Tcp(host, port) => direct(tcp_address(host, *port, tls)).map(Self::Direct).map_err(failed),
            Server::Unix(path) => direct(ConnectionAddr::Unix(path.clone())).map(Self::Direct).map_err(failed),
            Server::Sentinel { hosts, master, login: sentinel_login } => {
                let hosts: Vec<ConnectionAddr> =
                    hosts.iter().map(|(host, port)| tcp_address(host, *port, false)).collect();
                let mut builder = SentinelClientBuilder::new(hosts, master.clone(), SentinelServerType::Master)
                    .map_err(failed)?
                    .set_client_to_redis_db(i64::from(config.db))
                    .set_client_to_redis_protocol(ProtocolVersion::RESP3)
                    .set_client_to_redis_tcp_settings(tcp.clone());
                if let Some(username) = &config.username {
                    builder = builder.set_client_to_redis_username(username);
                }
                if let Some(password) = &config.password {
                    builder = builder.set_client_to_redis_password(password);
                }
                if let Some((username, password)) = sentinel_login {
                    builder = builder.set_client_to_sentinel_password(password);
                    if let Some(username) = username {
                        builder = builder.set_client_to_sentinel_username(username);
                    }
                }
                if let Some(certificates) = certificates {
                    builder = builder
                        .set_client_to_redis_tls_mode(TlsMode::Secure)
                        .set_client_to_redis_certificates(certificates);
                }
                builder.build().map(Self::Sentinels).map_err(failed)
            }
        }
    }

    /// A client for the server as it is now.
    pub(crate) async fn client(&mut self) -> RedisResult<Client> {
        match self {
            Self::Direct(client) => Ok(client.clone()),
            Self::Sentinels(sentinels) => sentinels.async_get_client().await,
        }
    }
}

fn tcp_address(host: &str, port: u16, tls: bool) -> ConnectionAddr {
    if tls {
        ConnectionAddr::TcpTls { host: host.to_owned(), port, insecure: false, tls_params: None }
    } else {
        ConnectionAddr::Tcp(host.to_owned(), port)
    }
}

fn certificates(config: &Config) -> Result<Option<TlsCertificates>> {
    let Some(tls) = &config.tls else { return Ok(None) };
    let root_cert = tls.ca_certs.as_deref().map(|path| read("ssl_ca_certs", path)).transpose()?;
    let client_tls = match &tls.identity {
        Some((certificate, key)) => Some(ClientTlsConfig {
            client_cert: read("ssl_certfile", certificate)?,
            client_key: read("ssl_keyfile", key)?,
        }),
        None => None,
    };
    Ok(Some(TlsCertificates { client_tls, root_cert }))
}

fn read(option: &str, path: &Path) -> Result<Vec<u8>> {
    std::fs::read(path).map_err(|error| {
        Error::new(ErrorKind::Invalid, format!("read the file of `{option}`, {}", path.display())).with_source(error)
    })
}
