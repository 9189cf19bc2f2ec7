//! Data types of the standard (section 1.5), written. Lengths are those of decoded packets or of our own texts: what
//! is longer than its length field can say is a mistake of the caller.

pub fn var_int_len(value: usize) -> usize {
    match value {
        0..=0x7F => 1,
        0x80..=0x3FFF => 2,
        0x4000..=0x1F_FFFF => 3,
        _ => 4,
    }
}

pub fn var_int(out: &mut Vec<u8>, mut value: usize) {
    debug_assert!(value < 1 << 28, "longer than a packet can be");
    while value > 0x7F {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

pub fn binary(out: &mut Vec<u8>, bytes: &[u8]) {
    debug_assert!(
        u16::try_from(bytes.len()).is_ok(),
        "longer than a field can be"
    );
    out.extend_from_slice(&(bytes.len() as u16).to_be_bytes());
    out.extend_from_slice(bytes);
}

pub fn text(out: &mut Vec<u8>, text: &str) {
    binary(out, text.as_bytes());
}

/// Writes a packet whose length is known when its body is there: packets that are rare.
pub fn packet(out: &mut Vec<u8>, first: u8, body: impl FnOnce(&mut Vec<u8>)) {
    out.push(first);
    with_length(out, body);
}

/// Writes `body` with its length as a variable byte integer before it.
pub fn with_length(out: &mut Vec<u8>, body: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    body(out);
    let mut length = [0; 4];
    let bytes = var_int_array(out.len() - start, &mut length);
    out.splice(start..start, bytes.iter().copied());
}

fn var_int_array(mut value: usize, array: &mut [u8; 4]) -> &[u8] {
    debug_assert!(value < 1 << 28, "longer than a packet can be");
    let mut used = 0;
    for byte in array.iter_mut() {
        *byte = value as u8 & 0x7F;
        value >>= 7;
        used += 1;
        if value == 0 {
            break;
        }
        *byte |= 0x80;
    }
    &array[..used]
}
