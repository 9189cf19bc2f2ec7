//! Rights per topic.

use super::*;

fn acl(rules: &[(Access, &str)]) -> Arc<Acl> {
    Arc::new(Acl::new(
        rules
            .iter()
            .map(|&(access, pattern)| Rule {
                pattern: pattern.into(),
                access,
            })
            .collect(),
    ))
}

fn world(rules: &[(Access, &str)]) -> World {
    World::with(Options {
        anonymous_acl: acl(rules),
        sys_interval_s: 0,
        ..Options::default()
    })
}

/// A client with a name.
fn login(world: &mut World, conn: ConnId, client_id: &str, user: &str, acl: Arc<Acl>) {
    world.open(conn);
    let packet = Connect {
        user: Some(user),
        ..connect_lasting(Version::V5, client_id)
    };
    world.send(conn, &Packet::Connect(Box::new(packet)));
    let grant = Grant {
        user: Some(user.into()),
        acl,
    };
    world
        .broker
        .login(conn, Ok(grant), world.now, &mut world.net);
    world.round();
}

#[test]
fn the_first_rule_that_fits_decides() {
    let rules = acl(&[
        (Access::Deny, "a/secret/#"),
        (Access::Read, "a/#"),
        (Access::Write, "w/+"),
        (Access::ReadWrite, "own/%c/#"),
        (Access::ReadWrite, "user/%u"),
    ]);
    let (user, client) = (Some("u"), "c");
    for (topic, read, write) in [
        ("a/x", true, false),
        ("a", true, false),
        ("a/secret/x", false, false),
        ("w/x", false, true),
        ("w/x/y", false, false),
        ("own/c/x", true, true),
        ("own/d/x", false, false),
        ("user/u", true, true),
        ("other", false, false),
    ] {
        assert_eq!(rules.may_read(topic, user, client), read, "{topic}");
        assert_eq!(rules.may_write(topic, user, client), write, "{topic}");
    }
    for (filter, may) in [
        ("a/#", true),
        ("a/+/b", true),
        ("a", true),
        ("#", false),
        ("+/x", false),
        ("a/secret/#", false),
        ("w/x", false),
        ("own/c/+", true),
        ("own/+/x", false),
        ("own/#", false),
        ("user/+", false),
    ] {
        assert_eq!(rules.may_subscribe(filter, user, client), may, "{filter}");
    }
    assert!(!rules.may_read("user/u", None, client));
    assert!(!acl(&[(Access::Read, "#")]).may_subscribe("$SYS/#", None, client));
    assert!(!Acl::new(Vec::new()).may_read("x", None, client));
    assert!(Acl::open().may_subscribe("#", None, client));
}

#[test]
fn a_name_with_wildcards_opens_nothing() {
    let rules = acl(&[(Access::Deny, "x/%c"), (Access::ReadWrite, "own/%c/#")]);
    for client in ["#", "+", "a/b", ""] {
        assert!(!rules.may_read("own/other/x", None, client));
        assert!(!rules.may_subscribe("own/#", None, client));
    }
}

#[test]
fn subscriptions_are_refused() {
    let mut world = world(&[(Access::Read, "open/#")]);
    world.join(0, Version::V5, "a");
    assert_eq!(world.subscribe(0, "#", Q1), Reason::NOT_AUTHORIZED);
    assert_eq!(
        world.subscribe(0, "$share/g/closed", Q1),
        Reason::NOT_AUTHORIZED
    );
    assert_eq!(world.subscribe(0, "open/+", Q1), Reason(1));
    world.join(1, Version::V311, "b");
    assert_eq!(world.subscribe(1, "#", Q1), Reason::UNSPECIFIED);
}

#[test]
fn messages_are_refused() {
    // [MQTT-3.3.5-2]
    let mut world = world(&[(Access::ReadWrite, "open/#")]);
    world.join(0, Version::V5, "a");
    world.subscribe(0, "open/#", Q0);
    for (id, qos, kind) in [(1, Q1, AckKind::PubAck), (2, Q2, AckKind::PubRec)] {
        world.publish(0, "closed", "x", qos, id);
        assert_eq!(world.got(0), [ack(kind, id, Reason::NOT_AUTHORIZED)]);
    }
    world.publish(0, "open/x", "x", Q0, 0);
    assert_eq!(world.payloads(0), ["x"]);
    // Again after one that was allowed, and with retain.
    world.send(0, &retained("closed", "x", Q0, 0));
    world.got_nothing(0);
    assert_eq!(
        (
            world.broker.stats().publishes_unauthorized,
            world.broker.stats().retained
        ),
        (3, 0)
    );
}

#[test]
fn deliveries_are_checked() {
    let mut world = World::new();
    let rules = acl(&[(Access::Deny, "t/secret"), (Access::Read, "t/#")]);
    login(&mut world, 0, "reader", "u", rules);
    assert_eq!(world.subscribe(0, "t/#", Q1), Reason(1));
    world.join(1, Version::V5, "from");
    world.publish(1, "t/secret", "hidden", Q1, 1);
    world.publish(1, "t/open", "seen", Q1, 2);
    assert_eq!(world.payloads(0), ["seen"]);
    world.send(1, &retained("t/secret", "hidden", Q0, 0));
    world.subscribe(0, "t/#", Q1);
    world.got_nothing(0);
}

#[test]
fn rights_that_were_taken_away_hold_for_what_waits() {
    let mut world = World::new();
    login(&mut world, 0, "reader", "u", acl(&[(Access::Read, "#")]));
    world.subscribe(0, "t/#", Q1);
    world.lose(0);
    world.join(1, Version::V5, "from");
    world.publish(1, "t/1", "one", Q1, 1);
    world.publish(1, "t/2", "two", Q1, 2);
    login(&mut world, 2, "reader", "u", acl(&[(Access::Read, "t/2")]));
    world.publish(1, "t/1", "one", Q1, 3);
    world.publish(1, "t/2", "three", Q1, 4);
    let got = world.got(2);
    let payloads: Vec<_> = got
        .iter()
        .filter_map(|packet| match packet {
            Packet::Publish(message) => Some(message.payload),
            _ => None,
        })
        .collect();
    assert_eq!(payloads, [&b"two"[..], b"three"]);
}

#[test]
fn a_will_needs_the_right_to_write() {
    let mut world = world(&[(Access::ReadWrite, "open"), (Access::Read, "#")]);
    world.join(0, Version::V5, "watcher");
    world.subscribe(0, "#", Q0);
    for topic in ["closed", "open"] {
        world.connect(
            1,
            Connect {
                will: Some(will(topic, topic)),
                ..connect(Version::V5, "a")
            },
        );
        world.lose(1);
    }
    assert_eq!(world.payloads(0), ["open"]);
}
