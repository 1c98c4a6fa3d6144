use celeriac::prelude::*;

#[task]
async fn count(text: String) -> u64 {
    text.len() as u64
}

#[task]
async fn shout(text: String) -> String {
    text.to_uppercase()
}

#[task]
async fn total(counts: Vec<u64>) -> u64 {
    counts.iter().sum()
}

fn chain() -> Signature<String> {
    count("a".into()).then(shout::partial())
}

fn chord() -> Signature<u64> {
    group([shout("a".into())]).then(total::partial())
}

fn callback() -> Signature<u64> {
    count("a".into()).link(shout::partial())
}

fn errback() -> Signature<u64> {
    count("a".into()).on_error(total::partial())
}

fn main() {}
