//! Scripts in mapping policies: which rows and attributes are ignored (spec: brokers and mapping, section 9).

use serde_json::Value;

use super::condition::Condition;
use super::json::Json;
use super::{CompileError, Fault};

/// `[if <condition> then] streaming data <action>`
#[derive(Debug)]
pub(super) struct Line {
    condition: Option<Condition>,
    ignore: Ignore,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ignore {
    Event,
    Attribute,
    Script,
}

/// The lines of a script in a policy.
pub(super) fn compile_script(spec: Option<&Value>) -> Result<Vec<Line>, CompileError> {
    match spec {
        None | Some(Value::Null) => Ok(Vec::new()),
        Some(Value::Array(lines)) => lines
            .iter()
            .map(|line| Line::compile(line.as_str().unwrap_or_default()))
            .collect(),
        Some(_) => Err(CompileError::new("a script is a list of commands")),
    }
}

impl Line {
    fn compile(text: &str) -> Result<Self, CompileError> {
        let text = text.trim();
        let (condition, command) = match text
            .strip_prefix("if ")
            .and_then(|rest| rest.split_once(" then "))
        {
            Some((condition, command)) => (Some(Condition::compile(condition)?), command.trim()),
            None => (None, text),
        };
        let words: Vec<&str> = command.split_whitespace().collect();
        let ignore = match words.as_slice() {
            ["streaming", "data", "ignore", "event"] => Ignore::Event,
            ["streaming", "data", "ignore", "attribute"] => Ignore::Attribute,
            ["streaming", "data", "ignore", "script"] => Ignore::Script,
            _ => {
                return Err(CompileError::not_available(format!(
                    "'{command}' in the script of a mapping"
                )));
            }
        };
        Ok(Self { condition, ignore })
    }
}

/// The action of the first line whose condition holds.
pub(super) fn run_script(lines: &[Line], seen: &Json<'_>) -> Result<Option<Ignore>, Fault> {
    for line in lines {
        let applies = match &line.condition {
            Some(condition) => condition.holds(seen)?,
            None => true,
        };
        if applies {
            return Ok(Some(line.ignore));
        }
    }
    Ok(None)
}
