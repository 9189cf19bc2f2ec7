//! Validity of topics and filters, and the match of one filter with one topic.

/// Levels that a topic or filter may have. The standard sets no limit; one packet could ask for 65,536 levels, each
/// of them a node of the index. 200 slashes are what mosquitto takes.
pub const MAX_LEVELS: usize = 201;

const MAX_BYTES: usize = 65_535;
const SHARE: &str = "$share/";

/// A subscription's text, taken apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Filter<'a> {
    /// Group of a shared subscription (`$share/group/filter`).
    pub share: Option<&'a str>,
    /// What is matched with topics, without the share.
    pub filter: &'a str,
}

/// Whether a message may be published to `topic`: not empty, no wildcard, no U+0000, at most 65,535 bytes and
/// `MAX_LEVELS` levels.
pub fn check_topic(topic: &str) -> bool {
    !topic.is_empty()
        && topic.len() <= MAX_BYTES
        && !topic.bytes().any(|byte| matches!(byte, b'+' | b'#' | 0))
        && level_count(topic) <= MAX_LEVELS
}

/// The filter of a subscription; `None` when it is invalid (section 4.7.1: wildcards fill a level, `#` is the last
/// one; section 4.8.2: a share has a name without wildcards and a filter).
pub fn parse_filter(text: &str) -> Option<Filter<'_>> {
    if text.len() > MAX_BYTES {
        return None;
    }
    let parsed = match text.strip_prefix(SHARE) {
        Some(rest) => {
            let (group, filter) = rest.split_once('/')?;
            if group.is_empty() || group.bytes().any(|byte| matches!(byte, b'+' | b'#' | 0)) {
                return None;
            }
            Filter {
                share: Some(group),
                filter,
            }
        }
        None => Filter {
            share: None,
            filter: text,
        },
    };
    is_filter(parsed.filter).then_some(parsed)
}

fn is_filter(filter: &str) -> bool {
    if filter.is_empty() || filter.contains('\0') || level_count(filter) > MAX_LEVELS {
        return false;
    }
    let mut levels = filter.split('/').peekable();
    while let Some(level) = levels.next() {
        let fits = match level {
            "+" => true,
            "#" => levels.peek().is_none(),
            literal => !literal.bytes().any(|byte| matches!(byte, b'+' | b'#')),
        };
        if !fits {
            return false;
        }
    }
    true
}

fn level_count(text: &str) -> usize {
    1 + text.bytes().filter(|&byte| byte == b'/').count()
}

/// Whether `filter` (valid, without a share) matches `topic`. Topics that begin with `$` are hidden from filters that
/// begin with a wildcard (section 4.7.2).
pub fn matches(filter: &str, topic: &str) -> bool {
    if topic.starts_with('$') && filter.starts_with(['+', '#']) {
        return false;
    }
    let mut levels = topic.split('/');
    for wanted in filter.split('/') {
        if wanted == "#" {
            return true; // also of the level above: `a/#` matches `a`
        }
        match levels.next() {
            Some(level) if wanted == "+" || wanted == level => {}
            _ => return false,
        }
    }
    levels.next().is_none()
}
