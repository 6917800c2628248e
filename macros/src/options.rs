//! The options of handlers, queues and messages, and what is said of one that stands where it does not belong.

use crate::diag;

/// Of a handler. Those that fit only some kinds of messages stand first, and `crate`, which methods leave to their router, last.
pub(crate) const HANDLER: [&str; 15] = [
    "order",
    "run_to_end",
    "filter",
    "fallback",
    "idempotent",
    "once",
    "window",
    "retries",
    "backoff",
    "crashes",
    "concurrency",
    "timeout",
    "spawn",
    "layer",
    "crate",
];

/// Of a queue, behind its template.
pub(crate) const QUEUE: [&str; 16] = [
    "strict",
    "weighted",
    "weights",
    "lease",
    "bound",
    "at_most_once",
    "max_length",
    "payload_limit",
    "dead_letters",
    "dead_letters_count",
    "dead_letters_bytes",
    "results",
    "results_count",
    "results_bytes",
    "completed",
    "failed",
];

/// Of a message.
pub(crate) const MESSAGE: [&str; 5] = ["name", "version", "from", "format", "codec"];

/// What is said of each task when it is enqueued.
const TASK: [&str; 5] = ["delay", "at", "expires_in", "deduplicate", "header"];

/// What is said of a service where it begins.
const SERVING: [&str; 4] = ["group", "buffer", "overflow", "on"];

/// Attributes of a message beside `#[message(…)]`, and what stands in them.
const ATTRIBUTES: [(&str, &str); 3] = [("channel", "\"…\""), ("queue", "\"…\""), ("reply", "Type")];

/// What an attribute says to an option that it does not have.
pub(crate) fn unknown(attribute: &str, key: &str, known: &[&str]) -> String {
    let problem = format!("`#[{attribute}]` has no option `{key}`");
    let meant = || diag::closest(key, known.iter().copied()).map(|meant| format!("did you mean `{meant}`?"));
    let words = elsewhere(attribute, key).or_else(|| by_another_word(attribute, key)).or_else(meant);
    let words = words.unwrap_or_else(|| match known {
        [] => "remove it".to_owned(),
        known => format!("it has {}", diag::list(known.iter().copied())),
    });
    format!("{problem}: {words}")
}

/// What is said of a text that stands in an attribute without its option, such as `#[message("orders")]`.
pub(crate) fn text(attribute: &str, text: &str) -> Option<String> {
    match attribute {
        "message" if !MESSAGE.contains(&text) => Some(format!(
            "a channel is an attribute of its own, so write `#[channel({text:?})]` on the type; the name on the wire is `name = {text:?}`"
        )),
        "param" => Some(format!("a word is the value of an option: write `rename = {text:?}`")),
        _ => None,
    }
}

/// Where the option belongs.
fn elsewhere(attribute: &str, key: &str) -> Option<String> {
    let is_of_a_message = ["channel", "queue", "handler", "message", "tidings"].contains(&attribute);
    let own = ATTRIBUTES.iter().find(|(own, _)| *own == key && attribute != "handler");
    if let (true, Some((own, content))) = (is_of_a_message, own) {
        return Some(format!("it is an attribute of its own, so write `#[{own}({content})]` on the type"));
    }
    let has = |options: &[&str]| is_of_a_message && options.contains(&key);
    if attribute == "handler" && SERVING.contains(&key) {
        return Some(format!("a service has it, so write `bus.serve(…).{key}(…)`"));
    }
    if attribute == "router" && HANDLER.contains(&key) {
        return Some("each handler has its own, so write it in the `#[handler(…)]` of each method".to_owned());
    }
    if attribute != "handler" && key != "crate" && has(&HANDLER) {
        Some("a handler has it, so write it in the `#[handler(…)]` of the function that takes the message".to_owned())
    } else if attribute != "queue" && has(&QUEUE) {
        Some("a queue has it, so write it behind the template in the `#[queue(\"…\")]` of the task".to_owned())
    } else if attribute != "message" && has(&MESSAGE) {
        Some("a message has it, so write it in a `#[message(…)]` of its own on the type".to_owned())
    } else if has(&TASK) {
        Some(format!("each task has its own, so write `task.enqueue(&bus).{key}(…)`"))
    } else {
        None
    }
}

/// How other systems call it.
fn by_another_word(attribute: &str, key: &str) -> Option<String> {
    let words = match (attribute, key) {
        ("handler" | "queue", "attempts" | "max_attempts" | "max_retries" | "retry") => {
            "`#[handler(retries = 5)]` says how many attempts may follow the first one"
        }
        ("handler" | "queue", "workers" | "threads" | "parallelism" | "prefetch") => {
            "`#[handler(concurrency = 8)]` says how many tasks an instance works on at once"
        }
        ("handler" | "queue", "unique" | "unique_for" | "job_id" | "task_id") => {
            "two tasks are one by a key: write `task.enqueue(&bus).deduplicate(key, window)`"
        }
        ("handler" | "queue", "cron" | "schedule" | "every" | "repeat" | "interval") => {
            "no task comes by itself: enqueue each from a timer of your own, with `.deduplicate(key, window)` and a key that is the same in all instances"
        }
        ("handler" | "queue", "rate" | "rate_limit" | "limiter" | "throttle") => {
            "a layer of `tower` limits the rate of a handler: write `#[handler(layer = tower::limit::RateLimitLayer::new(10, Duration::from_secs(1)))]`"
        }
        ("handler" | "queue", "exactly_once") => {
            "a task can run again after a crash: `#[handler(once)]` does not run again what had begun"
        }
        ("queue", "max_len" | "maxlen" | "capacity") => "`max_length = 100000` says how many tasks may wait",
        ("handler", "queue" | "channel" | "topic") => {
            "a handler gets the messages of its argument's type: write `#[queue(\"…\")]` or `#[channel(\"…\")]` on that type"
        }
        ("handler", "dead_letter" | "discard" | "retry_on" | "discard_on") => {
            "the handler's error says what becomes of a task: write `#[derive(Outcome)]` on it, and `#[outcome(dead_letter)]` on a variant"
        }
        ("handler", "unordered" | "ordered" | "parallel") => {
            "`order = none` handles the messages of one channel side by side, and `order = channel` one after the other"
        }
        ("handler", "blocking" | "spawn_blocking" | "cpu_bound") => {
            "`spawn` gives each call a tokio task of its own, which may block its thread"
        }
        ("handler", "ack" | "auto_ack" | "manual_ack" | "acknowledge") => {
            "what a handler returns says what has become of its message, and nothing else does: remove it"
        }
        ("queue", "priority" | "priorities") => {
            "name the parameter that comes first by its value: write `strict = priority`, or `weighted = priority, weights = [6, 3, 1]`"
        }
        ("handler", "priority" | "priorities") => {
            "the priority is a parameter of the queue: write `#[queue(\"…:<priority>\", strict = priority)]` on the task"
        }
        ("queue", "result" | "return" | "ttl") => "results are kept for as long as `results = \"1h\"` says",
        ("queue", "visibility_timeout" | "visibility") => {
            "for so long as `lease = \"30s\"` says a task belongs to an instance that has gone silent"
        }
        _ => return None,
    };
    Some(words.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_option_of_another_attribute_is_sent_there() {
        let says = |attribute, key, known: &[&str], words: &str| {
            let text = unknown(attribute, key, known);
            assert!(text.contains(words), "{text}");
        };
        says("queue", "retries", &QUEUE, "`#[handler(…)]`");
        says("handler", "lease", &HANDLER, "`#[queue(\"…\")]`");
        says("message", "lease", &MESSAGE, "`#[queue(\"…\")]`");
        says("queue", "version", &QUEUE, "`#[message(…)]`");
        says("handler", "delay", &HANDLER, "`task.enqueue(&bus).delay(…)`");
        says("queue", "attempts", &QUEUE, "`#[handler(retries = 5)]`");
        says("message", "channel", &MESSAGE, "`#[channel(\"…\")]` on the type");
        says("channel", "reply", &[], "`#[reply(Type)]` on the type");
        says("channel", "version", &[], "`#[message(…)]`");
        says("channel", "sort", &[], "remove it");
        says("queue", "leese", &QUEUE, "did you mean `lease`?");
        says("outcome", "lease", &["retry"], "it has `retry`");
        says("router", "timeout", &["crate"], "`#[handler(…)]` of each method");
        says("router", "sort", &["crate"], "it has `crate`");
        says("handler", "unique", &HANDLER, "`task.enqueue(&bus).deduplicate(key, window)`");
        says("queue", "at", &QUEUE, "`task.enqueue(&bus).at(…)`");
        says("handler", "group", &HANDLER, "`bus.serve(…).group(…)`");
        says("handler", "unordered", &HANDLER, "`order = none`");
    }
}
