//! Who may look, and who may act.
//!
//! - On loopback without a password: only requests that name a loopback host, so that a page of another site cannot reach
//!   us under a name of its own (DNS rebinding).
//! - Anywhere else: a user and a password, or it does not start.
//! - Nothing changes on a `GET`; a `POST` must come from our own pages or from a program, never from another site.

use std::net::{IpAddr, SocketAddr};

use axum::{
    body::Body,
    extract::{Request, State},
    http::{HeaderMap, HeaderValue, Method, StatusCode, header},
    middleware::Next,
    response::{IntoResponse, Response},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use celeriac_core::{Error, ErrorKind, Result};
use subtle::ConstantTimeEq;

use crate::monitor::Monitor;

/// A user's name and password for HTTP basic authentication. Never shown.
#[derive(Clone)]
pub struct Credentials {
    user: String,
    password: String,
}

impl Credentials {
    /// Reads `user:password`, as Flower's `--basic-auth` has it.
    ///
    /// # Errors
    /// `Invalid` unless both are there.
    pub fn parse(text: &str) -> Result<Self> {
        match text.split_once(':') {
            Some((user, password)) if !user.is_empty() && !password.is_empty() => {
                Ok(Self { user: user.to_owned(), password: password.to_owned() })
            }
            _ => Err(Error::new(ErrorKind::Invalid, "read the credentials: they have the form user:password")),
        }
    }

    /// Whether a request's `Authorization` names them. Takes the same time however much of it is right.
    fn allow(&self, headers: &HeaderMap) -> bool {
        let Some(given) = headers
            .get(header::AUTHORIZATION)
            .and_then(|value| value.to_str().ok())
            .and_then(|value| value.split_once(' '))
            .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("basic"))
            .and_then(|(_, text)| STANDARD.decode(text.trim()).ok())
        else {
            return false;
        };
        let expected = format!("{}:{}", self.user, self.password);
        expected.as_bytes().ct_eq(&given).into()
    }
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Credentials({}:********)", self.user)
    }
}

/// Refuses to open a door without a lock.
pub(crate) fn may_listen(address: SocketAddr, credentials: Option<&Credentials>) -> Result<()> {
    if address.ip().is_loopback() || credentials.is_some() {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::Invalid,
        format!(
            "serve the job viewer on {address}: others could reach it there; give a user and a password \
             (CELERIAC_BASIC_AUTH=user:password) or listen on 127.0.0.1"
        ),
    ))
}

/// Checks every request, and tells the browser what our pages may do.
pub(crate) async fn guard(State(monitor): State<Monitor>, request: Request, next: Next) -> Response {
    let mut response = match refusal(&monitor, &request) {
        Some(refusal) => refusal,
        None => next.run(request).await,
    };
    let headers = response.headers_mut();
    for (name, value) in [
        (
            header::CONTENT_SECURITY_POLICY,
            "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src 'self'; \
             frame-ancestors 'none'; base-uri 'none'; form-action 'self'",
        ),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (header::REFERRER_POLICY, "same-origin"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}

fn refusal(monitor: &Monitor, request: &Request<Body>) -> Option<Response> {
    let headers = request.headers();
    if let Some(credentials) = monitor.credentials() {
        if !credentials.allow(headers) {
            let ask = [(header::WWW_AUTHENTICATE, "Basic realm=\"Celeriac\", charset=\"UTF-8\"")];
            return Some((StatusCode::UNAUTHORIZED, ask, "a user and a password are needed\n").into_response());
        }
    } else if !names_loopback(headers) {
        let text = "without a password the job viewer answers only to localhost\n";
        return Some((StatusCode::MISDIRECTED_REQUEST, text).into_response());
    }
    let safe = matches!(*request.method(), Method::GET | Method::HEAD);
    (!safe && !from_here(headers))
        .then(|| (StatusCode::FORBIDDEN, "this request comes from another site\n").into_response())
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

/// Whether `Host` is a loopback address or `localhost`.
fn names_loopback(headers: &HeaderMap) -> bool {
    let Some(host) = text(headers, "host") else { return false };
    let name = if let Some(rest) = host.strip_prefix('[') {
        rest.split(']').next().unwrap_or_default()
    } else {
        host.rsplit_once(':').map_or(host, |(name, _)| name)
    };
    name.eq_ignore_ascii_case("localhost") || name.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// Browsers say where a request comes from; programs say nothing.
fn from_here(headers: &HeaderMap) -> bool {
    let own_site = text(headers, "sec-fetch-site").is_none_or(|site| matches!(site, "same-origin" | "none"));
    let own_origin = match headers.get(header::ORIGIN) {
        None => true,
        Some(origin) => {
            origin.to_str().ok().and_then(|origin| origin.split_once("://")).is_some_and(|(_, authority)| {
                text(headers, "host").is_some_and(|host| host.eq_ignore_ascii_case(authority))
            })
        }
    };
    own_site && own_origin
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.parse().expect("a name"), value.parse().expect("a value"))).collect()
    }

    #[test]
    fn only_loopback_is_open() {
        let with = Credentials::parse("ann:secret").expect("credentials");
        for (address, open) in [("127.0.0.1:1", true), ("[::1]:1", true), ("0.0.0.0:1", false), ("10.0.0.1:1", false)] {
            let address = address.parse().expect("an address");
            assert_eq!(may_listen(address, None).is_ok(), open, "{address}");
            assert!(may_listen(address, Some(&with)).is_ok());
        }
    }

    #[test]
    fn credentials_are_compared_whole_and_never_shown() {
        let credentials = Credentials::parse("ann:se:cret").expect("credentials");
        let allow =
            |text: &str| credentials.allow(&headers(&[("authorization", &format!("Basic {}", STANDARD.encode(text)))]));
        assert!(allow("ann:se:cret"));
        assert!(!allow("ann:se") && !allow("ann:se:cret!") && !allow("") && !credentials.allow(&headers(&[])));
        assert!(!credentials.allow(&headers(&[("authorization", "Basic %%%")])));
        assert_eq!(format!("{credentials:?}"), "Credentials(ann:********)");
        assert!(["", "ann", ":x", "ann:"].iter().all(|text| Credentials::parse(text).is_err()));
    }

    #[test]
    fn hosts_are_loopback_or_not() {
        for (host, local) in [
            ("localhost:8888", true),
            ("127.0.0.1:8888", true),
            ("[::1]:8888", true),
            ("LOCALHOST", true),
            ("evil.example:8888", false),
            ("127.0.0.1.evil.example", false),
            ("localhost.evil.example", false),
        ] {
            assert_eq!(names_loopback(&headers(&[("host", host)])), local, "{host}");
        }
        assert!(!names_loopback(&headers(&[])));
    }

    #[test]
    fn other_sites_are_told_apart() {
        let here = |pairs: &[(&'static str, &str)]| from_here(&headers(pairs));
        assert!(here(&[("host", "localhost:1")]));
        assert!(here(&[("host", "localhost:1"), ("origin", "http://localhost:1"), ("sec-fetch-site", "same-origin")]));
        assert!(!here(&[("host", "localhost:1"), ("origin", "http://evil.example")]));
        assert!(!here(&[("host", "localhost:1"), ("origin", "null")]));
        assert!(!here(&[("host", "localhost:1"), ("sec-fetch-site", "cross-site")]));
        assert!(!here(&[("host", "localhost:1"), ("sec-fetch-site", "same-site")]));
    }
}
