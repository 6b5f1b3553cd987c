//! Where a message was: the library tells neither its queue nor its place there, but gives the receipt of its delivery.
//!
//! To clients a receipt is opaque text. This program is made for one broker, whose receipts are base64url of a version, the
//! broker group, the queue, two revisions, the offset, and more. Another version is not read.

const VERSION: u8 = 1;

/// A queue as `BROKER_GROUP/NUMBER`, and a place there.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) queue: String,
    pub(crate) offset: u64,
}

/// # Errors
/// When the receipt is not of the version that is known here.
pub(crate) fn place(receipt: &str) -> Result<Place, String> {
    let unknown = || format!("the receipt {receipt} has another form");
    let bytes = base64url(receipt).filter(|bytes| bytes.first() == Some(&VERSION)).ok_or_else(unknown)?;
    let mut fields = &bytes[1..];
    let mut take = |length: usize| -> Option<u64> {
        let (field, rest) = fields.split_at_checked(length)?;
        fields = rest;
        Some(field.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte)))
    };
    let read = [take(4), take(4), take(8), take(8), take(8)];
    let [Some(broker_group), Some(queue), _, _, Some(offset)] = read else { return Err(unknown()) };
    Ok(Place { queue: format!("{broker_group}/{queue}"), offset })
}

/// What a text without padding stands for; bits that do not make a byte are left out.
fn base64url(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len() * 3 / 4);
    let (mut kept, mut bits) = (0_u32, 0);
    for letter in text.bytes() {
        let six = match letter {
            b'A'..=b'Z' => letter - b'A',
            b'a'..=b'z' => letter - b'a' + 26,
            b'0'..=b'9' => letter - b'0' + 52,
            b'-' => 62,
            b'_' => 63,
            _ => return None,
        };
        kept = kept << 6 | u32::from(six);
        bits += 6;
        if bits >= 8 {
            bits -= 8;
            bytes.push((kept >> bits) as u8);
            kept &= (1 << bits) - 1;
        }
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_receipt_tells_queue_and_offset() {
        // Version 1, broker group 2, queue 3, two revisions, offset 258.
        let receipt = "AQIAAAADAAAABQAAAAAAAAAGAAAAAAAAAAIBAAAAAAAA";
        assert_eq!(place(receipt), Ok(Place { queue: "2/3".to_owned(), offset: 258 }));
    }

    #[test]
    fn another_version_and_other_text_are_not_read() {
        for text in ["AgIAAAADAAAABQAAAAAAAAAGAAAAAAAAAAIBAAAAAAAA", "AQIAAAADAAAA", "A+", ""] {
            assert!(place(text).is_err(), "{text}");
        }
    }
}
