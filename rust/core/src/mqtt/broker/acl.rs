//! Who may publish and subscribe to what.

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

/// Rules in order: the first one that fits decides, none fits = denied.
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
}
