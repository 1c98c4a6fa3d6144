//! Signatures, and the messages that sending workflows makes.

use celeriac_protocol::{Body, Embed, Kind, Signature};

use crate::support::{case, cases, shown, sorted};

#[test]
fn signatures_lose_nothing() {
    for case in cases("signatures.json", 40) {
        let signature = Signature::parse(case.raw("signature")).unwrap();
        let mut again = Vec::new();
        signature.write(&mut again);
        // Options are sorted by name here.
        assert_eq!(sorted(&again), sorted(case.raw("signature")), "{}", case.name);
        signature.kind().unwrap_or_else(|error| panic!("{}: {error}", case.name));
    }
}

#[test]
fn composites_are_made_of_what_they_were_made_of() {
    let all = cases("signatures.json", 40);
    let kind = |name: &str| Signature::parse(case(&all, name).raw("signature")).unwrap().kind().unwrap();
    let args = |tasks: &[Signature]| tasks.iter().map(|task| shown(&task.args)).collect::<Vec<_>>();
    let Kind::Chain(tasks) = kind("a chain") else { panic!("a chain") };
    assert_eq!(args(&tasks), ["[1, 2]", "[3]", "[4]"]);
    let Kind::Group(tasks) = kind("a group") else { panic!("a group") };
    assert_eq!(args(&tasks), ["[1, 1]", "[2, 2]"]);
    for name in ["a chord", "a chord, frozen"] {
        let Kind::Chord { header, body } = kind(name) else { panic!("a chord") };
        let Kind::Group(tasks) = header.kind().unwrap() else { panic!("a group") };
        assert_eq!((args(&tasks), body.task.as_str()), (vec!["[1, 1]".to_owned(), "[2, 2]".into()], "proj.echo"));
    }
    let Kind::Group(chains) = kind("a group of chains") else { panic!("a group") };
    assert!(chains.iter().all(|chain| matches!(chain.kind(), Ok(Kind::Chain(tasks)) if tasks.len() == 2)));
    let links = Signature::parse(case(&all, "links").raw("signature")).unwrap();
    assert!(links.options.contains_key("link") && links.options.contains_key("link_error"));
    assert!(Signature::parse(case(&all, "immutable").raw("signature")).unwrap().immutable);
}

#[test]
fn the_messages_of_workflows_say_what_follows() {
    let all = cases("canvas.json", 25);
    let embed = |name: &str| Embed::parse(Body::split(&case(&all, name).body()).unwrap().embed).unwrap();
    let chain = embed("a chain: message 1 of 1").chain;
    // In reverse: the next one is the last.
    assert_eq!(chain.iter().map(|task| shown(&task.args)).collect::<Vec<_>>(), ["[4]", "[3]"]);
    let chord = *embed("a chord: message 1 of 2").chord.expect("a part of a chord");
    assert_eq!((chord.task.as_str(), chord.option_text("group_id").is_some()), ("proj.echo", true));
    let links = embed("links: message 1 of 1");
    assert_eq!((links.callbacks.len(), links.errbacks[0].option_text("queue")), (1, Some("sad".into())));
}
