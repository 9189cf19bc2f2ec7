//! What peers have sent, by address and kind of packet: a bounded table for `get local broker`.

use std::net::{IpAddr, Ipv6Addr};

use foldhash::HashMap;

use super::super::packet::Reason;
use super::Broker;
use super::seam::{ConnId, Now};
use super::stats::{Event, EventRow};

/// Addresses in the table. Those without a connection make room first.
const PEERS_MAX: usize = 1_024;

#[derive(Debug)]
struct Line {
    event: Event,
    count: u64,
    last_unix_ms: u64,
    failed: u64,
    last_failure_unix_ms: u64,
    failure: Reason,
    failure_text: String,
}

#[derive(Debug)]
struct Row {
    ip: IpAddr,
    links: u32,
    /// When it was used last, in connections.
    turn: u64,
    lines: Vec<Line>,
}

impl Row {
    fn new(ip: IpAddr) -> Self {
        Self {
            ip,
            links: 0,
            turn: 0,
            lines: Vec::new(),
        }
    }

    fn line(&mut self, event: Event) -> &mut Line {
        let at = self
            .lines
            .iter()
            .position(|line| line.event == event)
            .unwrap_or_else(|| {
                self.lines.push(Line {
                    event,
                    count: 0,
                    last_unix_ms: 0,
                    failed: 0,
                    last_failure_unix_ms: 0,
                    failure: Reason::SUCCESS,
                    failure_text: String::new(),
                });
                self.lines.len() - 1
            });
        &mut self.lines[at]
    }
}

#[derive(Debug, Default)]
pub(super) struct Events {
    rows: Vec<Row>,
    by_ip: HashMap<IpAddr, u32>,
    turn: u64,
}

impl Events {
    /// The row of an address. When all rows are in use the last one is shared.
    pub fn open(&mut self, ip: IpAddr) -> u32 {
        self.turn += 1;
        let at = match self.by_ip.get(&ip) {
            Some(&at) => at as usize,
            None => self.make_row(ip),
        };
        self.rows[at].links += 1;
        self.rows[at].turn = self.turn;
        at as u32
    }

    fn add_row(&mut self, ip: IpAddr) -> usize {
        self.rows.push(Row::new(ip));
        self.by_ip.insert(ip, (self.rows.len() - 1) as u32);
        self.rows.len() - 1
    }

    fn make_row(&mut self, ip: IpAddr) -> usize {
        if self.rows.len() < PEERS_MAX {
            return self.add_row(ip);
        }
        let unused = self
            .rows
            .iter()
            .enumerate()
            .filter(|(_, row)| row.links == 0)
            .min_by_key(|(_, row)| row.turn);
        let Some((at, old)) = unused else {
            // All are in use: what is left over shares one row.
            let rest = IpAddr::V6(Ipv6Addr::UNSPECIFIED);
            return match self.by_ip.get(&rest) {
                Some(&at) => at as usize,
                None => self.add_row(rest),
            };
        };
        self.by_ip.remove(&old.ip);
        self.by_ip.insert(ip, at as u32);
        self.rows[at] = Row::new(ip);
        at
    }

    pub fn close(&mut self, row: u32) {
        if let Some(row) = self.rows.get_mut(row as usize) {
            row.links = row.links.saturating_sub(1);
        }
    }

    pub fn count(&mut self, row: u32, event: Event, unix_ms: u64) {
        if let Some(row) = self.rows.get_mut(row as usize) {
            let line = row.line(event);
            line.count += 1;
            line.last_unix_ms = unix_ms;
        }
    }

    fn fail(&mut self, row: u32, event: Event, reason: Reason, text: &str, unix_ms: u64) {
        if let Some(row) = self.rows.get_mut(row as usize) {
            let line = row.line(event);
            line.failed += 1;
            line.last_failure_unix_ms = unix_ms;
            line.failure = reason;
            line.failure_text.clear();
            line.failure_text.push_str(text);
        }
    }

    pub fn list(&self) -> Vec<EventRow> {
        let mut list: Vec<EventRow> = self
            .rows
            .iter()
            .flat_map(|row| row.lines.iter().map(|line| (row.ip, line)))
            .map(|(ip, line)| EventRow {
                ip,
                event: line.event,
                succeeded: line.count.saturating_sub(line.failed),
                last_unix_ms: line.last_unix_ms,
                failed: line.failed,
                last_failure_unix_ms: line.last_failure_unix_ms,
                failure: line.failure,
                failure_text: line.failure_text.clone(),
            })
            .collect();
        list.sort_by_key(|row| (row.ip, row.event));
        list
    }
}

impl Broker {
    /// The packet that is being handled has failed.
    pub(super) fn event_failed(&mut self, conn: ConnId, reason: Reason, text: &str, now: Now) {
        if let Some(link) = self.links.get(conn) {
            self.events
                .fail(link.row, link.last_event, reason, text, now.unix_ms);
        }
    }
}
