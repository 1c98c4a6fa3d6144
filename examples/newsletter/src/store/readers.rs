//! Who reads: signing up, one by one and many at once, and leaving.

use lettre::Address;
use rand::RngCore as _;
use rusqlite::{OptionalExtension as _, params};

use super::Store;

/// The longest e-mail address in bytes, as RFC 5321 has it.
const EMAIL_BYTES_MAX: usize = 254;
/// The longest name of a reader, in bytes.
pub const NAME_BYTES_MAX: usize = 120;

/// Somebody who gets the letters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reader {
    /// Where.
    pub email: String,
    /// Their name; may be empty.
    pub name: String,
    /// What their unsubscribe link ends with: nobody can guess it.
    pub token: String,
}

/// What became of signing up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Registered {
    /// They are a reader now.
    Now,
    /// They were one already.
    Already,
}

impl Store {
    /// Signs somebody up.
    ///
    /// # Errors
    /// When the file cannot be used.
    pub async fn register(&self, email: String, name: String) -> anyhow::Result<Registered> {
        let added = self.register_all(vec![(email, name)]).await?;
        Ok(if added == 1 { Registered::Now } else { Registered::Already })
    }

    /// Signs many up in one transaction, and tells how many were new. Each is an address and a name.
    ///
    /// # Errors
    /// When the file cannot be used; nobody is signed up then.
    pub async fn register_all(&self, readers: Vec<(String, String)>) -> anyhow::Result<usize> {
        self.with_durably(move |db| {
            let transaction = db.transaction()?;
            let mut added = 0;
            {
                let mut insert =
                    transaction.prepare("INSERT OR IGNORE INTO readers (email, name, token) VALUES (?, ?, ?)")?;
                for (email, name) in readers {
                    added += insert.execute(params![email, name, token()])?;
                }
            }
            transaction.commit()?;
            Ok(added)
        })
        .await
    }

    /// How many readers there are.
    ///
    /// # Errors
    /// When the file cannot be used.
    pub async fn count(&self) -> anyhow::Result<u32> {
        self.with(|db| db.query_row("SELECT count(*) FROM readers", [], |row| row.get(0))).await
    }

    /// The reader whose unsubscribe link ends with this.
    ///
    /// # Errors
    /// When the file cannot be used.
    pub async fn reader_with(&self, token: String) -> anyhow::Result<Option<Reader>> {
        self.with(move |db| {
            db.query_row("SELECT email, name FROM readers WHERE token = ?", [&token], |row| {
                Ok(Reader { email: row.get(0)?, name: row.get(1)?, token: token.clone() })
            })
            .optional()
        })
        .await
    }

    /// Removes the reader whose unsubscribe link ends with this, and tells whether there was one.
    ///
    /// # Errors
    /// When the file cannot be used.
    pub async fn unsubscribe(&self, token: String) -> anyhow::Result<bool> {
        self.with_durably(move |db| Ok(db.execute("DELETE FROM readers WHERE token = ?", [token])? == 1)).await
    }
}

/// 128 bits of the system's randomness, as text.
fn token() -> String {
    let mut bytes = [0; 16];
    rand::rng().fill_bytes(&mut bytes);
    format!("{:032x}", u128::from_be_bytes(bytes))
}

/// Checks an address as far as a form can: what a mail can be addressed to, with a dot in the domain, nothing odd.
pub fn is_email(text: &str) -> bool {
    let Some((local, domain)) = text.split_once('@') else { return false };
    text.len() <= EMAIL_BYTES_MAX
        && !local.is_empty()
        && domain.split('.').count() > 1
        && domain.split('.').all(|label| !label.is_empty())
        && !text.chars().any(|c| c.is_whitespace() || c.is_control() || "<>()[],;:\\\"".contains(c))
        && text.parse::<Address>().is_ok()
}

/// What is wrong with a name, if anything. An empty one is none of this function's business.
pub fn name_problem(name: &str) -> Option<&'static str> {
    if name.len() > NAME_BYTES_MAX {
        Some("The name is too long: 120 letters at the most.")
    } else if name.chars().any(char::is_control) {
        Some("The name has control characters in it.")
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_what_a_mail_can_go_to() {
        for (text, good) in [
            ("a@b.c", true),
            ("a.b+c@d-e.org", true),
            ("o'neill@example.com", true),
            ("@b.c", false),
            ("a@b", false),
            ("a@b..c", false),
            ("a b@c.d", false),
            ("a@b@c.d", false),
            ("a..b@c.d", false),
            ("x;drop@c.d", false),
            ("<script>@c.d", false),
        ] {
            assert_eq!(is_email(text), good, "{text}");
        }
        assert!(!is_email(&format!("{}@example.com", "a".repeat(250))));
    }

    #[test]
    fn tokens_are_long_and_never_the_same() {
        let (one, other) = (token(), token());
        assert!(one.len() == 32 && other.len() == 32 && one != other);
    }
}
