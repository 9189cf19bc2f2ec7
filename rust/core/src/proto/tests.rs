use prost_reflect::prost::Message as _;
use prost_reflect::prost_types::field_descriptor_proto::{Label, Type};
use prost_reflect::prost_types::{
    DescriptorProto, FieldDescriptorProto, FileDescriptorProto, FileDescriptorSet,
};

use super::{Decoded, Decoder, ProtoError};

fn field(name: &str, number: i32, kind: Type) -> FieldDescriptorProto {
    FieldDescriptorProto {
        name: Some(name.to_owned()),
        number: Some(number),
        r#type: Some(kind as i32),
        label: Some(Label::Optional as i32),
        ..FieldDescriptorProto::default()
    }
}

fn list(name: &str, number: i32, kind: Type) -> FieldDescriptorProto {
    FieldDescriptorProto {
        label: Some(Label::Repeated as i32),
        ..field(name, number, kind)
    }
}

fn message(name: &str, field: Vec<FieldDescriptorProto>) -> DescriptorProto {
    DescriptorProto {
        name: Some(name.to_owned()),
        field,
        ..DescriptorProto::default()
    }
}

/// Types of a package `t`: Reading, Whole (one Reading), Text, Texts.
fn descriptors() -> Vec<u8> {
    let inner = FieldDescriptorProto {
        type_name: Some(".t.Reading".to_owned()),
        ..field("reading", 1, Type::Message)
    };
    let file = FileDescriptorProto {
        name: Some("t.proto".to_owned()),
        package: Some("t".to_owned()),
        syntax: Some("proto3".to_owned()),
        message_type: vec![
            message(
                "Reading",
                vec![
                    field("device_id", 1, Type::String),
                    field("count", 2, Type::Int64),
                    field("value", 3, Type::Double),
                    field("on", 4, Type::Bool),
                    field("raw", 5, Type::Bytes),
                ],
            ),
            message("Whole", vec![inner]),
            message("Text", vec![field("text", 1, Type::String)]),
            message("Texts", vec![list("texts", 1, Type::String)]),
        ],
        ..FileDescriptorProto::default()
    };
    FileDescriptorSet { file: vec![file] }.encode_to_vec()
}

fn decoder(name: &str, added: &[(&str, &str)]) -> Decoder {
    let added: Vec<_> = added
        .iter()
        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
        .collect();
    Decoder::new(&descriptors(), name, &added, false).expect("a known type")
}

fn text(decoded: &Decoded) -> &str {
    std::str::from_utf8(&decoded.json).expect("text")
}

/// A field of the wire type 2, shorter than 128 bytes.
fn bytes_field(number: u8, content: &[u8]) -> Vec<u8> {
    let mut out = vec![number << 3 | 2, content.len() as u8];
    out.extend(content);
    out
}

#[test]
fn messages_become_protobufs_json() {
    let mut reading = bytes_field(1, "pump \"1\"".as_bytes());
    reading.extend([2 << 3, 42, 4 << 3, 1]);
    reading.push(3 << 3 | 1);
    reading.extend(2.5f64.to_le_bytes());
    reading.extend(bytes_field(5, b"\x00\xff"));
    let decoded = decoder("t.Reading", &[]).decode([reading.as_slice(), b"".as_slice()]);
    assert_eq!(
        text(&decoded),
        r#"[{"deviceId":"pump \"1\"","count":"42","value":2.5,"on":true,"raw":"AP8="},{}]"#
    );
    assert_eq!((decoded.objects, decoded.failed), (2, 0));
}

#[test]
fn fields_that_are_zero_come_when_they_are_asked_for() {
    let decoder = Decoder::new(&descriptors(), "t.Reading", &[], true).expect("a known type");
    let wanted = r#"[{"deviceId":"","count":"0","value":0.0,"on":false,"raw":""}]"#;
    assert_eq!(text(&decoder.decode([b"".as_slice()])), wanted);
}

#[test]
fn what_is_added_stands_in_every_object() {
    let adds = decoder("t.Reading", &[("<conn>", "h:1"), ("<proto>", "a\"b")]);
    let decoded = adds.decode([bytes_field(1, b"p").as_slice(), b"".as_slice()]);
    assert_eq!(
        text(&decoded),
        r#"[{"<conn>":"h:1","<proto>":"a\"b","deviceId":"p"},{"<conn>":"h:1","<proto>":"a\"b"}]"#
    );
}

#[test]
fn an_only_field_is_what_the_message_is() {
    let whole = bytes_field(1, &bytes_field(1, b"p"));
    let decoded = decoder("t.Whole", &[]).decode([whole.as_slice()]);
    assert_eq!(text(&decoded), r#"[{"deviceId":"p"}]"#);

    let texts = decoder("t.Text", &[("k", "v")]);
    for (given, wanted) in [
        (r#"{"a": 1}"#, r#"[{"k":"v","a": 1}]"#),
        ("[{\"a\":1},\n { } ]", r#"[{"k":"v","a":1},{"k":"v" }]"#),
        ("[]", "[]"),
        ("[1]", r#"[{"k":"v","text":"[1]"}]"#),
        ("{no", r#"[{"k":"v","text":"{no"}]"#),
        ("", r#"[{"k":"v"}]"#),
    ] {
        let decoded = texts.decode([bytes_field(1, given.as_bytes()).as_slice()]);
        assert_eq!(text(&decoded), wanted, "{given}");
        assert_eq!(decoded.failed, 0);
    }

    let several = [bytes_field(1, b"{\"a\":1}"), bytes_field(1, b"{\"a\":2}")].concat();
    let decoded = decoder("t.Texts", &[]).decode([several.as_slice()]);
    assert_eq!(text(&decoded), r#"[{"a":1},{"a":2}]"#);
    assert_eq!(decoded.objects, 2);
    let mixed = [bytes_field(1, b"{\"a\":1}"), bytes_field(1, b"b")].concat();
    let decoded = decoder("t.Texts", &[]).decode([mixed.as_slice()]);
    assert_eq!(text(&decoded), r#"[{"texts":["{\"a\":1}","b"]}]"#);
}

#[test]
fn a_broken_message_is_counted_and_the_others_stay() {
    let good = bytes_field(1, b"p");
    let decoded = decoder("t.Reading", &[]).decode([
        good.as_slice(),
        b"\x0a\x7f".as_slice(),
        b"\xff".as_slice(),
        good.as_slice(),
    ]);
    assert_eq!(text(&decoded), r#"[{"deviceId":"p"},{"deviceId":"p"}]"#);
    assert_eq!((decoded.objects, decoded.failed), (2, 2));
    assert!(!decoded.reason.is_empty());
}

#[test]
fn no_messages_are_an_empty_list() {
    assert_eq!(text(&decoder("t.Reading", &[]).decode([])), "[]");
}

#[test]
fn a_definition_that_cannot_be_used_is_said() {
    let unknown = Decoder::new(&descriptors(), "t.Nothing", &[], false).expect_err("no such type");
    assert!(matches!(unknown, ProtoError::NoMessage(name) if name == "t.Nothing"));
    Decoder::new(b"\xff\xff", "t.Reading", &[], false).expect_err("no descriptors");
}
