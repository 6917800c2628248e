//! Which services there are: asked of all at once, and answered by whoever is there.

use std::{
    fmt,
    future::IntoFuture,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use serde::{Deserialize, Serialize};
use tokio::time::timeout_at;

use crate::{
    bus::{
        book::ALL_ANSWER,
        handle::Bus,
        instances::{Question, SERVICES},
        replies::{Arrived, Waiter},
    },
    codec::{
        answers::{ANSWER, Answered, Answers},
        contract::Codec,
    },
    error::{PublishError, RequestError},
    future::BusFuture,
    message::kind::NoError,
    time::deadline_after,
    transport::contract::{Parcel, Reach, ReceiptComes},
};

/// A group: the instances of one service, as [`Bus::services`] finds them.
///
/// # Examples
///
/// ```
/// use tidings::ServiceGroup;
///
/// /// How many calls of a service failed, in all of its instances.
/// fn errors(group: &ServiceGroup) -> u64 {
///     group.instances.iter().flat_map(|instance| &instance.handlers).map(|handler| handler.errors).sum()
/// }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ServiceGroup {
    /// Its name: see [`Serving::group`](crate::Serving::group).
    pub name: String,
    /// Those of its instances that have answered, the oldest first.
    pub instances: Vec<InstanceReport>,
}

/// One running copy of a service, as it tells of itself. It can be written as JSON, for a page that shows who is there.
///
/// # Examples
///
/// ```
/// use tidings::InstanceReport;
///
/// fn show(instance: &InstanceReport) -> String {
///     let program = instance.program.as_deref().unwrap_or("some program");
///     let version = instance.version.as_deref().unwrap_or("of no version");
///     format!("{program} {version} has served {} for {} s", instance.group, instance.up_millis / 1_000)
/// }
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct InstanceReport {
    /// What no other instance is called, and this one only until it ends.
    pub instance: String,
    /// Its group.
    pub group: String,
    /// The name of its program, where it [says so](crate::BusBuilder::program).
    pub program: Option<String>,
    /// The version of its program.
    pub version: Option<String>,
    /// When it began to serve, by its own clock, in milliseconds since the Unix epoch.
    pub started_millis: u64,
    /// How long ago that was, in milliseconds: right even where clocks differ.
    pub up_millis: u64,
    /// Its handlers, in the order in which they are written.
    pub handlers: Vec<HandlerReport>,
}

impl InstanceReport {
    /// When it began to serve, by its own clock.
    #[must_use]
    pub fn started(&self) -> SystemTime {
        UNIX_EPOCH.checked_add(Duration::from_millis(self.started_millis)).unwrap_or(UNIX_EPOCH)
    }
}

/// A handler of an [`InstanceReport`], and what it has done since the instance has begun.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
///
/// use tidings::HandlerReport;
///
/// /// How long a call of a request's handler takes on average.
/// fn mean(handler: &HandlerReport) -> Option<Duration> {
///     handler.busy_micros.checked_div(handler.calls).map(Duration::from_micros)
/// }
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct HandlerReport {
    /// The handler's name.
    pub handler: String,
    /// Its channel.
    pub template: String,
    /// The wire name of its message.
    pub message: String,
    /// The newest version of the message that it knows.
    pub version: u32,
    /// Whether its message is a request.
    pub is_request: bool,
    /// Messages for which it was called: handled, failed, panicked, timed out or cancelled.
    pub calls: u64,
    /// Those of them that ended in an error, a panic, or the end of their time. A typed error with which a request is answered is an answer.
    pub errors: u64,
    /// How long all calls took together, in microseconds. Of requests only.
    pub busy_micros: u64,
    /// Messages that it works on now.
    pub running: usize,
    /// Messages that wait for it.
    pub waiting: usize,
}

/// The question which services there are; await it. [`Bus::services`] makes it.
///
/// # Examples
///
/// ```
/// # use std::time::Duration;
/// # use tidings::Bus;
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let bus = Bus::connect("memory:").await?;
/// for group in bus.services().within(Duration::from_millis(100)).await? {
///     println!("{}: {} instances", group.name, group.instances.len());
/// }
/// # Ok(()) }
/// ```
#[must_use = "nothing is asked until this is awaited"]
pub struct Services {
    bus: Bus,
    within: Duration,
}

impl Services {
    /// How long to wait for those who do not answer. Default: 500 ms.
    pub fn within(mut self, time: Duration) -> Self {
        self.within = time;
        self
    }

    async fn run(self) -> Result<Vec<ServiceGroup>, RequestError<NoError>> {
        let replies = self.bus.replies().await?;
        let mut waiter = replies.wait_for_many();
        let question =
            Question { reply_to: replies.channel().to_owned(), question: waiter.correlation_id().to_owned() };
        let payload = serde_json::to_vec(&question)
            .map_err(|error| PublishError::Encode { name: "question", reason: error.to_string() })?;
        let channel = self.bus.channel(|channel| channel.literal(SERVICES));
        let parcel = Parcel {
            template: TEMPLATE,
            reach: Reach::ShardChannel,
            channel,
            payload,
            expiry: None,
            receipt: ReceiptComes::Anytime,
        };
        let receivers = self.bus.send(parcel).await?.receivers;
        let mut reports = Vec::new();
        if receivers != Some(0) {
            // Whoever has not answered by then is not there.
            let answered = timeout_at(deadline_after(self.within), collect(&mut waiter, receivers, &mut reports));
            answered.await.unwrap_or(Ok(()))?;
        }
        Ok(grouped(reports))
    }
}

/// Collects reports until all have answered whom the server has counted.
async fn collect(
    waiter: &mut Waiter,
    receivers: Option<u64>,
    reports: &mut Vec<InstanceReport>,
) -> Result<(), RequestError<NoError>> {
    let mut answered = Answered::default();
    loop {
        match waiter.next().await {
            Arrived::Answer(frame) => {
                if let Ok((report, inbound)) = Answers::decode::<InstanceReport>(&ANSWER, frame.payload()) {
                    reports.push(report);
                    if answered.by(&inbound, receivers) {
                        return Ok(());
                    }
                }
            }
            Arrived::ConnectionLost => return Err(RequestError::ConnectionLost { template: TEMPLATE }),
            Arrived::Closed => return Err(RequestError::Closed { template: TEMPLATE }),
            Arrived::TooLarge { .. } | Arrived::InstanceLost => {}
        }
    }
}

/// What stands for the channel in errors.
const TEMPLATE: &str = "services";

fn grouped(mut reports: Vec<InstanceReport>) -> Vec<ServiceGroup> {
    reports.sort_by(|one, other| {
        (&one.group, other.up_millis, &one.instance).cmp(&(&other.group, one.up_millis, &other.instance))
    });
    let groups = reports.chunk_by(|one, other| one.group == other.group);
    groups.map(|group| ServiceGroup { name: group[0].group.clone(), instances: group.to_vec() }).collect()
}

crate::future::once_awaited!([] Services);

impl IntoFuture for Services {
    /// The groups, by name.
    type Output = Result<Vec<ServiceGroup>, RequestError<NoError>>;
    type IntoFuture = BusFuture<'static, Self::Output>;

    /// # Cancel safety
    ///
    /// Dropping the future gives up the answers.
    fn into_future(self) -> Self::IntoFuture {
        BusFuture::new(self.run())
    }
}

impl fmt::Debug for Services {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Services").field("within", &self.within).finish_non_exhaustive()
    }
}

impl Bus {
    /// Asks all services of the namespace what they are and what they have done: a group for each service, with its instances, their programs, and
    /// for each handler its load, calls and errors. It costs one message there and one of each instance back, and nothing while nobody asks.
    ///
    /// As many as the server has counted are waited for, and for half a second at most: one that hangs is missing from the answer.
    ///
    /// # Errors
    ///
    /// [`RequestError::Subscribe`] and [`RequestError::Publish`] when the question could not be asked, [`RequestError::ConnectionLost`] when the
    /// connection was lost meanwhile. That nobody is there is no error.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future gives up the answers.
    ///
    /// # Examples
    ///
    /// ```
    /// # use serde::{Deserialize, Serialize};
    /// # use tidings::{Bus, Message, router};
    /// # #[derive(Message, Serialize, Deserialize)]
    /// # #[channel("quotes:<sku>")]
    /// # #[reply(u64)]
    /// # struct QuoteRequest { sku: String }
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// struct Shop;
    ///
    /// #[router]
    /// impl Shop {
    ///     #[handler]
    ///     async fn quote(&self, _request: QuoteRequest) -> u64 {
    ///         125_000
    ///     }
    /// }
    ///
    /// let bus = Bus::builder("memory:").program("shop", env!("CARGO_PKG_VERSION")).connect().await?;
    /// let service = bus.serve(Shop).await?;
    /// QuoteRequest { sku: "engine".into() }.request(&bus).await?;
    ///
    /// let services = bus.services().await?;
    /// let instance = &services[0].instances[0];
    /// assert_eq!((services[0].name.as_str(), instance.program.as_deref()), ("Shop", Some("shop")));
    /// assert_eq!((instance.handlers[0].template.as_str(), instance.handlers[0].calls), ("quotes:<sku>", 1));
    /// # service.shutdown().await?;
    /// # Ok(()) }
    /// ```
    pub fn services(&self) -> Services {
        Services { bus: self.clone(), within: ALL_ANSWER }
    }
}
