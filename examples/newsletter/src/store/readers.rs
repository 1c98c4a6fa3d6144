//! Who reads: signing up, one by one and many at once, and leaving.

use lettre::Address;
use rand::RngCore as _;

/// The longest e-mail address in bytes, as RFC 5321 has it.
const EMAIL_BYTES_MAX: usize = 254;
/// The longest name of a reader, in bytes.
pub const NAME_BYTES_MAX: usize = 120;

/// Somebody who gets the letters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reader {
    /// Where. Two addresses that differ in the case of ASCII letters alone are one.
    pub email: String,
    /// Their name; may be empty.
    pub name: String,
    /// What their unsubscribe link ends with: nobody can guess it.
    pub token: String,
}

impl Reader {
    /// A reader as they sign up, with a token of their own.
    pub(super) fn new(email: String, name: String) -> Self {
        Self { email, name, token: token() }
    }
}

/// What became of signing up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Registered {
    /// They are a reader now.
    Now,
    /// They were one already.
    Already,
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
