//! The live state as changes, in pieces, so that the store can throw away its older ones.

use foldhash::{HashSet, HashSetExt};

use super::Broker;
use super::change::Change;
use super::lifecycle::record_of;
use super::message::Message;
use super::queue::{Entry, Stage};
use super::session::{Known, Session};

/// Where a snapshot stands.
#[derive(Debug)]
pub struct Cursor {
    part: Part,
    /// Messages that earlier pieces had.
    messages: HashSet<u64>,
}

#[derive(Clone, Copy, Debug)]
enum Part {
    /// From the session of this index; when its id is that one, from that place in its queue.
    Sessions {
        index: u32,
        id: u64,
        seq: u64,
    },
    /// From this place on.
    Retained {
        at: u32,
    },
    Done,
}

impl Default for Cursor {
    fn default() -> Self {
        Self {
            part: Part::Sessions {
                index: 0,
                id: 0,
                seq: 0,
            },
            messages: HashSet::new(),
        }
    }
}

impl Cursor {
    pub fn is_done(&self) -> bool {
        matches!(self.part, Part::Done)
    }
}

/// Size of a change beside its message, about.
const CHANGE_BYTES: usize = 96;

/// What a piece has so far.
struct Piece<'a> {
    changes: Vec<Change>,
    bytes: usize,
    limit_bytes: usize,
    messages: &'a mut HashSet<u64>,
}

impl Piece<'_> {
    fn push(&mut self, change: Change) {
        self.bytes += CHANGE_BYTES;
        self.changes.push(change);
    }

    fn push_message(&mut self, message: &std::sync::Arc<Message>) {
        if self.messages.insert(message.id) {
            self.bytes += message.size_bytes();
            self.push(Change::Message(message.clone()));
        }
    }

    fn is_full(&self) -> bool {
        self.bytes >= self.limit_bytes
    }
}

impl Broker {
    pub(super) fn snapshot_piece(&self, cursor: &mut Cursor, limit_bytes: usize) -> Vec<Change> {
        let mut piece = Piece {
            changes: Vec::new(),
            bytes: 0,
            limit_bytes,
            messages: &mut cursor.messages,
        };
        if self.keep.receipted > 0 {
            piece.push(Change::Mapped {
                round: self.keep.receipted,
            });
        }
        while !piece.is_full() {
            cursor.part = match cursor.part {
                Part::Sessions { index, id, seq } => self.sessions_from(index, id, seq, &mut piece),
                Part::Retained { at } => self.retained_from(at, &mut piece),
                Part::Done => break,
            };
        }
        piece.changes
    }

    fn sessions_from(&self, index: u32, id: u64, seq: u64, piece: &mut Piece<'_>) -> Part {
        for (at, session) in self.sessions.iter_from(index) {
            if !session.is_recorded() {
                continue;
            }
            let from = if at == index && session.id == id {
                seq
            } else {
                push_session(session, piece);
                0
            };
            for (seq, entry) in session.queue.iter_from(from) {
                if piece.is_full() {
                    return Part::Sessions {
                        index: at,
                        id: session.id,
                        seq,
                    };
                }
                push_entry(session, seq, entry, piece);
            }
            if piece.is_full() {
                return Part::Sessions {
                    index: at + 1,
                    id: 0,
                    seq: 0,
                };
            }
        }
        Part::Retained { at: 0 }
    }

    fn retained_from(&self, at: u32, piece: &mut Piece<'_>) -> Part {
        for (at, message) in self.retained.scan(at) {
            if piece.is_full() {
                return Part::Retained { at };
            }
            if message.id != 0 {
                piece.push_message(message);
                piece.push(Change::Retained {
                    topic: message.topic.clone(),
                    message: message.id,
                });
            }
        }
        Part::Done
    }
}

fn push_session(session: &Session, piece: &mut Piece<'_>) {
    piece.push(Change::Session(Box::new(record_of(session))));
    for subscribed in &session.subscriptions {
        piece.push(Change::Subscribed {
            session: session.id,
            filter: subscribed.filter.clone(),
            options: subscribed.options,
            subscription_id: (subscribed.id != 0).then_some(subscribed.id),
        });
    }
    for (&packet_id, message) in session
        .unreleased
        .iter()
        .flat_map(|unreleased| unreleased.iter())
    {
        let session = session.id;
        match message.known {
            Known::Here => {}
            Known::Rows => piece.push(Change::RowsKept { session, packet_id }),
            Known::Recorded => piece.push(Change::Received { session, packet_id }),
        }
    }
}

fn push_entry(session: &Session, seq: u64, entry: &Entry, piece: &mut Piece<'_>) {
    if matches!(entry.stage, Stage::Received | Stage::Release) {
        piece.push(Change::OutReceived {
            session: session.id,
            seq,
        });
    } else if let Some(message) = &entry.message {
        piece.push_message(message);
        piece.push(Change::Queued {
            session: session.id,
            seq,
            message: message.id,
            qos: entry.qos,
            retain: entry.retain,
            subscription_ids: entry.ids.as_slice().into(),
        });
    }
}
