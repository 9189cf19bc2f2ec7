//! Topics and filters (MQTT 5.0, section 4.7 and 4.8): which are valid, who matches whom, and the two indexes.
//!
//! `Tree` holds filters and is asked with a topic (subscriptions); `TopicMap` holds topics and is asked with a filter
//! (retained messages). Both keep their entries by level.

mod filters;
mod levels;
mod map;
mod tree;

#[cfg(test)]
mod tests;

pub use filters::{Filter, MAX_LEVELS, check_topic, matches, parse_filter};
pub use map::TopicMap;
pub use tree::Tree;
