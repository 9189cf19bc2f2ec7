//! Scripts in mapping policies: what is ignored, which policy goes on, and commands that are run beside the messages
//! (spec: brokers and mapping, section 9).

use serde_json::Value;

use super::columns::Scene;
use super::condition::Condition;
use super::json::Json;
use super::{CompileError, Fault};

/// `[if <condition> then] <command>`
#[derive(Debug)]
pub(super) struct Line {
    condition: Option<Condition>,
    action: Action,
}

#[derive(Debug)]
enum Action {
    End(Ending),
    /// A command of the node, run later with the reading as its context.
    Command(String),
}

/// How a script ends before its last line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    IgnoreEvent,
    IgnoreAttribute,
    IgnoreScript,
    /// An imported policy goes on with the message.
    Change(String),
}

/// A command out of a script.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Command {
    pub line: String,
    /// What the script saw, as JSON.
    pub seen: String,
}

/// Commands of one payload at most.
const COMMANDS: usize = 100;

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
        let action = match words.as_slice() {
            ["streaming", "data", "ignore", "event"] => Action::End(Ending::IgnoreEvent),
            ["streaming", "data", "ignore", "attribute"] => Action::End(Ending::IgnoreAttribute),
            ["streaming", "data", "ignore", "script"] => Action::End(Ending::IgnoreScript),
            ["streaming", "data", "change", "policy", name] | ["change", "policy", name] => {
                Action::End(Ending::Change((*name).to_owned()))
            }
            ["streaming", "data", ..] => {
                return Err(CompileError::new(format!(
                    "'{command}': ignore event, ignore attribute, ignore script or change policy <name>"
                )));
            }
            [] => return Err(CompileError::new("an empty line in a script")),
            _ => Action::Command(command.to_owned()),
        };
        Ok(Self { condition, action })
    }
}

/// Run the lines; how they end, if before the last one.
pub(super) fn run_script(
    lines: &[Line],
    seen: &Json<'_>,
    scene: &mut Scene<'_>,
) -> Result<Option<Ending>, Fault> {
    for line in lines {
        let applies = match &line.condition {
            Some(condition) => condition.holds(seen)?,
            None => true,
        };
        if !applies {
            continue;
        }
        match &line.action {
            Action::End(ending) => return Ok(Some(ending.clone())),
            Action::Command(text) if scene.commands.len() < COMMANDS => {
                scene.commands.push(Command {
                    line: text.clone(),
                    seen: seen.to_json(", ", ": "),
                });
            }
            Action::Command(_) => {}
        }
    }
    Ok(None)
}
