//! An SMTP server: a few connections, kept and shared.

use std::{fmt, sync::Arc, time::Duration};

use anyhow::Context as _;
use celeriac::prelude::*;
use lettre::{
    Address, AsyncSmtpTransport, AsyncTransport as _, Message, Tokio1Executor,
    message::{
        Mailbox, MultiPart,
        header::{HeaderName, HeaderValue},
    },
    transport::smtp::PoolConfig,
};
use tokio::sync::Semaphore;

use super::Mail;

/// How long the server may take over one command.
const ANSWER_WITHIN: Duration = Duration::from_secs(20);
/// Connections at a time unless `SMTP_CONNECTIONS` says otherwise. Servers often refuse more than ten from one host. Each
/// carries some twenty mails a second: lettre sends the end of a mail as a packet of its own, which the kernel holds back
/// until the other side's delayed acknowledgement, 40 ms later on Linux.
const CONNECTIONS: u32 = 8;
/// The most that `SMTP_CONNECTIONS` may say.
const CONNECTIONS_MAX: u32 = 100;

/// Where and as whom to send.
#[derive(Clone)]
pub(super) struct Smtp {
    transport: AsyncSmtpTransport<Tokio1Executor>,
    /// The transport's pool keeps so many connections and opens more when it runs dry; this makes the rest wait.
    connections: Arc<Semaphore>,
    /// What a person reads: scheme, host and port, without the password.
    pub(super) server: String,
    pub(super) from: Mailbox,
}

impl fmt::Debug for Smtp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Smtp({} as {})", self.server, self.from)
    }
}

impl Smtp {
    /// `url` is `smtps://user:password@host` (TLS from the first byte, port 465), `smtp://user:password@host` (STARTTLS,
    /// demanded, port 587) or `smtp://127.0.0.1:2525`, which speaks without TLS to this machine alone.
    pub(super) fn new(url: &str, connections: Option<String>, from: Mailbox) -> anyhow::Result<Self> {
        // The URL may hold a password: no sentence here repeats it, nor shows what the parser says of it.
        let wrong = "SMTP_URL makes no sense: write it as smtp://user:password@host:587, smtps://user:password@host or \
                     smtp://127.0.0.1:2525, with :, / and @ in the password as %3A, %2F and %40";
        let mut parsed = reqwest::Url::parse(url).ok().context(wrong)?;
        anyhow::ensure!(matches!(parsed.scheme(), "smtp" | "smtps") && parsed.host_str().is_some(), wrong);
        anyhow::ensure!(
            parsed.username().is_empty() == parsed.password().is_none(),
            "SMTP_URL has a user without a password, or the other way round: write both, or none"
        );
        if parsed.scheme() == "smtp" && !is_loopback(&parsed) {
            parsed.set_query(Some("tls=required"));
        } else {
            parsed.set_query(None);
        }
        let most = match connections {
            Some(text) => text
                .parse()
                .ok()
                .filter(|count| (1..=CONNECTIONS_MAX).contains(count))
                .with_context(|| format!("SMTP_CONNECTIONS={text}: write a number from 1 to {CONNECTIONS_MAX}"))?,
            None => CONNECTIONS,
        };
        let transport = AsyncSmtpTransport::<Tokio1Executor>::from_url(parsed.as_str())
            .ok()
            .context(wrong)?
            .timeout(Some(ANSWER_WITHIN))
            .pool_config(PoolConfig::new().max_size(most))
            .build();
        let port = parsed.port().map(|port| format!(":{port}")).unwrap_or_default();
        let server = format!("{}://{}{port}", parsed.scheme(), parsed.host_str().unwrap_or_default());
        Ok(Self { transport, connections: Arc::new(Semaphore::new(most as usize)), server, from })
    }

    /// # Errors
    /// Fatal when the server refuses for good (5xx) or the mail cannot be written; retryable otherwise.
    pub(super) async fn send(&self, mail: &Mail) -> Result<(), TaskError> {
        let message = self.message(mail).map_err(|error| TaskError::fatal(format!("{error:#}")))?;
        let _connection = self.connections.acquire().await?;
        match self.transport.send(message).await {
            Ok(_) => Ok(()),
            Err(error) => {
                let said = format!("{}: {}", self.server, chain(&error));
                Err(if error.is_permanent() { TaskError::fatal(said) } else { TaskError::retryable(said) })
            }
        }
    }

    fn message(&self, mail: &Mail) -> anyhow::Result<Message> {
        let to: Address = mail.email.parse().with_context(|| format!("{} is no address", mail.email))?;
        let name = (!mail.name.is_empty()).then(|| mail.name.clone());
        let mut message = Message::builder()
            .from(self.from.clone())
            .to(Mailbox::new(name, to))
            .subject(mail.subject.clone())
            .message_id(Some(mail.id.clone()));
        for (name, value) in mail.list_headers() {
            // Written as it is: folded or encoded, mail programs would not know the link. It comes from a parsed URL.
            let name = HeaderName::new_from_ascii_str(name);
            message = message.raw_header(HeaderValue::dangerous_new_pre_encoded(name, value.clone(), value));
        }
        message
            .multipart(MultiPart::alternative_plain_html(mail.text.clone(), mail.html.clone()))
            .context("could not write the mail")
    }
}

fn is_loopback(url: &reqwest::Url) -> bool {
    match url.host_str() {
        Some("localhost") => true,
        Some(host) => host.trim_matches(['[', ']']).parse().is_ok_and(|ip: std::net::IpAddr| ip.is_loopback()),
        None => false,
    }
}

/// The sentence and its causes.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.ends_with(&more) {
            text = format!("{text}: {more}");
        }
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn smtp(url: &str) -> anyhow::Result<Smtp> {
        Smtp::new(url, None, "news@example.org".parse()?)
    }

    #[tokio::test]
    async fn urls_are_understood_and_their_passwords_never_shown() {
        let _ = rustls::crypto::ring::default_provider().install_default();
        for url in
            ["smtp://127.0.0.1:2525", "smtp://localhost", "smtp://[::1]:25", "smtps://me:pa%40ss@mail.example.org"]
        {
            assert!(smtp(url).is_ok(), "{url}");
        }
        let known = smtp("smtp://me:s3cret@mail.example.org:587").unwrap();
        assert_eq!(format!("{known:?}"), "Smtp(smtp://mail.example.org:587 as news@example.org)");
        for url in
            ["s3cret", "http://me:s3cret@host", "smtp://:s3cret@host", "smtp://s3cret@host", "smtp://me:s3/cret@host"]
        {
            let error = format!("{:#}", smtp(url).unwrap_err());
            assert!(!error.contains("s3") && error.contains("write"), "{url}: {error}");
        }
        assert!(Smtp::new("smtp://localhost", Some("0".into()), known.from).is_err());
    }

    #[tokio::test]
    async fn a_mail_has_both_bodies_its_id_and_its_way_out_and_names_break_no_header() {
        let smtp = smtp("smtp://localhost").unwrap();
        let mail = Mail {
            send: "s".into(),
            id: "<s.1@example.org>".into(),
            email: "ann@example.com".into(),
            name: "Ann; <b>\"Ä\"</b>, Esq.".into(),
            subject: "Grüße".into(),
            html: "<p>Ä</p>".into(),
            text: "Ä".into(),
            unsubscribe: format!("https://letters.example.org/unsubscribe/{}", "0".repeat(64)),
        };
        let text = String::from_utf8(smtp.message(&mail).unwrap().formatted()).unwrap();
        for part in [
            "Message-ID: <s.1@example.org>\r\n",
            "List-Unsubscribe: <https://letters.example.org/unsubscribe/0000",
            "List-Unsubscribe-Post: List-Unsubscribe=One-Click\r\n",
            "multipart/alternative",
            "Content-Type: text/plain; charset=utf-8\r\n",
            "Content-Type: text/html; charset=utf-8\r\n",
            "<ann@example.com>\r\n",
        ] {
            assert!(text.contains(part), "{part} in:\n{text}");
        }
        assert!(smtp.message(&Mail { email: "nobody".into(), ..mail }).is_err());
    }
}
