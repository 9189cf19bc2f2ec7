//! A client that does not take what we have for it: its publishers wait while it makes progress, and nobody waits for
//! one that makes none.

use super::super::packet::QoS;
use super::seam::{ConnId, Host};
use super::{Broker, Cx};

/// Without progress for so long, a subscriber is stalled.
const STALL_MS: u64 = 1_000;

/// With progress, but behind for so long, it is treated as stalled too: its publishers have waited enough.
const LAG_MS: u64 = 10_000;

/// QoS 1 and 2 messages that wait for acknowledgements of a connected client before its publishers wait.
const WAITING_MAX: usize = 4_096;

/// Exists from the moment that a client is behind until it has caught up.
#[derive(Debug)]
pub(super) struct Flow {
    since_ms: u64,
    /// When its socket took bytes, or an acknowledgement came.
    progress_ms: u64,
    is_stalled: bool,
    /// Publishers that wait for it, with their serials.
    feeders: Vec<(ConnId, u64)>,
}

impl Flow {
    fn new(now_ms: u64) -> Self {
        Self {
            since_ms: now_ms,
            progress_ms: now_ms,
            is_stalled: false,
            feeders: Vec::new(),
        }
    }

    fn is_late(&self, now_ms: u64) -> bool {
        now_ms >= self.progress_ms + STALL_MS || now_ms >= self.since_ms + LAG_MS
    }
}

impl Broker {
    /// A message could not go to a client at once. Returns false when nobody is to wait for the client, and QoS 0
    /// messages are not worth keeping.
    pub(super) fn falls_behind<H: Host>(
        &mut self,
        conn: ConnId,
        feeder: Option<ConnId>,
        cx: &mut Cx<'_, H>,
    ) -> bool {
        let backlog = cx.host.backlog(conn);
        let is_full = backlog > self.options.backlog_bytes;
        let Some(link) = self.links.get_mut(conn) else {
            return false;
        };
        if !is_full && link.flow.is_none() {
            let waiting = self
                .sessions
                .get(link.session)
                .map_or(0, |session| session.queue.waiting());
            if waiting < WAITING_MAX {
                return true;
            }
        }
        self.start_flow(conn, cx.now.mono_ms);
        let Some(flow) = self.links.get_mut(conn).and_then(|link| link.flow.as_mut()) else {
            return false;
        };
        flow.is_stalled |= flow.is_late(cx.now.mono_ms);
        if flow.is_stalled {
            return false;
        }
        if let Some(feeder) = feeder.filter(|feeder| *feeder != conn) {
            self.hold_back(feeder, conn, cx);
        }
        true
    }

    fn start_flow(&mut self, conn: ConnId, now_ms: u64) {
        let Some(link) = self.links.get_mut(conn) else {
            return;
        };
        if link.flow.is_none() {
            link.flow = Some(Box::new(Flow::new(now_ms)));
            if !std::mem::replace(&mut link.is_behind, true) {
                self.behind.push((conn, link.serial));
            }
        }
    }

    /// Replies pile up for a client that reads none: it is not read from either.
    pub(super) fn check_replies<H: Host>(&mut self, conn: ConnId, cx: &mut Cx<'_, H>) {
        if cx.host.backlog(conn) <= self.options.backlog_bytes {
            return;
        }
        if self.links.get(conn).is_none_or(|link| !link.is_live()) {
            return;
        }
        self.start_flow(conn, cx.now.mono_ms);
        self.hold_back(conn, conn, cx);
    }

    /// `feeder` is not read from until `subscriber` has caught up.
    fn hold_back<H: Host>(&mut self, feeder: ConnId, subscriber: ConnId, cx: &mut Cx<'_, H>) {
        let Some(serial) = self.links.get(feeder).map(|link| link.serial) else {
            return;
        };
        let Some(flow) = self
            .links
            .get_mut(subscriber)
            .and_then(|link| link.flow.as_mut())
        else {
            return;
        };
        if flow.feeders.contains(&(feeder, serial)) {
            return;
        }
        flow.feeders.push((feeder, serial));
        if let Some(link) = self.links.get_mut(feeder) {
            link.held_by += 1;
            if link.held_by == 1 {
                self.stats.paused += 1;
                cx.host.pause(feeder, true);
            }
        }
    }

    /// Whether a client is not read from, for others' sake.
    pub(super) fn waits_for_others(&self, conn: ConnId) -> bool {
        self.links.get(conn).is_some_and(|link| {
            let for_itself = link
                .flow
                .as_ref()
                .is_some_and(|flow| flow.feeders.iter().any(|(feeder, _)| *feeder == conn));
            link.held_by > u32::from(for_itself)
        })
    }

    fn let_go<H: Host>(&mut self, feeders: Vec<(ConnId, u64)>, cx: &mut Cx<'_, H>) {
        for (feeder, serial) in feeders {
            if let Some(link) = self
                .links
                .get_mut(feeder)
                .filter(|link| link.serial == serial)
            {
                link.held_by -= 1;
                if link.held_by == 0 {
                    self.stats.paused -= 1;
                    if link.is_live() {
                        // What it sent meanwhile has not been read.
                        link.last_seen_ms = cx.now.mono_ms;
                        cx.host.pause(feeder, false);
                    }
                }
            }
        }
    }

    /// The client has taken something. When it has caught up, its publishers go on.
    pub(super) fn makes_progress<H: Host>(&mut self, conn: ConnId, cx: &mut Cx<'_, H>) {
        let Some(link) = self.links.get_mut(conn) else {
            return;
        };
        let Some(flow) = &mut link.flow else {
            return;
        };
        flow.progress_ms = cx.now.mono_ms;
        let waiting = self
            .sessions
            .get(link.session)
            .map_or(0, |session| session.queue.waiting());
        let has_caught_up =
            cx.host.backlog(conn) <= self.options.backlog_bytes / 2 && waiting <= WAITING_MAX / 2;
        if has_caught_up {
            self.end_flow(conn, cx);
        }
    }

    /// The client has caught up, or is gone.
    pub(super) fn end_flow<H: Host>(&mut self, conn: ConnId, cx: &mut Cx<'_, H>) {
        if let Some(flow) = self.links.get_mut(conn).and_then(|link| link.flow.take()) {
            self.let_go(flow.feeders, cx);
        }
    }

    /// Publishers do not wait for those that have stalled.
    pub(super) fn check_stalled<H: Host>(&mut self, cx: &mut Cx<'_, H>) {
        let mut behind = std::mem::take(&mut self.behind);
        behind.retain(|&(conn, serial)| {
            let Some(link) = self
                .links
                .get_mut(conn)
                .filter(|link| link.serial == serial)
            else {
                return false;
            };
            let Some(flow) = &mut link.flow else {
                link.is_behind = false;
                return false;
            };
            if flow.is_late(cx.now.mono_ms) {
                flow.is_stalled = true;
                // A client that waits for itself goes on waiting: it has to read its own replies.
                let (own, others) = flow
                    .feeders
                    .drain(..)
                    .partition(|(feeder, _)| *feeder == conn);
                flow.feeders = own;
                self.let_go(others, cx);
            }
            true
        });
        self.behind = behind;
    }

    /// Whether a member of a group has room now.
    pub(super) fn has_room<H: Host>(&self, conn: ConnId, qos: QoS, cx: &Cx<'_, H>) -> bool {
        self.links.get(conn).is_some_and(|link| {
            link.is_live()
                && link.flow.is_none()
                && cx.host.backlog(conn) <= self.options.backlog_bytes
                && (qos == QoS::AtMostOnce
                    || self
                        .sessions
                        .get(link.session)
                        .is_some_and(|session| session.queue.is_open(link.window)))
        })
    }
}
