//! What is written once, and the mail that each reader gets of it.

use askama::Template;

use super::plain;
use crate::store::Reader;

/// The longest subject, in bytes.
const SUBJECT_BYTES_MAX: usize = 200;
/// The longest body, in bytes.
const BODY_BYTES_MAX: usize = 256 << 10;

/// What is sent to everybody.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Letter {
    /// Its subject, one line.
    pub subject: String,
    /// Its body: HTML, or text whose empty lines part paragraphs.
    pub body: String,
}

impl Letter {
    /// What is wrong with it, in a sentence for whoever wrote it.
    pub fn problem(&self) -> Option<&'static str> {
        if self.subject.trim().is_empty() {
            Some("A letter needs a subject.")
        } else if self.subject.len() > SUBJECT_BYTES_MAX {
            Some("The subject is too long: 200 letters at the most.")
        } else if self.subject.chars().any(char::is_control) {
            Some("The subject is one line, without control characters.")
        } else if self.body.trim().is_empty() {
            Some("A letter needs a body.")
        } else if self.body.len() > BODY_BYTES_MAX {
            Some("The letter is too long: 256 KiB at the most.")
        } else if self.body.contains('\0') {
            Some("The letter has a NUL in it, which is no text.")
        } else {
            None
        }
    }

    /// Its body as HTML.
    fn html(&self) -> String {
        if self.body.contains('<') {
            return self.body.clone();
        }
        let body = self.body.replace("\r\n", "\n").replace('&', "&amp;").replace('>', "&gt;");
        let paragraphs = body.split("\n\n").map(str::trim).filter(|paragraph| !paragraph.is_empty());
        paragraphs.fold(String::new(), |html, paragraph| html + "<p>" + &paragraph.replace('\n', "<br>") + "</p>\n")
    }
}

/// One letter for one reader, complete.
#[derive(Clone, Debug)]
pub struct Mail {
    /// The send it belongs to.
    pub send: String,
    /// Its id, `<send.reader@host>`: the same however often it is made.
    pub id: String,
    /// Whom it goes to.
    pub email: String,
    /// Their name; may be empty.
    pub name: String,
    /// Its subject.
    pub subject: String,
    /// The HTML, with the way out at its end.
    pub html: String,
    /// The same as text.
    pub text: String,
    /// Where this reader unsubscribes.
    pub unsubscribe: String,
}

#[derive(Template)]
#[template(path = "mail.html")]
struct Body<'a> {
    subject: &'a str,
    letter: &'a str,
    unsubscribe: &'a str,
}

impl Mail {
    /// `url` is where the page is, `host` the host in the mail's id.
    pub(super) fn new(send: &str, letter: &Letter, reader: &Reader, url: &str, host: &str) -> Self {
        let unsubscribe = format!("{url}/unsubscribe/{}", reader.token);
        let body = letter.html();
        let html = Body { subject: &letter.subject, letter: &body, unsubscribe: &unsubscribe };
        Self {
            send: send.to_owned(),
            id: format!("<{send}.{:016x}@{host}>", fingerprint(&reader.email)),
            email: reader.email.clone(),
            name: reader.name.clone(),
            subject: letter.subject.clone(),
            html: html.render().expect("writing into a string does not fail"),
            text: format!("{}\n\n-- \nNo more of these: {unsubscribe}\n", plain(&body)),
            unsubscribe,
        }
    }

    /// The header fields by which mail programs offer a way out: `List-Unsubscribe`, and RFC 8058's one click where the
    /// page is served over HTTPS, as the RFC demands.
    pub(super) fn list_headers(&self) -> Vec<(&'static str, String)> {
        let mut headers = vec![("List-Unsubscribe", format!("<{}>", self.unsubscribe))];
        if self.unsubscribe.starts_with("https://") {
            headers.push(("List-Unsubscribe-Post", "List-Unsubscribe=One-Click".into()));
        }
        headers
    }
}

/// FNV-1a of an address in lower case: the same in every process and every release. No secret: it only tells one
/// reader's mail from another's.
fn fingerprint(email: &str) -> u64 {
    email.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte.to_ascii_lowercase())).wrapping_mul(0x0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mail(url: &str) -> Mail {
        let reader = Reader { email: "Ann@example.com".into(), name: "Ann".into(), token: "t0ken".into() };
        let letter = Letter { subject: "Hi".into(), body: "One & two\n\nthree\nfour".into() };
        Mail::new("s1", &letter, &reader, url, "example.org")
    }

    #[test]
    fn text_becomes_paragraphs_and_every_mail_has_its_way_out() {
        let mail = mail("http://localhost:5050");
        assert!(mail.html.contains("<p>One &amp; two</p>\n<p>three<br>four</p>"), "{}", mail.html);
        assert!(mail.html.contains("href=\"http://localhost:5050/unsubscribe/t0ken\""), "{}", mail.html);
        assert!(mail.text.starts_with("One & two\n\nthree\nfour\n\n-- \n"), "{:?}", mail.text);
        assert!(mail.text.ends_with("http://localhost:5050/unsubscribe/t0ken\n"));
    }

    #[test]
    fn one_click_is_offered_over_https_alone() {
        assert_eq!(mail("http://localhost:5050").list_headers().len(), 1);
        let offered = mail("https://letters.example.org").list_headers();
        assert_eq!(offered[0].1, "<https://letters.example.org/unsubscribe/t0ken>");
        assert_eq!(offered[1], ("List-Unsubscribe-Post", "List-Unsubscribe=One-Click".into()));
    }

    #[test]
    fn a_mail_made_twice_has_one_id_whatever_the_case_of_the_address() {
        assert_eq!(mail("http://a.b").id, mail("https://c.d").id);
        assert_eq!(fingerprint("Ann@example.com"), fingerprint("ann@EXAMPLE.com"));
        assert_ne!(fingerprint("ann@example.com"), fingerprint("anm@example.com"));
    }
}
