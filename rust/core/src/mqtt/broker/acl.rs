//! Who may publish and subscribe to what.

use std::borrow::Cow;

use super::super::topics;

/// What a rule allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    Deny,
    Read,
    Write,
    ReadWrite,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// A topic filter; `%c` stands for the client id, `%u` for the user.
    pub pattern: Box<str>,
    pub access: Access,
}

/// Rules in order. The first one that covers a topic and speaks of the way asked for (read or write; `Deny` speaks of
/// both) decides; none = denied.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Acl {
    /// None = all is allowed.
    rules: Option<Box<[Rule]>>,
}

impl Acl {
    /// Everything is allowed.
    pub fn open() -> Self {
        Self { rules: None }
    }

    pub fn new(rules: Vec<Rule>) -> Self {
        Self {
            rules: Some(rules.into()),
        }
    }

    pub fn is_open(&self) -> bool {
        self.rules.is_none()
    }

    pub fn may_write(&self, topic: &str, user: Option<&str>, client_id: &str) -> bool {
        self.decide(Access::Write, user, client_id, |pattern| {
            topics::matches(pattern, topic)
        })
    }

    pub fn may_read(&self, topic: &str, user: Option<&str>, client_id: &str) -> bool {
        self.decide(Access::Read, user, client_id, |pattern| {
            topics::matches(pattern, topic)
        })
    }

    /// Whether all of a filter's topics fall under a rule that allows reading. Topics that an earlier rule denies are
    /// held back one by one when a message comes.
    pub fn may_subscribe(&self, filter: &str, user: Option<&str>, client_id: &str) -> bool {
        self.decide(Access::Read, user, client_id, |pattern| {
            covers(pattern, filter)
        })
    }

    fn decide(
        &self,
        way: Access,
        user: Option<&str>,
        client_id: &str,
        fits: impl Fn(&str) -> bool,
    ) -> bool {
        let Some(rules) = &self.rules else {
            return true;
        };
        rules
            .iter()
            .filter(|rule| {
                rule.access == way || matches!(rule.access, Access::Deny | Access::ReadWrite)
            })
            .find(|rule| match expand(&rule.pattern, user, client_id) {
                Some(pattern) => fits(&pattern),
                None => rule.access == Access::Deny,
            })
            .is_some_and(|rule| rule.access != Access::Deny)
    }
}

/// A pattern for one client; one that speaks of a user and there is none fits nothing. None: the name would change the
/// pattern's meaning (a client that calls itself `#`).
fn expand<'a>(pattern: &'a str, user: Option<&str>, client_id: &str) -> Option<Cow<'a, str>> {
    if !pattern.contains('%') {
        return Some(Cow::Borrowed(pattern));
    }
    let mut text = pattern.to_owned();
    for (mark, name) in [("%c", Some(client_id)), ("%u", user)] {
        if pattern.contains(mark) {
            let Some(name) = name else {
                return Some(Cow::Borrowed(""));
            };
            if name.is_empty() || name.contains(['+', '#', '/', '%']) {
                return None;
            }
            text = text.replace(mark, name);
        }
    }
    Some(Cow::Owned(text))
}

/// Whether every topic that `filter` matches is matched by `pattern`.
fn covers(pattern: &str, filter: &str) -> bool {
    if filter.starts_with('$') && pattern.starts_with(['#', '+']) {
        return false;
    }
    let mut wanted = filter.split('/');
    for level in pattern.split('/') {
        if level == "#" {
            return true;
        }
        match wanted.next() {
            Some("#") | None => return false,
            Some(_) if level == "+" => {}
            Some(text) if text == level => {}
            Some(_) => return false,
        }
    }
    wanted.next().is_none()
}
