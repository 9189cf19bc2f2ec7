use proptest::prelude::*;
use serde_json::Value;

use super::*;

const VECTORS: &str = include_str!("../../../../tests/vectors/wire-vectors.json");

fn vectors() -> Vec<Value> {
    serde_json::from_str(VECTORS).unwrap()
}

fn unhex(text: &str) -> Vec<u8> {
    (0..text.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap())
        .collect()
}

fn bytes_of(vector: &Value) -> Vec<u8> {
    let mut bytes = unhex(vector["hex"].as_str().unwrap());
    bytes.resize(BLOCK_BYTES, 0);
    bytes
}

#[test]
fn every_captured_block_decodes_to_its_fields() {
    for vector in vectors() {
        let (name, fields) = (&vector["name"], &vector["fields"]);
        let bytes = bytes_of(&vector);
        let block = Block::read(&bytes).unwrap();
        let header = &block.header;
        let flow = &header.flow;
        for (field, found) in [
            ("block_counter", u64::from(header.block_number)),
            ("block_struct", u64::from(header.structure.0)),
            ("last_flag", u64::from(header.is_last)),
            ("info_type", u64::from(header.info.0)),
            ("error", u64::from(header.error)),
            ("json_counter", u64::from(header.segments)),
            ("job_location", u64::from(flow.job_location)),
            ("job_id", u64::from(flow.job_id)),
            ("receivers", u64::from(flow.receivers)),
            ("receiver_id", u64::from(flow.receiver_id)),
            ("par_used", u64::from(flow.partitions)),
            ("par_id", u64::from(flow.partition_id)),
            ("dbms_time", u64::from(header.dbms_seconds)),
            ("send_time", u64::from(header.send_seconds)),
            ("src_port", u64::from(header.source.port)),
            ("generic_flag", u64::from(header.generic_flag)),
            ("auth_len", block.authentication.len() as u64),
        ] {
            assert_eq!(fields[field].as_u64(), Some(found), "{name}: {field}");
        }
        assert_eq!(fields["src_ip"].as_str(), header.source.host(), "{name}");
        assert_eq!(
            fields["command"].as_str().unwrap().as_bytes(),
            block.command,
            "{name}"
        );
        if let Some(data) = fields["data"].as_str() {
            assert_eq!(data.as_bytes(), block.data, "{name}");
        } else if let Some(data) = fields["data_hex"].as_str() {
            assert_eq!(unhex(data), block.data, "{name}");
        } else {
            let segments: Result<Vec<_>, _> = Segments::new(block.data, header.segments).collect();
            assert_eq!(
                segments.unwrap().len(),
                usize::from(header.segments),
                "{name}"
            );
        }
    }
}

#[test]
fn every_captured_block_is_encoded_to_the_same_bytes() {
    for vector in vectors() {
        let bytes = bytes_of(&vector);
        let block = Block::read(&bytes).unwrap();
        let mut out = Vec::new();
        block.write(&mut out).unwrap();
        // The one source address with bytes of a longer one behind it: ours are zeros.
        let mut wanted = bytes.clone();
        wanted[73 + usize::from(bytes[72])..201].fill(0);
        assert_eq!(out, wanted, "{}", vector["name"]);
    }
}

#[test]
fn captured_rows_are_joined_over_blocks() {
    for start in ["sql rows reply, rows split", "sql reply, one 5 kB row"] {
        let mut incoming = Incoming::new(1 << 20);
        let mut texts = Vec::new();
        let mut is_complete = false;
        for vector in vectors() {
            if vector["name"].as_str().unwrap().starts_with(start) {
                let message = incoming.take(&bytes_of(&vector)).unwrap();
                texts.extend(message.rows);
                is_complete = message.is_complete;
            }
        }
        assert!(is_complete, "{start}");
        assert!(texts.len() > 1, "{start}");
        for text in &texts {
            // Not always JSON: the reference sends backslashes as they are.
            let row = std::str::from_utf8(text).unwrap();
            assert!(
                row.starts_with("{\"Query\":[{") && row.ends_with("}]}"),
                "{row}"
            );
        }
    }
}

fn blocks(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    assert_eq!(bytes.len() % BLOCK_BYTES, 0);
    bytes.chunks(BLOCK_BYTES)
}

#[test]
fn a_file_that_fills_its_block_ends_with_an_empty_one() {
    let command = "file write /n/x";
    let out = Outgoing::new(Header::default(), command)
        .unwrap()
        .bytes(&[7; 1826])
        .unwrap();
    let sizes: Vec<usize> = blocks(&out)
        .map(|b| Block::read(b).unwrap().data.len())
        .collect();
    assert_eq!(sizes, [1826, 0]);
}

#[test]
fn a_block_out_of_turn_ends_the_connection() {
    let text = "x".repeat(5000);
    let out = Outgoing::new(Header::default(), "print")
        .unwrap()
        .text(&text)
        .unwrap();
    let mut incoming = Incoming::new(1 << 20);
    incoming.take(&out[..BLOCK_BYTES]).unwrap();
    let error = incoming
        .take(&out[2 * BLOCK_BYTES..3 * BLOCK_BYTES])
        .unwrap_err();
    assert_eq!(
        error,
        BlockError::Order {
            wanted: 2,
            found: 3
        }
    );
}

#[test]
fn a_text_without_end_is_refused() {
    let text = "x".repeat(5000);
    let out = Outgoing::new(Header::default(), "print")
        .unwrap()
        .text(&text)
        .unwrap();
    let mut incoming = Incoming::new(2000);
    incoming.take(&out[..BLOCK_BYTES]).unwrap();
    assert_eq!(
        incoming
            .take(&out[BLOCK_BYTES..2 * BLOCK_BYTES])
            .unwrap_err(),
        BlockError::TooLarge(2000)
    );
}

proptest! {
    #[test]
    fn texts_come_back_and_no_block_cuts_a_character(text in "[aé€😀]{0,3000}") {
        let out = Outgoing::new(Header::default(), "print").unwrap().text(&text).unwrap();
        let mut incoming = Incoming::new(1 << 20);
        let mut last = None;
        for block in blocks(&out) {
            prop_assert!(std::str::from_utf8(Block::read(block).unwrap().data).is_ok());
            last = Some(incoming.take(block).unwrap());
        }
        let last = last.unwrap();
        prop_assert!(last.is_complete);
        prop_assert_eq!(last.data, text.into_bytes());
    }

    #[test]
    fn rows_come_back_and_no_segment_cuts_a_character(rows in prop::collection::vec("[aé€]{0,1500}", 0..20)) {
        let out = Outgoing::new(Header::default(), "job reply").unwrap().rows(rows.iter().map(String::as_str)).unwrap();
        let mut incoming = Incoming::new(1 << 20);
        let mut found = Vec::new();
        for block in blocks(&out) {
            let read = Block::read(block).unwrap();
            for segment in Segments::new(read.data, read.header.segments) {
                prop_assert!(std::str::from_utf8(segment.unwrap().1).is_ok());
            }
            found.extend(incoming.take(block).unwrap().rows);
        }
        let wanted: Vec<Vec<u8>> = rows.into_iter().map(String::into_bytes).collect();
        prop_assert_eq!(found, wanted);
    }

    #[test]
    fn any_bytes_are_read_or_refused(mut bytes in prop::collection::vec(any::<u8>(), BLOCK_BYTES), number in 0..3_u8) {
        bytes[30..34].copy_from_slice(&[0, 0, 0, number]);
        bytes[43..45].fill(0);
        let _ = Incoming::new(1000).take(&bytes);
    }
}
