//! The key of `unique(…)`: a text with the names of arguments in braces.

use syn::{Error, LitStr, Result};

/// The names in braces, each once.
///
/// # Errors
/// When a brace is not closed, or a name is none of `arguments`.
pub(crate) fn names(key: &LitStr, arguments: &[String]) -> Result<Vec<String>> {
    let text = key.value();
    let mut names = Vec::new();
    let mut rest = text.chars().peekable();
    while let Some(c) = rest.next() {
        match c {
            '{' | '}' if rest.peek() == Some(&c) => {
                rest.next();
            }
            '{' => {
                let mut inner = String::new();
                loop {
                    match rest.next() {
                        Some('}') => break,
                        Some(c) => inner.push(c),
                        None => {
                            return Err(Error::new(key.span(), "a `{` is not closed; for a brace itself write `{{`"));
                        }
                    }
                }
                let name = inner.split(':').next().unwrap_or_default().trim().to_owned();
                if !arguments.contains(&name) {
                    return Err(Error::new(key.span(), wrong(&name, arguments)));
                }
                if !names.contains(&name) {
                    names.push(name);
                }
            }
            '}' => return Err(Error::new(key.span(), "a `}` closes nothing; for a brace itself write `}}`")),
            _ => {}
        }
    }
    Ok(names)
}

fn wrong(name: &str, arguments: &[String]) -> String {
    if arguments.is_empty() {
        return format!("the task has no argument `{name}`: it has none, so its key is a plain text");
    }
    format!("the task has no argument `{name}`: it has {}", arguments.join(", "))
}
