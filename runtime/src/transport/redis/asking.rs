//! Questions on the connection for commands: their answers may be of any kind.

use tokio::time::{Instant, timeout_at};

use crate::transport::redis::{
    answer::{Response, Unanswered, Unasked},
    commands::{Commands, SharedLink},
    line::{Answers, NotTaken},
    pipeline::DEMOTED,
    words::code,
};

/// What becomes of a question.
pub(super) type Asked = Result<Response, Unasked>;

const FULL: &str = "too much waits to be sent";

impl Commands {
    /// Sends a command whose words all surely fit; what the server answers. All of it within the command timeout.
    ///
    /// # Cancel safety
    ///
    /// Dropping it before its first poll sends nothing; later, the command may or may not be carried out.
    pub(super) async fn ask<const WORDS: usize>(&self, words: [&[u8]; WORDS]) -> Asked {
        self.link.ask(Instant::now() + self.link.settings.command_timeout, &words).await
    }

    /// Sends commands next to each other, at least one, whose words all surely fit; what the server answers to each, in order. All of it within the
    /// command timeout.
    ///
    /// # Cancel safety
    ///
    /// Dropping it before its first poll sends nothing; later, each of the commands may or may not be carried out.
    pub(super) async fn ask_all<'a, const WORDS: usize>(
        &self,
        commands: impl ExactSizeIterator<Item = [&'a [u8]; WORDS]> + Clone,
    ) -> Vec<Asked> {
        self.link.ask_all(Instant::now() + self.link.settings.command_timeout, commands).await
    }
}

impl SharedLink {
    pub(super) async fn ask(&self, deadline: Instant, words: &[&[u8]]) -> Asked {
        let full = |_| Unasked::NotSent(FULL.to_owned());
        loop {
            let live = self.connected_for(deadline).await.map_err(Unasked::NotSent)?;
            let answered = match live.pipeline.ask(Instant::now(), words) {
                Ok(answered) => timeout_at(deadline, answered).await.map_err(|_| Unasked::Late)?,
                Err(NotTaken::Closed) => continue,
                Err(NotTaken::Full) => {
                    timeout_at(deadline, live.pipeline.has_room()).await.map_err(full)?;
                    continue;
                }
            };
            match answered {
                Ok(response) => {
                    if is_of_a_replica(&response) {
                        live.pipeline.retire(DEMOTED);
                    }
                    return Ok(response);
                }
                Err(Unanswered::NotSent) => {}
                Err(Unanswered::Lost(reason)) => return Err(Unasked::Lost(reason)),
                Err(Unanswered::Late) => return Err(Unasked::Late),
            }
        }
    }

    async fn ask_all<'a, const WORDS: usize>(
        &self,
        deadline: Instant,
        commands: impl ExactSizeIterator<Item = [&'a [u8]; WORDS]> + Clone,
    ) -> Vec<Asked> {
        let unsent = |reason: &str| commands.clone().map(|_| Err(Unasked::NotSent(reason.to_owned()))).collect();
        let (live, answers) = loop {
            let live = match self.connected_for(deadline).await {
                Ok(live) => live,
                Err(reason) => return unsent(&reason),
            };
            match live.pipeline.send_all(Instant::now(), commands.clone(), Answers::Any) {
                Ok(answers) => break (live, answers),
                Err(NotTaken::Closed) => {}
                Err(NotTaken::Full) => {
                    if timeout_at(deadline, live.pipeline.has_room()).await.is_err() {
                        return unsent(FULL);
                    }
                }
            }
        };
        let (mut asked, mut is_demoted) = (Vec::with_capacity(commands.len()), false);
        let mut answers = answers.until(deadline).await.into_iter();
        for words in commands {
            asked.push(match answers.next() {
                Some(Ok(response)) => {
                    is_demoted |= is_of_a_replica(&response);
                    Ok(response)
                }
                Some(Err(Unanswered::NotSent)) => self.ask(deadline, &words).await,
                Some(Err(Unanswered::Lost(reason))) => Err(Unasked::Lost(reason)),
                Some(Err(Unanswered::Late)) | None => Err(Unasked::Late),
            });
        }
        if is_demoted {
            live.pipeline.retire(DEMOTED);
        }
        asked
    }
}

fn is_of_a_replica(response: &Response) -> bool {
    matches!(response, Response::Error(words) if code(words) == "READONLY")
}
