//! Crashes between the journal and the broker's store: a QoS 2 message becomes one row.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};

use super::*;
use crate::mqtt::broker::{Broker, Change, Now, Options as BrokerOptions};
use crate::mqtt::server::{Keep, Listener, Prepared, Server, ServerOptions};
use crate::mqtt::store::{Options as StoreOptions, Store};

const CONNECT: &[u8] = b"\x10\x10\x00\x04MQTT\x04\x00\x00\x00\x00\x04bare";
const PUBREC: &[u8] = b"\x50\x02\x00\x07";
const PUBREL: &[u8] = b"\x62\x02\x00\x07";
const PUBCOMP: &[u8] = b"\x70\x02\x00\x07";

/// QoS 2 to topic `t`, packet id 7.
fn publish(is_duplicate: bool) -> Vec<u8> {
    let mut packet = b"\x34\x0d\x00\x01t\x00\x07{\"n\": 1}".to_vec();
    packet[0] |= u8::from(is_duplicate) << 3;
    packet
}

/// A store that may stop writing for ever, as if the process was killed before it got to it.
struct Stopping {
    store: Store,
    is_stopped: Arc<AtomicBool>,
}

impl Keep for Stopping {
    fn append(&mut self, round: u64, changes: &[Change]) {
        if !self.is_stopped.load(Ordering::SeqCst) {
            self.store.append(round, changes);
        }
    }

    fn completed(&mut self) -> Option<(u64, Result<(), Refusal>)> {
        self.store.completed()
    }
}

/// One life of the node: the broker with its store, and the pipeline behind it.
pub(super) struct Life {
    pub pipeline: Arc<Pipeline>,
    pub server: Server,
    is_stopped: Arc<AtomicBool>,
}

impl Life {
    fn begin(dir: &Path, is_stopped: bool) -> Self {
        let clients = Arc::new(Clients::new(Zone::UTC));
        declare(&clients, 1, &json!([readings("t", "t")]));
        Self::with(dir, is_stopped, clients, 0)
    }

    pub fn with(dir: &Path, is_stopped: bool, clients: Arc<Clients>, threads: usize) -> Self {
        let options = Options::new(dir.join("journal"), Zone::UTC);
        let pipeline = Arc::new(Pipeline::open(&options, Arc::new(|| {})).expect("open"));
        let prepared = Prepared::new().expect("prepared");
        let mut broker = Broker::new(BrokerOptions::default());
        let mut apply = |change| broker.apply(change);
        let options = StoreOptions::new(dir.join("store"));
        let store = Store::open(&options, prepared.waker(), &mut apply).expect("open");
        broker.continue_after(store.last_round());
        apply_receipts(&mut broker, &pipeline);
        broker.recovered(Now::default());
        let is_stopped = Arc::new(AtomicBool::new(is_stopped));
        let keep = Box::new(Stopping {
            store,
            is_stopped: is_stopped.clone(),
        });
        let intake = LocalIntake::new(clients, pipeline.clone(), threads, prepared.waker());
        let intake = Box::new(intake.expect("threads"));
        let mut options = ServerOptions::new(vec![Listener {
            address: ([127, 0, 0, 1], 0).into(),
            web_socket: false,
            tls: None,
        }]);
        options.stop_timeout = Duration::from_millis(10);
        let notify = Box::new(|| {});
        let server = Server::start(prepared, options, broker, Some(intake), Some(keep), notify);
        Self {
            pipeline,
            server: server.expect("started"),
            is_stopped,
        }
    }

    /// A connection with the lasting session `bare`.
    pub fn client(&self) -> TcpStream {
        let mut client = TcpStream::connect(self.server.addresses()[0]).expect("connected");
        client.set_read_timeout(Some(WAIT)).expect("timeout");
        client.write_all(CONNECT).expect("written");
        assert_eq!(next(&mut client)[3], 0);
        client
    }

    /// Rows that came in this life.
    pub fn rows(&self) -> u64 {
        self.pipeline.stats().iter().map(|(_, s)| s.rows).sum()
    }

    fn until_rows(&self, count: u64) {
        let until = std::time::Instant::now() + WAIT;
        while self.rows() < count {
            assert!(std::time::Instant::now() < until, "no row");
            std::thread::yield_now();
        }
    }

    /// Everything that waits goes to the database, and the journal forgets it. Returns how many rows it was.
    pub fn store_rows(&self) -> usize {
        let attached = self.pipeline.attach("d", &HashMap::new(), &[]);
        attached.expect("readable");
        let mut rows = 0;
        while self.pipeline.pending("d") > 0 {
            self.pipeline.hurry();
            let taken = self.pipeline.take("d", WAIT).expect("readable");
            let flush = taken.expect("rows");
            rows += flush.parts.iter().map(|p| p.chunk.len).sum::<usize>();
            let ended = vec![Ended::default(); flush.parts.len()];
            self.pipeline.committed(flush, &ended);
        }
        self.pipeline.synced("d").expect("freed");
        rows
    }
}

/// The next packet, of four bytes.
fn next(client: &mut TcpStream) -> [u8; 4] {
    let mut packet = [0; 4];
    client.read_exact(&mut packet).expect("a packet");
    packet
}

/// A row is in the journal, and the process is killed before the store knows its packet id.
fn crashed(dir: &Path) {
    let life = Life::begin(dir, false);
    let mut client = life.client();
    life.is_stopped.store(true, Ordering::SeqCst);
    client.write_all(&publish(false)).expect("written");
    life.until_rows(1);
}

/// The client sends it again; `rows` are those that the journal gives out before.
fn comes_again(dir: &Path, rows: usize) {
    let life = Life::begin(dir, false);
    assert_eq!(life.store_rows(), rows);
    let mut client = life.client();
    client.write_all(&publish(true)).expect("written");
    assert_eq!(next(&mut client), PUBREC);
    assert_eq!(life.rows(), 0, "the message was taken twice");
    client.write_all(PUBREL).expect("written");
    assert_eq!(next(&mut client), PUBCOMP);
    // What has the id next is another message.
    client.write_all(&publish(false)).expect("written");
    assert_eq!(next(&mut client), PUBREC);
    assert_eq!(life.rows(), 1);
    assert_eq!(life.pipeline.receipts(), [], "the store has them all");
}

#[test]
fn a_kill_after_a_restart_and_before_the_store_has_the_receipts_doubles_nothing() {
    let dir = tempfile::tempdir().expect("dir");
    crashed(dir.path());
    for rows in [1, 0] {
        // The rows are stored and freed; the store does not get to write the receipts.
        assert_eq!(Life::begin(dir.path(), true).store_rows(), rows);
    }
    comes_again(dir.path(), 0);
}

#[test]
fn receipts_outlast_lives_without_a_broker() {
    let dir = tempfile::tempdir().expect("dir");
    crashed(dir.path());
    for rows in [1, 0] {
        let options = Options::new(dir.path().join("journal"), Zone::UTC);
        let bench = Bench::with(&options, 0);
        assert_eq!(bench.drain().len(), rows);
        bench.pipeline.synced("d").expect("freed");
        assert_eq!(bench.pipeline.receipts().len(), 1);
    }
    comes_again(dir.path(), 0);
}

#[test]
fn a_kill_of_a_running_node_before_the_store_has_the_receipts_doubles_nothing() {
    let dir = tempfile::tempdir().expect("dir");
    let life = Life::begin(dir.path(), false);
    let mut client = life.client();
    life.is_stopped.store(true, Ordering::SeqCst);
    client.write_all(&publish(false)).expect("written");
    life.until_rows(1);
    // Enough for the journal to empty the segment that it writes.
    let fill = format!("[{}{{\"n\": 2}}]", "{\"n\": 1},".repeat(50_000));
    let key = crate::pipeline::Key::new("d", "other");
    let taken = life.pipeline.submit(key, fill.into_bytes(), "0", "0");
    taken.expect("room");
    life.until_rows(50_002);
    assert_eq!(life.store_rows(), 50_002);
    drop(life);
    // The segment is there as a whole; a database would say that it has its rows.
    comes_again(dir.path(), 50_002);
}
