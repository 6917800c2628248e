//! What a program shows of its messages: spans, the context of a trace, metrics.
//!
//! All three say templates, ids, sizes and outcomes, never a concrete channel, a namespace or a payload. What nobody observes costs
//! the check of a cached level.
//!
//! # Spans
//!
//! The target is `tidings` and the level DEBUG, so that a program which logs at INFO pays nothing: an OpenTelemetry layer wants a filter
//! such as `info,tidings=debug`. The fields are those of OpenTelemetry's semantic conventions for messaging.
//!
//! | span | `otel.name` | is |
//! |--|--|--|
//! | `publish` | `publish orders:<id>` | one message from encoding to the server's answer, or to its acknowledgement |
//! | `publish_batch` | `publish batch` | a batch as a whole, from its beginning on; of tasks too |
//! | `enqueue` | `enqueue tasks:mails` | one task from encoding to the server's answer |
//! | `request` | `request quotes` | a request until it is answered |
//! | `process` | `process orders:<id>` | a handler's work on one message, with publishing what it returned; its answer leaves after it |
//!
//! What goes wrong sets `error.type` and `otel.status_code`. A [`Subscription`](crate::Subscription) makes no spans: what it yields is handled
//! by the program.
//!
//! # The context of a trace
//!
//! With the feature `opentelemetry` a message's headers carry the context of the span that publishes it, as the process's propagator
//! (`opentelemetry::global::set_text_map_propagator`) writes it, and the span of its handler is a part of the same trace. Answers carry the
//! context of the handler. A `traceparent` that the program sets itself is kept. Plain messages and those of
//! [`RedisToolkit`](crate::codec::RedisToolkit) have no place for headers and are sent as ever. Without the feature, `traceparent` is a
//! header like any other.
//!
//! # Metrics
//!
//! With the feature `metrics` these go to the recorder of the crate `metrics`. Install it before the bus connects.
//!
//! | name | kind | unit | labels |
//! |--|--|--|--|
//! | `tidings_published_messages_total` | counter | messages | `template`, `outcome` |
//! | `tidings_publish_duration_seconds` | histogram | seconds | `template` |
//! | `tidings_requests_total` | counter | requests and acknowledged publishes | `template`, `outcome` |
//! | `tidings_request_duration_seconds` | histogram | seconds | `template` |
//! | `tidings_handled_messages_total` | counter | messages | `handler`, `template`, `outcome` |
//! | `tidings_handling_duration_seconds` | histogram | seconds | `handler`, `template` |
//! | `tidings_unsent_messages_total` | counter | messages that handlers returned and that could not be published | `handler`, `template` |
//! | `tidings_unanswered_messages_total` | counter | answers that could not be sent | `handler`, `template` |
//! | `tidings_unreadable_metadata_total` | counter | members of metadata that could not be read | `handler`, `template` |
//! | `tidings_unmatched_messages_total` | counter | messages of services | |
//! | `tidings_received_messages_total` | counter | messages of subscriptions | `template`, `outcome` |
//! | `tidings_lagged_messages_total` | counter | messages | `consumer`, and `template` of a subscription |
//! | `tidings_gaps_total` | counter | gaps | `consumer`, and `template` of a subscription |
//! | `tidings_reconnects_total` | counter | connections made anew | |
//! | `tidings_connections` | gauge | connections for subscriptions that are up | |
//! | `tidings_queue_tasks` | gauge | tasks of a queue that this process serves, asked each 15 s | `template`, `state` |
//! | `tidings_queue_oldest_seconds` | gauge | seconds since the oldest task was due that nobody has taken | `template` |
//!
//! The outcomes of handling are `handled`, `failed`, `panicked`, `timed_out`, `rejected`, `filtered`, `expired`,
//! `cancelled` and `dropped`, `left_to_others` of what another instance has, and of tasks `lost_lease` and `handed_back` too; tasks that are enqueued are
//! among the published messages. The states of tasks are `waiting`, `delayed`, `running`, `parked` and `dead`. Each instance shows them for the whole queue,
//! so over several instances they are a `max`, and no `sum`. The outcomes of
//! publishing and of requests are `ok` or the kind of the error; those of receiving are `ok`, `invalid` and `unmatched`. `consumer` is
//! `service` or `subscription`. Requests and answers are not among the published messages, the messages of a batch have no duration, and what
//! is dropped before it ended is not counted.
//!
//! # Inside
//!
//! `observation` is one operation that somebody observes, `label` the word for how it ended, `meters` and `names` are the metrics and
//! `trace_context` is what the headers carry; a file `no_….rs` stands in where the feature is off. The floors above report to this one; no
//! message passes through it. It uses `codec` and nothing else of the crate: each type of error says on its own floor which label it has.

pub(crate) mod label;
#[cfg(feature = "metrics")]
pub(crate) mod meters;
#[cfg(not(feature = "metrics"))]
#[path = "observe/no_meters.rs"]
pub(crate) mod meters;
pub(crate) mod names;
pub(crate) mod observation;
#[cfg(feature = "opentelemetry")]
pub(crate) mod trace_context;
#[cfg(not(feature = "opentelemetry"))]
#[path = "observe/no_trace_context.rs"]
pub(crate) mod trace_context;
