//! The broker's state machine, without sockets, clocks and threads. The host hands over packets and events and gets
//! bytes; what has to survive goes out in rounds.

mod acl;
mod change;
mod message;
mod options;
mod seam;
mod stats;

pub use acl::{Access, Acl, Rule};
pub use change::{Change, Round, SessionRecord, packet_id_of};
pub use message::{Message, StoredWill};
pub use options::Options;
pub use seam::{
    Cause, ConnId, Grant, Host, Inbound, Intake, Login, Now, Peer, Receipt, Refusal, Transport,
};
pub use stats::{Event, EventRow, SessionInfo, Stats};

use super::packet::{Packet, Publish, Reason};

/// Where a snapshot stands.
#[derive(Debug, Default)]
pub struct Cursor {
    done: bool,
}

impl Cursor {
    pub fn is_done(&self) -> bool {
        self.done
    }
}

pub struct Broker {
    options: Options,
}

#[allow(
    unused_variables,
    clippy::todo,
    clippy::needless_pass_by_value,
    clippy::unused_self
)] // bodies follow
impl Broker {
    pub fn new(options: Options) -> Self {
        Self { options }
    }

    /// A connection has been accepted.
    pub fn opened(&mut self, conn: ConnId, peer: Peer, now: Now) {
        todo!()
    }

    /// A packet of `size_bytes` has come.
    pub fn received(
        &mut self,
        conn: ConnId,
        packet: &Packet<'_>,
        size_bytes: usize,
        now: Now,
        host: &mut impl Host,
    ) {
        todo!()
    }

    /// What came is no packet (the fields of the codec's `Malformed`): version 5 is told, the connection closed.
    pub fn malformed(
        &mut self,
        conn: ConnId,
        reason: Reason,
        text: &str,
        now: Now,
        host: &mut impl Host,
    ) {
        todo!()
    }

    /// The connection is gone; its id may be used again.
    pub fn closed(&mut self, conn: ConnId, cause: Cause, now: Now, host: &mut impl Host) {
        todo!()
    }

    /// The socket took bytes: sends what waits.
    pub fn progress(&mut self, conn: ConnId, now: Now, host: &mut impl Host) {
        todo!()
    }

    /// Logins since the last call.
    pub fn take_logins(&mut self) -> Vec<Login> {
        todo!()
    }

    /// The verdict on a login. One for a connection that is gone is ignored.
    pub fn login(
        &mut self,
        conn: ConnId,
        verdict: Result<Grant, Reason>,
        now: Now,
        host: &mut impl Host,
    ) {
        todo!()
    }

    /// Ends the round: what it returns is to be kept before `kept` and `mapped` say so.
    pub fn end_round(&mut self) -> Round {
        todo!()
    }

    /// The store has synced the changes of all rounds up to `round`, or refused those since the last call.
    pub fn kept(
        &mut self,
        round: u64,
        result: Result<(), Refusal>,
        now: Now,
        host: &mut impl Host,
    ) {
        todo!()
    }

    /// The rows of all rounds up to `round` are durable, or those since the last call are refused.
    pub fn mapped(
        &mut self,
        round: u64,
        result: Result<(), Refusal>,
        now: Now,
        host: &mut impl Host,
    ) {
        todo!()
    }

    /// About every 100 ms: keep alive, expiries, delayed wills, `$SYS`, subscribers that take nothing.
    pub fn tick(&mut self, now: Now, host: &mut impl Host) {
        todo!()
    }

    /// Publishes a message of the node itself. Returns how many sessions get it and the round to wait for
    /// (`kept`), if something of it is kept.
    pub fn publish(
        &mut self,
        publish: &Publish<'_>,
        now: Now,
        host: &mut impl Host,
    ) -> (usize, Option<u64>) {
        todo!()
    }

    /// Closes the connection of a client. False: it has none.
    pub fn disconnect(
        &mut self,
        client_id: &str,
        reason: Reason,
        now: Now,
        host: &mut impl Host,
    ) -> bool {
        todo!()
    }

    /// The node stops: tells version 5 clients (0x8B) and asks the host to close all.
    pub fn shut_down(&mut self, now: Now, host: &mut impl Host) {
        todo!()
    }

    /// Recovery: replays a change, before `recovered`.
    pub fn apply(&mut self, change: Change) {
        todo!()
    }

    /// Recovery: a receipt out of the intake's journal, of a round that the store does not have; after the changes.
    pub fn apply_receipt(&mut self, receipt: &Receipt) {
        todo!()
    }

    /// Recovery is complete: sessions that were connected are no longer, and their wills come with the first `tick`. Before the
    /// first connection; not needed when nothing was applied.
    pub fn recovered(&mut self, now: Now) {
        todo!()
    }

    /// The next piece of the live state, about `limit_bytes`. What is live when the cursor passes is returned;
    /// changes of later rounds may stand between the pieces.
    pub fn snapshot(&self, cursor: &mut Cursor, limit_bytes: usize) -> Vec<Change> {
        todo!()
    }

    pub fn stats(&self) -> Stats {
        todo!()
    }

    /// Counts per peer and packet kind, for `get local broker`.
    pub fn events(&self) -> Vec<EventRow> {
        todo!()
    }

    /// Sessions, connected or not, for status commands; `limit` at most.
    pub fn sessions(&self, limit: usize) -> Vec<SessionInfo> {
        todo!()
    }

    pub fn options(&self) -> &Options {
        &self.options
    }
}
