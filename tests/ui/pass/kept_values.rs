//! What keeps its value however serde is told to write it, and what goes from thread to thread whatever it is called.

#![deny(warnings)]
#![allow(dead_code)]

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tidings::{Bus, ChannelParam, Ended, Message, Outcome, Publish, handler, routers, routes};

#[derive(ChannelParam, Clone, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
enum Renamed {
    Eu,
    #[serde(rename = "Eu", alias = "usa")]
    Us,
    #[serde(skip)]
    Jp,
}

#[derive(ChannelParam, Clone, Serialize, Deserialize)]
enum Aliased {
    #[serde(rename(serialize = "europe"), alias = "europe")]
    Eu,
    #[serde(other)]
    Us,
}

#[derive(ChannelParam, Clone, Serialize, Deserialize)]
enum OneUntagged {
    Eu,
    #[serde(untagged)]
    Us,
}

#[derive(ChannelParam, Clone, Serialize, Deserialize)]
#[serde(tag = "region")]
enum Tagged {
    Eu,
    Us,
}

#[derive(ChannelParam, Clone, Copy, Serialize, Deserialize)]
#[serde(into = "u8", from = "u8")]
enum ByNumber {
    #[serde(rename(serialize = "europe"))]
    Eu,
    Us,
}

impl From<u8> for ByNumber {
    fn from(number: u8) -> Self {
        if number == 0 { Self::Eu } else { Self::Us }
    }
}

impl From<ByNumber> for u8 {
    fn from(region: ByNumber) -> Self {
        region as Self
    }
}

/// One of a table.
#[derive(Serialize, Deserialize)]
struct Cell {
    text: String,
}

#[derive(Message, Serialize, Deserialize)]
#[channel("tables:<id>")]
struct TableChanged {
    id: u64,
    cells: Vec<Cell>,
    #[serde(skip)]
    observer: Option<Arc<dyn Fn() + Send + Sync>>,
}

#[derive(Message, Serialize, Deserialize)]
#[channel("tables:<id>")]
#[message(version = 2, name = "TableChanged", from = TableChanged)]
struct TableChanged2 {
    id: u64,
    cells: Vec<Cell>,
}

impl From<TableChanged> for TableChanged2 {
    fn from(older: TableChanged) -> Self {
        Self { id: older.id, cells: older.cells }
    }
}

#[derive(Message, Serialize, Deserialize)]
#[channel("sums:<table: u64>")]
#[reply(u64, error = String)]
struct Sum<'a> {
    column: &'a str,
    cells: Vec<Cell>,
}

#[derive(Message, Serialize, Deserialize)]
#[queue("tasks:fill:<table>", bound, results = "1h", completed = TableChanged, failed = TableChanged)]
#[reply(u64, error = Trouble)]
struct Fill {
    table: u64,
    cells: Vec<Cell>,
}

#[derive(Debug, Serialize, Deserialize, Outcome, thiserror::Error)]
enum Trouble {
    #[error("full")]
    #[outcome(retry)]
    Full,
}

impl From<Ended<'_, Fill>> for TableChanged {
    fn from(ended: Ended<'_, Fill>) -> Self {
        let task = ended.into_task();
        Self { id: task.table, cells: task.cells, observer: None }
    }
}

#[handler]
async fn changed(table: TableChanged2) -> Publish<TableChanged2> {
    Publish::new(table)
}

#[handler]
async fn sum(request: Sum<'_>) -> Result<u64, String> {
    if request.column.is_empty() { Err("no column".into()) } else { Ok(request.cells.len() as u64) }
}

#[handler(idempotent, timeout = "1m")]
async fn fill(_: Fill) -> Result<u64, Trouble> {
    Err(Trouble::Full)
}

async fn used(bus: Bus) -> Result<(), Box<dyn std::error::Error>> {
    let _service = bus.serve(routers![routes![changed], routes![sum]]).await?;
    let _other = bus.serve(routes![fill]).on(Fill::channel(7)).await?;
    let _tables = bus.subscribe(TableChanged::any().id(7)).await?;
    TableChanged { id: 7, cells: Vec::new(), observer: None }.publish(&bus).await?;
    Sum { column: "a", cells: Vec::new() }.request_to(Sum::channel(7), &bus).await?;
    let bytes: u64 = Fill { table: 7, cells: Vec::new() }.enqueue(&bus).await?.result(&bus).await?;
    println!("{bytes} {:?}", Fill::any());
    Ok(())
}

fn main() {
    let _ = used;
}
