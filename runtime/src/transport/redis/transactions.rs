//! Batches that are published whole or not at all: MULTI and EXEC, on a connection for them alone. Small ones need it only where a script does not run.
//!
//! The commands are the `redis` crate's. The connection is made with the first such batch, and anew after each fault. A batch takes two round
//! trips: nothing is published before the server has said that it holds back what follows, because it would publish each message at once
//! for a user who may not begin a transaction.

use std::sync::Arc;

use redis::{
    Pipeline, RedisError, ServerError, Value,
    aio::{ConnectionLike, MultiplexedConnection},
    pipe,
};
use tokio::{
    sync::Mutex,
    task::JoinSet,
    time::{Instant, timeout_at},
};

use crate::{
    error::{PublishError, chain},
    transport::{
        contract::Parcel,
        redis::{
            access::{Operation, is_refusal, rule},
            client::client,
            connector::Connector,
            settings::Settings,
            words,
        },
    },
};

/// What CLIENT LIST shows.
const CLIENT_NAME: &str = "tidings-transactions";

/// The connection for transactions. One batch uses it at a time, and takes it out meanwhile: a batch that is dropped halfway leaves none behind.
#[derive(Default)]
pub(super) struct Transactions {
    link: Arc<Mutex<Option<Client>>>,
}

struct Client {
    connection: MultiplexedConnection,
    counts_receivers: bool,
    /// Drives the connection, and ends with it.
    _driver: JoinSet<()>,
}

/// A batch on its way.
pub(super) struct Transaction {
    pub(super) connector: Connector,
    pub(super) settings: Arc<Settings>,
    /// Until when it has to be done.
    pub(super) deadline: Instant,
    /// Of the first message.
    pub(super) template: &'static str,
    pub(super) parcels: Vec<Parcel>,
}

impl Transactions {
    /// Publishes all messages or none; the number of receivers of each, where the server can tell. All of it until the deadline.
    ///
    /// [MULTI and EXEC](https://redis.io/docs/latest/develop/using-commands/transactions/)
    ///
    /// # Cancel safety
    ///
    /// Once it was polled, all of the messages may be published, or none.
    pub(super) async fn publish(&self, transaction: Transaction) -> Result<Vec<Option<u64>>, PublishError> {
        let template = transaction.template;
        // In a tokio task of its own: no other batch waits for a caller who is not polled.
        let mut tokio_task = JoinSet::new();
        tokio_task.spawn(transaction.published(Arc::clone(&self.link)));
        match tokio_task.join_next().await {
            Some(Ok(published)) => published,
            _ => Err(PublishError::Undecided { template, reason: "the batch's tokio task has ended".to_owned() }),
        }
    }

    /// Closes the connection, unless a batch is on it.
    pub(super) fn close(&self) {
        if let Ok(mut link) = self.link.try_lock() {
            *link = None;
        }
    }
}

impl Transaction {
    async fn published(self, link: Arc<Mutex<Option<Client>>>) -> Result<Vec<Option<u64>>, PublishError> {
        let Self { deadline, template, .. } = self;
        let begun = timeout_at(deadline, async {
            let mut link = link.lock().await;
            let client = self.begun(&mut link).await?;
            Ok((link, client))
        });
        let late = |_| {
            let reason = "no transaction could be begun within the command timeout".to_owned();
            Err(PublishError::NotConnected { template, reason })
        };
        let (mut link, mut client) = begun.await.unwrap_or_else(late)?;
        let timeout = self.settings.command_timeout;
        let executed = timeout_at(deadline, sent(&mut client, &self.publishes())).await;
        let answers = executed.map_err(|_| PublishError::TimedOut { template, timeout })?;
        let answers = answers.map_err(|error| PublishError::ConnectionLost { template, reason: words::of(&error) })?;
        let (ended, is_clean) = self.ended(answers);
        let counts_receivers = client.counts_receivers;
        if is_clean {
            *link = Some(client);
        }
        ended.map(|receivers| receivers.into_iter().map(|number| counts_receivers.then_some(number)).collect())
    }

    /// A connection on which the server holds back what follows. Takes the one that there is, if that still serves.
    async fn begun(&self, link: &mut Option<Client>) -> Result<Client, PublishError> {
        let not_connected = |reason| PublishError::NotConnected { template: self.template, reason };
        let mut begin = pipe();
        // The greeting names the role: on a replica, PUBLISH reaches nobody and says nothing of it.
        begin.cmd("HELLO").arg(3);
        begin.cmd("MULTI");
        loop {
            let (mut client, is_new) = match link.take() {
                Some(client) => (client, false),
                None => (self.opened().await.map_err(not_connected)?, true),
            };
            match sent(&mut client, &begin).await.as_deref() {
                Ok([greeting, _]) if is_demoted(greeting) => {}
                Ok([_, Value::ServerError(error)]) => return Err(self.refused(error, None)),
                Ok([_, Value::Okay]) => return Ok(client),
                Ok(_) => return Err(not_connected("the server answered something else than it was asked".to_owned())),
                Err(error) if is_new => return Err(not_connected(words::of(error))),
                // It was closed since the last batch, and nothing was published: another one will do.
                Err(_) => {}
            }
        }
    }

    async fn opened(&self) -> Result<Client, String> {
        let opened = self.connector.open_master(CLIENT_NAME).await.map_err(|error| chain(&error))?;
        let counts_receivers = opened.capabilities.counts_receivers();
        let connected = client(opened.stream, &self.settings).await;
        let (connection, driver) = connected.map_err(|error| words::of(&error))?;
        let mut tokio_task = JoinSet::new();
        tokio_task.spawn(driver);
        Ok(Client { connection, counts_receivers, _driver: tokio_task })
    }

    fn publishes(&self) -> Pipeline {
        let mut commands = pipe();
        for Parcel { channel, payload, .. } in &self.parcels {
            commands.cmd("PUBLISH").arg(channel).arg(payload.as_slice());
        }
        commands.cmd("EXEC");
        commands
    }

    /// What the answers mean, and whether the connection is as it was before. Each of them counts: the server refuses a message when it is put
    /// in line, the whole batch when it is carried out, or one message while it is.
    fn ended(&self, mut answers: Vec<Value>) -> (Result<Vec<u64>, PublishError>, bool) {
        let executed = answers.pop();
        let refused = answers.iter().zip(&self.parcels).find_map(|(answer, parcel)| match answer {
            Value::ServerError(error) => Some(self.refused(error, Some(parcel))),
            _ => None,
        });
        match executed {
            Some(Value::ServerError(error)) => {
                // The batch is discarded, or it is held back for as long as there is the connection.
                let is_clean = error.code() == "EXECABORT";
                (Err(refused.unwrap_or_else(|| self.refused(&error, None))), is_clean)
            }
            Some(Value::Array(receivers)) if receivers.len() == self.parcels.len() => {
                (self.carried_out(&receivers), true)
            }
            _ => (Err(self.undecided("the server answered EXEC with something else".to_owned())), false),
        }
    }

    fn carried_out(&self, answers: &[Value]) -> Result<Vec<u64>, PublishError> {
        let mut receivers = Vec::with_capacity(answers.len());
        let mut refused = None;
        for (answer, parcel) in answers.iter().zip(&self.parcels) {
            match answer {
                Value::Int(number) => receivers.push(u64::try_from(*number).unwrap_or_default()),
                Value::ServerError(error) => refused = refused.or_else(|| Some(self.refused(error, Some(parcel)))),
                _ => return Err(self.undecided("the server answered PUBLISH with something else".to_owned())),
            }
        }
        match refused {
            None => Ok(receivers),
            // The rules have changed since the server put the messages in line.
            Some(error) if receivers.is_empty() => Err(error),
            Some(error) => {
                let published = receivers.len();
                let reason =
                    format!("{published} of {} messages were published, the others refused: {error}", answers.len());
                Err(self.undecided(reason))
            }
        }
    }

    /// Nothing was published: the server has refused a message, or the batch.
    fn refused(&self, error: &ServerError, parcel: Option<&Parcel>) -> PublishError {
        let reason = format!("{} {}", error.code(), error.details().unwrap_or_default());
        // Of EXEC itself the server tells so why it does not carry it out.
        let reason = reason.strip_prefix("EXECABORT Transaction discarded because of: ").unwrap_or(&reason);
        let reason = words::cleaned(reason.as_bytes());
        let Some(parcel) = parcel.or(self.parcels.first()).filter(|_| is_refusal(&reason)) else {
            return PublishError::Server { template: self.template, reason };
        };
        let channels: Vec<_> = self.parcels.iter().map(|parcel| &parcel.channel).collect();
        let rule = rule(&self.settings, &reason, Operation::PublishAtomically, &channels);
        PublishError::Refused { channel: parcel.channel.clone(), reason, rule }
    }

    fn undecided(&self, reason: String) -> PublishError {
        PublishError::Undecided { template: self.template, reason }
    }
}

/// Sends commands together; an answer for each, errors of the server among them.
async fn sent(client: &mut Client, commands: &Pipeline) -> Result<Vec<Value>, RedisError> {
    client.connection.req_packed_commands(commands, 0, commands.len()).await
}

fn is_demoted(greeting: &Value) -> bool {
    let Value::Map(pairs) = greeting else { return false };
    let is = |value: &Value, text: &str| match value {
        Value::BulkString(bytes) => bytes == text.as_bytes(),
        Value::SimpleString(string) => string == text,
        _ => false,
    };
    pairs.iter().any(|(key, role)| is(key, "role") && !is(role, "master"))
}
