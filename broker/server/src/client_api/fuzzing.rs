//! The decoders of texts that calls bring, see [`crate::fuzzing`].

use std::time::Duration;

use mainstay_messaging::Filter;
use mainstay_proto::rocketmq::FilterExpression;

use super::filter::Wanted;
use super::{Filters, access, caller};

pub(crate) fn date(text: &str) -> Option<i64> {
    access::seconds_of(text)
}

pub(crate) fn tags(expression: &FilterExpression) -> Option<Vec<String>> {
    match Filters::default().parse(Some(expression)).ok()? {
        Wanted::Filtered(Filter::Tags(tags)) => Some(tags),
        Wanted::Filtered(_) | Wanted::Where(_) => Some(Vec::new()),
    }
}

pub(crate) fn timeout(text: &str) -> Option<Duration> {
    caller::parse_timeout(text)
}
