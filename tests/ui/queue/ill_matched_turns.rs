use serde::{Deserialize, Serialize};
use tidings::{ChannelParam, Message};

#[derive(ChannelParam, Serialize, Deserialize, Clone, Copy)]
enum Priority {
    High,
    Normal,
    Low,
}

#[derive(Message, Serialize, Deserialize)]
#[queue("tasks:a:<priority>", strict = priority, weighted = priority)]
struct Both {
    priority: Priority,
}

#[derive(Message, Serialize, Deserialize)]
#[queue("tasks:b:<priority>", weights = [6, 3, 1])]
struct WeightsAlone {
    priority: Priority,
}

#[derive(Message, Serialize, Deserialize)]
#[queue("tasks:c:<priority>", weighted = priority)]
struct WeightedAlone {
    priority: Priority,
}

#[derive(Message, Serialize, Deserialize)]
#[queue("tasks:d:<priority>", strict = priority, weights = [6, 3, 1])]
struct StrictWithWeights {
    priority: Priority,
}

#[derive(Message, Serialize, Deserialize)]
#[queue("tasks:e:<urgency>", weighted = [6, 3, 1])]
struct WeightsForAName {
    urgency: Priority,
}

#[derive(Message, Serialize, Deserialize)]
#[queue("tasks:f:<urgency>", weighted, weights = [6, 3, 1])]
struct NoName {
    urgency: Priority,
}

#[derive(Message, Serialize, Deserialize)]
#[queue("tasks:g:<urgency>", weighted)]
struct NeitherNameNorWeights {
    urgency: Priority,
}

fn main() {}
