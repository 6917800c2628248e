//! What a node of a cluster has not done, because it does not have the slot, or is giving it away.

use std::time::Duration;

use redis::{Cmd, Pipeline, Value, cmd};
use tokio::time::{Instant, sleep};

use crate::transport::redis::{
    queues::{failure::Failure, homes::Home, scripts::is_script},
    topology::Endpoint,
};

/// After a node has said that it does not have a slot, the next one is asked after such a pause, which doubles.
const MOVED: Duration = Duration::from_millis(20);
const LONGEST_MOVED: Duration = Duration::from_millis(200);

impl Home<'_> {
    /// What a node has not done goes to whoever has the slot then. While a slot is under way, a command with one key follows its key, and a script waits until
    /// that is over: it must find all keys of a queue, or none.
    pub(super) async fn ask_again(
        &self,
        deadline: Instant,
        commands: &Pipeline,
        answers: &mut [Value],
    ) -> Result<(), Failure> {
        let (all, mut pause): (Vec<&Cmd>, _) = (commands.cmd_iter().collect(), MOVED);
        loop {
            self.follow(deadline, &all, answers).await?;
            let is_moved = |&at: &usize| Failure::is_of_another_node(&answers[at]);
            let moved: Vec<usize> = (0..answers.len()).filter(is_moved).collect();
            if moved.is_empty() || Instant::now() + pause >= deadline {
                return Ok(());
            }
            self.homes.context.connector.outdated();
            sleep(pause).await;
            pause = (2 * pause).min(LONGEST_MOVED);
            let again = moved.iter().map(|&at| all[at].clone());
            replace(answers, &moved, self.ask_until(deadline, &pipeline(again)).await)?;
        }
    }

    /// <https://redis.io/docs/latest/commands/asking/>
    async fn follow(&self, deadline: Instant, all: &[&Cmd], answers: &mut [Value]) -> Result<(), Failure> {
        let asks = |&at: &usize| !is_script(all[at]) && self.target(&answers[at]).is_some();
        let places: Vec<usize> = (0..answers.len()).filter(asks).collect();
        let Some(node) = places.first().and_then(|&at| self.target(&answers[at])) else { return Ok(()) };
        // The node takes the one command behind it, although the slot is not its own yet.
        let asking = places.iter().flat_map(|&at| [cmd("ASKING"), all[at].clone()]);
        let told = self.homes.shared(Some(node)).ask_until(deadline, &pipeline(asking)).await;
        replace(answers, &places, told.map(|told| told.into_iter().skip(1).step_by(2).collect()))
    }

    /// The node that gets the slot, if this answer says that the key is to be found there.
    fn target(&self, answer: &Value) -> Option<Endpoint> {
        let Value::ServerError(error) = answer else { return None };
        let (_, address) = error.details().filter(|_| error.code() == "ASK")?.split_once(' ')?;
        self.homes.context.connector.cluster()?.announced(address)
    }
}

fn pipeline(commands: impl Iterator<Item = Cmd>) -> Pipeline {
    let mut pipeline = Pipeline::new();
    commands.for_each(|command| {
        pipeline.add_command(command);
    });
    pipeline
}

/// Puts answers in the places of those before, which hold where nothing was sent again: others may have been done there.
fn replace(answers: &mut [Value], places: &[usize], told: Result<Vec<Value>, Failure>) -> Result<(), Failure> {
    match told {
        Ok(told) => {
            places.iter().zip(told).for_each(|(&at, answer)| answers[at] = answer);
            Ok(())
        }
        Err(Failure::NotConnected(_) | Failure::KeptOut(_) | Failure::Closed(_)) => Ok(()),
        Err(failure) => Err(failure),
    }
}
