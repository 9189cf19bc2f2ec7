//! Messages that came together, mapped together.

use std::cell::OnceCell;
use std::sync::Arc;

use super::clients::{Client, Clients};
use crate::mapping::{Arrival, BlobSource, Command, Tally, Targets};
use crate::mqtt::broker::Receipt;
use crate::pipeline::{Key, MappedRows, Origin, Receipts};

/// A message, and who takes it.
pub struct Incoming<'m> {
    pub topic: &'m str,
    pub payload: &'m [u8],
    pub arrival_us: i64,
    pub receipt: Option<&'m Receipt>,
    pub routes: &'m [(Arc<Client>, usize)],
}

/// An element that gave no row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unmapped {
    /// Number of the message, from 0.
    pub message: usize,
    /// Element of its list, from 1; 0 = the message as a whole.
    pub element: usize,
    /// The reference's number.
    pub code: u16,
    pub reason: String,
}

/// What messages became.
#[derive(Debug, Default)]
pub struct Mapped {
    /// One for each table and origin.
    pub rows: Vec<MappedRows>,
    pub unmapped: Vec<Unmapped>,
    /// Commands out of scripts, to be run beside the messages.
    pub commands: Vec<Command>,
    /// Why a content of a blob column could not be written: none of the messages may be acknowledged. There are no rows
    /// then; the messages are to be offered again.
    pub unwritten: Option<String>,
}

/// What is known of a target beside its rows.
struct Head {
    arrival_us: i64,
    receipts: Receipts,
}

impl Clients {
    /// Map messages; `round` is the broker's, for receipts. What fails is counted, logged and kept as its client says.
    pub fn map<'m>(&self, messages: impl Iterator<Item = Incoming<'m>>, round: u64) -> Mapped {
        let mut targets = Targets::new(&self.zone);
        let mut heads: Vec<Head> = Vec::new();
        let mut unmapped = Vec::new();
        let mut commands = Vec::new();
        let unwritten = OnceCell::new();
        for (number, message) in messages.enumerate() {
            let mut last = None;
            for (client, topic) in message.routes {
                if let Some(path) = &client.files.all {
                    let logged = self.log.append(path, message.payload);
                    count(
                        client,
                        *topic,
                        message.arrival_us,
                        u64::from(logged),
                        u64::from(!logged),
                    );
                    if !logged {
                        set_error(
                            client,
                            *topic,
                            message.arrival_us,
                            "the disk is too slow for the log",
                        );
                    }
                    continue;
                }
                let arrival = Arrival {
                    topic: message.topic,
                    payload: message.payload,
                    now_us: message.arrival_us,
                };
                let keep = |source: BlobSource<'_>| {
                    // A file that a message names may be wrong; what a message holds fails for want of room alone.
                    let is_content = matches!(source, BlobSource::Message { .. });
                    let kept = client.files.keep_blob(source);
                    if let Err(reason) = &kept
                        && is_content
                        && client.files.keeps_blobs()
                    {
                        let _ = unwritten.set(reason.clone());
                    }
                    kept
                };
                let mapped = client
                    .program
                    .map_into(*topic, arrival, Some(&keep), &mut targets);
                heads.resize_with(targets.len(), || Head {
                    arrival_us: message.arrival_us,
                    receipts: Receipts::default(),
                });
                match mapped {
                    Ok(mut tally) => {
                        commands.append(&mut tally.commands);
                        last = last.max(targets.touched());
                        let failed = tally.failed() as u64;
                        let success = tally.messages as u64 - failed;
                        count(client, *topic, message.arrival_us, success, failed);
                        if success > 0
                            && let Some(dbms) = client.program.dynamic(*topic)
                        {
                            let (name, payload) = (message.topic, message.payload);
                            self.dynamic
                                .note(client.id, dbms, name, payload, message.arrival_us);
                        }
                        if failed > 0 {
                            self.failed_elements(client, *topic, &message, &tally);
                            unmapped.extend(tally.rejected.into_iter().map(|r| Unmapped {
                                message: number,
                                element: r.element,
                                code: r.code,
                                reason: r.reason,
                            }));
                        }
                    }
                    Err(error) => {
                        let reason = error.to_string();
                        count(client, *topic, message.arrival_us, 0, 1);
                        self.failed(client, *topic, &message, error.code(), &reason);
                        unmapped.push(Unmapped {
                            message: number,
                            element: 0,
                            code: error.code(),
                            reason: error.detail(),
                        });
                    }
                }
            }
            if let (Some(receipt), Some(last)) = (message.receipt, last) {
                // Of several records the last one: whoever knows the packet id has all rows.
                heads[last].receipts.round = round;
                let known = (receipt.session, receipt.packet_id);
                heads[last].receipts.messages.push(known);
            }
        }
        if let Some(reason) = unwritten.into_inner() {
            return Mapped {
                unwritten: Some(reason),
                ..Mapped::default()
            };
        }
        let rows = targets
            .finish()
            .zip(heads)
            .filter(|(target, _)| target.chunk.len > 0)
            .map(|(target, head)| MappedRows {
                key: Key {
                    dbms: target.dbms,
                    table: target.table,
                },
                origin: Origin {
                    source: target.source,
                    instructions: target.instructions,
                },
                chunk: target.chunk,
                declared: target.declared,
                arrival_us: head.arrival_us,
                receipts: head.receipts,
            });
        Mapped {
            rows: rows.collect(),
            unmapped,
            commands,
            unwritten: None,
        }
    }

    fn failed_elements(
        &self,
        client: &Client,
        topic: usize,
        message: &Incoming<'_>,
        tally: &Tally,
    ) {
        if let Some(first) = tally.rejected.first() {
            let reason = if tally.messages > 1 {
                format!("element {}: {}", first.element, first.reason)
            } else {
                first.reason.clone()
            };
            self.failed(client, topic, message, first.code, &reason);
        }
    }

    fn failed(
        &self,
        client: &Client,
        topic: usize,
        message: &Incoming<'_>,
        code: u16,
        reason: &str,
    ) {
        set_error(client, topic, message.arrival_us, reason);
        self.faults
            .add(client.id, message.topic, message.payload, code, reason);
        if let Some(paths) = &client.files.errors {
            self.log.append(&paths[topic], message.payload);
        }
    }
}

fn count(client: &Client, topic: usize, now_us: i64, success: u64, errors: u64) {
    client.counters.add(success, errors, now_us);
    client.topics[topic].add(success, errors, now_us);
}

fn set_error(client: &Client, topic: usize, now_us: i64, reason: &str) {
    client.counters.set_error(now_us, reason);
    client.topics[topic].set_error(now_us, reason);
}
