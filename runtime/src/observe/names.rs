//! The names of the metrics. The module `observe` documents them.
#![cfg_attr(not(feature = "metrics"), allow(dead_code, reason = "only a recorder wants all of them"))]

pub(crate) const PUBLISHED: &str = "tidings_published_messages_total";
pub(crate) const PUBLISH_DURATION: &str = "tidings_publish_duration_seconds";
pub(crate) const REQUESTS: &str = "tidings_requests_total";
pub(crate) const REQUEST_DURATION: &str = "tidings_request_duration_seconds";
pub(crate) const HANDLED: &str = "tidings_handled_messages_total";
pub(crate) const HANDLING_DURATION: &str = "tidings_handling_duration_seconds";
pub(crate) const UNMATCHED: &str = "tidings_unmatched_messages_total";
pub(crate) const UNSENT: &str = "tidings_unsent_messages_total";
pub(crate) const UNANSWERED: &str = "tidings_unanswered_messages_total";
pub(crate) const UNREADABLE: &str = "tidings_unreadable_metadata_total";
pub(crate) const RECEIVED: &str = "tidings_received_messages_total";
pub(crate) const LAGGED: &str = "tidings_lagged_messages_total";
pub(crate) const GAPS: &str = "tidings_gaps_total";
pub(crate) const RECONNECTS: &str = "tidings_reconnects_total";
pub(crate) const CONNECTIONS: &str = "tidings_connections";
pub(crate) const QUEUE_TASKS: &str = "tidings_queue_tasks";
pub(crate) const QUEUE_OLDEST: &str = "tidings_queue_oldest_seconds";

/// Who received: a label of what a service and a subscription have in common.
pub(crate) const BY_SERVICE: (&str, &str) = ("consumer", "service");
pub(crate) const BY_SUBSCRIPTION: (&str, &str) = ("consumer", "subscription");

pub(crate) const COUNTERS: [(&str, &str); 11] = [
    (PUBLISHED, "Messages published"),
    (REQUESTS, "Requests and acknowledged publishes"),
    (HANDLED, "Messages that reached a service's handler, by what became of them"),
    (UNMATCHED, "Messages on channels that match a subscribed pattern but no template"),
    (UNSENT, "Messages that handlers returned and that could not be published"),
    (UNANSWERED, "Answers that could not be sent"),
    (UNREADABLE, "Members of metadata that could not be read"),
    (RECEIVED, "Messages that reached subscriptions, by what they were"),
    (LAGGED, "Messages dropped because a service or subscription was too slow"),
    (GAPS, "Times in which a service or subscription may have missed messages"),
    (RECONNECTS, "Connections for subscriptions that were made anew"),
];

pub(crate) const DURATIONS: [(&str, &str); 3] = [
    (PUBLISH_DURATION, "From encoding a message to the server's answer"),
    (REQUEST_DURATION, "From encoding a request to its answer"),
    (HANDLING_DURATION, "A handler's work on one message, what it publishes included"),
];
