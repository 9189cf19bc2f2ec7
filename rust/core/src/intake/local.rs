//! The entry for the messages of the node's own broker.

use std::hash::{BuildHasher, Hasher};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::thread::JoinHandle;

use crossbeam_channel::{Receiver, Sender, unbounded};
use foldhash::fast::FixedState;
use foldhash::{HashMap, HashMapExt};
use parking_lot::Mutex;

use super::LOCAL;
use super::clients::{Clients, Routes};
use super::progress::Progress;
use super::round::Incoming;
use super::stream::LineStream;
use crate::journal::JournalError;
use crate::mqtt::broker::{Broker, Inbound, Intake, Opening, Receipt, Refusal};
use crate::pipeline::{Outcome, Pipeline, ROOM, Ready, Submitter, Wake};

/// Rounds up to this size are mapped by the caller: handing them over would cost more.
const INLINE_BYTES: usize = 8 * 1024;
/// Topics whose takers are remembered.
const KNOWN_TOPICS: usize = 16 * 1024;
/// Room that is asked for: a round of the broker.
const ROUND_BYTES: usize = 256 * 1024;
/// What a message costs while it waits for a worker, beside its payload.
const MESSAGE_BYTES: usize = 256;

/// The number of rows that nobody waits for: no round ever has it.
pub(super) const LINES: u64 = (1 << 48) - 2;

/// A message with those who take it.
struct Routed {
    inbound: Inbound,
    routes: Routes,
}

/// Messages of a round for one worker.
struct Piece {
    own: u64,
    round: u64,
    messages: Vec<Routed>,
    charged: usize,
}

pub(super) struct Shared {
    pub(super) clients: Arc<Clients>,
    pub(super) submitter: Submitter,
    /// Records of lines that could not be kept.
    pub(super) lines_lost: AtomicU64,
    progress: Mutex<Progress<Ready>>,
    wake: Wake,
    /// Pieces that are with the workers.
    handed: AtomicUsize,
}

/// Maps rounds of messages and submits their rows.
///
/// A topic always goes to the same worker, and rounds go on in their order: so messages of a topic keep theirs. A round
/// goes on as a whole: of messages that are refused nothing is stored, for they come again.
pub struct LocalIntake {
    shared: Arc<Shared>,
    known: HashMap<Box<str>, Routes>,
    /// Generation of the clients that `known` is of.
    known_of: u64,
    hash: FixedState,
    /// Workers that it was made with.
    threads: usize,
    /// More workers than cores would only make more and smaller records of a round. Asked for once: the system answers
    /// with a dozen files, which takes as long as the rest of a small round.
    cores: usize,
    workers: Vec<Worker>,
    /// The last round that the journal was told of by `receipted`.
    receipted: u64,
}

/// Recovery of a broker: the packet ids of messages whose rows are in the journal, but which its store may not have
/// heard of. After the store's changes.
pub fn apply_receipts(broker: &mut Broker, pipeline: &Pipeline) {
    for receipts in pipeline.receipts() {
        for (session, packet_id) in receipts.messages {
            let receipt = Receipt { session, packet_id };
            broker.apply_receipt(receipts.round, &receipt);
        }
    }
}

type Worker = (Sender<Piece>, JoinHandle<()>);

fn start(shared: &Arc<Shared>, threads: usize) -> Result<Vec<Worker>, JournalError> {
    let start_one = |at| {
        let (sender, pieces) = unbounded();
        let shared = shared.clone();
        std::thread::Builder::new()
            .name(format!("map-{at}"))
            .spawn(move || work(&shared, &pieces))
            .map(|thread| (sender, thread))
            .map_err(|e| JournalError::Failed(format!("cannot start a thread: {e}")))
    };
    (0..threads).map(start_one).collect()
}

/// Returns when the workers have done what they had.
fn end(workers: &mut Vec<Worker>) {
    for (sender, thread) in workers.drain(..) {
        drop(sender);
        // A panic there was reported by the hook.
        let _ = thread.join();
    }
}

impl LocalIntake {
    /// `threads` map large rounds; without any the caller maps all. `wake` is called when `completed` has news, or
    /// when there is room again.
    pub fn new(
        clients: Arc<Clients>,
        pipeline: Arc<Pipeline>,
        threads: usize,
        wake: Wake,
    ) -> Result<Self, JournalError> {
        let shared = Arc::new(Shared {
            clients,
            submitter: Submitter::new(pipeline, wake.clone()),
            lines_lost: AtomicU64::new(0),
            progress: Mutex::default(),
            wake,
            handed: AtomicUsize::new(0),
        });
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Ok(Self {
            workers: start(&shared, threads.min(cores))?,
            shared,
            threads,
            cores,
            known: HashMap::new(),
            known_of: 0,
            hash: FixedState::default(),
            receipted: 0,
        })
    }

    /// As many workers as are wanted now; only while none has anything, or messages of a topic could overtake others.
    fn resize(&mut self) {
        let threads = self.shared.clients.threads().unwrap_or(self.threads);
        let wanted = threads.min(self.cores);
        if wanted != self.workers.len() {
            end(&mut self.workers);
            // Without threads the caller maps all.
            self.workers = start(&self.shared, wanted).unwrap_or_default();
        }
    }

    fn routes(&mut self, topic: &str) -> Routes {
        if let Some(routes) = self.known.get(topic) {
            return routes.clone();
        }
        let routes = self.shared.clients.routes(LOCAL, topic);
        if self.known.len() >= KNOWN_TOPICS {
            self.known.clear();
        }
        self.known.insert(topic.into(), routes.clone());
        routes
    }

    fn routed(&mut self, messages: Vec<Inbound>) -> Vec<Routed> {
        let generation = self.shared.clients.generation();
        if self.known_of != generation {
            self.known.clear();
            self.known_of = generation;
        }
        messages
            .into_iter()
            .map(|inbound| Routed {
                routes: self.routes(&inbound.message.topic),
                inbound,
            })
            .collect()
    }

    fn hand_over(&self, round: u64, messages: Vec<Routed>) {
        let mut pieces: Vec<Vec<Routed>> = self.workers.iter().map(|_| Vec::new()).collect();
        for message in messages {
            let mut hasher = self.hash.build_hasher();
            hasher.write(message.inbound.message.topic.as_bytes());
            pieces[(hasher.finish() % self.workers.len() as u64) as usize].push(message);
        }
        let filled = pieces.iter().filter(|piece| !piece.is_empty()).count();
        let own = self.shared.progress.lock().begin(round, filled);
        for ((worker, _), messages) in self.workers.iter().zip(pieces) {
            if messages.is_empty() {
                continue;
            }
            let bytes = |m: &Routed| m.inbound.message.payload.len() + MESSAGE_BYTES;
            let charged = messages.iter().map(bytes).sum();
            self.shared.submitter.charge(charged);
            self.shared.handed.fetch_add(1, Ordering::AcqRel);
            let piece = Piece {
                own,
                round,
                messages,
                charged,
            };
            if let Err(lost) = worker.send(piece) {
                self.shared.ended(&lost.into_inner(), Err(Refusal::Failed));
            }
        }
    }
}

impl Shared {
    /// Map messages; their rows wait for those of the rest of the round.
    fn map(&self, own: u64, round: u64, messages: &[Routed]) -> Result<Ready, Refusal> {
        let messages = messages.iter().map(|routed| Incoming {
            topic: &routed.inbound.message.topic,
            payload: &routed.inbound.message.payload,
            arrival_us: routed.inbound.arrival_us,
            receipt: routed.inbound.receipt.as_ref(),
            routes: &routed.routes,
        });
        let mapped = self.clients.map(messages, round);
        if mapped.unwritten.is_some() {
            return Err(Refusal::Full);
        }
        for command in mapped.commands {
            self.submitter.act(command.into());
        }
        Ok(self.submitter.prepare(own, mapped.rows))
    }

    /// A piece is mapped: rounds that are whole now go on. Wakes the caller when `completed` has news by that.
    fn mapped(&self, own: u64, result: Result<Ready, Refusal>) {
        let mut progress = self.progress.lock();
        progress.mapped(own, result);
        // Under the lock, for their order.
        while let Some(whole) = progress.next_whole(Ready::len) {
            self.submitter.submit_ready(whole.ready);
        }
        let news = progress.has_news();
        drop(progress);
        if news {
            (self.wake)();
        }
    }

    fn ended(&self, piece: &Piece, result: Result<Ready, Refusal>) {
        self.mapped(piece.own, result);
        self.submitter.release(piece.charged);
        self.handed.fetch_sub(1, Ordering::AcqRel);
    }
}

/// Ends a piece, whatever happens while it is mapped.
struct Ending<'s> {
    shared: &'s Shared,
    piece: Piece,
    result: Result<Ready, Refusal>,
}

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        let result = std::mem::replace(&mut self.result, Err(Refusal::Failed));
        self.shared.ended(&self.piece, result);
    }
}

fn work(shared: &Shared, pieces: &Receiver<Piece>) {
    for piece in pieces {
        let mut ending = Ending {
            shared,
            piece,
            result: Err(Refusal::Failed),
        };
        ending.result = shared.map(ending.piece.own, ending.piece.round, &ending.piece.messages);
    }
}

impl Intake for LocalIntake {
    fn generation(&self) -> u64 {
        self.shared.clients.generation()
    }

    fn takes(&self, topic: &str) -> bool {
        self.shared.clients.takes(LOCAL, topic)
    }

    fn has_room(&self) -> bool {
        self.shared.submitter.has_room(ROUND_BYTES)
    }

    fn submit(&mut self, round: u64, messages: Vec<Inbound>) {
        let messages = self.routed(messages);
        let bytes: usize = messages
            .iter()
            .map(|routed| routed.inbound.message.payload.len())
            .sum();
        let idle = self.shared.handed.load(Ordering::Acquire) == 0;
        if idle {
            self.resize();
        }
        if self.workers.is_empty() || messages.is_empty() || (idle && bytes <= INLINE_BYTES) {
            let own = self.shared.progress.lock().begin(round, 1);
            let result = self.shared.map(own, round, &messages);
            self.shared.mapped(own, result);
        } else {
            self.hand_over(round, messages);
        }
    }

    fn completed(&mut self) -> Option<(u64, Result<(), Refusal>)> {
        let told = self.shared.submitter.completions();
        let mut progress = self.shared.progress.lock();
        for (own, outcome) in told {
            match own {
                ROOM => {}
                LINES if refusal(&outcome).is_err() => {
                    self.shared.lines_lost.fetch_add(1, Ordering::Relaxed);
                }
                _ => progress.end(own, refusal(&outcome)),
            }
        }
        progress.take()
    }

    fn receipted(&mut self, round: u64) {
        if round > self.receipted {
            self.receipted = round;
            self.shared.submitter.receipted(round);
        }
    }

    fn open_lines(
        &self,
        peer: SocketAddr,
        first: &[u8],
        is_all: bool,
        is_anonymous: bool,
    ) -> Opening {
        let rules = &self.shared.clients.rules;
        if rules.is_empty() {
            return Opening::Refused;
        }
        // A rule of a header must have seen as much of the line as there will be.
        let is_enough = first.len() >= rules.header_bytes() || first.contains(&b'\n');
        if !is_enough && !is_all {
            return Opening::Undecided;
        }
        match rules.find(peer, first) {
            Some(rule) if is_anonymous || rule.ip.is_some() => Opening::Lines(Box::new(
                LineStream::new(self.shared.clone(), rule, peer.ip()),
            )),
            _ => Opening::Refused,
        }
    }
}

fn refusal(outcome: &Outcome) -> Result<(), Refusal> {
    match outcome {
        Outcome::Stored { .. } | Outcome::Passed => Ok(()),
        Outcome::Journal(JournalError::Full(_) | JournalError::Limit(_)) => Err(Refusal::Full),
        Outcome::Journal(_) | Outcome::Payload(_) => Err(Refusal::Failed),
    }
}

impl Drop for LocalIntake {
    fn drop(&mut self) {
        end(&mut self.workers);
    }
}
