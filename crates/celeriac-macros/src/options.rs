//! What stands in the parentheses of `#[task(…)]`.

use std::time::Duration;

use proc_macro2::{Span, TokenStream};
use syn::{
    Error, Expr, Ident, LitBool, LitInt, LitStr, Path, Result, Token,
    ext::IdentExt as _,
    parse::{Parse, ParseStream, Parser as _},
    punctuated::Punctuated,
};

/// The options of a task, as written.
#[derive(Default)]
pub(crate) struct Options {
    pub(crate) name: Option<LitStr>,
    pub(crate) krate: Option<Path>,
    /// `Some(None)` is for ever.
    pub(crate) max_retries: Option<Retries>,
    pub(crate) backoff: Option<Duration>,
    pub(crate) backoff_max: Option<Duration>,
    pub(crate) backoff_factor: Option<f64>,
    pub(crate) jitter: Option<f64>,
    /// A function of the error that says what shall follow.
    pub(crate) retry_if: Option<Expr>,
    pub(crate) unique: Option<Unique>,
    pub(crate) time_limit: Option<Duration>,
    pub(crate) soft_time_limit: Option<Duration>,
    pub(crate) expires: Option<Duration>,
    pub(crate) rate_limit: Option<f64>,
    pub(crate) queue: Option<LitStr>,
    pub(crate) serializer: Option<LitStr>,
    pub(crate) priority: Option<u8>,
    pub(crate) acks_late: Option<bool>,
    pub(crate) ignore_result: Option<bool>,
    pub(crate) track_started: Option<bool>,
    pub(crate) keep_failures: Option<bool>,
}

/// What keeps a second call of the same key out.
pub(crate) struct Unique {
    /// With the names of arguments in braces.
    pub(crate) key: LitStr,
    pub(crate) window: Duration,
}

/// How often a task is retried.
#[derive(Clone, Copy)]
pub(crate) enum Retries {
    Forever,
    AtMost(u32),
}

const KNOWN: [&str; 20] = [
    "name",
    "max_retries",
    "backoff",
    "backoff_factor",
    "backoff_max",
    "jitter",
    "retry_if",
    "time_limit",
    "soft_time_limit",
    "expires",
    "rate_limit",
    "unique",
    "queue",
    "priority",
    "serializer",
    "acks_late",
    "ignore_result",
    "track_started",
    "keep_failures",
    "crate",
];

/// What other frameworks, and Celery elsewhere, call the same thing.
const ALSO_CALLED: [(&str, &str); 9] = [
    ("acks", "acks_late"),
    ("retries", "max_retries"),
    ("retry_backoff", "backoff"),
    ("retry_backoff_max", "backoff_max"),
    ("retry_jitter", "jitter"),
    ("default_retry_delay", "backoff"),
    ("autoretry_for", "retry_if"),
    ("retry_for", "retry_if"),
    ("timeout", "time_limit"),
];

pub(crate) fn parse(tokens: TokenStream) -> Result<Options> {
    let mut options = Options::default();
    let mut seen: Vec<Ident> = Vec::new();
    for One { name, apply } in Punctuated::<One, Token![,]>::parse_terminated.parse2(tokens)? {
        if seen.contains(&name) {
            return Err(Error::new(name.span(), format!("`{name}` is given twice")));
        }
        apply(&mut options);
        seen.push(name);
    }
    Ok(options)
}

/// Writes an option that was read.
type Apply = Box<dyn FnOnce(&mut Options)>;

/// One option.
struct One {
    name: Ident,
    apply: Apply,
}

impl Parse for One {
    fn parse(input: ParseStream<'_>) -> Result<Self> {
        let name = Ident::parse_any(input)?;
        if name == "unique" {
            return Ok(Self { name, apply: unique(input)? });
        }
        let has_value = input.peek(Token![=]);
        if has_value {
            input.parse::<Token![=]>()?;
        }
        let flag = || {
            let wrong = |error: Error| Error::new(error.span(), format!("write `{name} = true` or `{name} = false`"));
            if has_value { input.parse::<LitBool>().map(|it| it.value).map_err(wrong) } else { Ok(true) }
        };
        let needs_value = || {
            if has_value {
                Ok(())
            } else {
                Err(Error::new(name.span(), format!("`{name}` needs a value: {name} = …")))
            }
        };
        let text = || needs_value().and_then(|()| input.parse::<LitStr>());
        let apply: Apply = match name.to_string().as_str() {
            "name" => {
                let it = text()?;
                let value = it.value();
                if value.is_empty() || value.len() > 255 || value.chars().any(char::is_control) {
                    return Err(Error::new(it.span(), "a task name has 1 to 255 bytes and no control characters"));
                }
                Box::new(|options| options.name = Some(it))
            }
            "crate" => {
                needs_value()?;
                let path = input.call(Path::parse_mod_style)?;
                Box::new(|options| options.krate = Some(path))
            }
            "max_retries" => {
                needs_value()?;
                let retries = if input.peek(LitInt) {
                    Retries::AtMost(input.parse::<LitInt>()?.base10_parse()?)
                } else {
                    let word: Ident = input.call(Ident::parse_any)?;
                    if word != "none" {
                        return Err(Error::new(word.span(), "write a number, or `none` to retry for ever"));
                    }
                    Retries::Forever
                };
                Box::new(move |options| options.max_retries = Some(retries))
            }
            "backoff" => set(duration(&text()?)?, |options| &mut options.backoff),
            "backoff_max" => set(duration(&text()?)?, |options| &mut options.backoff_max),
            "backoff_factor" => {
                needs_value()?;
                let (factor, span) = number(input)?;
                if !(1.0..=1_000.0).contains(&factor) {
                    return Err(Error::new(span, "a back-off grows: write a factor from 1.0 to 1000.0"));
                }
                set(factor, |options| &mut options.backoff_factor)
            }
            "jitter" => {
                needs_value()?;
                let part = if input.peek(LitBool) {
                    if input.parse::<LitBool>()?.value { 1.0 } else { 0.0 }
                } else {
                    let (part, span) = number(input)?;
                    if !(0.0..=1.0).contains(&part) {
                        return Err(Error::new(
                            span,
                            "write the part of the wait that is left to chance, from 0.0 (none) to 1.0 (all)",
                        ));
                    }
                    part
                };
                set(part, |options| &mut options.jitter)
            }
            "retry_if" => {
                needs_value()?;
                set(input.parse::<Expr>()?, |options| &mut options.retry_if)
            }
            "time_limit" => set(duration(&text()?)?, |options| &mut options.time_limit),
            "soft_time_limit" => set(duration(&text()?)?, |options| &mut options.soft_time_limit),
            "expires" => set(duration(&text()?)?, |options| &mut options.expires),
            "rate_limit" => set(rate(&text()?)?, |options| &mut options.rate_limit),
            "queue" => {
                let it = text()?;
                if it.value().is_empty() {
                    return Err(Error::new(it.span(), "a queue has a name"));
                }
                Box::new(|options| options.queue = Some(it))
            }
            "serializer" => {
                let it = text()?;
                if !["json", "msgpack", "yaml"].contains(&it.value().as_str()) {
                    return Err(Error::new(it.span(), "the serializers are json, msgpack and yaml"));
                }
                Box::new(|options| options.serializer = Some(it))
            }
            "priority" => {
                needs_value()?;
                let it = input.parse::<LitInt>()?;
                let priority = it
                    .base10_parse::<u8>()
                    .map_err(|_| Error::new(it.span(), "write a priority from 0 to 255; higher is more urgent"))?;
                set(priority, |options| &mut options.priority)
            }
            "acks_late" => set(flag()?, |options| &mut options.acks_late),
            "ignore_result" => set(flag()?, |options| &mut options.ignore_result),
            "track_started" => set(flag()?, |options| &mut options.track_started),
            "keep_failures" => set(flag()?, |options| &mut options.keep_failures),
            _ => return Err(unknown(&name)),
        };
        Ok(Self { name, apply })
    }
}

fn set<T: 'static>(value: T, field: fn(&mut Options) -> &mut Option<T>) -> Apply {
    Box::new(move |options| *field(options) = Some(value))
}

fn unknown(name: &Ident) -> Error {
    let word = name.to_string();
    let also = ALSO_CALLED.iter().find(|(other, _)| *other == word).map(|(_, known)| *known);
    let near = || {
        let likeness = |known: &&str| strsim::normalized_damerau_levenshtein(known, &word);
        let nearest = KNOWN.into_iter().max_by(|one, other| likeness(one).total_cmp(&likeness(other)));
        nearest.filter(|known| likeness(known) >= 0.6)
    };
    match also.or_else(near) {
        Some(known) => Error::new(name.span(), format!("there is no option `{name}`: did you mean `{known}`?")),
        None => Error::new(name.span(), format!("there is no option `{name}`; there are {}", KNOWN.join(", "))),
    }
}

/// `(key = "welcome:{to}", for = "1h")`, in any order.
fn unique(input: ParseStream<'_>) -> Result<Apply> {
    let wrong = |span| {
        Error::new(span, "write what must be unique and for how long: unique(key = \"welcome:{to}\", for = \"1h\")")
    };
    if !input.peek(syn::token::Paren) {
        return Err(wrong(input.span()));
    }
    let content;
    let parentheses = syn::parenthesized!(content in input);
    let (mut key, mut window) = (None, None);
    while !content.is_empty() {
        let name = Ident::parse_any(&content)?;
        content.parse::<Token![=]>().map_err(|_| wrong(name.span()))?;
        let text = content.parse::<LitStr>().map_err(|error| wrong(error.span()))?;
        match name.to_string().as_str() {
            "key" if key.is_none() => key = Some(text),
            "for" if window.is_none() => window = Some(duration(&text)?),
            _ => return Err(wrong(name.span())),
        }
        if !content.is_empty() {
            content.parse::<Token![,]>()?;
        }
    }
    match (key, window) {
        (Some(key), Some(window)) => Ok(set(Unique { key, window }, |options| &mut options.unique)),
        _ => Err(wrong(parentheses.span.join())),
    }
}

/// `0.5`, or `2` where a whole number will do.
fn number(input: ParseStream<'_>) -> Result<(f64, Span)> {
    if input.peek(LitInt) {
        let it = input.parse::<LitInt>()?;
        return Ok((f64::from(it.base10_parse::<u32>()?), it.span()));
    }
    let it = input.parse::<syn::LitFloat>()?;
    Ok((it.base10_parse()?, it.span()))
}

/// `"250ms"`, `"30s"`, `"5m"`, `"2h"`, `"1d"`.
fn duration(text: &LitStr) -> Result<Duration> {
    let value = text.value();
    let digits = value.bytes().take_while(|byte| byte.is_ascii_digit() || *byte == b'.').count();
    let (number, unit) = value.split_at(digits);
    let seconds = match unit.trim() {
        "ms" => 0.001,
        "s" => 1.0,
        "m" => 60.0,
        "h" => 3_600.0,
        "d" => 86_400.0,
        _ => return Err(not_a_duration(text.span())),
    };
    let number: f64 = number.parse().map_err(|_| not_a_duration(text.span()))?;
    Duration::try_from_secs_f64(number * seconds).map_err(|_| not_a_duration(text.span()))
}

fn not_a_duration(span: Span) -> Error {
    Error::new(span, "expected a duration such as \"250ms\", \"30s\", \"5m\", \"2h\" or \"1d\"")
}

/// Starts per second of `"10/s"`, `"600/m"`, `"5/h"`.
fn rate(text: &LitStr) -> Result<f64> {
    let wrong = || Error::new(text.span(), "expected a rate such as \"10/s\", \"600/m\" or \"5/h\"");
    let value = text.value();
    let (number, unit) = value.split_once('/').ok_or_else(wrong)?;
    let number: f64 = number.trim().parse().map_err(|_| wrong())?;
    let seconds = match unit.trim() {
        "s" => 1.0,
        "m" => 60.0,
        "h" => 3_600.0,
        _ => return Err(wrong()),
    };
    if number > 0.0 && number.is_finite() { Ok(number / seconds) } else { Err(wrong()) }
}
