//! Rare questions to the server, on a connection that is made for them.
//!
//! The commands are the `redis` crate's: what is asked so rarely is not worth a reader of our own (ARCHITECTURE.md has the figures).

use std::collections::HashMap;

use redis::{RedisError, aio::MultiplexedConnection, cmd};
use tokio::time::{Instant, timeout};

use crate::transport::{
    health::{Health, HealthError, HealthWarning},
    redis::{
        capabilities::Capabilities, client::client, cluster::SLOTS, connector::Connector, door::Opened,
        settings::Settings, words,
    },
    status::Status,
};

/// What CLIENT LIST shows.
const CLIENT_NAME: &str = "tidings-admin";

/// What the bus is used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Uses {
    Messages,
    /// Messages, and tasks that must not be lost.
    Queues,
}

/// Asks the server how it is, within the command timeout after connecting.
///
/// # Cancel safety
///
/// Dropping it closes the connection.
pub(super) async fn health(
    connector: &Connector,
    settings: &Settings,
    status: Status,
    uses: Uses,
) -> Result<Health, HealthError> {
    let Opened { address, stream, capabilities } = connector.open(CLIENT_NAME).await?;
    let asked = async {
        let (mut connection, driver) = client(stream, settings).await.map_err(failed)?;
        let asked = async {
            let mut health = ask(&mut connection, settings, status, uses, &capabilities).await?;
            if connector.cluster().is_some() {
                ask_for_cluster(&mut connection, &address, &mut health.warnings).await?;
            } else if capabilities.mode == "cluster" {
                health.warnings.push(HealthWarning::ClusterNode { address: address.clone() });
            }
            Ok(health)
        };
        tokio::select! {
            health = asked => health,
            () = driver => Err(HealthError::Server { reason: "the connection was lost".to_owned() }),
        }
    };
    let answered = timeout(settings.command_timeout, asked).await;
    let health = answered.unwrap_or(Err(HealthError::TimedOut { timeout: settings.command_timeout }))?;
    Ok(Health { server: Some(address), ..health })
}

async fn ask(
    connection: &mut MultiplexedConnection,
    settings: &Settings,
    status: Status,
    uses: Uses,
    capabilities: &Capabilities,
) -> Result<Health, HealthError> {
    let start = Instant::now();
    let _: String = cmd("PING").query_async(connection).await.map_err(failed)?;
    let mut health = Health::new(start.elapsed(), status);
    health.role = Some(capabilities.role.clone());
    if !capabilities.is_master() {
        health.warnings.push(HealthWarning::Replica);
    }
    // <https://redis.io/docs/latest/commands/info/>
    match cmd("INFO").arg("server").query_async::<String>(connection).await {
        Ok(info) => health.server_version = version(&info).map(str::to_owned),
        Err(error) => health.warnings.push(unchecked("INFO server", &error)?),
    }
    // <https://redis.io/docs/latest/commands/config-get/>
    const LIMIT: &str = "client-output-buffer-limit";
    match cmd("CONFIG").arg("GET").arg(LIMIT).query_async::<HashMap<String, String>>(connection).await {
        Ok(config) => {
            let limit = config.get(LIMIT).and_then(|limits| hard_limit_of_subscribers(limits));
            // Zero is no limit. The message's frame comes on top of its payload, so an equal limit is too low.
            if let Some(limit) = limit.filter(|&limit| limit > 0 && limit <= settings.payload_limit as u64) {
                health.warnings.push(HealthWarning::OutputBuffer { limit, payload_limit: settings.payload_limit });
            }
        }
        Err(error) => health.warnings.push(unchecked("CONFIG GET client-output-buffer-limit", &error)?),
    }
    if uses == Uses::Queues {
        ask_for_queues(connection, &mut health.warnings).await?;
    }
    Ok(health)
}

/// Whether the server keeps what it accepts, and whether readers may be woken.
///
/// <https://redis.io/docs/latest/operate/oss_and_stack/management/persistence/>
async fn ask_for_queues(
    connection: &mut MultiplexedConnection,
    warnings: &mut Vec<HealthWarning>,
) -> Result<(), HealthError> {
    for (setting, command) in [
        ("appendonly", "CONFIG GET appendonly"),
        ("save", "CONFIG GET save"),
        ("maxmemory-policy", "CONFIG GET maxmemory-policy"),
    ] {
        let asked = cmd("CONFIG").arg("GET").arg(setting).query_async::<HashMap<String, String>>(connection).await;
        let value = match asked {
            Ok(mut config) => config.remove(setting),
            Err(error) => {
                warnings.push(unchecked(command, &error)?);
                continue;
            }
        };
        match (setting, value) {
            ("appendonly", Some(value)) if value != "yes" => warnings.push(HealthWarning::NoAppendOnlyFile),
            ("save", Some(value)) if value.is_empty() => warnings.push(HealthWarning::NoSnapshots),
            ("maxmemory-policy", Some(policy)) if policy != "noeviction" => {
                warnings.push(HealthWarning::Evicts { policy });
            }
            _ => {}
        }
    }
    // No connection has this id.
    if let Err(error) = cmd("CLIENT").arg("UNBLOCK").arg(0).query_async::<i64>(connection).await {
        let HealthWarning::Unchecked { reason, .. } = unchecked("CLIENT UNBLOCK", &error)? else { return Ok(()) };
        warnings.push(HealthWarning::Unwakeable { reason });
    }
    Ok(())
}

/// Whether each slot has a node that answers, and each node is well, as the one that is asked sees it.
///
/// <https://redis.io/docs/latest/commands/cluster-info/>, <https://redis.io/docs/latest/commands/cluster-nodes/>
async fn ask_for_cluster(
    connection: &mut MultiplexedConnection,
    asked: &str,
    warnings: &mut Vec<HealthWarning>,
) -> Result<(), HealthError> {
    match cmd("CLUSTER").arg("INFO").query_async::<String>(connection).await {
        Ok(info) => {
            let slots = uncovered_slots(&info);
            if slots > 0 {
                warnings.push(HealthWarning::UncoveredSlots { slots });
            }
            if field(&info, "cluster_state").is_some_and(|state| state != "ok") {
                warnings.push(HealthWarning::NodeState { node: asked.to_owned(), state: "fail".to_owned() });
            }
        }
        Err(error) => warnings.push(unchecked("CLUSTER INFO", &error)?),
    }
    match cmd("CLUSTER").arg("NODES").query_async::<String>(connection).await {
        Ok(nodes) => warnings.extend(nodes.lines().filter_map(|line| {
            let (node, state) = missed_node(line)?;
            Some(HealthWarning::NodeState { node: node.to_owned(), state: state.to_owned() })
        })),
        Err(error) => warnings.push(unchecked("CLUSTER NODES", &error)?),
    }
    Ok(())
}

/// How many slots nobody has, or a node that most masters miss.
fn uncovered_slots(info: &str) -> u16 {
    let number = |name| field(info, name)?.parse::<u16>().ok();
    let answered = number("cluster_slots_ok").zip(number("cluster_slots_pfail")).map(|(ok, missed)| ok + missed);
    SLOTS.saturating_sub(answered.unwrap_or(SLOTS))
}

fn field<'a>(info: &'a str, name: &str) -> Option<&'a str> {
    info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
}

/// `<id> 127.0.0.1:30004@31004,hostname slave,fail? …`: where it is, and how, if it is missed.
fn missed_node(line: &str) -> Option<(&str, &str)> {
    let mut words = line.split(' ').skip(1);
    let (node, flags) = (words.next()?, words.next()?);
    let state = flags.split(',').find(|flag| matches!(*flag, "fail" | "fail?" | "handshake" | "noaddr"))?;
    Some((node.split('@').next()?, state))
}

fn version(info: &str) -> Option<&str> {
    field(info, "redis_version")
}

/// `normal 0 0 0 slave 268435456 67108864 60 pubsub 33554432 8388608 60`: class, hard limit, soft limit, seconds.
fn hard_limit_of_subscribers(limits: &str) -> Option<u64> {
    let mut words = limits.split_whitespace().skip_while(|&word| word != "pubsub");
    words.nth(1)?.parse().ok()
}

/// A server that answers with an error can still be healthy; one that is gone cannot.
fn unchecked(command: &'static str, error: &RedisError) -> Result<HealthWarning, HealthError> {
    if error.is_io_error() || error.is_connection_dropped() {
        return Err(HealthError::Server { reason: words::of(error) });
    }
    Ok(HealthWarning::Unchecked { command, reason: words::of(error) })
}

fn failed(error: RedisError) -> HealthError {
    HealthError::Server { reason: words::of(&error) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_limit_of_subscribers_and_the_version() {
        let limits = "normal 0 0 0 slave 268435456 67108864 60 pubsub 33554432 8388608 60";
        assert_eq!(hard_limit_of_subscribers(limits), Some(33_554_432));
        assert_eq!(hard_limit_of_subscribers("normal 0 0 0"), None);
        assert_eq!(
            missed_node("07c3 127.0.0.1:30004@31004,a slave,fail? 67ed 0 1 4 connected"),
            Some(("127.0.0.1:30004", "fail?"))
        );
        assert_eq!(missed_node("07c3 127.0.0.1:30004@31004 myself,master - 0 1 4 connected 0-99"), None);
        let slots =
            |ok, missed| format!("cluster_state:ok\r\ncluster_slots_ok:{ok}\r\ncluster_slots_pfail:{missed}\r\n");
        assert_eq!(
            (uncovered_slots(&slots(16_000, 384)), uncovered_slots(&slots(16_000, 0)), uncovered_slots("")),
            (0, 384, 0)
        );
        assert_eq!(version("# Server\r\nredis_version:7.0.15\r\nos:Linux\r\n"), Some("7.0.15"));
    }
}
