//! What stands in the parentheses of `#[task(…)]`.

use std::time::Duration;

use proc_macro2::{Span, TokenStream};
use syn::{
    Error, Ident, LitBool, LitInt, LitStr, Path, Result, Token,
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

/// How often a task is retried.
#[derive(Clone, Copy)]
pub(crate) enum Retries {
    Forever,
    AtMost(u32),
}

const KNOWN: &str = "name, max_retries, backoff, backoff_max, time_limit, soft_time_limit, expires, rate_limit, queue, \
                     priority, serializer, acks_late, ignore_result, track_started, keep_failures, crate";

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

/// One option.
struct One {
    name: Ident,
    apply: Box<dyn FnOnce(&mut Options)>,
}

impl Parse for One {
    fn parse(input: ParseStream<'_>) -> Result<Self> {
        let name = Ident::parse_any(input)?;
        let has_value = input.peek(Token![=]);
        if has_value {
            input.parse::<Token![=]>()?;
        }
        let flag = || if has_value { input.parse::<LitBool>().map(|it| it.value) } else { Ok(true) };
        let needs_value = || {
            if has_value {
                Ok(())
            } else {
                Err(Error::new(name.span(), format!("`{name}` needs a value: {name} = …")))
            }
        };
        let text = || needs_value().and_then(|()| input.parse::<LitStr>());
        let apply: Box<dyn FnOnce(&mut Options)> = match name.to_string().as_str() {
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
                set(input.parse::<LitInt>()?.base10_parse::<u8>()?, |options| &mut options.priority)
            }
            "acks_late" => set(flag()?, |options| &mut options.acks_late),
            "ignore_result" => set(flag()?, |options| &mut options.ignore_result),
            "track_started" => set(flag()?, |options| &mut options.track_started),
            "keep_failures" => set(flag()?, |options| &mut options.keep_failures),
            _ => return Err(Error::new(name.span(), format!("there is no option `{name}`; there are {KNOWN}"))),
        };
        Ok(Self { name, apply })
    }
}

fn set<T: 'static>(value: T, field: fn(&mut Options) -> &mut Option<T>) -> Box<dyn FnOnce(&mut Options)> {
    Box::new(move |options| *field(options) = Some(value))
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
