use serde::{Deserialize, Serialize};
use tidings::ChannelParam;

#[derive(ChannelParam, Clone, Serialize, Deserialize)]
#[serde(untagged)]
enum Untagged {
    Eu,
    Us,
}

#[derive(ChannelParam, Clone, Serialize, Deserialize)]
enum TwoUntagged {
    Eu,
    #[serde(untagged)]
    Us,
    #[serde(untagged)]
    Jp,
}

#[derive(ChannelParam, Clone, Serialize, Deserialize)]
enum Renamed {
    #[serde(rename(serialize = "europe"))]
    Eu,
    Us,
}

#[derive(ChannelParam, Clone, Serialize, Deserialize)]
#[serde(rename_all(deserialize = "kebab-case"))]
enum RenamedTogether {
    EuWest,
}

#[allow(unreachable_patterns)]
#[derive(ChannelParam, Clone, Serialize, Deserialize)]
enum NamedTwice {
    Eu,
    #[serde(rename = "Eu")]
    Us,
}

#[allow(unreachable_patterns)]
#[derive(ChannelParam, Clone, Serialize, Deserialize)]
enum Aliased {
    #[serde(alias = "Us")]
    Eu,
    Us,
}

fn main() {}
