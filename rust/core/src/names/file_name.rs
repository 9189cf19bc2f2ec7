//! Names of data files: `[dbms].[table].[source].[hash].[instructions].[member].[id].[date].json`
//! (spec: ingestion, section 5).

use std::fmt;

/// Why a file name cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("file name '{name}': {why}")]
pub struct FileNameError {
    pub name: String,
    pub why: &'static str,
}

/// Who first took a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Member {
    /// `@`: its rows are in the table already (immediate mode).
    Inserted,
    Number(u32),
}

impl fmt::Display for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Inserted => f.write_str("@"),
            Self::Number(n) => write!(f, "{n}"),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileKind {
    Json,
    /// `.insert.sql`, with the partition (`0` = none) after the table.
    Sql,
}

/// The parts of a data file's name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileName {
    pub dbms: String,
    pub table: String,
    pub source: String,
    pub hash: String,
    /// Id of the mapping policy, `0` = none.
    pub instructions: String,
    /// Member, row id in its TSD table (not 0), date YYMMDDHHMMSS UTC.
    pub tsd: Option<(Member, u64, String)>,
    pub kind: FileKind,
    /// Ends in `.gz`.
    pub compressed: bool,
    /// Of an SQL file: `<key>_<u><NN>_<column>`, or `0`.
    pub partition: Option<String>,
}

impl FileName {
    /// A JSON file with nothing but its table.
    pub fn new(dbms: &str, table: &str) -> Self {
        Self {
            dbms: dbms.to_owned(),
            table: table.to_owned(),
            source: "0".to_owned(),
            hash: "0".to_owned(),
            instructions: "0".to_owned(),
            tsd: None,
            kind: FileKind::Json,
            compressed: false,
            partition: None,
        }
    }

    /// The parts of `name`, which is a file's name without directories.
    pub fn parse(name: &str) -> Result<Self, FileNameError> {
        let fail = |why| FileNameError {
            name: name.to_owned(),
            why,
        };
        let mut parts: Vec<&str> = name.split('.').collect();
        if parts.iter().any(|part| !is_part(part)) {
            return Err(fail(
                "a part is empty or holds a slash or control character",
            ));
        }
        let compressed = parts.last() == Some(&"gz");
        if compressed {
            parts.pop();
        }
        let kind = match parts.pop() {
            Some("json") => FileKind::Json,
            Some("sql") => FileKind::Sql,
            _ => return Err(fail("it must end in .json, .sql or one of these and .gz")),
        };
        if parts.len() < 2 {
            return Err(fail("it must begin with the database and the table"));
        }
        let mut file = Self::new(parts[0], parts[1]);
        file.compressed = compressed;
        file.kind = kind;
        let mut rest = &parts[2..];
        if kind == FileKind::Sql {
            rest = rest.strip_suffix(&["insert"]).unwrap_or(rest);
            file.partition = Some((*rest.first().unwrap_or(&"0")).to_owned());
            // The file's TSD parts belong to the JSON file it was made of: not read.
            rest = &rest[rest.len().min(1)..];
            rest = &rest[..rest.len().min(3)];
        }
        if rest.len() > 3 && rest.len() != 6 {
            return Err(fail("2 to 5 or 8 parts are expected before the type"));
        }
        for (field, part) in [&mut file.source, &mut file.hash, &mut file.instructions]
            .into_iter()
            .zip(rest)
        {
            (*part).clone_into(field);
        }
        if let [_, _, _, member, id, date] = rest {
            file.tsd = Some(parse_tsd(member, id, date).map_err(fail)?);
        }
        Ok(file)
    }

    /// The name; fails if a part is empty or holds a dot, a slash or a control character.
    pub fn format(&self) -> Result<String, FileNameError> {
        let tsd = self
            .tsd
            .as_ref()
            .map(|(member, id, date)| [member.to_string(), id.to_string(), date.clone()]);
        let mut parts = vec![self.dbms.as_str(), &self.table];
        if self.kind == FileKind::Sql {
            parts.push(self.partition.as_deref().unwrap_or("0"));
        }
        parts.extend([self.source.as_str(), &self.hash, &self.instructions]);
        if let Some(tsd) = &tsd {
            parts.extend(tsd.iter().map(String::as_str));
        }
        if let Some(part) = parts.iter().find(|p| !is_part(p) || p.contains('.')) {
            return Err(FileNameError {
                name: (*part).to_owned(),
                why: "a part may not be empty nor hold a dot, a slash or a control character",
            });
        }
        parts.push(match self.kind {
            FileKind::Json => "json",
            FileKind::Sql => "insert.sql",
        });
        if self.compressed {
            parts.push("gz");
        }
        Ok(parts.join("."))
    }
}

fn is_part(part: &str) -> bool {
    !part.is_empty() && !part.contains(|c: char| c == '/' || c == '\\' || c.is_control())
}

fn parse_tsd(member: &str, id: &str, date: &str) -> Result<(Member, u64, String), &'static str> {
    let digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
    let member = match member {
        "@" => Member::Inserted,
        number if digits(number) => {
            Member::Number(number.parse().map_err(|_| "the TSD member is too large")?)
        }
        _ => return Err("the TSD member must be a number or @"),
    };
    // parse() alone would take a sign, too.
    let id = match id.parse::<u64>() {
        Ok(number) if number > 0 && digits(id) => number,
        _ => return Err("the TSD id must be a number above 0"),
    };
    if date.len() != 12 || !digits(date) {
        return Err("the TSD date must be YYMMDDHHMMSS");
    }
    Ok((member, id, date.to_owned()))
}

/// The name of a file that failed: `<name>.err_<code>.<unique seconds>.<type>`.
pub fn error_name(name: &str, code: u32, seconds: u64) -> String {
    let stem = name.strip_suffix(".gz").unwrap_or(name);
    let at = stem.rfind('.').unwrap_or(stem.len());
    format!("{}.err_{code}.{seconds}{}", &name[..at], &name[at..])
}

/// The name without `.err_<code>.<seconds>`, for a file that is tried again.
pub fn strip_error(name: &str) -> String {
    let parts: Vec<&str> = name.split('.').collect();
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let mut kept = Vec::with_capacity(parts.len());
    let mut i = 0;
    while i < parts.len() {
        let is_mark = parts[i].strip_prefix("err_").is_some_and(is_number)
            && parts.get(i + 1).is_some_and(|next| is_number(next));
        if is_mark {
            i += 2;
        } else {
            kept.push(parts[i]);
            i += 1;
        }
    }
    kept.join(".")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_full_name_is_read_and_written() {
        let name = "d.t.0.h.0.216.44.260710230146.json.gz";
        let file = FileName::parse(name).unwrap();
        assert_eq!(
            file.tsd,
            Some((Member::Number(216), 44, "260710230146".to_owned()))
        );
        assert!(file.compressed);
        assert_eq!(file.format().unwrap(), name);
    }

    #[test]
    fn a_policy_id_with_a_dot_is_refused() {
        let mut file = FileName::new("d", "t");
        file.instructions = "a.b".into();
        assert!(file.format().unwrap_err().to_string().contains("'a.b'"));
    }

    #[test]
    fn wrong_names_say_why() {
        for name in [
            "",
            "d.json",
            "d.t.txt",
            "d..t.json",
            "../d.t.json",
            "d.t.0.h.pol.5.json",
            "d.t.0.h.pol.5.6.json",
            "d.t.0.h.0.x.44.260710230146.json",
            "d.t.0.h.0.1.0.260710230146.json",
            "d.t.0.h.0.1.+4.260710230146.json",
            "d.t.0.h.0.1.44.2607.json",
        ] {
            assert!(FileName::parse(name).is_err(), "{name}");
        }
    }

    #[test]
    fn error_marks_come_and_go() {
        for name in ["d.t.0.h.0.json", "d.t.json.gz", "odd"] {
            let failed = error_name(name, 86, 1_783_723_193);
            assert_ne!(failed, name);
            assert_eq!(strip_error(&failed), name);
        }
        assert_eq!(error_name("d.t.json.gz", 6, 9), "d.t.err_6.9.json.gz");
    }

    proptest! {
        #[test]
        fn any_name_is_read_or_refused(name in "[a-z0-9@._/-]{0,40}|.{0,30}") {
            strip_error(&name);
            if let Ok(file) = FileName::parse(&name) {
                let again = FileName::parse(&file.format().unwrap()).unwrap();
                prop_assert_eq!(again, file);
            }
        }
    }
}
