//! The queues of a Redis server: streams, and scripts that make each step one.
//!
//! | room | holds |
//! |--|--|
//! | `handle` | the queues of a bus: what is asked on the connection that it shares |
//! | `course` | one task by its id, lists of them, and what is done to them from outside |
//! | `enqueue`, `with_others` | tasks on their way to their queues; those that go with what is published |
//! | `reader`, `keeper` | what takes tasks, and what keeps leases, each on a connection of its own |
//! | `only_new` | taking where nothing but new tasks is there |
//! | `homes` | where each queue lives, on one server or on a cluster |
//! | `connection`, `own` | the connection that is shared, and those that a reader or a keeper has alone |
//! | `redirected` | what a node of a cluster has not done, and where that goes |
//! | `failure` | what goes wrong on them |
//! | `scripts`, `settling` | the scripts, and what they are told |
//! | `packed`, `entry` | what they answer, and tasks in it |
//!
//! Each part of a queue has two streams, with one group of consumers: an instance is a consumer. The entry of a task is given to one consumer once
//! and claimed by no other: whatever takes a task from its owner acknowledges and deletes its entry and adds another one, in one script. So an
//! acknowledgement that counts proves that the entry was still its owner's. `docs/queues.md` has the keys and the scripts.

pub(crate) mod connection;
pub(crate) mod course;
pub(crate) mod enqueue;
pub(crate) mod entry;
pub(crate) mod failure;
pub(crate) mod handle;
pub(crate) mod homes;
pub(crate) mod keeper;
pub(crate) mod only_new;
pub(crate) mod own;
pub(crate) mod packed;
pub(crate) mod reader;
pub(crate) mod redirected;
pub(crate) mod scripts;
pub(crate) mod settling;
pub(crate) mod with_others;

#[cfg(test)]
mod tests;

pub(crate) use self::{keeper::RedisKeeper, reader::RedisReader};
