//! Topic filters with `+` and `#`, and which of several fits best (spec: brokers and mapping, section 5).

use super::CompileError;

/// A topic or a filter.
#[derive(Debug, PartialEq, Eq)]
pub struct Filter {
    levels: Vec<Box<str>>,
    wild: bool,
}

impl Filter {
    pub fn compile(text: &str) -> Result<Self, CompileError> {
        let levels: Vec<Box<str>> = text.split('/').map(Into::into).collect();
        let last = levels.len() - 1;
        let misplaced = levels.iter().enumerate().any(|(at, level)| {
            level.len() > 1 && level.contains(['+', '#']) || &**level == "#" && at != last
        });
        if text.is_empty() || misplaced {
            return Err(CompileError::new(format!(
                "'{text}' is no topic: '+' stands for one whole level, '#' for all levels at the end"
            )));
        }
        let wild = levels.iter().any(|level| matches!(&**level, "+" | "#"));
        Ok(Self { levels, wild })
    }

    pub fn is_wild(&self) -> bool {
        self.wild
    }

    pub fn matches(&self, topic: &str) -> bool {
        // Topics of the system ($SYS/...) are not found by a wildcard at their first level.
        if self.wild && topic.starts_with('$') && matches!(&*self.levels[0], "+" | "#") {
            return false;
        }
        let mut given = topic.split('/');
        for level in &self.levels {
            match (&**level, given.next()) {
                ("#", _) => return true, // also when no level is left: `a/#` is the topic `a` too
                ("+", Some(_)) => {}
                (level, Some(given)) if level == given => {}
                _ => return false,
            }
        }
        given.next().is_none()
    }

    /// Order of preference, higher is better: more literal levels, then `+` before `#`.
    pub fn rank(&self) -> (bool, usize, bool) {
        let named = self
            .levels
            .iter()
            .filter(|level| !matches!(&***level, "+" | "#"))
            .count();
        let all = self.levels.last().is_some_and(|level| &**level == "#");
        (!self.wild, named, !all)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn filters_match_by_the_rules_of_mqtt() {
        for (filter, topic, matches) in [
            ("t", "t", true),
            ("t", "T", false),
            ("a/#", "a/b/c", true),
            ("a/#", "a", true),
            ("a/b/#", "a/c", false),
            ("a/+/c", "a/b/c", true),
            ("a/+/c", "a/b/d", false),
            ("a/+", "a", false),
            ("a/+", "a/", true),
            ("#", "a/b", true),
            ("#", "$SYS/x", false),
            ("+/x", "$SYS/x", false),
            ("$SYS/#", "$SYS/x", true),
            ("+/+", "/b", true),
            ("a/b", "a/b/c", false),
        ] {
            assert_eq!(
                Filter::compile(filter).unwrap().matches(topic),
                matches,
                "{filter} {topic}"
            );
        }
        for bad in ["", "a/#/b", "a+", "a/b#"] {
            assert!(Filter::compile(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_most_specific_filter_ranks_highest() {
        let rank = |text: &str| Filter::compile(text).unwrap().rank();
        assert!(rank("a/b/c") > rank("a/b/+"));
        assert!(rank("a/b/+") > rank("a/b/#"));
        assert!(rank("a/b/#") > rank("a/#"));
        assert!(rank("a/#") > rank("#"));
    }

    proptest! {
        #[test]
        fn any_filter_and_topic(filter in "[a/+#$]{0,8}", topic in "[a/$é]{0,8}") {
            if let Ok(filter) = Filter::compile(&filter) {
                let _ = filter.matches(&topic);
            }
        }
    }
}
