//! Where the server is and how it is used: what a `redis:` URL says.

use std::{fmt, path::PathBuf, time::Duration};

use celeriac_core::{Error, ErrorKind, Result};

/// Everything that can be said about the engine. [`Config::new`] has the defaults, [`Config::from_url`] reads a URL.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Config {
    /// Where the server is.
    pub server: Server,
    /// The user of the server's access list; its default user when none.
    pub username: Option<String>,
    /// The password. Never shown.
    pub password: Option<String>,
    /// The database's number.
    pub db: u16,
    /// Encrypt the connection; nothing is encrypted when none.
    pub tls: Option<Tls>,
    /// How messages are laid out.
    pub layout: Priorities,
    /// Stands before every key and channel, as Celery's `global_keyprefix`.
    pub global_keyprefix: String,
    /// How long an answer may take before the connection counts as lost.
    pub timeout: Duration,
    /// How long a connection may take to be made.
    pub connect_timeout: Duration,
    /// The largest message that is accepted, headers and properties included, in bytes.
    pub message_bytes_max: usize,
    /// The largest result document, chord value or broadcast that is accepted, in bytes.
    pub result_bytes_max: usize,
    /// How many broadcasts of a channel are kept for listeners that come back.
    pub broadcasts_kept: u32,
    /// How long the broadcasts of a channel that has fallen silent are kept.
    pub broadcasts_kept_for: Duration,
}

/// Where a server is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Server {
    /// A host's name or address, and a port.
    Tcp(String, u16),
    /// A socket's path.
    Unix(PathBuf),
    /// Sentinels, which know the host of the master of this name.
    Sentinel {
        /// The sentinels.
        hosts: Vec<(String, u16)>,
        /// The master's name.
        master: String,
        /// Who one is to the sentinels, as user and password; nobody in particular when none.
        login: Option<(Option<String>, String)>,
    },
}

/// How a connection is encrypted. Certificates are PEM files; the system's own are trusted when no other is named.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tls {
    /// Whom to trust.
    pub ca_certs: Option<PathBuf>,
    /// Who one is, with its key.
    pub identity: Option<(PathBuf, PathBuf)>,
}

/// How a queue's lists are named and served: who shares the queues.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Priorities {
    /// Celery's, with its sub-lists for these steps, in the order in which they are served. A priority goes to the
    /// largest step that is not larger. As in Celery on Redis, **a lower number is served first**.
    Celery(Vec<u8>),
    /// A sub-list for each priority from 0 to 255, the higher number served first, as in every other engine. Workers of
    /// Celery find those of the priorities 0, 3, 6 and 9 only.
    Celeriac,
}

/// Celery's steps.
const CELERY_STEPS: [u8; 4] = [0, 3, 6, 9];
const REDIS_PORT: u16 = 6379;
const SENTINEL_PORT: u16 = 26379;
/// Longer ones would make every key long.
const PREFIX_BYTES_MAX: usize = 100;

/// The options of a URL, in the words of the error that lists them.
const OPTIONS: &str = "layout=celery|celeriac, global_keyprefix=app:, priority_steps=0,3,6,9, timeout=5s, \
                       connect_timeout=2s, message_max=16MiB, result_max=16MiB, broadcasts_kept=100000, \
                       broadcasts_kept_for=1h, virtual_host=0, master_name=NAME, sentinel_username=USER, \
                       sentinel_password=…, ssl_ca_certs=FILE, ssl_certfile=FILE, ssl_keyfile=FILE";

impl Config {
    /// The defaults, for the server at this host and port.
    pub fn new(host: impl Into<String>, port: u16) -> Self {
        Self {
            server: Server::Tcp(host.into(), port),
            username: None,
            password: None,
            db: 0,
            tls: None,
            layout: Priorities::Celery(CELERY_STEPS.to_vec()),
            global_keyprefix: String::new(),
            timeout: Duration::from_secs(5),
            connect_timeout: Duration::from_secs(2),
            message_bytes_max: 16 << 20,
            result_bytes_max: 16 << 20,
            broadcasts_kept: 100_000,
            broadcasts_kept_for: Duration::from_hours(1),
        }
    }

    /// Reads a URL, as Celery writes them:
    ///
    /// - `redis://[[user]:password@]host[:port][/db][?option=value&…]`, and `rediss://…` with TLS;
    /// - `redis+socket:///path/to/socket?virtual_host=db`;
    /// - `sentinel://[[user]:password@]host[:port][;sentinel://host[:port]…][/db]?master_name=NAME`.
    ///
    /// Percent signs are decoded. Durations are numbers with `ms`, `s`, `m`, `h` or `d`; sizes with `B`, `KiB` or `MiB`.
    ///
    /// ```
    /// use celeriac_redis::{Config, Server};
    ///
    /// let config = Config::from_url("redis://app:secret@localhost/3?global_keyprefix=shop:")?;
    /// assert_eq!(config.server, Server::Tcp("localhost".into(), 6379));
    /// assert_eq!((config.db, &*config.global_keyprefix), (3, "shop:"));
    /// assert!(!format!("{config:?}").contains("secret"));
    /// # Ok::<(), celeriac_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// `Invalid`, naming what is wrong and what would be right.
    pub fn from_url(url: &str) -> Result<Self> {
        let (scheme, rest) = url.split_once("://").unwrap_or_default();
        let (place, query) = rest.split_once('?').unwrap_or((rest, ""));
        let mut config = match scheme {
            "redis" => Self::at_host(place)?,
            "rediss" => Self { tls: Some(Tls::default()), ..Self::at_host(place)? },
            "redis+socket" | "unix" => Self::at_socket(place)?,
            "sentinel" => Self::at_sentinels(place)?,
            _ => {
                return Err(invalid(
                    "read this URL: it must begin with redis://, rediss://, redis+socket:// or sentinel://",
                ));
            }
        };
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            config.set(name, &decode(value)?)?;
        }
        if let Server::Sentinel { master, .. } = &config.server
            && master.is_empty()
        {
            return Err(invalid("read this URL: sentinels must be told which master: add ?master_name=NAME"));
        }
        Ok(config)
    }

    fn at_host(place: &str) -> Result<Self> {
        let (authority, db) = place.split_once('/').unwrap_or((place, ""));
        let (login, host) = split_login(authority)?;
        let (host, port) = host_and_port(host, REDIS_PORT)?;
        let mut config = Self { db: parse_db(db)?, ..Self::new(host, port) };
        (config.username, config.password) = login;
        Ok(config)
    }

    fn at_socket(place: &str) -> Result<Self> {
        let (login, path) = split_login(place)?;
        let path = decode(path)?;
        if !path.starts_with('/') {
            return Err(invalid("read this URL: it names no socket, as redis+socket:///run/redis.sock does"));
        }
        let mut config = Self { server: Server::Unix(path.into()), ..Self::new("", 0) };
        (config.username, config.password) = login;
        Ok(config)
    }

    fn at_sentinels(place: &str) -> Result<Self> {
        let mut config = Self::new("", 0);
        let mut hosts = Vec::new();
        for one in place.split([';', ',']).map(|one| one.strip_prefix("sentinel://").unwrap_or(one)) {
            let (authority, db) = one.split_once('/').unwrap_or((one, ""));
            let (login, host) = split_login(authority)?;
            if login.1.is_some() {
                (config.username, config.password) = login;
            }
            if !db.is_empty() {
                config.db = parse_db(db)?;
            }
            hosts.push(host_and_port(host, SENTINEL_PORT)?);
        }
        config.server = Server::Sentinel { hosts, master: String::new(), login: None };
        Ok(config)
    }

    fn set(&mut self, name: &str, value: &str) -> Result<()> {
        let wrong = |expected: &str| invalid(&format!("use {value:?} for the option `{name}`: it takes {expected}"));
        match name {
            "layout" => {
                self.layout = match value {
                    "celery" => Priorities::Celery(CELERY_STEPS.to_vec()),
                    "celeriac" => Priorities::Celeriac,
                    _ => return Err(wrong("celery or celeriac")),
                }
            }
            "priority_steps" => {
                self.layout = Priorities::Celery(
                    steps(value).ok_or_else(|| wrong("growing numbers that begin with 0, such as 0,3,6,9"))?,
                );
            }
            "global_keyprefix" => {
                if value.len() > PREFIX_BYTES_MAX || value.contains(['\0', '\n', '\r']) {
                    return Err(wrong("up to 100 bytes of text"));
                }
                value.clone_into(&mut self.global_keyprefix);
            }
            "timeout" => self.timeout = duration(value).ok_or_else(|| wrong("a duration such as 5s"))?,
            "connect_timeout" => {
                self.connect_timeout = duration(value).ok_or_else(|| wrong("a duration such as 2s"))?;
            }
            "message_max" => self.message_bytes_max = size(value).ok_or_else(|| wrong("1B to 256MiB"))?,
            "result_max" => self.result_bytes_max = size(value).ok_or_else(|| wrong("1B to 256MiB"))?,
            "broadcasts_kept" => self.broadcasts_kept = value.parse().map_err(|_| wrong("a number such as 100000"))?,
            "broadcasts_kept_for" => {
                self.broadcasts_kept_for = duration(value).ok_or_else(|| wrong("a duration such as 1h"))?;
            }
            "virtual_host" | "db" => self.db = parse_db(value.trim_start_matches('/'))?,
            "ssl_ca_certs" => self.tls.get_or_insert_default().ca_certs = Some(value.into()),
            "ssl_certfile" => self.identity().0 = value.into(),
            "ssl_keyfile" => self.identity().1 = value.into(),
            "ssl_cert_reqs" if value.eq_ignore_ascii_case("required") || value == "CERT_REQUIRED" => {}
            "ssl_cert_reqs" => {
                return Err(wrong("CERT_REQUIRED only: name a private authority with ssl_ca_certs=FILE"));
            }
            "master_name" | "sentinel_username" | "sentinel_password" => {
                let Server::Sentinel { master, login, .. } = &mut self.server else {
                    return Err(invalid(&format!("use the option `{name}`: it is for sentinel:// URLs")));
                };
                let login = match name {
                    "master_name" => {
                        value.clone_into(master);
                        return Ok(());
                    }
                    _ => login.get_or_insert_default(),
                };
                if name == "sentinel_username" {
                    login.0 = Some(value.to_owned());
                } else {
                    value.clone_into(&mut login.1);
                }
            }
            _ => return Err(invalid(&format!("use the option `{name}`: there are {OPTIONS}"))),
        }
        Ok(())
    }

    fn identity(&mut self) -> &mut (PathBuf, PathBuf) {
        self.tls.get_or_insert_default().identity.get_or_insert_default()
    }

    /// Where the server is, for a message.
    pub(crate) fn place(&self) -> String {
        let scheme = if self.tls.is_some() { "rediss" } else { "redis" };
        match &self.server {
            Server::Tcp(host, port) => format!("{scheme}://{host}:{port}/{}", self.db),
            Server::Unix(path) => format!("redis+socket://{}", path.display()),
            Server::Sentinel { hosts, master, .. } => {
                let hosts: Vec<String> = hosts.iter().map(|(host, port)| format!("{host}:{port}")).collect();
                format!("sentinel://{}/{} (master `{master}`)", hosts.join(","), self.db)
            }
        }
    }
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config")
            .field("place", &self.place())
            .field("username", &self.username)
            .field("password", &self.password.as_ref().map(|_| "********"))
            .field("layout", &self.layout)
            .field("global_keyprefix", &self.global_keyprefix)
            .finish_non_exhaustive()
    }
}

type Login = (Option<String>, Option<String>);

fn split_login(authority: &str) -> Result<(Login, &str)> {
    let Some((login, host)) = authority.rsplit_once('@') else { return Ok(((None, None), authority)) };
    let (user, password) = login.split_once(':').unwrap_or((login, ""));
    let text = |text: &str| Ok::<_, Error>(Some(decode(text)?).filter(|text| !text.is_empty()));
    Ok(((text(user)?, text(password)?), host))
}

fn host_and_port(text: &str, default: u16) -> Result<(String, u16)> {
    // An IPv6 address stands in brackets.
    let (host, port) = match text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((host, rest)) => (host, rest.strip_prefix(':').unwrap_or_default()),
        None => text.rsplit_once(':').unwrap_or((text, "")),
    };
    let port = if port.is_empty() {
        default
    } else {
        port.parse().map_err(|_| invalid(&format!("read this URL: {port:?} is no port")))?
    };
    let host = if host.is_empty() { "localhost".to_owned() } else { decode(host)? };
    Ok((host, port))
}

fn parse_db(text: &str) -> Result<u16> {
    if text.is_empty() {
        return Ok(0);
    }
    text.parse().map_err(|_| invalid(&format!("read this URL: the database is a number from 0, not {text:?}")))
}

fn steps(text: &str) -> Option<Vec<u8>> {
    let steps: Vec<u8> = text.split(',').map(|step| step.trim().parse().ok()).collect::<Option<_>>()?;
    (steps.first() == Some(&0) && steps.is_sorted_by(|one, next| one < next)).then_some(steps)
}

fn duration(text: &str) -> Option<Duration> {
    let split = text.find(|c: char| c.is_ascii_alphabetic())?;
    let (number, unit) = text.split_at(split);
    let number: u64 = number.parse().ok()?;
    let millis = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return None,
    };
    number.checked_mul(millis).filter(|&millis| millis > 0).map(Duration::from_millis)
}

fn size(text: &str) -> Option<usize> {
    let split = text.find(|c: char| c.is_ascii_alphabetic())?;
    let (number, unit) = text.split_at(split);
    let shift = match unit {
        "B" => 0,
        "KiB" => 10,
        "MiB" => 20,
        _ => return None,
    };
    let bytes = number.parse::<usize>().ok()?.checked_mul(1 << shift)?;
    // A message grows by a third on the wire, and the server takes 512 MiB at the most.
    (1..=256 << 20).contains(&bytes).then_some(bytes)
}

fn decode(text: &str) -> Result<String> {
    let decoded = percent_encoding::percent_decode_str(text).decode_utf8();
    // The text itself may be a password: it is not repeated.
    Ok(decoded.map_err(|_| invalid("read this URL: its percent signs do not make UTF-8"))?.into_owned())
}

fn invalid(sentence: &str) -> Error {
    Error::new(ErrorKind::Invalid, sentence)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(url: &str, place: &str) {
        assert_eq!(Config::from_url(url).expect(url).place(), place);
    }

    #[track_caller]
    fn check_refused(url: &str, says: &str) {
        let error = Config::from_url(url).expect_err(url);
        assert_eq!(error.kind(), ErrorKind::Invalid);
        assert!(error.to_string().contains(says), "{error}");
        assert!(!error.to_string().contains("secret"), "{error}");
    }

    #[test]
    fn urls_are_read_as_celery_writes_them() {
        check("redis://", "redis://localhost:6379/0");
        check("redis://localhost", "redis://localhost:6379/0");
        check("redis://:secret@10.0.0.7:7000/5", "redis://10.0.0.7:7000/5");
        check("rediss://user:p%40ss@redis.example.org/1", "rediss://redis.example.org:6379/1");
        check("redis://[::1]:7000/2", "redis://::1:7000/2");
        check("redis+socket:///run/redis.sock?virtual_host=4", "redis+socket:///run/redis.sock");
        check(
            "sentinel://:secret@one:1;sentinel://two/3?master_name=main",
            "sentinel://one:1,two:26379/3 (master `main`)",
        );
    }

    #[test]
    fn passwords_are_decoded_and_never_shown() {
        let config = Config::from_url("redis://us%3Aer:se%40cret@h/0").expect("a URL");
        assert_eq!((config.username.as_deref(), config.password.as_deref()), (Some("us:er"), Some("se@cret")));
        assert!(!format!("{config:?}").contains("cret"));
    }

    #[test]
    fn what_is_wrong_is_said() {
        check_refused("http://h", "must begin with redis://");
        check_refused("redis://:secret@h:port", "no port");
        check_refused("redis://h/mail", "the database is a number");
        check_refused("redis://h?speed=high", "global_keyprefix=app:");
        check_refused("redis://h?priority_steps=3,2", "growing numbers");
        check_refused("redis://h?layout=own", "celery or celeriac");
        check_refused("sentinel://h", "master_name");
        check_refused("redis://h?master_name=x", "sentinel://");
        check_refused("redis+socket://relative", "names no socket");
        check_refused("redis://h?ssl_cert_reqs=none", "ssl_ca_certs");
    }
}
