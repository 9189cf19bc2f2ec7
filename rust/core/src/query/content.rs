//! A hash of the values of a row, the same on every member of a cluster whatever engine keeps the row.
//!
//! It finds what differs by accident; it is no protection against somebody who wants rows to look equal. Sums of it
//! over rows do not depend on their order.

const START: u64 = 0xcbf2_9ce4_8422_2325;
const PRIME: u64 = 0x0000_0100_0000_01b3;

/// Numbers up to here are the same as integer and as float.
const EXACT: f64 = 9_007_199_254_740_992.0;

/// Takes values one after another.
#[derive(Clone, Copy, Debug)]
pub struct Content(u64);

impl Default for Content {
    fn default() -> Self {
        Self(START)
    }
}

impl Content {
    pub fn null(&mut self) {
        self.tagged(0, &[]);
    }

    pub fn integer(&mut self, value: i64) {
        self.tagged(1, &value.to_le_bytes());
    }

    /// A whole number is the integer: engines keep `2.0` of a decimal as either.
    #[allow(clippy::cast_possible_truncation)] // whole, and within bounds
    pub fn float(&mut self, value: f64) {
        if value.fract() == 0.0 && value.abs() < EXACT {
            self.integer(value as i64);
        } else {
            self.tagged(2, &value.to_bits().to_le_bytes());
        }
    }

    pub fn text(&mut self, value: &[u8]) {
        self.tagged(3, value);
    }

    pub fn blob(&mut self, value: &[u8]) {
        self.tagged(4, value);
    }

    /// The bytes with their kind and their number, so that `("ab", "c")` is not `("a", "bc")`.
    fn tagged(&mut self, kind: u8, bytes: &[u8]) {
        self.bytes(&[kind]);
        self.bytes(&bytes.len().to_le_bytes());
        self.bytes(bytes);
    }

    fn bytes(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(PRIME);
        }
    }

    /// Each bit of the values reaches each bit of this.
    pub const fn finish(self) -> u64 {
        let mut hash = self.0;
        hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        hash ^ (hash >> 31)
    }
}

#[cfg(test)]
mod tests {
    use super::Content;

    fn of(add: impl Fn(&mut Content)) -> u64 {
        let mut content = Content::default();
        add(&mut content);
        content.finish()
    }

    #[test]
    fn values_and_their_places_count() {
        let ab = of(|c| {
            c.text(b"ab");
            c.text(b"c");
        });
        let a = of(|c| {
            c.text(b"a");
            c.text(b"bc");
        });
        assert_ne!(ab, a);
        assert_ne!(of(Content::null), of(|c| c.text(b"")));
        assert_ne!(of(|c| c.integer(1)), of(|c| c.integer(2)));
        assert_ne!(of(|c| c.float(0.5)), of(|c| c.float(0.25)));
        assert_ne!(of(|c| c.text(b"1")), of(|c| c.blob(b"1")));
    }

    #[test]
    fn a_whole_number_is_the_same_in_both_kinds() {
        assert_eq!(of(|c| c.integer(-7)), of(|c| c.float(-7.0)));
        assert_eq!(of(|c| c.integer(0)), of(|c| c.float(-0.0)));
        assert_ne!(of(|c| c.float(1e300)), of(|c| c.float(2e300)));
    }
}
