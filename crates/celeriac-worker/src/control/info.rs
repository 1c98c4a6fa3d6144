//! What is told of one request, in the shape that Celery's tools and Flower read.

use celeriac_core::{Message, QueueName, Timestamp, WorkerName};
use celeriac_protocol::{Body, Headers};
use serde_json::{Value, json};

use crate::roster::InHand;

/// A request as `active`, `reserved`, `scheduled` and `query_task` show it. With `safe` the arguments are text.
pub(super) fn of(it: &InHand, worker: &WorkerName, safe: bool) -> Value {
    let mut info = message(&it.message, worker, safe);
    info["time_start"] = it.running_since.map_or(Value::Null, |at| json!(seconds(at)));
    info["acknowledged"] = json!(it.acknowledged);
    info["worker_pid"] = it.running_since.map_or(Value::Null, |_| json!(std::process::id()));
    info["delivery_info"] = json!({
        "exchange": "",
        "routing_key": it.queue.as_str(),
        "priority": it.priority.0,
        "redelivered": it.redelivered,
    });
    info
}

/// What a message alone tells.
pub(super) fn message(message: &Message, worker: &WorkerName, safe: bool) -> Value {
    let headers = Headers::parse(&message.headers).unwrap_or_default();
    let (args, kwargs) = arguments(message, &headers, safe);
    json!({
        "id": headers.id,
        "name": headers.task,
        "args": args,
        "kwargs": kwargs,
        "type": headers.task,
        "hostname": worker.as_str(),
        "time_start": null,
        "acknowledged": false,
        "delivery_info": null,
        "worker_pid": null,
    })
}

/// The arguments as values, or as text where that is asked for or they are no plain JSON.
fn arguments(message: &Message, headers: &Headers, safe: bool) -> (Value, Value) {
    let repr = |text: &Option<String>| text.clone().map_or(Value::Null, Value::String);
    if !safe
        && let Ok(text) = celeriac_app::body_text(message, headers)
        && let Ok(body) = Body::split(&text)
        && let (Ok(args), Ok(kwargs)) = (serde_json::from_slice(body.args), serde_json::from_slice(body.kwargs))
    {
        return (args, kwargs);
    }
    (repr(&headers.argsrepr), repr(&headers.kwargsrepr))
}

/// A queue as `active_queues` shows it: Flower's pages need every one of these.
pub(super) fn queue(queue: &QueueName) -> Value {
    let name = queue.as_str();
    json!({
        "name": name,
        "exchange": {
            "name": name, "type": "direct", "arguments": null, "durable": true, "passive": false,
            "auto_delete": false, "delivery_mode": null, "no_declare": false,
        },
        "routing_key": name,
        "queue_arguments": null,
        "binding_arguments": null,
        "consumer_arguments": null,
        "durable": true,
        "exclusive": false,
        "auto_delete": false,
        "no_ack": false,
        "alias": null,
        "bindings": [],
        "no_declare": null,
        "expires": null,
        "message_ttl": null,
        "max_length": null,
        "max_length_bytes": null,
        "max_priority": null,
    })
}

/// Seconds since 1970.
#[expect(clippy::cast_precision_loss, reason = "microseconds of this century fit a double to the microsecond")]
pub(super) fn seconds(at: Timestamp) -> f64 {
    at.as_microsecond() as f64 / 1e6
}
