//! Where the database is and how it is used: what a URL says.

use std::{fmt, path::PathBuf, str::FromStr, time::Duration};

use celeriac_core::{Error, ErrorKind, Result};
use percent_encoding::percent_decode_str;

use crate::layout::SCHEMA;

/// Everything that can be said about the engine. [`Config::from_url`] reads a URL.
#[derive(Clone)]
#[non_exhaustive]
pub struct Config {
    /// Server, database, user and password.
    pub connection: tokio_postgres::Config,
    /// Whether connections are encrypted, and how much of the server's certificate is believed.
    pub tls: Tls,
    /// The schema of our own tables, made when it does not exist.
    pub schema: String,
    /// How many connections broker, results and history share. One more listens.
    pub connections: usize,
    /// How long a statement may take before its connection is given up.
    pub statement_timeout: Duration,
    /// How often a sleeping consumer looks without having been woken.
    pub look_every: Duration,
    /// The largest message that is accepted, headers and properties included, in bytes.
    pub message_bytes_max: usize,
    /// The largest result document, chord value or broadcast that is accepted, in bytes.
    pub result_bytes_max: usize,
    /// How many broadcasts are kept for listeners that come back.
    pub broadcasts_kept: u32,
    /// How long broadcasts are kept.
    pub broadcasts_kept_for: Duration,
    /// How values are written into Celery's tables. Both forms are read.
    pub result_format: ResultFormat,
    /// Whether leases and due times go by the server's clock, so that machines whose clocks differ agree. Tests that
    /// move time by hand turn it off.
    pub server_time: bool,
}

/// How values are written into Celery's tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResultFormat {
    /// JSON, as Celery 5.7 writes them. Older ones cannot read it.
    Json,
    /// Pickles of plain data, as Celery 5.6 and older write them. 5.7 reads them too.
    Pickle,
}

/// What a connection's encryption stands for. The words are libpq's `sslmode`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Tls {
    /// How much is asked for.
    pub mode: TlsMode,
    /// The certificates that are believed, a PEM file; those of the system when none.
    pub root_certificates: Option<PathBuf>,
    /// A certificate of our own to show, and its key, both PEM files.
    pub client_certificate: Option<(PathBuf, PathBuf)>,
}

/// libpq's `sslmode`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum TlsMode {
    /// Never encrypted.
    Disable,
    /// Encrypted if the server can; whoever it is.
    #[default]
    Prefer,
    /// Encrypted; whoever the server is, unless `sslrootcert` says whom to believe.
    Require,
    /// Encrypted, with a certificate of somebody who is believed.
    VerifyCa,
    /// Encrypted, with a certificate for this very host.
    VerifyFull,
}

/// The schemes that name PostgreSQL; those with `db+` or a driver are Celery's for results.
const SCHEMES: &[&str] = &["postgresql", "postgres"];

/// The options of a URL, in the words of the error that lists them.
const OPTIONS: &str = "sslmode, sslrootcert, sslcert, sslkey, connect_timeout, application_name, options, \
                       target_session_attrs, keepalives, … as libpq has them, and schema=celeriac, connections=4, \
                       statement_timeout=30s, look_every=1s, message_max=16MiB, result_max=16MiB, \
                       broadcasts_kept=100000, broadcasts_kept_for=1h, result_format=json|pickle";

/// As long as a name that PostgreSQL does not cut, with room for what we put behind it.
const SCHEMA_BYTES_MAX: usize = 40;
const CONNECTIONS_MAX: usize = 64;
/// PostgreSQL itself takes values of up to 1 GB; half of it leaves room for the rest of the statement.
const BYTES_MAX: u64 = 512 << 20;

impl Config {
    /// Reads `postgresql://user:password@host:port/database?option=value&…`.
    ///
    /// The scheme may also be `postgres`, and have what Celery and SQLAlchemy write around it: `db+postgresql`,
    /// `postgresql+psycopg2`, `db+postgresql+psycopg`. The options are those of the crate's documentation.
    ///
    /// ```
    /// use celeriac_postgres::{Config, TlsMode};
    ///
    /// let config = Config::from_url("db+postgresql://me:secret@db.example/tasks?sslmode=verify-full")?;
    /// assert_eq!(config.tls.mode, TlsMode::VerifyFull);
    /// assert!(!format!("{config:?}").contains("secret"));
    /// # Ok::<(), celeriac_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// `Invalid`, naming what is wrong and what would be right, never the password.
    pub fn from_url(url: &str) -> Result<Self> {
        let (scheme, rest) = url.split_once("://").ok_or_else(|| invalid("read this URL: it has no ://".to_owned()))?;
        let plain = scheme.strip_prefix("db+").unwrap_or(scheme);
        let plain = plain.split_once('+').map_or(plain, |(plain, _driver)| plain);
        if !SCHEMES.contains(&plain) {
            return Err(invalid(format!("read this URL: `{scheme}` is not postgresql or postgres")));
        }
        let (address, query) = rest.split_once('?').unwrap_or((rest, ""));
        let mut connection = tokio_postgres::Config::from_str(&format!("postgresql://{address}")).map_err(|_| {
            invalid("read this URL: it is not postgresql://user:password@host:port/database".to_owned())
        })?;
        if connection.get_hosts().is_empty() {
            connection.host("127.0.0.1");
        }
        connection
            .application_name("celeriac")
            .connect_timeout(Duration::from_secs(3))
            // What nobody acknowledges for so long is lost: reconnect rather than wait for the system to give up.
            .tcp_user_timeout(Duration::from_secs(5))
            .keepalives_idle(Duration::from_secs(10))
            .keepalives_interval(Duration::from_secs(3))
            .keepalives_retries(3);
        let mut config = Self {
            connection,
            tls: Tls::default(),
            schema: SCHEMA.to_owned(),
            connections: 4,
            statement_timeout: Duration::from_secs(30),
            look_every: Duration::from_secs(1),
            message_bytes_max: 16 << 20,
            result_bytes_max: 16 << 20,
            broadcasts_kept: 100_000,
            broadcasts_kept_for: Duration::from_hours(1),
            result_format: ResultFormat::Json,
            server_time: true,
        };
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let value = percent_decode_str(value)
                .decode_utf8()
                .map_err(|_| invalid(format!("read the URL option `{name}`: it is not UTF-8")))?;
            config.set(name, &value)?;
        }
        config.connection.ssl_mode(match config.tls.mode {
            TlsMode::Disable => tokio_postgres::config::SslMode::Disable,
            TlsMode::Prefer => tokio_postgres::config::SslMode::Prefer,
            TlsMode::Require | TlsMode::VerifyCa | TlsMode::VerifyFull => tokio_postgres::config::SslMode::Require,
        });
        Ok(config)
    }

    /// Where it goes, for people: host, port and database.
    pub fn place(&self) -> String {
        use tokio_postgres::config::Host;
        let host = match self.connection.get_hosts().first() {
            Some(Host::Tcp(host)) => host.clone(),
            #[cfg(unix)]
            Some(Host::Unix(path)) => path.display().to_string(),
            None => "127.0.0.1".to_owned(),
        };
        let port = self.connection.get_ports().first().copied().unwrap_or(5432);
        format!("{host}:{port}/{}", self.connection.get_dbname().unwrap_or_default())
    }

    fn set(&mut self, name: &str, value: &str) -> Result<()> {
        let wrong = |expected: &str| invalid(format!("use {value:?} for the option `{name}`: it takes {expected}"));
        let path = || PathBuf::from(value);
        match name {
            "sslmode" => {
                self.tls.mode = match value {
                    "disable" => TlsMode::Disable,
                    "allow" | "prefer" => TlsMode::Prefer,
                    "require" => TlsMode::Require,
                    "verify-ca" => TlsMode::VerifyCa,
                    "verify-full" => TlsMode::VerifyFull,
                    _ => return Err(wrong("disable, prefer, require, verify-ca or verify-full")),
                }
            }
            "sslrootcert" if value == "system" => self.tls.root_certificates = None,
            "sslrootcert" => self.tls.root_certificates = Some(path()),
            "sslcert" => {
                let key = self.tls.client_certificate.take().map_or_else(PathBuf::new, |(_, key)| key);
                self.tls.client_certificate = Some((path(), key));
            }
            "sslkey" => {
                let certificate = self.tls.client_certificate.take().map_or_else(PathBuf::new, |(own, _)| own);
                self.tls.client_certificate = Some((certificate, path()));
            }
            "schema" => {
                if !is_identifier(value) {
                    return Err(wrong("up to 40 lower-case letters, digits and underscores"));
                }
                value.clone_into(&mut self.schema);
            }
            "connections" => {
                self.connections = value
                    .parse()
                    .ok()
                    .filter(|number| (1..=CONNECTIONS_MAX).contains(number))
                    .ok_or_else(|| wrong("a number from 1 to 64"))?;
            }
            "statement_timeout" => self.statement_timeout = positive(value).ok_or_else(|| wrong("such as 30s"))?,
            "look_every" => self.look_every = positive(value).ok_or_else(|| wrong("a duration such as 1s"))?,
            "message_max" => self.message_bytes_max = limit(value).ok_or_else(|| wrong("1B to 512MiB"))?,
            "result_max" => self.result_bytes_max = limit(value).ok_or_else(|| wrong("1B to 512MiB"))?,
            "broadcasts_kept" => {
                self.broadcasts_kept = value.parse().map_err(|_| wrong("a number such as 100000"))?;
            }
            "broadcasts_kept_for" => {
                self.broadcasts_kept_for = positive(value).ok_or_else(|| wrong("a duration such as 1h"))?;
            }
            "result_format" => {
                self.result_format = match value {
                    "json" => ResultFormat::Json,
                    "pickle" => ResultFormat::Pickle,
                    _ => return Err(wrong("json (Celery 5.7) or pickle (5.6 and older)")),
                }
            }
            libpqs => self.set_of_libpq(libpqs, value)?,
        }
        Ok(())
    }

    /// What libpq knows, the driver knows: let it read the one option, beside what was said before.
    fn set_of_libpq(&mut self, name: &str, value: &str) -> Result<()> {
        let quoted = value.replace('\\', "\\\\").replace('\'', "\\'");
        let read = tokio_postgres::Config::from_str(&format!("{name}='{quoted}'"))
            .ok()
            .filter(|_| name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_'))
            .ok_or_else(|| {
                invalid(format!(
                    "use the URL option `{name}`: it is unknown or its value is; the options are {OPTIONS}"
                ))
            })?;
        let of = &mut self.connection;
        match name {
            "user" => of.user(value),
            "password" => of.password(value),
            "dbname" => of.dbname(value),
            "host" => of.host(value),
            "port" => read.get_ports().iter().fold(of, |of, port| of.port(*port)),
            "options" => of.options(value),
            "application_name" => of.application_name(value),
            "sslnegotiation" => of.ssl_negotiation(read.get_ssl_negotiation()),
            "connect_timeout" => match read.get_connect_timeout() {
                Some(timeout) => of.connect_timeout(*timeout),
                None => of,
            },
            "tcp_user_timeout" => match read.get_tcp_user_timeout() {
                Some(timeout) => of.tcp_user_timeout(*timeout),
                None => of,
            },
            "keepalives" => of.keepalives(read.get_keepalives()),
            "keepalives_idle" => of.keepalives_idle(read.get_keepalives_idle()),
            "keepalives_interval" => match read.get_keepalives_interval() {
                Some(interval) => of.keepalives_interval(interval),
                None => of,
            },
            "keepalives_retries" => match read.get_keepalives_retries() {
                Some(retries) => of.keepalives_retries(retries),
                None => of,
            },
            "target_session_attrs" => of.target_session_attrs(read.get_target_session_attrs()),
            "channel_binding" => of.channel_binding(read.get_channel_binding()),
            "load_balance_hosts" => of.load_balance_hosts(read.get_load_balance_hosts()),
            _ => return Err(invalid(format!("use the unknown URL option `{name}`: the options are {OPTIONS}"))),
        };
        Ok(())
    }
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The driver's own configuration is left out for the sake of the password.
        f.debug_struct("Config")
            .field("place", &self.place())
            .field("tls", &self.tls)
            .field("schema", &self.schema)
            .field("connections", &self.connections)
            .finish_non_exhaustive()
    }
}

fn invalid(sentence: String) -> Error {
    Error::new(ErrorKind::Invalid, sentence)
}

fn is_identifier(text: &str) -> bool {
    (1..=SCHEMA_BYTES_MAX).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
        && !text.starts_with(|first: char| first.is_ascii_digit())
        && !text.starts_with("pg_")
}

fn number_and_unit(text: &str) -> Option<(u64, &str)> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    Some((text[..end].parse().ok()?, &text[end..]))
}

fn limit(text: &str) -> Option<usize> {
    let (number, unit) = number_and_unit(text)?;
    let shift = match unit {
        "" | "B" => 0,
        "KiB" => 10,
        "MiB" => 20,
        "GiB" => 30,
        _ => return None,
    };
    let bytes = number.checked_mul(1 << shift).filter(|bytes| (1..=BYTES_MAX).contains(bytes))?;
    usize::try_from(bytes).ok()
}

fn positive(text: &str) -> Option<Duration> {
    let (number, unit) = number_and_unit(text)?;
    let millis = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return None,
    };
    number.checked_mul(millis).filter(|millis| *millis > 0).map(Duration::from_millis)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_refused(url: &str, part: &str) {
        let error = Config::from_url(url).expect_err("refused");
        assert_eq!(error.kind(), ErrorKind::Invalid);
        assert!(error.to_string().contains(part), "{error}");
        assert!(!error.to_string().contains("secret"), "{error}");
    }

    #[test]
    fn every_way_in_which_celery_users_write_it_is_understood() {
        for scheme in [
            "postgresql",
            "postgres",
            "db+postgresql",
            "db+postgres",
            "postgresql+psycopg2",
            "db+postgresql+psycopg2",
            "db+postgresql+psycopg",
        ] {
            let config = Config::from_url(&format!("{scheme}://me:secret@db:5433/tasks")).unwrap();
            assert_eq!(config.place(), "db:5433/tasks");
            assert_eq!(config.connection.get_password(), Some(&b"secret"[..]));
        }
    }

    #[test]
    fn every_option_is_read() {
        let config = Config::from_url(
            "postgresql://db/t?sslmode=verify-ca&sslrootcert=/ca.pem&sslcert=/c.pem&sslkey=/k.pem&schema=tasks&connections=2\
             &statement_timeout=5s&look_every=250ms&message_max=1KiB&result_max=2KiB&broadcasts_kept=7\
             &broadcasts_kept_for=2d&result_format=pickle&connect_timeout=7&application_name=my%20shop\
             &target_session_attrs=read-write",
        )
        .unwrap();
        assert_eq!(config.tls.mode, TlsMode::VerifyCa);
        assert_eq!(config.tls.root_certificates, Some("/ca.pem".into()));
        assert_eq!(config.tls.client_certificate, Some(("/c.pem".into(), "/k.pem".into())));
        assert_eq!((config.schema.as_str(), config.connections), ("tasks", 2));
        assert_eq!((config.statement_timeout, config.look_every), (Duration::from_secs(5), Duration::from_millis(250)));
        assert_eq!((config.message_bytes_max, config.result_bytes_max), (1024, 2048));
        assert_eq!((config.broadcasts_kept, config.broadcasts_kept_for), (7, Duration::from_hours(48)));
        assert_eq!(config.result_format, ResultFormat::Pickle);
        assert_eq!(config.connection.get_connect_timeout(), Some(&Duration::from_secs(7)));
        assert_eq!(config.connection.get_application_name(), Some("my shop"));
    }

    #[test]
    fn what_cannot_be_meant_is_refused_with_what_could_and_without_the_password() {
        check_refused("redis://:secret@x", "not postgresql");
        check_refused("postgresql:me:secret", "no ://");
        check_refused("postgresql://me:secret@db:port/x", "user:password@host:port/database");
        check_refused("postgresql://me:secret@db/x?sslmode=on", "verify-full");
        check_refused("postgresql://me:secret@db/x?schema=A-b", "lower-case");
        check_refused("postgresql://me:secret@db/x?connections=0", "from 1 to 64");
        check_refused("postgresql://me:secret@db/x?look_every=0s", "a duration such as 1s");
        check_refused("postgresql://me:secret@db/x?frobnicate=1", "`frobnicate`");
        check_refused("postgresql://me:secret@db/x?connect_timeout=soon", "`connect_timeout`");
    }
}
