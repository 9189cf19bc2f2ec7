//! A compiled program: the topics of one message client.

use foldhash::{HashMap, HashMapExt};
use serde_json::Value;

use super::columns::{KeepBlob, Parameters, Scene};
use super::json::Json;
use super::policy::Policy;
use super::raw::Raw;
use super::target::{Mapped, Rejected, Row, Tally, Targets};
use super::topic::Filter;
use super::transform::Transform;
use super::{CompileError, Fault, MapError};
use crate::rows::ColumnDef;
use crate::rows::time::Zone;

/// Topics and what is done with their messages. Immutable: one program serves all threads.
#[derive(Debug)]
pub struct Program {
    topics: Vec<Topic>,
    exact: HashMap<String, usize>,
    /// Filters with wildcards, the most specific first.
    wild: Vec<usize>,
}

#[derive(Debug)]
struct Topic {
    filter: Filter,
    mapping: Mapping,
}

#[derive(Debug)]
enum Mapping {
    Parameters(Box<Parameters>),
    Policies(Vec<Mapper>),
    Raw(Raw),
    /// Messages are logged only.
    Nothing,
}

#[derive(Debug)]
enum Mapper {
    Policy(Box<Policy>),
    Transform(Box<Transform>),
}

/// A payload as it arrived.
#[derive(Clone, Copy, Debug)]
pub struct Arrival<'p> {
    pub topic: &'p str,
    pub payload: &'p [u8],
    /// Microseconds UTC.
    pub now_us: i64,
}

impl Program {
    /// Compile a specification (the form is described at the module).
    pub fn compile(spec: &Value) -> Result<Self, CompileError> {
        let specs = spec["topics"]
            .as_array()
            .filter(|topics| !topics.is_empty());
        let specs =
            specs.ok_or_else(|| CompileError::new("a message client needs at least one topic"))?;
        let only_log = spec["only_log"].as_bool() == Some(true);
        let mut topics = Vec::with_capacity(specs.len());
        let mut exact = HashMap::new();
        let mut wild = Vec::new();
        for (at, topic_spec) in specs.iter().enumerate() {
            let name = topic_spec["name"].as_str().unwrap_or_default().trim();
            let topic = Topic::compile(name, topic_spec, &spec["imported"], only_log)
                .map_err(|e| e.within(format!("topic '{name}'")))?;
            if topic.filter.is_wild() {
                wild.push(at);
            } else if exact.insert(name.to_owned(), at).is_some() {
                return Err(CompileError::new(format!(
                    "the topic '{name}' is declared twice"
                )));
            }
            topics.push(topic);
        }
        wild.sort_by_key(|&at| std::cmp::Reverse(topics[at].filter.rank()));
        Ok(Self {
            topics,
            exact,
            wild,
        })
    }

    /// The topic that takes a message: exact before wildcards, the more specific first. An empty name is the
    /// client's first topic.
    pub fn topic(&self, name: &str) -> Option<usize> {
        if name.is_empty() {
            return Some(0);
        }
        let exact = self.exact.get(name).copied();
        exact.or_else(|| {
            self.wild
                .iter()
                .copied()
                .find(|&at| self.topics[at].filter.matches(name))
        })
    }

    /// Types of the columns that the policies of a topic list, whatever its messages hold.
    pub fn declared(&self, number: usize) -> Vec<ColumnDef> {
        match self.topics.get(number).map(|topic| &topic.mapping) {
            Some(Mapping::Policies(policies)) => {
                policies.iter().flat_map(Mapper::declared).collect()
            }
            _ => Vec::new(),
        }
    }

    /// The database of a topic whose names make tables (`dynamic = true`).
    pub fn dynamic(&self, number: usize) -> Option<&str> {
        match self.topics.get(number).map(|topic| &topic.mapping) {
            Some(Mapping::Raw(raw)) => raw.dynamic(),
            _ => None,
        }
    }

    /// Map a payload: a JSON object, or a list of which each element is one message.
    ///
    /// Elements that fail are reported with their number and reason; the others are kept. `now_us` is the time
    /// of arrival, `zone` the node's own, for times that name none, `blobs` takes the contents of blob columns.
    pub fn map(
        &self,
        topic: &str,
        payload: &[u8],
        now_us: i64,
        zone: &Zone,
        blobs: Option<&KeepBlob<'_>>,
    ) -> Result<Mapped, MapError> {
        let number = self
            .topic(topic)
            .ok_or_else(|| MapError::UnknownTopic(super::shorten(topic)))?;
        let mut targets = Targets::new(zone);
        let arrival = Arrival {
            topic,
            payload,
            now_us,
        };
        let tally = self.map_into(number, arrival, blobs, &mut targets)?;
        let targets = targets.finish().filter(|target| target.chunk.len > 0);
        Ok(Mapped {
            topic: number,
            targets: targets.collect(),
            messages: tally.messages,
            rejected: tally.rejected,
            cut: tally.cut,
            commands: tally.commands,
        })
    }

    /// As `map`, for a topic that is known by its number, into targets that other payloads share.
    pub fn map_into(
        &self,
        number: usize,
        arrival: Arrival<'_>,
        blobs: Option<&KeepBlob<'_>>,
        targets: &mut Targets<'_>,
    ) -> Result<Tally, MapError> {
        let mapping = &self.topics[number].mapping;
        let raw = matches!(mapping, Mapping::Raw(_));
        let document = match Json::parse(arrival.payload) {
            Ok(document) => document,
            Err(error) if raw => {
                Raw::text(arrival.payload).ok_or_else(|| MapError::NotRows(error.to_string()))?
            }
            Err(error) => return Err(MapError::NotRows(error.to_string())),
        };
        let elements = match &document {
            Json::List(elements) => elements,
            Json::Object(_) => std::slice::from_ref(&document),
            _ if raw => std::slice::from_ref(&document),
            _ => return Err(MapError::NotRows("neither an object nor a list".to_owned())),
        };
        targets.begin();
        let mut tally = Tally {
            messages: elements.len(),
            ..Tally::default()
        };
        let mut scene = Scene {
            now_us: arrival.now_us,
            zone: targets.zone,
            cut: 0,
            blobs,
            commands: Vec::new(),
        };
        let mut rows = Vec::new();
        let mut faults = Vec::new();
        for (index, element) in elements.iter().enumerate() {
            mapping.rows(arrival.topic, element, &mut scene, &mut rows, &mut faults);
            for row in rows.drain(..) {
                if let Err(reason) = targets.add(&row) {
                    faults.push(Fault::new(6, reason));
                }
            }
            tally
                .rejected
                .extend(faults.drain(..).map(|fault| Rejected {
                    element: index + 1,
                    code: fault.code,
                    reason: fault.reason,
                }));
        }
        tally.cut = scene.cut;
        tally.commands = scene.commands;
        Ok(tally)
    }
}

impl Topic {
    fn compile(
        name: &str,
        spec: &Value,
        imported: &Value,
        only_log: bool,
    ) -> Result<Self, CompileError> {
        if only_log {
            return Ok(Self {
                filter: Filter::compile(name)?,
                mapping: Mapping::Nothing,
            });
        }
        let is = |key: &str| spec[key].as_bool() == Some(true);
        let mapping = match spec.get("policies").and_then(Value::as_array) {
            _ if is("persist") || is("flush") => Mapping::Raw(Raw::compile(spec, false)?),
            _ if is("dynamic") => Mapping::Raw(Raw::compile(spec, true)?),
            Some(policies) if !policies.is_empty() => Mapping::Policies(
                policies
                    .iter()
                    .map(|policy| Mapper::compile(policy, imported))
                    .collect::<Result<_, _>>()?,
            ),
            _ => Mapping::Parameters(Box::new(Parameters::compile(spec)?)),
        };
        Ok(Self {
            filter: Filter::compile(name)?,
            mapping,
        })
    }
}

impl Mapper {
    fn compile(spec: &Value, imported: &Value) -> Result<Self, CompileError> {
        let root = spec.as_object().and_then(|root| root.iter().next());
        match root.map(|(kind, body)| (kind.as_str(), body)) {
            Some(("mapping", body)) => {
                Policy::compile(body, imported).map(|made| Self::Policy(Box::new(made)))
            }
            Some(("transform", body)) => {
                Transform::compile(body).map(|made| Self::Transform(Box::new(made)))
            }
            other => Err(CompileError::new(format!(
                "a '{}' policy is no mapping",
                other.map_or("", |(kind, _)| kind)
            ))),
        }
    }

    fn declared(&self) -> Vec<ColumnDef> {
        match self {
            Self::Policy(policy) => policy.declared(),
            Self::Transform(_) => Vec::new(),
        }
    }
}

impl Mapping {
    /// Rows of one message; all of them are made before any is kept.
    fn rows<'v>(
        &'v self,
        topic: &str,
        element: &'v Json<'v>,
        scene: &mut Scene<'_>,
        out: &mut Vec<Row<'v>>,
        faults: &mut Vec<Fault>,
    ) {
        if let Mapping::Raw(raw) = self {
            match raw.row(topic, element, scene) {
                Ok(row) => out.push(row),
                Err(fault) => faults.push(fault),
            }
            return;
        }
        if !matches!(element, Json::Object(_)) {
            faults.push(Fault::new(
                299,
                "Failed to identify application data: no JSON object",
            ));
            return;
        }
        match self {
            Mapping::Nothing | Mapping::Raw(_) => {}
            Mapping::Parameters(parameters) => {
                let before = out.len();
                if let Err(fault) = parameters.rows(element, scene, out) {
                    out.truncate(before);
                    faults.push(fault);
                }
            }
            Mapping::Policies(policies) => {
                for policy in policies {
                    let done = match policy {
                        Mapper::Policy(policy) => policy.rows(element, scene, out, faults),
                        Mapper::Transform(transform) => transform.rows(element, scene, out),
                    };
                    if let Err(fault) = done {
                        faults.push(fault);
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn readings() -> Program {
        Program::compile(&json!({"topics": [
            {"name": "t", "dbms": "Plant 1", "table": "bring [asset]", "columns": [
                {"name": "timestamp", "type": "timestamp", "value": "bring [ts]"},
                {"name": "value", "type": "float", "value": "bring [readings][][value]"},
                {"name": "Note", "type": "str", "value": "bring [note]", "optional": true}]},
            {"name": "a/#", "dbms": "d", "table": "t",
             "columns": [{"name": "v", "type": "int", "value": "bring [v]"}]}
        ]}))
        .unwrap()
    }

    #[test]
    fn a_list_inside_a_message_gives_a_row_per_element() {
        let payload = br#"{"asset": "P-1", "ts": 1607959427550, "readings": [{"value": 1}, {"value": "2.5"}]}"#;
        let mapped = readings().map("", payload, 0, &Zone::UTC, None).unwrap();
        let target = &mapped.targets[0];
        assert_eq!(
            (target.dbms.as_str(), target.table.as_str()),
            ("plant_1", "p_1")
        );
        assert_eq!(target.chunk.len, 2);
        let declared: Vec<String> = target
            .declared
            .iter()
            .map(|d| format!("{} {}", d.name, d.kind))
            .collect();
        assert_eq!(declared, ["timestamp timestamp", "value float"]);
    }

    #[test]
    fn bad_elements_are_reported_with_their_place_and_the_others_kept() {
        let payload = br#"[{"v": 1}, {"x": 2}, {"v": "three"}, 4, {"v": 5.5}]"#;
        let mapped = readings().map("a/b", payload, 0, &Zone::UTC, None).unwrap();
        assert_eq!(
            (mapped.topic, mapped.messages, mapped.rows(), mapped.cut),
            (1, 5, 2, 1)
        );
        let places: Vec<(usize, u16)> = mapped
            .rejected
            .iter()
            .map(|r| (r.element, r.code))
            .collect();
        assert_eq!(places, [(2, 125), (3, 194), (4, 299)]);
        assert!(
            mapped.rejected[1].reason.contains("v: 'three'"),
            "{:?}",
            mapped.rejected
        );
    }

    #[test]
    fn a_message_whose_second_row_fails_leaves_nothing() {
        let payload = br#"{"asset": "p", "ts": 1, "readings": [{"value": 1}, {"value": "x"}]}"#;
        let mapped = readings().map("t", payload, 0, &Zone::UTC, None).unwrap();
        assert_eq!((mapped.rows(), mapped.rejected.len()), (0, 1));
    }

    #[test]
    fn whole_payloads_that_cannot_be_mapped() {
        let program = readings();
        assert_eq!(
            program
                .map("t", b"not json", 0, &Zone::UTC, None)
                .unwrap_err()
                .code(),
            299
        );
        assert_eq!(
            program
                .map("t", b"\"text\"", 0, &Zone::UTC, None)
                .unwrap_err()
                .code(),
            299
        );
        assert_eq!(
            program
                .map("b", b"{}", 0, &Zone::UTC, None)
                .unwrap_err()
                .code(),
            159
        );
    }

    #[test]
    fn declarations_that_cannot_work_are_refused() {
        for (spec, code) in [
            (json!({}), 124),
            (
                json!({"topics": [{"name": "t", "dbms": "d", "table": "t"}]}),
                124,
            ),
            (
                json!({"topics": [{"name": "t", "dbms": "d", "table": "t",
                "columns": [{"name": "v", "type": "nosuch", "value": "1"}]}]}),
                188,
            ),
            (
                json!({"topics": [{"name": "t", "dbms": "d", "table": "t",
                "columns": [{"name": "v", "type": "int", "value": "abc"}]}]}),
                124,
            ),
            (json!({"topics": [{"name": "t", "dynamic": true}]}), 124),
            (
                json!({"topics": [{"name": "t", "policies": [{"transform": {"id": "x"}}]}]}),
                124,
            ),
        ] {
            assert_eq!(Program::compile(&spec).unwrap_err().code, code, "{spec}");
        }
    }

    fn json_value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<u64>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            "[ -~é]{0,12}".prop_map(Value::from),
            "bring \\[[a-c]\\](\\[\\])?".prop_map(Value::from),
            "(if )?\\[[a-c]\\] (==|>) [a-c1]".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 24, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::vec(("[a-c*]|value|type|readings|schema", inner), 0..4)
                    .prop_map(|pairs| Value::Object(pairs.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn any_message_maps_or_is_reported(message in json_value()) {
            let payload = message.to_string();
            for topic in ["t", "a/x"] {
                if let Ok(mapped) = readings().map(topic, payload.as_bytes(), 0, &Zone::UTC, None) {
                    prop_assert!(mapped.rejected.iter().all(|r| r.element <= mapped.messages));
                }
            }
        }

        #[test]
        fn any_policy_compiles_or_is_refused(
            dbms in json_value(), readings in json_value(), condition in json_value(), column in json_value(),
            kind in "int|float|timestamp|str|bool|\\*", message in json_value(),
        ) {
            let column = match column {
                Value::Object(mut map) => {
                    map.insert("type".into(), kind.into());
                    Value::Object(map)
                }
                other => json!({"type": kind, "bring": other}),
            };
            let spec = json!({"topics": [{"name": "t", "policies": [{"mapping": {
                "id": "p", "dbms": dbms, "table": "t", "readings": readings, "condition": condition,
                "schema": {"a": column, "*": {"type": "*", "bring": ["*"]}}}}]}]});
            if let Ok(program) = Program::compile(&spec) {
                let _ = program.map("t", message.to_string().as_bytes(), 0, &Zone::UTC, None);
            }
        }
    }
}
