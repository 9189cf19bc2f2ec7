//! The border between the planner and the engine: what is grouped, and what is printed.

use serde::{Deserialize, Serialize};

use super::cast::Cast;
use super::time::{Unit, Zone};
use super::value::Kind;

/// How the rows of a scan are grouped; columns are positions in the scan's select list.
///
/// The result has the columns of the keys, then of the aggregates. Without keys it is one row, even of nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupSpec {
    pub keys: Vec<Key>,
    pub aggregates: Vec<Aggregate>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Key {
    Column(usize),
    /// `increments`: one integer a bucket, in the buckets' order (`bucket::Bucket::key`); null of a null.
    Bucket {
        column: usize,
        unit: Unit,
        n: i64,
    },
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Aggregate {
    pub function: Function,
    /// None only for `CountRows`.
    pub column: Option<usize>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Function {
    CountRows,
    Count,
    CountDistinct,
    Min,
    Max,
    /// An integer as long as all values are integers and it fits 64 bits; compensated otherwise.
    Sum,
    Avg,
    /// abs(max - min)
    Range,
}

/// A column of the result.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Output {
    pub title: String,
    /// A timestamp without casts is printed in the zone; casts see the stored UTC text.
    pub kind: Kind,
    #[serde(default)]
    pub casts: Vec<Cast>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Format {
    #[default]
    #[serde(rename = "json")]
    Json,
    #[serde(rename = "json:list")]
    JsonList,
    #[serde(rename = "json:output")]
    JsonOutput,
    #[serde(rename = "table")]
    Table,
    /// A line for each row as it travels between nodes: positions for titles, each value a text.
    #[serde(rename = "peer")]
    Peer,
    /// A line for each row: its object as `Json` prints it.
    #[serde(rename = "lines")]
    Lines,
    /// RFC 4180, with a line of titles; a null is nothing, an empty text is `""`.
    #[serde(rename = "csv")]
    Csv,
}

/// A null in the json formats; tables print `null`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NullText {
    /// `""`, as clients of the reference expect.
    #[default]
    Empty,
    /// `null`
    Null,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LineEnd {
    #[default]
    Lf,
    /// The console's.
    CrLf,
}

impl LineEnd {
    pub fn bytes(self) -> &'static [u8] {
        match self {
            Self::Lf => b"\n",
            Self::CrLf => b"\r\n",
        }
    }
}

/// Nodes of the statistics: `"Nodes": target`, or target and participating where they differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Nodes {
    pub target: u32,
    pub participating: u32,
}

impl Default for Nodes {
    fn default() -> Self {
        Self {
            target: 1,
            participating: 1,
        }
    }
}

/// What is printed of and around the rows (section 11).
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Render {
    #[serde(default)]
    pub format: Format,
    /// The first columns of the statement; further ones are not printed.
    pub outputs: Vec<Output>,
    #[serde(with = "zone_name")]
    pub zone: Zone,
    /// Times as `2025-01-01T00:00:00.000000Z` (`timezone = utc`).
    #[serde(default)]
    pub iso: bool,
    #[serde(default)]
    pub statistics: bool,
    #[serde(default)]
    pub json_null: NullText,
    #[serde(default)]
    pub line_end: LineEnd,
    #[serde(default)]
    pub nodes: Nodes,
    /// `limit n per c`: (position in the select list, n).
    #[serde(default)]
    pub per_column_limit: Option<(usize, u64)>,
}

/// A zone as the name that gives it back.
mod zone_name {
    use serde::{Deserialize, Deserializer, Serializer, de};

    use super::Zone;

    pub fn serialize<S: Serializer>(zone: &Zone, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(match zone {
            Zone::Utc => "utc",
            // Only the machine's own zone can be without a name.
            Zone::Named(zone) => zone.iana_name().unwrap_or("local"),
        })
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Zone, D::Error> {
        let name = String::deserialize(from)?;
        Zone::named(&name, &Zone::system()).map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn specs_cross_as_json() {
        let group = GroupSpec {
            keys: vec![
                Key::Bucket {
                    column: 0,
                    unit: Unit::Minute,
                    n: 5,
                },
                Key::Column(1),
            ],
            aggregates: vec![Aggregate {
                function: Function::CountRows,
                column: None,
            }],
        };
        let text = serde_json::to_string(&group).expect("JSON");
        assert_eq!(
            text,
            r#"{"keys":[{"bucket":{"column":0,"unit":"minute","n":5}},{"column":1}],"aggregates":[{"function":"count_rows","column":null}]}"#
        );
        assert_eq!(
            serde_json::from_str::<GroupSpec>(&text).expect("a spec"),
            group
        );

        let short = r#"{"format":"json:list","outputs":[{"title":"a","kind":"timestamp","casts":["ljust(19)"]}],"zone":"et"}"#;
        let render: Render = serde_json::from_str(short).expect("a spec");
        assert_eq!(render.format, Format::JsonList);
        let again = serde_json::to_value(&render).expect("JSON");
        assert_eq!(again["zone"], "America/New_York");
        assert_eq!(again["outputs"][0]["casts"][0], "ljust(19)");
        assert!(serde_json::from_str::<Render>(r#"{"outputs":[],"zone":"nowhere"}"#).is_err());
    }
}
