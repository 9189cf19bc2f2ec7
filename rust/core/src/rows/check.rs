//! A stream of rows looked through before it is taken: every row is parsed, none is kept.

use super::infer::Inference;
use super::split::{Block, Limits, SplitError, Splitter};
use super::time::Zone;
use super::{PayloadError, Schema, parse};

/// Parses what [`Splitter`] cuts. Memory: one block and what it becomes.
pub struct Check {
    splitter: Splitter,
    zone: Zone,
    rows: usize,
    inference: Option<Inference>,
    blocks: Vec<Block>,
}

impl Check {
    /// `infer`: find the schema of a new table that takes the rows.
    pub fn new(limits: Limits, zone: Zone, infer: bool) -> Self {
        Self {
            splitter: Splitter::new(limits, 0),
            zone,
            rows: 0,
            inference: infer.then(Inference::default),
            blocks: Vec::new(),
        }
    }

    /// The next bytes. After an error the stream is not to be taken.
    pub fn feed(&mut self, piece: &[u8]) -> Result<(), SplitError> {
        let end = self.splitter.feed(piece, &mut self.blocks);
        self.look()?; // what is wrong in an earlier row is told first
        end
    }

    /// The number of rows, and the schema if it was asked for. An empty stream has 0 rows.
    pub fn finish(mut self) -> Result<(usize, Option<Schema>), SplitError> {
        let end = self.splitter.finish(&mut self.blocks);
        self.look()?;
        end?;
        Ok((self.rows, self.inference.map(Inference::finish)))
    }

    fn look(&mut self) -> Result<(), SplitError> {
        for block in self.blocks.drain(..) {
            let parsed = parse(&block.content, None, &self.zone).map_err(|e| PayloadError {
                message: e.message,
                row: block.first_row + e.row,
                offset: block.offset + e.offset,
            })?;
            self.rows += parsed.chunk.len;
            if let Some(inference) = &mut self.inference {
                inference.add(&parsed.chunk, &self.zone);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::infer;
    use super::*;

    fn check(payload: &str, block_bytes: usize) -> Result<(usize, Option<Schema>), SplitError> {
        let limits = Limits {
            block_bytes,
            row_bytes: 1000,
        };
        let mut check = Check::new(limits, Zone::named("UTC").unwrap(), true);
        for piece in payload.as_bytes().chunks(7) {
            check.feed(piece)?;
        }
        check.finish()
    }

    #[test]
    fn the_schema_of_the_blocks_is_that_of_the_whole() {
        let payload = r#"[{"a": 1, "t": "2026-01-01 00:00:00"}, {"a": 2.25, "b": true}, {"a": null, "c": "x"}]"#;
        let zone = Zone::named("UTC").unwrap();
        let whole = parse(payload.as_bytes(), None, &zone).unwrap().chunk;
        let expected = infer(&[&whole], &zone);
        for block_bytes in [0, 30, 1000] {
            let (rows, schema) = check(payload, block_bytes).unwrap();
            assert_eq!((rows, schema.as_ref()), (3, Some(&expected)));
        }
    }

    #[test]
    fn a_fault_late_in_the_stream_has_its_row_and_place() {
        let payload = format!("{}{{\"a\": tru}}\n", "{\"a\": 1}\n".repeat(50));
        let whole = parse(payload.as_bytes(), None, &Zone::named("UTC").unwrap()).unwrap_err();
        assert_eq!(whole.row, 51);
        for block_bytes in [0, 100, 10_000] {
            let found = check(&payload, block_bytes);
            assert_eq!(found, Err(SplitError::Payload(whole.clone())));
        }
        assert_eq!(check(" \n", 0).unwrap().0, 0);
        assert_eq!(check("[]", 0).unwrap().0, 0);
    }
}
