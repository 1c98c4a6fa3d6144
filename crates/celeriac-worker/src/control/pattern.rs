//! Whether a node's name fits a pattern, as Celery's `fnmatch` and `re.match` say.

/// The longest pattern that is tried; nobody means anything by a longer one.
const PATTERN_BYTES_MAX: usize = 1_024;

/// Shell patterns: `*`, `?`, `[abc]`, `[!a-z]`.
pub(super) fn glob(pattern: &str, name: &str) -> bool {
    if pattern.len() > PATTERN_BYTES_MAX {
        return false;
    }
    let mut regex = String::from("^(?s:");
    let mut rest = pattern.chars().peekable();
    while let Some(one) = rest.next() {
        match one {
            '*' => regex.push_str(".*"),
            '?' => regex.push('.'),
            '[' => match class(&mut rest.clone()) {
                Some((text, length)) => {
                    regex.push_str(&text);
                    rest.nth(length - 1);
                }
                None => regex.push_str("\\["),
            },
            one => regex.push_str(&regex::escape(one.encode_utf8(&mut [0; 4]))),
        }
    }
    regex.push_str(")$");
    regex::Regex::new(&regex).is_ok_and(|regex| regex.is_match(name))
}

/// A class up to its `]`, as a regular expression writes it, and how many characters it had.
fn class(rest: &mut impl Iterator<Item = char>) -> Option<(String, usize)> {
    let mut text = String::from("[");
    for (number, one) in rest.enumerate() {
        match one {
            '!' if number == 0 => text.push('^'),
            // A bracket at the beginning is a member.
            ']' if text.len() > 1 && text != "[^" => return Some((text + "]", number + 1)),
            '\\' | '[' | ']' | '^' | '&' | '~' => text.extend(['\\', one]),
            one => text.push(one),
        }
    }
    None
}

/// A regular expression that fits from the name's beginning. One that is none fits nothing.
pub(super) fn regex(pattern: &str, name: &str) -> bool {
    pattern.len() <= PATTERN_BYTES_MAX
        && regex::Regex::new(&format!("^(?:{pattern})")).is_ok_and(|regex| regex.is_match(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_fit_as_python_says() {
        for (pattern, name, fits) in [
            ("*", "w1@here", true),
            ("w?@here", "w1@here", true),
            ("w?@here", "w12@here", false),
            ("w[12]@*", "w2@here", true),
            ("w[!12]@*", "w2@here", false),
            ("w[]]@*", "w]@here", true),
            ("w[", "w[", true),
            ("w1@here.de", "w1@hereXde", false),
            ("", "w1@here", false),
        ] {
            assert_eq!(glob(pattern, name), fits, "{pattern} on {name}");
        }
        assert!(regex("w\\d+@", "w12@here") && !regex("here", "w1@here") && !regex("(", "("));
        assert!(!glob(&"*".repeat(2_000), "w1@here"));
    }
}
