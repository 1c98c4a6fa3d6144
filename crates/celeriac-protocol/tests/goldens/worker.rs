//! What a worker writes: result documents, events, remote control.

use celeriac_protocol::{
    Event, Properties, State, TaskMeta,
    control::{Reply, Request, Target},
};

use crate::support::{case, cases, shown, sorted};

#[test]
fn result_documents_are_written_as_they_were_read() {
    for case in cases("results.json", 30) {
        if case.name == "a saved group" {
            continue;
        }
        let meta = TaskMeta::parse(case.raw("document")).unwrap();
        assert_eq!(shown(&meta.encode()), shown(case.raw("document")), "{}", case.name);
        let state = case.name.rsplit(": ").next().unwrap();
        assert_eq!((meta.status.as_str(), meta.task_id.as_str()), (state, "<a>"), "{}", case.name);
        assert_eq!(meta.date_done.is_some(), meta.status.is_ready(), "{}", case.name);
        let failed = matches!(meta.status, State::Failure | State::Retry | State::Revoked);
        assert_eq!(meta.exception().is_some(), failed, "{}", case.name);
    }
}

#[test]
fn result_documents_mean_what_happened() {
    let all = cases("results.json", 30);
    let meta = |name: &str| TaskMeta::parse(case(&all, name).raw("document")).unwrap();
    let failure = meta("failure: FAILURE");
    let exception = failure.exception().unwrap();
    assert_eq!((exception.exc_type.as_str(), exception.message()), ("KeyError", "bad, 7".into()));
    assert!(failure.traceback.unwrap().starts_with("Traceback (most recent call last):\n"));
    assert_eq!(meta("a state of its own: PROGRESS").status, State::Custom("PROGRESS".into()));
    let extended = meta("retry, extended: SUCCESS").extended.unwrap();
    assert_eq!((extended.name.as_deref(), extended.retries), (Some("proj.again"), Some(1)));
    assert_eq!((extended.worker.as_deref(), extended.queue.as_deref()), (Some("w1@vm"), Some("extended")));
    assert_eq!(&meta("success with a stamp, extended: SUCCESS").unknown["tenant"][..], br#""acme""#);
    let member = meta("success of a group's member: SUCCESS");
    assert_eq!((member.group_id.as_deref(), member.parent_id.as_deref()), (Some("<g>"), Some("<p>")));
}

#[test]
fn events_lose_nothing() {
    let mut kinds = std::collections::BTreeSet::new();
    for case in cases("events.json", 60) {
        let events = Event::parse_all(&case.body()).unwrap();
        let again = if case.name == "task.multi" {
            Event::encode_all(&events)
        } else {
            let mut out = Vec::new();
            events[0].write(&mut out);
            out.into()
        };
        // What only some types have is sorted by name here.
        assert_eq!(sorted(&again), sorted(&case.body()), "{}", case.name);
        for event in events {
            assert_eq!((event.hostname.as_str(), event.clock, event.pid), ("w1@vm", 8, 12838), "{}", case.name);
            kinds.insert(event.kind);
        }
    }
    let wanted = "task-cancelled task-failed task-received task-rejected task-retried task-revoked task-sent task-started \
                  task-succeeded worker-heartbeat worker-offline worker-online";
    assert_eq!(kinds.into_iter().collect::<Vec<_>>().join(" "), wanted);
}

#[test]
fn control_requests_are_written_as_they_were_read() {
    for case in cases("control-requests.json", 30) {
        let request = Request::parse(&case.message()).unwrap();
        let again = request.encode();
        assert_eq!(shown(&again.headers), shown(case.raw("headers")), "{}", case.name);
        assert_eq!(shown(&again.body), case.text("body"), "{}", case.name);
        let delivery_mode = Properties::parse(&again.properties).unwrap().delivery_mode;
        assert_eq!(delivery_mode, case.properties().delivery_mode, "{}", case.name);
    }
    let all = cases("control-requests.json", 30);
    let request = |name: &str| Request::parse(&case(&all, name).message()).unwrap();
    let ping = request("1 ping");
    assert_eq!((ping.method.as_str(), &ping.target), ("ping", &Target::Nodes(vec!["w1@vm".into()])));
    assert_eq!(ping.reply_to.unwrap().exchange, "reply.celery.pidbox");
    assert_eq!(request("to everybody, no reply").target, Target::Everyone);
    assert_eq!(request("to everybody, no reply").reply_to, None);
    assert_eq!(request("by a glob").target, Target::Glob("w9*".into()));
    assert_eq!(request("by a regular expression").target, Target::Regex("w[9]@.*".into()));
}

#[test]
fn control_replies_are_written_as_they_were_read() {
    let all = cases("control-replies.json", 25);
    for case in &all {
        let reply = Reply::parse(&case.message()).unwrap();
        assert_eq!((reply.node.as_str(), reply.clock), ("w1@vm", 3), "{}", case.name);
        let again = reply.encode();
        assert_eq!(shown(&again.headers), shown(case.raw("headers")), "{}", case.name);
        assert_eq!(shown(&again.body), case.text("body"), "{}", case.name);
        let delivery_mode = Properties::parse(&again.properties).unwrap().delivery_mode;
        assert_eq!(delivery_mode, case.properties().delivery_mode, "{}", case.name);
    }
    assert_eq!(shown(&Reply::parse(&case(&all, "1 ping").message()).unwrap().value), r#"{"ok": "pong"}"#);
}
