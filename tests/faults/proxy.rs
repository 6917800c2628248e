//! A TCP proxy between a bus and its server that does what networks do.

use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU16, AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener, TcpStream,
        tcp::{ReadHalf, WriteHalf},
    },
    sync::watch,
    task::JoinSet,
};

/// How bytes pass at the moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    Pass,
    /// Each piece waits so long.
    Delay(Duration),
    /// Connections are accepted and stay open, and nothing is read any more.
    Blackhole,
    /// Connections are accepted and closed at once.
    Refuse,
}

/// What is done to the next piece from the server that holds a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u64)]
pub(crate) enum Damage {
    /// A line end of the protocol loses its form.
    Framing = 1,
    /// The highest bit of some byte is flipped.
    AnyByte = 2,
    /// The second half of the piece is lost, and the connection closed.
    Truncate = 3,
}

/// The proxy. Dropping it closes everything.
pub(crate) struct Proxy {
    address: SocketAddr,
    plan: Arc<Plan>,
    _tasks: JoinSet<()>,
}

struct Plan {
    /// Where new connections go.
    port: AtomicU16,
    mode: watch::Sender<Mode>,
    /// Raised to close all connections.
    cuts: watch::Sender<u64>,
    /// Raised to swallow what all connections of the moment carry.
    swallowed: watch::Sender<u64>,
    /// The next `Damage`, or 0.
    damage: AtomicU64,
    damaged: AtomicU64,
    /// Where a byte is flipped.
    position: AtomicU64,
}

impl Proxy {
    pub(crate) async fn start(port: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let plan = Arc::new(Plan {
            port: AtomicU16::new(port),
            mode: watch::Sender::new(Mode::Pass),
            cuts: watch::Sender::new(0),
            swallowed: watch::Sender::new(0),
            damage: AtomicU64::new(0),
            damaged: AtomicU64::new(0),
            position: AtomicU64::new(0),
        });
        let mut tasks = JoinSet::new();
        tasks.spawn(accept(listener, Arc::clone(&plan)));
        Self { address, plan, _tasks: tasks }
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://{}", self.address)
    }

    pub(crate) fn port(&self) -> u16 {
        self.address.port()
    }

    pub(crate) fn set(&self, mode: Mode) {
        self.plan.mode.send_replace(mode);
    }

    /// New connections go to another server, and those of the moment stay with theirs: as when a name leads elsewhere.
    pub(crate) fn lead_to(&self, port: u16) {
        self.plan.port.store(port, Ordering::SeqCst);
    }

    /// Closes every connection: the first time in good order (FIN), the second time without (RST), and so on.
    pub(crate) fn cut(&self) {
        self.plan.cuts.send_modify(|cuts| *cuts += 1);
    }

    /// Swallows what the connections of the moment carry, for ever: they stay open. New ones pass.
    pub(crate) fn swallow(&self) {
        self.plan.swallowed.send_modify(|swallowed| *swallowed += 1);
    }

    /// Damages the next piece from the server that holds a message.
    pub(crate) fn damage(&self, damage: Damage, position: u64) {
        self.plan.position.store(position, Ordering::SeqCst);
        self.plan.damage.store(damage as u64, Ordering::SeqCst);
    }

    /// How many pieces have been damaged.
    pub(crate) fn damaged(&self) -> u64 {
        self.plan.damaged.load(Ordering::SeqCst)
    }
}

async fn accept(listener: TcpListener, plan: Arc<Plan>) {
    let mut connections = JoinSet::new();
    while let Ok((client, _)) = listener.accept().await {
        while connections.try_join_next().is_some() {}
        if *plan.mode.borrow() == Mode::Refuse {
            continue;
        }
        connections.spawn(connection(client, plan.port.load(Ordering::SeqCst), Arc::clone(&plan)));
    }
}

/// Ends when either side does or the proxy cuts it, and closes both.
async fn connection(mut client: TcpStream, port: u16, plan: Arc<Plan>) {
    let (mut cuts, mut swallowed) = (plan.cuts.subscribe(), plan.swallowed.subscribe());
    let Ok(mut server) = TcpStream::connect(("127.0.0.1", port)).await else { return };
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    let ((from_client, to_client), (from_server, to_server)) = (client.split(), server.split());
    let reset = tokio::select! {
        _ = pump(from_client, to_server, &plan, false) => false,
        _ = pump(from_server, to_client, &plan, true) => false,
        _ = cuts.changed() => (*cuts.borrow()).is_multiple_of(2),
        _ = swallowed.changed() => {
            let _ = cuts.changed().await;
            false
        }
    };
    if reset {
        let _ = client.set_zero_linger();
    }
}

async fn pump(mut from: ReadHalf<'_>, mut to: WriteHalf<'_>, plan: &Plan, downstream: bool) -> io::Result<()> {
    let mut modes = plan.mode.subscribe();
    let mut buffer = vec![0; 16 * 1024];
    loop {
        // The sender lives as long as the plan.
        let _ = modes.wait_for(|mode| *mode != Mode::Blackhole).await;
        let length = tokio::select! {
            length = from.read(&mut buffer) => length?,
            // What came in the meantime is looked at in the new mode.
            _ = modes.changed() => continue,
        };
        if length == 0 {
            return Ok(());
        }
        let mode = *modes.borrow_and_update();
        if let Mode::Delay(delay) = mode {
            tokio::time::sleep(delay).await;
        }
        let piece = &mut buffer[..length];
        let kept = if downstream { plan.damage(piece) } else { length };
        to.write_all(&piece[..kept]).await?;
        if kept < length {
            return Ok(());
        }
    }
}

impl Plan {
    /// Does the damage that is ordered, if the piece holds a message, and returns how much of it is passed on.
    fn damage(&self, piece: &mut [u8]) -> usize {
        let holds_message = || piece.windows(7).any(|window| window == b"message");
        let ordered = self.damage.load(Ordering::SeqCst);
        if ordered == 0 || !holds_message() {
            return piece.len();
        }
        self.damage.store(0, Ordering::SeqCst);
        self.damaged.fetch_add(1, Ordering::SeqCst);
        let position = self.position.load(Ordering::SeqCst);
        if ordered == Damage::Truncate as u64 {
            return piece.len() / 2;
        }
        if ordered == Damage::AnyByte as u64 {
            let index = usize::try_from(position % piece.len() as u64).unwrap();
            piece[index] ^= 0x80;
            return piece.len();
        }
        let ends: Vec<usize> =
            piece.windows(2).enumerate().filter(|(_, pair)| pair == b"\r\n").map(|(at, _)| at).collect();
        let end = ends[usize::try_from(position % ends.len() as u64).unwrap()];
        piece[end + 1] ^= 0x40;
        piece.len()
    }
}
