//! Which lines become rows of which table.

use std::net::SocketAddr;
use std::sync::Arc;

use parking_lot::RwLock;

/// How a line is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LineFormat {
    /// Syslog as BSD systems send it (RFC 3164).
    Bsd,
    /// Syslog of the IETF (RFC 5424).
    Ietf,
    /// The whole line is the message.
    Plain,
}

/// A rule of `set msg rule`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LineRule {
    pub name: String,
    /// Address of the sender.
    pub ip: Option<String>,
    pub port: Option<u16>,
    /// What lines begin with; it is cut off.
    pub header: Option<String>,
    pub dbms: String,
    pub table: String,
    pub format: LineFormat,
    /// Adds the column source_ip.
    pub extend_ip: bool,
    /// Rows go through the message client of this topic.
    pub topic: Option<String>,
    /// The first line names the columns and, by their places, their widths.
    pub included: bool,
}

impl LineRule {
    /// How well the rule fits a connection; none = not at all.
    fn fit(&self, peer: SocketAddr, first: &[u8]) -> Option<(bool, bool, bool)> {
        let ip = peer.ip().to_canonical().to_string();
        let fits = self.ip.as_ref().is_none_or(|own| *own == ip)
            && self.port.is_none_or(|own| own == peer.port())
            && (self.header.as_ref()).is_none_or(|own| first.starts_with(own.as_bytes()));
        fits.then(|| {
            (
                self.ip.is_some(),
                self.port.is_some(),
                self.header.is_some(),
            )
        })
    }
}

/// All rules, in the order of their declaration.
#[derive(Debug, Default)]
pub struct Rules(RwLock<Vec<Arc<LineRule>>>);

impl Rules {
    /// Add a rule, or replace the one of its name.
    pub fn set(&self, rule: LineRule) {
        let mut rules = self.0.write();
        let rule = Arc::new(rule);
        match rules.iter_mut().find(|known| known.name == rule.name) {
            Some(known) => *known = rule,
            None => rules.push(rule),
        }
    }

    /// False when there is none of this name.
    pub fn remove(&self, name: &str) -> bool {
        let mut rules = self.0.write();
        let before = rules.len();
        rules.retain(|rule| rule.name != name);
        rules.len() < before
    }

    pub fn is_empty(&self) -> bool {
        self.0.read().is_empty()
    }

    pub fn list(&self) -> Vec<Arc<LineRule>> {
        self.0.read().clone()
    }

    /// The rule of a connection that began with these bytes: of its address and port, of its address, of any; with a
    /// header that fits before without one; else the first.
    pub fn find(&self, peer: SocketAddr, first: &[u8]) -> Option<Arc<LineRule>> {
        let rules = self.0.read();
        let mut best = None;
        for rule in rules.iter() {
            let fit = rule.fit(peer, first);
            if fit > best.as_ref().map(|(fit, _)| *fit) {
                best = fit.map(|fit| (fit, rule.clone()));
            }
        }
        best.map(|(_, rule)| rule)
    }

    /// Bytes of a header at most: whoever asks `find` has read so many, or all that there is.
    pub fn header_bytes(&self) -> usize {
        let rules = self.0.read();
        let lengths = rules
            .iter()
            .filter_map(|rule| Some(rule.header.as_ref()?.len()));
        lengths.max().unwrap_or(0)
    }
}
