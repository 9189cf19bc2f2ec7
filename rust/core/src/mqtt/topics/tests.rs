use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

fn matched<T: Default + Copy + Ord>(tree: &Tree<T>, topic: &str) -> Vec<T> {
    let mut found = Vec::new();
    tree.for_each_match(topic, |&value| found.push(value));
    found.sort_unstable();
    found
}

fn retained(map: &TopicMap<u32>, filter: &str) -> BTreeMap<String, u32> {
    let mut found = BTreeMap::new();
    map.for_each_match(filter, |topic, &value| {
        assert!(
            found.insert(topic.to_owned(), value).is_none(),
            "twice: {topic}"
        );
    });
    found
}

/// Cases of the standard (4.7.1 and 4.7.2), each with its answer.
#[test]
fn filters_match_as_the_standard_says() {
    let cases = [
        ("sport/tennis/player1/#", "sport/tennis/player1", true),
        (
            "sport/tennis/player1/#",
            "sport/tennis/player1/ranking",
            true,
        ),
        (
            "sport/tennis/player1/#",
            "sport/tennis/player1/score/wimbledon",
            true,
        ),
        ("sport/tennis/player1/#", "sport/tennis/player10", false),
        ("sport/#", "sport", true),
        ("#", "sport", true),
        ("#", "/", true),
        ("sport/tennis/+", "sport/tennis/player1", true),
        ("sport/tennis/+", "sport/tennis/player1/ranking", false),
        ("sport/+", "sport", false),
        ("sport/+", "sport/", true),
        ("+/+", "/finance", true),
        ("/+", "/finance", true),
        ("+", "/finance", false),
        ("+", "finance", true),
        ("#", "$SYS/broker", false),
        ("+/monitor/Clients", "$SYS/monitor/Clients", false),
        ("$SYS/#", "$SYS/broker/uptime", true),
        ("$SYS/monitor/+", "$SYS/monitor/Clients", true),
        ("$SYS/+", "$SYS/a/b", false),
        ("a/#", "a/$b", true),
        ("a/+", "a/$b", true),
        ("ACCOUNTS", "Accounts", false),
        ("/finance", "finance", false),
        ("a//b", "a/b", false),
        ("a/+/b", "a//b", true),
        ("+/a/#", "x/a", true),
        ("é/+", "é/ü", true),
    ];
    for (filter, topic, wanted) in cases {
        assert_eq!(matches(filter, topic), wanted, "{filter} on {topic}");
        let mut tree = Tree::new();
        *tree.entry(filter) = 1;
        assert_eq!(
            matched(&tree, topic) == [1],
            wanted,
            "tree: {filter} on {topic}"
        );
        let mut map = TopicMap::new();
        map.insert(topic, 1);
        assert_eq!(
            retained(&map, filter).contains_key(topic),
            wanted,
            "map: {filter} on {topic}"
        );
    }
}

#[test]
fn a_topic_has_no_wildcards_and_is_not_empty() {
    for topic in [
        "a",
        "/",
        " ",
        "a//b",
        "$SYS/x",
        "é",
        &"x".repeat(65_535),
        &"/".repeat(MAX_LEVELS - 1),
    ] {
        assert!(check_topic(topic), "{topic:.20}");
    }
    for topic in [
        "",
        "+",
        "a/#",
        "a+",
        "a#b",
        "a\0b",
        &"x".repeat(65_536),
        &"/".repeat(MAX_LEVELS),
    ] {
        assert!(!check_topic(topic), "{topic:.20}");
    }
}

#[test]
fn wildcards_of_a_filter_fill_a_level() {
    for filter in [
        "#",
        "+",
        "/",
        "a/#",
        "+/+/#",
        "a//+",
        "$SYS/#",
        "$share",
        "a b",
        &"/".repeat(MAX_LEVELS - 1),
    ] {
        assert_eq!(
            parse_filter(filter),
            Some(Filter {
                share: None,
                filter
            }),
            "{filter:.20}"
        );
    }
    for filter in [
        "",
        "a#",
        "#/a",
        "a/#/b",
        "a+",
        "+a/b",
        "a/b+",
        "##",
        "a\0",
        &"x".repeat(65_536),
        &"/".repeat(MAX_LEVELS),
    ] {
        assert_eq!(parse_filter(filter), None, "{filter:.20}");
    }
}

#[test]
fn a_share_has_a_name_and_a_filter() {
    for (text, share, filter) in [
        ("$share/g/a/+", "g", "a/+"),
        ("$share/g//", "g", "/"),
        ("$share/g/$SYS/#", "g", "$SYS/#"),
    ] {
        assert_eq!(
            parse_filter(text),
            Some(Filter {
                share: Some(share),
                filter
            })
        );
    }
    for text in [
        "$share/",
        "$share/g",
        "$share/g/",
        "$share//a",
        "$share/+/a",
        "$share/a#/b",
        "$share/g/a#",
    ] {
        assert_eq!(parse_filter(text), None, "{text}");
    }
}

#[test]
fn entries_go_when_they_are_empty_and_leave_others_alone() {
    let mut tree: Tree<Vec<u32>> = Tree::new();
    for (value, filter) in ["a", "a/b", "a/b/#", "a/+", "#"].into_iter().enumerate() {
        tree.entry(filter).push(value as u32);
    }
    tree.entry("a/b").push(9);
    assert_eq!(tree.len(), 5);
    let without = |value: u32| {
        move |values: &mut Vec<u32>| {
            values.retain(|&one| one != value);
            values.is_empty()
        }
    };
    assert!(!tree.remove_if("a/b", without(9)));
    assert!(tree.remove_if("a/b", without(1)));
    assert!(!tree.remove_if("a/b", without(1)));
    assert!(!tree.remove_if("x/y", |_| true));
    assert_eq!(tree.get("a/b"), None);
    assert_eq!(
        (tree.len(), tree.get("a"), tree.get("a/b/#")),
        (4, Some(&vec![0]), Some(&vec![2]))
    );
    let mut found: Vec<u32> = Vec::new();
    tree.for_each_match("a/b", |values| found.extend(values));
    found.sort_unstable();
    assert_eq!(found, [2, 3, 4]);
}

#[test]
fn values_can_be_read_in_pieces_while_others_come_and_go() {
    let mut map = TopicMap::new();
    for number in 0..100 {
        map.insert(&format!("t/{number}"), number);
    }
    let mut seen = Vec::new();
    let mut next = 0;
    for round in 0..50 {
        let piece: Vec<(u32, u32)> = map
            .scan(next)
            .take(7)
            .map(|(at, &value)| (at, value))
            .collect();
        next = piece.last().map_or(next, |&(last, _)| last + 1);
        seen.extend(piece.into_iter().map(|(_, value)| value));
        map.insert(&format!("new/{round}"), 1000);
        map.remove("t/0");
    }
    seen.retain(|&value| value < 1000);
    seen.sort_unstable();
    assert_eq!(seen, (0..100).collect::<Vec<_>>());
    assert_eq!(map.get("t/0"), None);
    assert_eq!(map.get("t/1"), Some(&1));
}

#[test]
fn the_deepest_filter_and_topic_do_no_harm() {
    let (deep, wild) = (
        vec!["a"; MAX_LEVELS].join("/"),
        vec!["+"; MAX_LEVELS].join("/"),
    );
    let mut tree = Tree::new();
    *tree.entry(&deep) = 1;
    *tree.entry(&wild) = 2;
    assert_eq!(matched(&tree, &deep), [1, 2]);
    let mut map = TopicMap::new();
    map.insert(&deep, 1);
    assert_eq!(retained(&map, &wild).len(), 1);
    assert_eq!(retained(&map, "#").len(), 1);
}

fn level() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec!["a", "b", "", "$x"])
}

fn topic() -> impl Strategy<Value = String> {
    prop::collection::vec(level(), 1..5)
        .prop_map(|levels| levels.join("/"))
        .prop_filter("empty", |topic| !topic.is_empty())
}

fn filter() -> impl Strategy<Value = String> {
    let level = prop_oneof![3 => level(), 2 => Just("+")];
    (prop::collection::vec(level, 0..5), any::<bool>())
        .prop_map(|(mut levels, all)| {
            if all {
                levels.push("#");
            }
            levels.join("/")
        })
        .prop_filter("empty", |filter| !filter.is_empty())
}

proptest! {
    /// Both indexes find what `matches` finds one by one, after any insertions and removals.
    #[test]
    fn the_indexes_agree_with_matches(
        steps in prop::collection::vec((filter(), topic(), any::<bool>()), 1..60),
        asked in prop::collection::vec((filter(), topic()), 1..8),
    ) {
        let (mut tree, mut map): (Tree<u32>, TopicMap<u32>) = (Tree::new(), TopicMap::new());
        let (mut filters, mut topics) = (BTreeMap::new(), BTreeMap::new());
        for (number, (filter, topic, add)) in (1..).zip(&steps) {
            if *add {
                *tree.entry(filter) = number;
                filters.insert(filter.clone(), number);
                prop_assert_eq!(map.insert(topic, number), topics.insert(topic.clone(), number));
            } else {
                prop_assert_eq!(tree.remove_if(filter, |_| true), filters.remove(filter).is_some());
                prop_assert_eq!(map.remove(topic), topics.remove(topic));
            }
        }
        prop_assert_eq!((tree.len(), map.len()), (filters.len(), topics.len()));
        for (filter, topic) in &asked {
            let mut wanted: Vec<u32> = filters.iter().filter(|(one, _)| matches(one, topic)).map(|(_, &v)| v).collect();
            wanted.sort_unstable();
            prop_assert_eq!(matched(&tree, topic), wanted, "{}", topic);
            let mut wanted = topics.clone();
            wanted.retain(|one, _| matches(filter, one));
            prop_assert_eq!(retained(&map, filter), wanted, "{}", filter);
            prop_assert_eq!(tree.get(filter), filters.get(filter));
            prop_assert_eq!(map.get(topic), topics.get(topic));
        }
    }

    #[test]
    fn any_text_is_a_filter_or_not(text in "[a+#/$\0]{0,12}") {
        if let Some(parsed) = parse_filter(&text) {
            *Tree::<u32>::new().entry(parsed.filter) = 1;
            let _ = matches(parsed.filter, "a/b");
        }
    }
}
