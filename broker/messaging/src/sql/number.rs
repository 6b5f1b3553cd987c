//! Numbers: whole ones and decimals, compared by value.

use std::cmp::Ordering;

/// A number; a decimal is never NaN.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Number {
    Whole(i64),
    Decimal(f64),
}

/// 2^63: the first whole number that does not fit any more.
const BEYOND: f64 = 9_223_372_036_854_775_808.0;

impl Number {
    /// Reads a property's text: digits with a sign, a fraction and an exponent, each optional. `None` for other text.
    pub(super) fn of_text(text: &str) -> Option<Self> {
        if let Ok(whole) = text.parse() {
            return Some(Self::Whole(whole));
        }
        // Keeps out the names of infinity and NaN, which the standard library reads too.
        let digits_and_signs =
            |byte: u8| byte.is_ascii_digit() || matches!(byte, b'+' | b'-' | b'.' | b'e' | b'E');
        if !text.bytes().all(digits_and_signs) {
            return None;
        }
        text.parse().ok().map(Self::Decimal)
    }

    pub(super) fn negated(self) -> Self {
        match self {
            Self::Whole(whole) => match whole.checked_neg() {
                Some(negated) => Self::Whole(negated),
                None => Self::Decimal(BEYOND),
            },
            Self::Decimal(decimal) => Self::Decimal(-decimal),
        }
    }

    pub(super) fn compare(self, other: Self) -> Ordering {
        match (self, other) {
            (Self::Whole(one), Self::Whole(other)) => one.cmp(&other),
            (Self::Whole(whole), Self::Decimal(decimal)) => compare_mixed(whole, decimal),
            (Self::Decimal(decimal), Self::Whole(whole)) => compare_mixed(whole, decimal).reverse(),
            // There is no NaN.
            (Self::Decimal(one), Self::Decimal(other)) => one.partial_cmp(&other).unwrap_or(Ordering::Equal),
        }
    }
}

/// Exact, where turning the whole number into a decimal would lose digits.
fn compare_mixed(whole: i64, decimal: f64) -> Ordering {
    if decimal >= BEYOND {
        return Ordering::Less;
    }
    if decimal < -BEYOND {
        return Ordering::Greater;
    }
    let floor = decimal.floor();
    whole.cmp(&(floor as i64)).then(if decimal > floor { Ordering::Less } else { Ordering::Equal })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_that_are_numbers() {
        for (text, number) in [
            ("7", Number::Whole(7)),
            ("-7", Number::Whole(-7)),
            ("+7", Number::Whole(7)),
            ("007", Number::Whole(7)),
            ("9223372036854775807", Number::Whole(i64::MAX)),
            ("9223372036854775808", Number::Decimal(BEYOND)),
            ("7.5", Number::Decimal(7.5)),
            ("7.", Number::Decimal(7.0)),
            (".5", Number::Decimal(0.5)),
            ("-1e3", Number::Decimal(-1000.0)),
            ("1E-3", Number::Decimal(0.001)),
        ] {
            assert_eq!(Number::of_text(text), Some(number), "{text}");
        }
        for text in
            ["", " 7", "7 ", "seven", "inf", "-infinity", "NaN", "0x7", "1_000", "e", "1e", "--7", "٧", "7L"]
        {
            assert_eq!(Number::of_text(text), None, "{text}");
        }
    }

    #[test]
    fn large_numbers_are_compared_exactly() {
        let whole = Number::Whole;
        let decimal = Number::Decimal;
        for (one, other, order) in [
            (whole(9_007_199_254_740_993), decimal(9_007_199_254_740_992.0), Ordering::Greater),
            (whole(i64::MAX), decimal(BEYOND), Ordering::Less),
            (whole(i64::MIN), decimal(-BEYOND), Ordering::Equal),
            (whole(i64::MIN), decimal(f64::NEG_INFINITY), Ordering::Greater),
            (whole(i64::MIN).negated(), whole(i64::MAX), Ordering::Greater),
            (whole(-1), decimal(-0.5), Ordering::Less),
            (whole(-1), decimal(-1.5), Ordering::Greater),
            (whole(0), decimal(-0.0), Ordering::Equal),
            (decimal(1.5), whole(1), Ordering::Greater),
            (decimal(1.5), decimal(2.5), Ordering::Less),
        ] {
            assert_eq!(one.compare(other), order, "{one:?} {other:?}");
            assert_eq!(other.compare(one), order.reverse(), "{other:?} {one:?}");
        }
    }
}
