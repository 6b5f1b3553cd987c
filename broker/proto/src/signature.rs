//! The signature of client calls: how a client makes it and how a broker checks it.
//!
//! `authorization: MQv2-HMAC-SHA1 Credential=<access key>[/...], SignedHeaders=x-mq-date-time, Signature=<hex>` where the
//! signature is the HMAC-SHA1, keyed with the secret, of the bytes of the header `x-mq-date-time`. Nothing else of a call is
//! covered: who overhears one can repeat it as long as its date is accepted.

use std::sync::Arc;

use ring::hmac;

/// Header with the signature.
pub const AUTHORIZATION_HEADER: &str = "authorization";
/// Header that is signed.
pub const DATE_HEADER: &str = "x-mq-date-time";

const ALGORITHM: &str = "MQv2-HMAC-SHA1";
const SIGNATURE_LEN: usize = 20;

/// What the header says, not checked yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shown<'a> {
    /// May be empty: some clients without credentials send such a header.
    pub access_key: &'a str,
    signature: [u8; SIGNATURE_LEN],
}

/// A signature with the date that it signs, kept after its call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proof {
    signature: [u8; SIGNATURE_LEN],
    date: Arc<[u8]>,
}

/// Why a header holds no signature.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
    #[error("it does not begin with {ALGORITHM}")]
    Algorithm,
    #[error("it has no Credential")]
    Credential,
    #[error("its SignedHeaders are not {DATE_HEADER}")]
    SignedHeaders,
    #[error("its Signature is not 40 hexadecimal digits")]
    Signature,
}

impl<'a> Shown<'a> {
    /// Takes the header apart. The hexadecimal digits may be of either case.
    ///
    /// # Errors
    /// When it is not of that form; the error repeats nothing of it.
    pub fn parse(header: &'a str) -> Result<Self, SignatureError> {
        let (algorithm, fields) = header.trim().split_once(' ').ok_or(SignatureError::Algorithm)?;
        if !algorithm.eq_ignore_ascii_case(ALGORITHM) {
            return Err(SignatureError::Algorithm);
        }
        let field = |name: &str| {
            let mut fields = fields.split(',').filter_map(|field| field.trim().split_once('='));
            fields.find_map(|(key, value)| key.eq_ignore_ascii_case(name).then_some(value.trim()))
        };
        let credential = field("Credential").ok_or(SignatureError::Credential)?;
        if !field("SignedHeaders").is_some_and(|headers| headers.eq_ignore_ascii_case(DATE_HEADER)) {
            return Err(SignatureError::SignedHeaders);
        }
        let signature = field("Signature").and_then(from_hex).ok_or(SignatureError::Signature)?;
        Ok(Self { access_key: credential.split('/').next().unwrap_or_default(), signature })
    }

    /// Whether `secret` made this signature of the date header's bytes. Takes as long for a wrong one as for a right one.
    pub fn is_by(&self, secret: &str, date: &[u8]) -> bool {
        hmac::verify(&key(secret), date, &self.signature).is_ok()
    }

    /// For asking [`Proof::is_by`] later.
    pub fn of(&self, date: &[u8]) -> Proof {
        Proof { signature: self.signature, date: date.into() }
    }
}

impl Proof {
    /// As [`Shown::is_by`].
    pub fn is_by(&self, secret: &str) -> bool {
        hmac::verify(&key(secret), &self.date, &self.signature).is_ok()
    }
}

/// The header's value for a call whose date header has this value.
pub fn sign(access_key: &str, secret: &str, date: &str) -> String {
    let signature = hmac::sign(&key(secret), date.as_bytes());
    let hex: String = signature.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{ALGORITHM} Credential={access_key}, SignedHeaders={DATE_HEADER}, Signature={hex}")
}

fn key(secret: &str) -> hmac::Key {
    hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, secret.as_bytes())
}

fn from_hex(text: &str) -> Option<[u8; SIGNATURE_LEN]> {
    let digits = text.as_bytes();
    if digits.len() != 2 * SIGNATURE_LEN {
        return None;
    }
    let mut bytes = [0; SIGNATURE_LEN];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        let high = char::from(pair[0]).to_digit(16)?;
        let low = char::from(pair[1]).to_digit(16)?;
        *byte = (high << 4 | low) as u8;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DATE: &str = "20231227T194619Z";

    #[test]
    fn a_known_signature_is_made_and_checked() {
        // RFC 2202, test case 2.
        let header = sign("ak", "Jefe", "what do ya want for nothing?");
        assert_eq!(
            header,
            "MQv2-HMAC-SHA1 Credential=ak, SignedHeaders=x-mq-date-time, \
             Signature=effcdf6ae5eb2fa2d27416d5f184df9c259a7c79"
        );
        assert!(Shown::parse(&header).unwrap().is_by("Jefe", b"what do ya want for nothing?"));
    }

    #[test]
    fn only_the_secret_and_the_date_that_made_it_pass() {
        let header = sign("ak", "secret-1", DATE);
        let shown = Shown::parse(&header).unwrap();
        assert!(shown.is_by("secret-1", DATE.as_bytes()));
        assert!(!shown.is_by("secret-2", DATE.as_bytes()));
        assert!(!shown.is_by("secret-1", b"20231227T194620Z"));
        assert!(!shown.is_by("", b""));
        let kept = shown.of(DATE.as_bytes());
        assert!(kept.is_by("secret-1") && !kept.is_by("secret-2"));
    }

    #[test]
    fn every_form_that_clients_write_is_read() {
        let hex = "0123456789abcdefABCDEF0123456789abcdef01";
        for (text, access_key) in [
            (format!("MQv2-HMAC-SHA1 Credential=ak, SignedHeaders=x-mq-date-time, Signature={hex}"), "ak"),
            (
                format!(
                    "MQv2-HMAC-SHA1 Credential=ak//Rocketmq, SignedHeaders=x-mq-date-time, Signature={hex}"
                ),
                "ak",
            ),
            (
                format!("MQv2-HMAC-SHA1 Credential=ak/eu/RMQ,SignedHeaders=x-mq-date-time,Signature={hex}"),
                "ak",
            ),
            (
                format!(" mqv2-hmac-sha1  signature={hex} , signedheaders=X-MQ-Date-Time, credential=a.b@c "),
                "a.b@c",
            ),
            (format!("MQv2-HMAC-SHA1 Credential=, SignedHeaders=x-mq-date-time, Signature={hex}"), ""),
            (format!("MQv2-HMAC-SHA1 Credential=/x, SignedHeaders=x-mq-date-time, Signature={hex}"), ""),
        ] {
            let shown = Shown::parse(&text).unwrap_or_else(|error| panic!("{text}: {error}"));
            assert_eq!(shown.access_key, access_key, "{text}");
            assert_eq!(shown.signature[..2], [0x01, 0x23]);
        }
    }

    #[test]
    fn other_text_is_refused_with_a_reason() {
        use SignatureError::{Algorithm, Credential, Signature, SignedHeaders};
        let hex = "0123456789abcdef0123456789abcdef01234567";
        for (text, error) in [
            (String::new(), Algorithm),
            ("MQv2-HMAC-SHA1".to_owned(), Algorithm),
            ("Bearer token".to_owned(), Algorithm),
            (
                format!("MQv2-HMAC-SHA256 Credential=a, SignedHeaders=x-mq-date-time, Signature={hex}"),
                Algorithm,
            ),
            (format!("MQv2-HMAC-SHA1 SignedHeaders=x-mq-date-time, Signature={hex}"), Credential),
            (format!("MQv2-HMAC-SHA1 Credential=a, Signature={hex}"), SignedHeaders),
            (format!("MQv2-HMAC-SHA1 Credential=a, SignedHeaders=host, Signature={hex}"), SignedHeaders),
            ("MQv2-HMAC-SHA1 Credential=a, SignedHeaders=x-mq-date-time".to_owned(), Signature),
            (
                format!("MQv2-HMAC-SHA1 Credential=a, SignedHeaders=x-mq-date-time, Signature={hex}0"),
                Signature,
            ),
            (
                format!("MQv2-HMAC-SHA1 Credential=a, SignedHeaders=x-mq-date-time, Signature={}", &hex[1..]),
                Signature,
            ),
            (
                format!(
                    "MQv2-HMAC-SHA1 Credential=a, SignedHeaders=x-mq-date-time, Signature=é{}",
                    &hex[2..]
                ),
                Signature,
            ),
            (
                format!(
                    "MQv2-HMAC-SHA1 Credential=a, SignedHeaders=x-mq-date-time, Signature=+1{}",
                    &hex[2..]
                ),
                Signature,
            ),
        ] {
            assert_eq!(Shown::parse(&text), Err(error), "{text}");
        }
    }

    /// Every beginning of good text with every byte that a header can hold behind it.
    #[test]
    fn no_text_panics() {
        let good = sign("ak", "secret", DATE);
        for end in 0..=good.len() {
            for byte in 0x20..=0x7e_u8 {
                let text = format!("{}{}", &good[..end], char::from(byte));
                let _ = Shown::parse(&text);
                let _ = Shown::parse(&format!("{text}é{}", &good[end..]));
            }
        }
    }
}
