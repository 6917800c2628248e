//! What the server's access rules refuse, and the rule that would allow it.
//!
//! <https://redis.io/docs/latest/operate/oss_and_stack/management/security/acl/>

use crate::transport::{
    contract::{CLAIMS, Name},
    durable::task::QUEUES,
    redis::settings::Settings,
    status::NameKind,
};

/// What was refused. A rule names all commands that it takes, or all of its channels: the server tells only of the first thing that is missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Operation {
    Publish,
    PublishToShards,
    PublishAtomically,
    Subscribe,
    SubscribeToShards,
    SubscribeToPatterns,
}

impl Operation {
    fn commands(self) -> &'static [&'static str] {
        match self {
            Self::Publish => &["+publish"],
            Self::PublishToShards => &["+spublish"],
            Self::PublishAtomically => &["+multi", "+exec", "+publish"],
            Self::Subscribe => &["+subscribe", "+unsubscribe"],
            Self::SubscribeToShards => &["+ssubscribe", "+sunsubscribe"],
            Self::SubscribeToPatterns => &["+psubscribe", "+punsubscribe"],
        }
    }
}

/// Whether the server's words are a refusal by its access rules.
pub(super) fn is_refusal(words: &str) -> bool {
    words.starts_with("NOPERM ")
}

/// Whether they are that, of what a script calls: Redis 7.0 and later ones say it differently, and neither as of a command.
pub(super) fn is_refusal_in_script(words: &str) -> bool {
    words.starts_with("ERR The user executing the script can't") || words.starts_with("ERR ACL failure in script")
}

/// The command that would allow what the server refused: all commands where one of them was refused, and else all channels. Not both at once,
/// because a server takes no channel for a user who has all of them already, and refuses the whole rule.
pub(super) fn rule(settings: &Settings, words: &str, operation: Operation, channels: &[&String]) -> String {
    let channels = channels.iter().map(|channel| channel.as_str());
    with_commands(settings, words, &[operation], channels)
}

/// The command that allows what a script was refused to publish: the command, or all of its channels.
pub(super) fn rule_in_script(settings: &Settings, words: &str, channels: &[&String]) -> String {
    let words = if words.contains("channel") { words } else { "run the " };
    rule(settings, words, Operation::Publish, channels)
}

/// The same for all names that somebody subscribes to.
pub(super) fn rule_for_names<'a>(
    settings: &Settings,
    words: &str,
    names: impl Iterator<Item = &'a Name> + Clone,
) -> String {
    let mut operations = Vec::new();
    for (kind, operation) in [
        (NameKind::Channel, Operation::Subscribe),
        (NameKind::ShardChannel, Operation::SubscribeToShards),
        (NameKind::Pattern, Operation::SubscribeToPatterns),
    ] {
        if names.clone().any(|name| name.kind == kind) {
            operations.push(operation);
        }
    }
    with_commands(settings, words, &operations, names.map(|name| name.text.as_str()))
}

/// The command that allows to claim requests of other programs: the script, what it calls, and the names that it takes.
pub(super) fn rule_for_claims(settings: &Settings, words: &str) -> String {
    let names_command = names_command(words) || is_refusal_in_script(words);
    let rules = if names_command { "+eval +set".to_owned() } else { format!("~{}{CLAIMS}*", settings.prefix) };
    format!("ACL SETUSER {} {rules}", settings.user)
}

/// What queues call, from scripts and beside them.
pub(super) const QUEUE_COMMANDS: &str = "+eval +evalsha +time +xadd +xreadgroup +xgroup +xack +xdel +xlen +xrange +xrevrange +xpending +xclaim +xinfo \
    +zadd +zrem +zcard +zscore +zrange +zrangebyscore +hset +hsetnx +hincrby +hget +hmget +hdel +hlen +hscan +sadd +smembers +get +set +del \
    +mget +exists +unlink +hstrlen +rpush +lpop +lindex +lset +publish +client|id +client|unblock";

/// The command that allows queues: all that they call, or all of their keys.
pub(super) fn rule_for_queues(settings: &Settings, words: &str) -> String {
    if words.contains("channel") {
        return rule_for_told(settings);
    }
    let of_keys = words.contains("keys") || words.contains("can't access");
    let rules = if of_keys { format!("~{}{QUEUES}*", settings.prefix) } else { QUEUE_COMMANDS.to_owned() };
    format!("ACL SETUSER {} {rules}", settings.user)
}

/// The command that allows what a Sentinel is asked and heard for: all of its commands, or its channel.
pub(super) fn rule_for_sentinels(user: &str, words: &str) -> String {
    let rules = match names_command(words) {
        true => "+sentinel|master +sentinel|get-master-addr-by-name +subscribe",
        false => "&+switch-master",
    };
    format!("ACL SETUSER {user} {rules}")
}

/// The command that allows all that a health check asks.
pub(super) fn rule_for_health(settings: &Settings) -> String {
    format!(
        "ACL SETUSER {} +ping +info +config|get +client|id +client|unblock +cluster|info +cluster|nodes",
        settings.user
    )
}

/// The command that allows to tell those who wait for results, watchers and other instances.
pub(super) fn rule_for_told(settings: &Settings) -> String {
    format!("ACL SETUSER {} +publish &{}tidings:*", settings.user, settings.prefix)
}

/// Whether a command was refused, and not a channel.
fn names_command(words: &str) -> bool {
    words.contains("run the ")
}

fn with_commands<'a>(
    settings: &Settings,
    words: &str,
    operations: &[Operation],
    channels: impl IntoIterator<Item = &'a str>,
) -> String {
    let own = format!("{}tidings:", settings.prefix);
    let mut rules: Vec<String> = Vec::new();
    if names_command(words) {
        rules.extend(operations.iter().flat_map(|operation| operation.commands()).map(ToString::to_string));
        for channel in channels {
            // Who asks subscribes to the channel for its answers first, and then sends to shard channels; an instance that is asked publishes.
            let next = match channel.strip_prefix(&own) {
                Some(name) if name.starts_with("replies:") && operations.contains(&Operation::Subscribe) => "+spublish",
                Some(name) if name.starts_with("inbox:") && operations.contains(&Operation::SubscribeToShards) => {
                    "+publish"
                }
                _ => continue,
            };
            if !rules.iter().any(|rule| rule == next) {
                rules.push(next.to_owned());
            }
        }
    } else {
        for channel in channels {
            // Names of ours are others after each start, and requests take all kinds of them.
            let rule = if channel.starts_with(&own) { format!("&{own}*") } else { format!("&{channel}") };
            if !rules.contains(&rule) {
                rules.push(rule);
            }
        }
    }
    format!("ACL SETUSER {} {}", settings.user, rules.join(" "))
}

#[cfg(test)]
mod tests {
    use crate::config::Config;

    use super::*;

    const COMMAND: &str = "NOPERM this user has no permissions to run the 'multi' command";
    const CHANNEL: &str = "NOPERM this user has no permissions to access one of the channels used as arguments";

    #[test]
    fn a_rule_names_all_that_an_operation_takes() {
        let settings = Settings::new(&Config { namespace: Some("shop".into()), ..Config::default() }, "anna");
        let (news, own) = ("shop:news".to_owned(), "shop:tidings:replies:0a1b".to_owned());
        for (operation, words, expected) in [
            (Operation::Publish, CHANNEL, "&shop:news &shop:tidings:*"),
            (Operation::Publish, COMMAND, "+publish"),
            (Operation::PublishAtomically, COMMAND, "+multi +exec +publish"),
            (Operation::Subscribe, COMMAND, "+subscribe +unsubscribe +spublish"),
        ] {
            let rule = rule(&settings, words, operation, &[&news, &news, &own]);
            assert_eq!(rule, format!("ACL SETUSER anna {expected}"));
        }
        let claims = "ACL SETUSER anna ~shop:tidings:claims:*";
        for (words, expected) in [
            ("NOPERM this user has no permissions to access one of the keys used as arguments", claims),
            (COMMAND, "ACL SETUSER anna +eval +set"),
            (
                "ERR The user executing the script can't run this command or subcommand script: …",
                "ACL SETUSER anna +eval +set",
            ),
            ("ERR ACL failure in script: User …", "ACL SETUSER anna +eval +set"),
        ] {
            assert!(is_refusal(words) || is_refusal_in_script(words), "{words}");
            assert_eq!(rule_for_claims(&settings, words), expected);
        }
        for (words, expected) in [
            (COMMAND, "+eval +evalsha"),
            ("ERR The user executing the script can't run this command or subcommand script: …", "+eval +evalsha"),
            ("ERR The user executing the script can't access at least one of …", "~shop:tidings:queues:*"),
            (
                "NOPERM this user has no permissions to access one of the keys used as arguments",
                "~shop:tidings:queues:*",
            ),
        ] {
            assert!(is_refusal(words) || is_refusal_in_script(words), "{words}");
            let rule = rule_for_queues(&settings, words);
            assert!(rule.starts_with(&format!("ACL SETUSER anna {expected}")), "{rule}");
        }
        let names = [
            Name { text: "shop:line:*".into(), kind: NameKind::Pattern },
            Name { text: "shop:news".into(), kind: NameKind::Channel },
        ];
        let rule = rule_for_names(&settings, COMMAND, names.iter());
        assert_eq!(rule, "ACL SETUSER anna +subscribe +unsubscribe +psubscribe +punsubscribe");
        let rule = rule_for_names(&settings, CHANNEL, names.iter());
        assert_eq!(rule, "ACL SETUSER anna &shop:line:* &shop:news");
    }
}
