//! What goes as a script on the connection for commands: claims, and small batches that are published whole or not at all.

use tokio::time::{Instant, timeout_at};

use crate::{
    error::PublishError,
    transport::{
        contract::{Claim, Parcel},
        redis::{
            access::{is_refusal, is_refusal_in_script, rule_for_claims},
            answer::{Response, Unanswered, Unasked},
            commands::{Commands, REMEMBERED, SharedLink},
            line::{NotTaken, lock},
            pipeline::DEMOTED,
            script::{Script, sha1_hex},
            words::code,
        },
    },
};

/// Takes a name that nobody has. A server that has no memory left would refuse the SET, and everybody who asks would be left without an answer.
const CLAIM: &[u8] = b"#!lua flags=allow-oom\n\
    if redis.call('SET', KEYS[1], '', 'NX', 'PX', ARGV[1]) then return 1 end return 0";

/// Publishes messages together. A server that has no memory left publishes, and so does this.
static TOGETHER: Script = {
    const TEXT: &str = concat!("#!lua flags=allow-oom\n", include_str!("together.lua"));
    Script::new(TEXT, || sha1_hex(TEXT.as_bytes()))
};

/// Messages of a batch that are published by a script, and bytes of their channels and payloads. The script copies each of them twice: measured on
/// Redis 7.0, larger batches cost the server more than a transaction with its second round trip does.
const SMALL: (usize, usize) = (32, 32 * 1024);

/// What became of messages that a script was to publish.
pub(super) enum Scripted {
    /// All are published: how many received each, where the server can tell.
    Published(Vec<Option<u64>>),
    /// None is: the server runs no such script now, or refuses something. A transaction does it, or tells why not.
    Not,
}

impl Commands {
    /// SET of a name that nobody has, by a script, which a server that is full carries out too. All of it within the command timeout.
    ///
    /// <https://redis.io/docs/latest/commands/set/>, <https://redis.io/docs/latest/develop/programmability/lua-api/#script_flags>
    ///
    /// # Cancel safety
    ///
    /// Dropping it leaves open whether the name was taken.
    pub(super) async fn claim(&self, claim: &Claim) -> Result<bool, PublishError> {
        self.claim_until(Instant::now() + self.link.settings.command_timeout, claim).await
    }

    /// The same until then.
    pub(super) async fn claim_until(&self, deadline: Instant, claim: &Claim) -> Result<bool, PublishError> {
        self.link.claim(deadline, claim).await
    }

    /// Publishes messages whole or not at all, by a script, where they are few. All of it until the deadline. A server that became a replica, where they
    /// would reach nobody, says so.
    ///
    /// # Cancel safety
    ///
    /// Dropping it before its first poll sends nothing; later, all of the messages may be published, or none.
    pub(super) async fn publish_together(
        &self,
        deadline: Instant,
        parcels: &[Parcel],
    ) -> Result<Scripted, PublishError> {
        match parcels {
            [] => Ok(Scripted::Published(Vec::new())),
            [first, ..] if is_small(parcels) => self.link.publish_together(deadline, first, parcels).await,
            _ => Ok(Scripted::Not),
        }
    }
}

impl SharedLink {
    async fn claim(&self, deadline: Instant, claim: &Claim) -> Result<bool, PublishError> {
        let Claim { template, ref key, holds } = *claim;
        let mut millis = itoa::Buffer::new();
        // PX takes no zero, and what is over is claimed by nobody else either.
        let millis = millis.format(holds.as_millis().max(1)).as_bytes();
        let lost = |reason| Err(PublishError::ConnectionLost { template, reason });
        match self.ask(deadline, &[b"EVAL", CLAIM, b"1", key.as_bytes(), millis]).await {
            Ok(Response::Integer(taken)) => Ok(taken > 0),
            Ok(Response::Error(reason)) if is_refusal(&reason) || is_refusal_in_script(&reason) => {
                let rule = rule_for_claims(&self.settings, &reason);
                Err(PublishError::Refused { channel: key.clone(), reason, rule })
            }
            Ok(Response::Error(reason)) => Err(PublishError::Server { template, reason: self.explained(reason) }),
            Ok(Response::Texts(_)) => lost("the server answered something else".to_owned()),
            Err(Unasked::NotSent(reason)) => Err(self.not_connected(template, reason)),
            Err(Unasked::Lost(reason)) => lost(reason),
            Err(Unasked::Late) => Err(PublishError::TimedOut { template, timeout: self.settings.command_timeout }),
        }
    }

    /// Messages are published by a script, `first` the first of them.
    ///
    /// <https://redis.io/docs/latest/commands/evalsha/>
    async fn publish_together(
        &self,
        deadline: Instant,
        first: &Parcel,
        parcels: &[Parcel],
    ) -> Result<Scripted, PublishError> {
        let template = first.template;
        let mut words: Vec<&[u8]> = Vec::with_capacity(3 + 2 * parcels.len());
        words.extend([&b"EVALSHA"[..], TOGETHER.sha().as_bytes(), b"0"]);
        for Parcel { channel, payload, .. } in parcels {
            words.extend([channel.as_bytes(), payload]);
        }
        loop {
            let live = self.connected(deadline, first).await?;
            if !live.is_new || self.runs_no_scripts() {
                return Ok(Scripted::Not);
            }
            let answered = match live.pipeline.ask(Instant::now(), &words) {
                Ok(answered) => timeout_at(deadline, answered).await,
                Err(NotTaken::Closed) => continue,
                Err(NotTaken::Full) => {
                    self.room(&live, deadline, first).await?;
                    continue;
                }
            };
            let late = || PublishError::TimedOut { template, timeout: self.settings.command_timeout };
            match answered.map_err(|_| late())? {
                Ok(Response::Texts(receivers)) => {
                    return Ok(together(receivers, parcels.len(), live.counts_receivers));
                }
                Ok(Response::Error(reason)) if code(&reason) == "NOSCRIPT" => {
                    (words[0], words[1]) = (b"EVAL", TOGETHER.text().as_bytes());
                }
                Ok(Response::Error(reason)) => {
                    if code(&reason) == "READONLY" {
                        live.pipeline.retire(DEMOTED);
                    }
                    return self.not_run(template, reason);
                }
                // The connection was lost before it was sent: another one will do.
                Err(Unanswered::NotSent) => {}
                Ok(Response::Integer(_)) => {
                    let reason = "the server answered a script with something else".to_owned();
                    return Err(PublishError::Undecided { template, reason });
                }
                Err(Unanswered::Lost(reason)) => return Err(PublishError::ConnectionLost { template, reason }),
                Err(Unanswered::Late) => return Err(late()),
            }
        }
    }

    /// An error that is known to come before the first message is not yet the end. Of any other one it is open what the script has done.
    fn not_run(&self, template: &'static str, reason: String) -> Result<Scripted, PublishError> {
        match code(&reason) {
            // There are no scripts for this user, or on this server: some have no such command, or cannot read ours.
            "NOPERM" => self.has_no_scripts(),
            "ERR" if NO_SCRIPTS.iter().any(|words| reason.starts_with(words)) => self.has_no_scripts(),
            // Only now, or only for what writes. A transaction that publishes does not.
            "READONLY" | "MISCONF" | "NOREPLICAS" | "MASTERDOWN" | "LOADING" | "BUSY" | "CLUSTERDOWN" => {}
            _ => return Err(PublishError::Undecided { template, reason }),
        }
        Ok(Scripted::Not)
    }

    fn has_no_scripts(&self) {
        lock(&self.current).scriptless = Some(Instant::now());
    }

    fn runs_no_scripts(&self) -> bool {
        lock(&self.current).scriptless.is_some_and(|since| Instant::now() < since + REMEMBERED)
    }
}

const NO_SCRIPTS: [&str; 2] = ["ERR unknown command", "ERR Error compiling script"];

fn is_small(parcels: &[Parcel]) -> bool {
    let bytes = parcels.iter().map(|parcel| parcel.channel.len() + parcel.payload.len()).sum::<usize>();
    parcels.len() <= SMALL.0 && bytes <= SMALL.1
}

/// What the script's answer says: a number for each message, or nothing.
fn together(receivers: Vec<String>, messages: usize, counts_receivers: bool) -> Scripted {
    if receivers.len() != messages {
        return Scripted::Not;
    }
    let number = |text: String| if counts_receivers { text.parse().ok() } else { None };
    Scripted::Published(receivers.into_iter().map(number).collect())
}
