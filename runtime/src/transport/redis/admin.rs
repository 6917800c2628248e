//! Rare questions to the server, on a connection that is made for them.
//!
//! The commands are the `redis` crate's: what is asked so rarely is not worth a reader of our own (ARCHITECTURE.md has the figures).

use std::collections::HashMap;

use redis::{RedisError, aio::MultiplexedConnection, cmd};
use tokio::time::{Instant, timeout};

use crate::transport::{
    health::{Health, HealthError, HealthWarning},
    redis::{
        access::{is_refusal, rule_for_health},
        capabilities::Capabilities,
        client::client,
        cluster::SLOTS,
        connector::Connector,
        door::Opened,
        settings::Settings,
        words,
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
        let (mut connection, driver) = client(stream, settings).await.map_err(|error| failed(settings, &error))?;
        let asked = async {
            let mut health = ask(&mut connection, settings, status, uses, &capabilities).await?;
            if connector.cluster().is_some() {
                ask_for_cluster(&mut connection, settings, &address, &mut health.warnings).await?;
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
    let unchecked = |command, error| unchecked(settings, command, error);
    let start = Instant::now();
    let unpinged = match cmd("PING").query_async::<String>(connection).await {
        // A server that cannot write its snapshot refuses even that, and passes messages on all the same.
        Err(error) if error.code() == Some("MISCONF") => None,
        // Whoever is refused has been heard too.
        Err(error) if is_refusal(&words::of(&error)) => Some(unchecked("PING", error)?),
        answer => answer.map(|_| None).map_err(|error| failed(settings, &error))?,
    };
    let mut health = Health::new(start.elapsed(), status);
    health.warnings.extend(unpinged);
    health.role = Some(capabilities.role.clone());
    if !capabilities.is_master() {
        health.warnings.push(HealthWarning::Replica);
    }
    // Of several at once only 7.0 tells; older servers have no queues.
    let (sections, names): (&[_], &[_]) = match uses {
        Uses::Messages => (&["server"], &[LIMIT]),
        Uses::Queues => (&["server", "memory", "persistence", "replication"], &[LIMIT, SAVE, WANTED_REPLICAS]),
    };
    // <https://redis.io/docs/latest/commands/info/>
    let info = match cmd("INFO").arg(sections).query_async::<String>(connection).await {
        Ok(info) => info,
        Err(error) => {
            health.warnings.push(unchecked("INFO", error)?);
            String::new()
        }
    };
    health.server_version = version(&info).map(str::to_owned);
    // <https://redis.io/docs/latest/commands/config-get/>
    let config = match cmd("CONFIG").arg("GET").arg(names).query_async::<Config>(connection).await {
        Ok(config) => config,
        Err(error) => {
            health.warnings.push(unchecked("CONFIG GET", error)?);
            Config::new()
        }
    };
    let limit = config.get(LIMIT).and_then(|limits| hard_limit_of_subscribers(limits));
    // Zero is no limit. The message's frame comes on top of its payload, so an equal limit is too low.
    if let Some(limit) = limit.filter(|&limit| limit > 0 && limit <= settings.payload_limit as u64) {
        health.warnings.push(HealthWarning::OutputBuffer { limit, payload_limit: settings.payload_limit });
    }
    if uses == Uses::Queues {
        health.warnings.extend(of_persistence(&info, &config));
        health.warnings.extend(of_memory(&info));
        health.warnings.extend(of_replicas(&info, &config));
        health.warnings.extend(of_waking(connection, settings).await?);
    }
    Ok(health)
}

/// Settings of the server, by their names.
type Config = HashMap<String, String>;

const LIMIT: &str = "client-output-buffer-limit";
const SAVE: &str = "save";
const WANTED_REPLICAS: &str = "min-replicas-to-write";

/// Whether the server keeps what it accepts. What it does not tell is not warned of.
///
/// <https://redis.io/docs/latest/operate/oss_and_stack/management/persistence/>
fn of_persistence(info: &str, config: &Config) -> Vec<HealthWarning> {
    let says = |name, value| field(info, name) == Some(value);
    let has_no_snapshots = config.get(SAVE).is_some_and(String::is_empty);
    let warnings = [
        (says("aof_enabled", "0"), HealthWarning::NoAppendOnlyFile),
        (has_no_snapshots, HealthWarning::NoSnapshots),
        (says("aof_last_write_status", "err"), HealthWarning::AppendOnlyFileFails),
        // Where none is made, one that failed was asked for by hand, and stops no write.
        (says("rdb_last_bgsave_status", "err") && !has_no_snapshots, HealthWarning::SnapshotsFail),
    ];
    warnings.into_iter().filter_map(|(is_so, warning)| is_so.then_some(warning)).collect()
}

/// Whether there is room for tasks, and those that are there stay.
///
/// <https://redis.io/docs/latest/develop/reference/eviction/>
fn of_memory(info: &str) -> Vec<HealthWarning> {
    let number = |name| field(info, name)?.parse::<u64>().ok();
    let mut warnings = Vec::new();
    let policy = field(info, "maxmemory_policy").unwrap_or("noeviction");
    if policy != "noeviction" {
        warnings.push(HealthWarning::Evicts { policy: policy.to_owned() });
    }
    // What the server compares with its limit leaves out the buffers of its replicas and of its append-only file.
    let used = number("used_memory").unwrap_or(0).saturating_sub(number("mem_not_counted_for_evict").unwrap_or(0));
    let limit = number("maxmemory").filter(|&limit| limit > 0);
    // One that may remove any key is always full, and makes room.
    if let Some(limit) = limit.filter(|&limit| used >= limit / 10 * 9 && !policy.starts_with("allkeys")) {
        warnings.push(HealthWarning::MemoryFull { used, limit });
    }
    warnings
}

/// Whether there are as many replicas as the server wants before it writes anything. It says how many there are only where it wants some.
///
/// <https://redis.io/docs/latest/operate/oss_and_stack/management/replication/>
fn of_replicas(info: &str, config: &Config) -> Option<HealthWarning> {
    let good = field(info, "min_slaves_good_slaves")?.parse::<u32>().ok()?;
    let wanted = config.get(WANTED_REPLICAS)?.parse::<u32>().ok()?;
    (good < wanted).then_some(HealthWarning::TooFewReplicas { good, wanted })
}

/// Whether readers may be woken.
async fn of_waking(
    connection: &mut MultiplexedConnection,
    settings: &Settings,
) -> Result<Option<HealthWarning>, HealthError> {
    // No connection has this id.
    let Err(error) = cmd("CLIENT").arg("UNBLOCK").arg(0).query_async::<i64>(connection).await else { return Ok(None) };
    let (reason, rule) = refused(settings, error)?;
    Ok(Some(HealthWarning::Unwakeable { reason, rule }))
}

/// Whether each slot has a node that answers, and each node is well, as the one that is asked sees it.
///
/// <https://redis.io/docs/latest/commands/cluster-info/>, <https://redis.io/docs/latest/commands/cluster-nodes/>
async fn ask_for_cluster(
    connection: &mut MultiplexedConnection,
    settings: &Settings,
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
        Err(error) => warnings.push(unchecked(settings, "CLUSTER INFO", error)?),
    }
    match cmd("CLUSTER").arg("NODES").query_async::<String>(connection).await {
        Ok(nodes) => warnings.extend(nodes.lines().filter_map(|line| {
            let (node, state) = missed_node(line)?;
            Some(HealthWarning::NodeState { node: node.to_owned(), state: state.to_owned() })
        })),
        Err(error) => warnings.push(unchecked(settings, "CLUSTER NODES", error)?),
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
fn unchecked(settings: &Settings, command: &'static str, error: RedisError) -> Result<HealthWarning, HealthError> {
    let (reason, rule) = refused(settings, error)?;
    Ok(HealthWarning::Unchecked { command, reason, rule })
}

/// The server's words, and the rule that would allow what it refuses.
fn refused(settings: &Settings, error: RedisError) -> Result<(String, Option<String>), HealthError> {
    if error.is_io_error() || error.is_connection_dropped() || error.is_timeout() {
        return Err(failed(settings, &error));
    }
    let reason = words::of(&error);
    let rule = is_refusal(&reason).then(|| rule_for_health(settings));
    Ok((reason, rule))
}

fn failed(settings: &Settings, error: &RedisError) -> HealthError {
    match error.is_timeout() {
        true => HealthError::TimedOut { timeout: settings.command_timeout },
        false => HealthError::Server { reason: words::of(error) },
    }
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

    #[test]
    fn no_answer_in_time_is_told_as_that() {
        let settings = Settings::new(&crate::config::Config::default(), "anna");
        let late = || RedisError::from(std::io::Error::from(std::io::ErrorKind::TimedOut));
        assert!(matches!(unchecked(&settings, "INFO", late()), Err(HealthError::TimedOut { .. })));
        assert!(matches!(failed(&settings, &late()), HealthError::TimedOut { .. }));
        let lost = || RedisError::from(std::io::Error::from(std::io::ErrorKind::BrokenPipe));
        assert!(matches!(unchecked(&settings, "INFO", lost()), Err(HealthError::Server { .. })));
    }

    #[test]
    fn what_the_server_does_not_tell_is_not_warned_of() {
        assert_eq!(
            (of_persistence("", &Config::new()), of_memory(""), of_replicas("", &Config::new())),
            (vec![], vec![], None)
        );
        let failing = "aof_enabled:1\r\nrdb_last_bgsave_status:err\r\naof_last_write_status:err\r\n";
        let warnings = of_persistence(failing, &Config::new());
        assert_eq!(warnings, [HealthWarning::AppendOnlyFileFails, HealthWarning::SnapshotsFail]);
        let config = Config::from([(SAVE.to_owned(), String::new())]);
        let warnings = of_persistence(failing, &config);
        assert_eq!(warnings, [HealthWarning::NoSnapshots, HealthWarning::AppendOnlyFileFails]);
    }

    #[test]
    fn what_does_not_count_towards_the_limit_of_the_memory_is_left_out() {
        let info = |counted: u64| {
            format!("used_memory:{}\r\nmaxmemory:1000\r\nmem_not_counted_for_evict:70\r\n", counted + 70)
        };
        assert_eq!(of_memory(&info(899)), []);
        assert_eq!(of_memory(&info(900)), [HealthWarning::MemoryFull { used: 900, limit: 1000 }]);
        assert_eq!(of_memory("used_memory:5000\r\nmaxmemory:0\r\n"), []);
    }
}
