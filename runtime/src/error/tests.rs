//! What holds of all errors.

use std::{error::Error, io, time::Duration};

use crate::error::{
    chain::chain,
    connect::ConnectError,
    exchange::{AcknowledgeError, RequestError},
    publish::PublishError,
    queue::EnqueueError,
    received::{AddressError, Rejection},
    subscribe::SubscribeError,
};

#[test]
fn a_cause_is_told_once() {
    let refused = || io::Error::new(io::ErrorKind::ConnectionRefused, "nobody home");
    let unreachable = || ConnectError::Unreachable { address: "h:1".to_owned(), source: refused() };
    let template = "orders:<id>";
    let publish = || PublishError::NotConnected { template, reason: "away".to_owned() };
    let subscribe = || SubscribeError::NotConnected { reason: "away".to_owned() };
    let errors: [Box<dyn Error>; 6] = [
        Box::new(unreachable()),
        Box::new(Rejection::Address { template, source: AddressError::Disagrees { parameter: "id" } }),
        Box::new(RequestError::<io::Error>::Publish(publish())),
        Box::new(RequestError::<io::Error>::Subscribe(subscribe())),
        Box::new(AcknowledgeError::Publish(publish())),
        Box::new(AcknowledgeError::Subscribe(subscribe())),
    ];
    for error in errors {
        let source = error.source().unwrap().to_string();
        assert!(!error.to_string().contains(&source), "{error}");
        assert_eq!(chain(&*error).matches(&source).count(), 1);
    }
    assert_eq!(chain(&unreachable()), "no Redis server answers at h:1: nobody home");
}

#[test]
fn only_what_passes_may_be_tried_again() {
    let answered = |reason: &str| PublishError::Server { template: "news", reason: reason.to_owned() };
    for passing in
        ["LOADING Redis is loading", "BUSY a script", "OOM command not allowed", "READONLY You can't", "NOREPLICAS Not"]
    {
        assert!(answered(passing).is_retryable(), "{passing}");
        assert!(EnqueueError::Server { queue: "tasks", reason: passing.to_owned() }.is_retryable(), "{passing}");
    }
    for lasting in
        ["ERR unknown command", "WRONGTYPE", "BUSYGROUP", "EXECABORT", "ERR Protocol error: invalid bulk length", "…"]
    {
        assert!(!answered(lasting).is_retryable(), "{lasting}");
        assert!(!EnqueueError::Server { queue: "tasks", reason: lasting.to_owned() }.is_retryable(), "{lasting}");
    }
    let template = "news";
    for unknown in [
        PublishError::Undecided { template, reason: String::new() },
        PublishError::ConnectionLost { template, reason: String::new() },
        PublishError::TimedOut { template, timeout: Duration::ZERO },
    ] {
        assert!(!unknown.is_retryable(), "{unknown}");
    }
}
