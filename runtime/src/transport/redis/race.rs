//! The addresses of one name, tried one after the other without waiting for those that hang.
//!
//! As [RFC 8305](https://www.rfc-editor.org/rfc/rfc8305) does, with the whole way up to the greeting: a server that accepts and then says
//! nothing holds up nobody either.

use std::{net::SocketAddr, time::Duration};

use futures_util::{StreamExt, stream::FuturesUnordered};
use tokio::time::{Instant, sleep_until};

/// After so long without an answer the next address is tried too.
const NEXT: Duration = Duration::from_millis(250);

/// The result of the first attempt that succeeds. When all have failed, or at the deadline, the failure that says most: the first that
/// `tells` something, or else the first one; nothing when none has ended in time.
///
/// # Cancel safety
///
/// Dropping it drops every attempt.
pub(super) async fn first<A, T, E, F: Future<Output = Result<T, E>>>(
    addresses: Vec<A>,
    deadline: Instant,
    tells: impl Fn(&E) -> bool,
    attempt: impl Fn(A) -> F,
) -> Result<T, Option<E>> {
    let mut addresses = addresses.into_iter();
    let mut attempts = FuturesUnordered::new();
    let mut failure: Option<E> = None;
    let mut next = Instant::now();
    loop {
        tokio::select! {
            biased;
            Some(ended) = attempts.next() => match ended {
                Ok(made) => return Ok(made),
                Err(error) => {
                    if failure.as_ref().is_none_or(|failure| tells(&error) && !tells(failure)) {
                        failure = Some(error);
                    }
                    next = Instant::now();
                }
            },
            () = reached(next), if addresses.len() > 0 => {
                attempts.extend(addresses.next().map(&attempt));
                next = Instant::now() + NEXT;
            }
            () = sleep_until(deadline), if !attempts.is_empty() => return Err(failure),
            else => return Err(failure),
        }
    }
}

/// At once when the time has come already, which a timer would take a millisecond for.
async fn reached(time: Instant) {
    if time > Instant::now() {
        sleep_until(time).await;
    }
}

/// The two families of addresses in turn, beginning with the first address's: one family is often unreachable as a whole.
pub(super) fn alternating(addresses: impl Iterator<Item = SocketAddr>) -> Vec<SocketAddr> {
    let addresses: Vec<_> = addresses.collect();
    let (like_first, others): (Vec<_>, Vec<_>) =
        addresses.iter().copied().partition(|address| address.is_ipv6() == addresses[0].is_ipv6());
    let mut others = others.into_iter();
    let mut turns: Vec<_> =
        like_first.into_iter().flat_map(|address| [Some(address), others.next()]).flatten().collect();
    turns.extend(others);
    turns
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use tokio::time::sleep;

    use super::*;

    async fn race(attempts: &[(u64, Result<u32, &'static str>)]) -> (Result<u32, Option<&'static str>>, Duration) {
        let start = Instant::now();
        let won = first(
            attempts.to_vec(),
            start + Duration::from_secs(5),
            |error| *error != "quiet",
            async |(millis, result)| {
                if millis == u64::MAX {
                    return pending().await;
                }
                sleep(Duration::from_millis(millis)).await;
                result
            },
        );
        (won.await, start.elapsed())
    }

    #[tokio::test(start_paused = true)]
    async fn an_address_that_hangs_or_fails_holds_up_no_other() {
        let hangs = (u64::MAX, Ok(0));
        let cases: [(&[_], _, u64); 7] = [
            (&[(10, Ok(1)), (0, Ok(2))], Ok(1), 10),
            (&[hangs, (10, Ok(2))], Ok(2), 260),
            (&[hangs, hangs, (10, Ok(3))], Ok(3), 510),
            (&[(10, Err("no")), (10, Ok(2))], Ok(2), 20),
            (&[(400, Ok(1)), (500, Ok(2))], Ok(1), 400),
            (&[(1, Err("quiet")), (1, Err("telling")), (1, Err("other"))], Err(Some("telling")), 3),
            (&[(1, Err("no")), hangs], Err(Some("no")), 5_000),
        ];
        for (attempts, result, millis) in cases {
            assert_eq!(race(attempts).await, (result, Duration::from_millis(millis)), "{attempts:?}");
        }
        assert_eq!(race(&[hangs]).await, (Err(None), Duration::from_secs(5)));
        assert_eq!(race(&[]).await, (Err(None), Duration::ZERO));
    }

    #[test]
    fn families_take_turns() {
        let addresses =
            |text: &str| text.split(' ').map(|address| address.parse().unwrap()).collect::<Vec<SocketAddr>>();
        let turns = alternating(addresses("[::1]:1 [::2]:1 [::3]:1 1.1.1.1:1").into_iter());
        assert_eq!(turns, addresses("[::1]:1 1.1.1.1:1 [::2]:1 [::3]:1"));
        assert!(alternating(std::iter::empty()).is_empty());
    }
}
